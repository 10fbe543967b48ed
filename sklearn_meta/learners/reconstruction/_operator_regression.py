"""An unknown operator, regressed from pairs with its uncertainty."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._row_families import RowPosterior, families
from sklearn_meta.operators._dense import Dense

#: Noise levels that are tried where none is given, as shares of the measurements' size.
LEVELS = (0.003, 0.01, 0.03, 0.1, 0.3)


class UncertainOperator(Dense):
    """The mean of an operator that was regressed from pairs, and how uncertain its rows are.

    Measurements of an image x have the variance ``sigma^2 + x^T S_j x`` around ``matrix @ x`` with
    the covariance S_j of row j.

    Parameters
    ----------
    image_shape, measurement_shape : tuple of int
    images : Tensor of shape (K, n_pixels), float64
    measurements : Tensor of shape (K, m), float64
    sigma : float or None
        Standard deviation of the noise; None: the one of most evidence.

    Attributes
    ----------
    matrix : Tensor of shape (m, n_pixels)
        Posterior mean.
    row_covariance : Tensor
        See `RowPosterior.covariance`.
    sigma : float
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        measurement_shape: tuple[int, ...],
        images: Tensor,
        measurements: Tensor,
        sigma: float | None,
    ):
        self._images, self._measurements = images, measurements
        size = float(measurements.square().mean().sqrt()) or 1.0
        if sigma is None:
            levels = [level * size for level in LEVELS]
            found = [(level, self._regress(image_shape, level)) for level in levels]
            sigma, self._rows = max(found, key=lambda pair: pair[1].log_evidence)
        else:
            self._rows = self._regress(image_shape, max(sigma, 1e-6 * size))
        self.sigma = float(sigma)
        super().__init__(image_shape, self._rows.matrix, measurement_shape)

    @property
    def row_covariance(self) -> Tensor:
        """Covariance of the rows, in the form that their family has."""
        return self._rows.covariance

    def excess(self, second_moment: Tensor) -> Tensor:
        """Variance of each measurement that the uncertainty of the rows adds.

        Parameters
        ----------
        second_moment : Tensor of shape (n_pixels, n_pixels)
            ``E[x x^T]`` of the images that are measured.

        Returns
        -------
        Tensor of shape (m,)
        """
        return self._rows.excess(second_moment)

    def with_noise(self, sigma: float | np.ndarray | None) -> UncertainOperator:
        """Regress again under another noise level; for None, or the same, this one."""
        if sigma is None:
            return self
        level = float(np.sqrt(np.mean(np.square(sigma))))
        if level == self.sigma:
            return self
        shapes = self.image_shape, self.measurement_shape
        return UncertainOperator(*shapes, self._images, self._measurements, level)

    def _regress(self, image_shape: tuple[int, ...], sigma: float) -> RowPosterior:
        found = families(self._images, self._measurements, image_shape, sigma**2)
        return max(found, key=lambda rows: rows.log_evidence)


def regress_operator(
    measurements: np.ndarray, images: np.ndarray, noise: Noise | None = None
) -> UncertainOperator:
    """Regress a linear operator from pairs.

    Its rows are dense, smooth, pixels, or one moved kernel: the family that explains the pairs
    best. Every image prior can be put under it; nothing is assumed of the images.

    Parameters
    ----------
    measurements : ndarray of shape (K, *measurement_shape)
        Pairs with NaN are left out.
    images : ndarray of shape (K, *image_shape)
    noise : Noise, default=None
        Of the measurements; by default the level of most evidence.

    Returns
    -------
    UncertainOperator

    Raises
    ------
    ValueError
        If every pair misses a measurement.

    References
    ----------
    D. J. C. MacKay (1992), "Bayesian interpolation", Neural Computation.
    """
    x, y = (
        torch.as_tensor(np.asarray(values), dtype=torch.float64).flatten(1)
        for values in (images, measurements)
    )
    whole = ~y.isnan().any(1)
    if not whole.any():
        raise ValueError("every pair misses a measurement; an unknown operator needs whole pairs.")
    sigma = None if noise is None else noise.sigma
    level = None if sigma is None else float(np.sqrt(np.mean(np.square(sigma))))
    shapes = tuple(np.shape(images)[1:]), tuple(np.shape(measurements)[1:])
    return UncertainOperator(*shapes, x[whole], y[whole], level)
