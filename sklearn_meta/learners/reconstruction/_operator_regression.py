"""An unknown operator, regressed from pairs with its uncertainty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._moved_kernel import KernelFamily, grids, longer
from sklearn_meta.learners.reconstruction._ordered_pixels import (
    LikeliestOrderedFamily,
    OrderedFamily,
)
from sklearn_meta.learners.reconstruction._row_families import (
    DenseFamily,
    OwnPixelFamily,
    PixelFamily,
    RowFamily,
)
from sklearn_meta.operators._materialize import materialize
from sklearn_meta.operators._reshaped import Reshaped

#: Noise levels that are tried where none is given, as shares of the measurements' size, and how
#: often the distance between them is halved around the best.
LEVELS, N_HALVINGS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), 5

#: Correlation lengths of smooth rows, in pixels.
LENGTHS = (0.0, 1.0, 2.0)

#: Entries up to which matrices of unknown rows are held; and choices of pixels, in bytes.
MOST_ENTRIES, MOST_CHOICES = 2**22, 2**28


class UncertainOperator(Reshaped):
    """The mean of an operator that was regressed from pairs, and how uncertain its rows are.

    Measurements of an image x have the variance ``sigma^2 + x^T S_j x`` around ``A x`` with the
    covariance S_j of row j.

    Parameters
    ----------
    image_shape, measurement_shape : tuple of int
    images : Tensor of shape (K, n_pixels), float64
    measurements : Tensor of shape (K, m), float64
    sigma : float or None
        Standard deviation of the noise; None: the one of most evidence.
    candidates : list of RowFamily, default=None
        What `candidate_families` finds; None to find it.

    Attributes
    ----------
    sigma : float
    operator : Operator
        The mean: a convolution, a selection of pixels, a dense matrix, whichever was found.

    Raises
    ------
    ValueError
        If images are too large for a matrix, and no operator of few parameters explains the pairs.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        measurement_shape: tuple[int, ...],
        images: Tensor,
        measurements: Tensor,
        sigma: float | None,
        candidates: list[RowFamily] | None = None,
    ):
        self._images, self._measurements = images, measurements
        size = float(measurements.square().mean().sqrt()) or 1.0
        levels = [share * size for share in LEVELS]
        if sigma is not None:
            levels = [max(sigma, 1e-6 * size)]
        if candidates is None:
            candidates = candidate_families(
                images, measurements, image_shape, measurement_shape, levels
            )
        self._candidates = candidates
        family, level = choose_family(candidates, levels, measurements.numel())
        self.sigma = level if sigma is None else float(sigma)
        self._rows = family.rows(level**2)
        super().__init__(self._rows.operator(image_shape), measurement_shape)

    @property
    def matrix(self) -> Tensor:
        """Posterior mean as a matrix (m, n_pixels)."""
        return materialize(self).matrix

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
        return self._rows.excess(second_moment.cpu()).to(second_moment.device)

    def with_noise(self, sigma: float | np.ndarray | None) -> UncertainOperator:
        """Regress again under another noise level; for None, or the same, this one."""
        if sigma is None:
            return self
        level = float(np.sqrt(np.mean(np.square(sigma))))
        if level == self.sigma:
            return self
        shapes = self.image_shape, self.measurement_shape
        pairs = self._images, self._measurements
        return UncertainOperator(*shapes, *pairs, level, self._candidates)

    def __getstate__(self) -> dict[str, Any]:
        # they are large, and are found again where they are needed
        return super().__getstate__() | {"_candidates": None}


def regress_operator(
    measurements: np.ndarray, images: np.ndarray, noise: Noise | None = None
) -> UncertainOperator:
    """Regress a linear operator from pairs.

    Its rows are dense, smooth, pixels, or one moved kernel: the family that explains the pairs
    best. Every image prior can be put under it; nothing is assumed of the images. Images with
    channels are seen channel by channel, each the same way, or by dense rows.

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
        If every pair misses a measurement; or images are too large for a matrix, and no operator
        of few parameters explains the pairs.

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


def candidate_families(
    images: Tensor,
    measurements: Tensor,
    image_shape: tuple[int, ...],
    measurement_shape: tuple[int, ...],
    levels: list[float],
) -> list[RowFamily]:
    """Families of rows that suit the shapes; only ones of few parameters for large images.

    Parameters
    ----------
    images : Tensor of shape (K, n_pixels), float64
    measurements : Tensor of shape (K, m), float64
    image_shape, measurement_shape : tuple of int
    levels : list of float
        Of noise, by which the grid is chosen whose kernels may be long.

    Raises
    ------
    ValueError
        If images are large, and none explains the pairs better than measurements that do not
        depend on the image.
    """
    n, m = images.shape[1], measurements.shape[1]
    is_small = n * max(n, m) <= MOST_ENTRIES
    found: list[RowFamily] = []
    if is_small:
        found += [DenseFamily(images, measurements, image_shape, length) for length in LENGTHS]
        found.append(PixelFamily(images, measurements))
        if m < n:
            found.append(OrderedFamily(images, measurements))
    elif m < n and n * m <= MOST_CHOICES:
        found.append(LikeliestOrderedFamily(images, measurements))
    if m == n:
        found.append(OwnPixelFamily(images, measurements))
        if is_small:
            found += [
                DenseFamily(images, measurements, image_shape, length, is_near_identity=True)
                for length in LENGTHS
            ]
    found += _kernels(images, measurements, image_shape, measurement_shape, levels)
    if not is_small:
        _check_explained(found, images, measurements, image_shape, levels)
    return found


def choose_family(
    candidates: list[RowFamily], levels: list[float], count: int
) -> tuple[RowFamily, float]:
    """Family and noise level of most evidence.

    Parameters
    ----------
    candidates : list of RowFamily
    levels : list of float
        Where there are several, levels between them are tried too.
    count : int
        Of measurements.
    """
    coarse = [
        max((family.log_evidence(level**2), level) for level in levels) for family in candidates
    ]
    best = max(evidence for evidence, _ in coarse)
    # The best level is at most sqrt(3) times one of those tried, where a measurement loses
    # (3 - 1 - log 3) / 2: who is further behind is so at every level.
    leading = [i for i, (evidence, _) in enumerate(coarse) if evidence + 0.5 * count >= best]
    ratio = math.sqrt(levels[1] / levels[0]) if len(levels) > 1 else 1.0
    refined = {}
    for i in leading:
        refined[i] = coarse[i]
        for halving in range(N_HALVINGS if len(levels) > 1 else 0):
            step, centre = ratio ** (0.5**halving), refined[i][1]
            near = [(candidates[i].log_evidence(s**2), s) for s in (centre / step, centre * step)]
            refined[i] = max(refined[i], *near)
    i = max(refined, key=refined.get)
    return candidates[i], refined[i][1]


def _kernels(
    images: Tensor,
    measurements: Tensor,
    image_shape: tuple[int, ...],
    measurement_shape: tuple[int, ...],
    levels: list[float],
) -> list[RowFamily]:
    """Short kernels on every grid, and long ones on that whose short ones explain most."""
    places = list(grids(image_shape, measurement_shape))
    if not places:
        return []
    n_channels = math.prod(image_shape[2:])
    x = images.reshape(len(images), *image_shape[:2], n_channels)
    y = measurements.reshape(len(measurements), -1, n_channels)
    found: list[RowFamily] = [KernelFamily(x, y, grid) for grid in places]
    best, _ = choose_family(found, levels, measurements.numel())
    grid = longer(places[found.index(best)])
    if grid is not None:
        found.append(KernelFamily(x, y, grid, is_long=True))
    return found


def _check_explained(
    found: list[RowFamily],
    images: Tensor,
    measurements: Tensor,
    image_shape: tuple[int, ...],
    levels: list[float],
) -> None:
    ones = torch.ones(len(images), 1, dtype=torch.float64)
    fixed = DenseFamily(ones, measurements, (1, 1))
    best, _ = choose_family([fixed, *found], levels, measurements.numel())
    if best is fixed:
        raise ValueError(
            f"the operator is unknown, and images of shape {image_shape} with "
            f"{measurements.shape[1]} measurements are too many values to learn a matrix of any "
            "kind; and no convolution, downsampling or mask explains the pairs. Pass operator=, or "
            "smaller images."
        )
