"""What the priors over images of any shape share: adaptation, noise, what they refuse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._noise import noise_left
from sklearn_meta.learners.reconstruction._operator_regression import UncertainOperator
from sklearn_meta.learners.reconstruction._plug_and_play_steps import Solver
from sklearn_meta.learners.reconstruction._prior_noise import noise_of_pairs
from sklearn_meta.operators import Operator

_LEFT = 0.7  # share of what a first image leaves that is noise
_LEAST_VARIANCE = 1e-3  # of a count, as a share of the mean


@dataclass(frozen=True, eq=False)
class AnyShapeState:
    """An operator and its noise.

    Attributes
    ----------
    operator : Operator
    noise : Noise
        Its sigma is None where each image's is estimated by itself.
    """

    operator: Operator
    noise: Noise


class AnyShapeModel:
    """A prior over images of any shape, under linear operators.

    Parameters
    ----------
    sigma : float or None
        Noise of the tasks that it was learned from, where they told.
    """

    def __init__(self, sigma: float | None):
        self.sigma = sigma

    def solve(
        self, term: DataTerm, sigma: Tensor, gain: float, return_std: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Reconstruct.

        Parameters
        ----------
        term : DataTerm
            Measurements of images, under their operator: all whole, or all with missing ones.
        sigma : Tensor of shape (n,)
        gain : float
        return_std : bool

        Returns
        -------
        images, std : Tensor of shape ``(n, *image_shape)``
            `std` is None if not asked for.
        """
        raise NotImplementedError

    def check_shape(self, image_shape: tuple[int, ...]) -> None:
        """Raise ValueError where images of a shape are not served."""
        raise NotImplementedError

    def adapt(
        self,
        operator: Operator,
        noise: Noise,
        measurements: Tensor | None,
        images: Tensor | None,
    ) -> AnyShapeState:
        """See `ReconstructionLearner.adapt`; pairs tell the noise.

        Raises
        ------
        ValueError
            If the images of the operator are not served.
        """
        self.check_shape(operator.image_shape)
        if noise.sigma is None:
            sigma = None
            if isinstance(operator, UncertainOperator):
                sigma = operator.sigma
            elif measurements is not None and images is not None:
                residual = (operator.forward(images) - measurements).flatten(1)
                sigma = noise_of_pairs(residual, self.sigma)
            noise = replace(noise, sigma=sigma)
        return AnyShapeState(operator, noise)

    def reconstruct(
        self, state: AnyShapeState, measurements: Tensor, return_std: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `ReconstructionLearner.reconstruct`."""
        given = state.noise.sigma
        if given is not None:
            given = torch.as_tensor(np.asarray(given)).to(measurements).expand(len(measurements))
        missing = measurements.isnan().flatten(1).any(1)
        shape = (len(measurements), *state.operator.image_shape)
        images = measurements.new_empty(shape)
        std = torch.empty_like(images) if return_std else None
        with torch.no_grad():
            for index in (missing.logical_not().nonzero()[:, 0], missing.nonzero()[:, 0]):
                if not len(index):
                    continue
                operator, gain = state.operator.select(index), state.noise.gain
                term = DataTerm(operator, measurements[index])
                if given is None:
                    sigma = self._estimated(term, measurements[index], gain)
                else:
                    sigma = given[index]
                images[index], found = self.solve(term, sigma, gain, return_std)
                if std is not None:
                    std[index] = found
        return images, std

    def _estimated(self, term: DataTerm, measurements: Tensor, gain: float) -> Tensor:
        """Noise of each image; where it is not sure, that of the tasks, or what a trial leaves."""
        solver = Solver(term.operator, measurements, None)
        sigma, again = solver.sigma, solver.looks_again
        if self.sigma is not None:
            return torch.where(again, self.sigma, sigma)
        if again.any():
            x, _ = self.solve(term, sigma, gain, False)
            left = _LEFT * noise_left(term.misfit(x))
            sigma = torch.where(again, torch.minimum(sigma, left), sigma)
        return sigma


def measured(term: DataTerm) -> Tensor:
    """Measurements with NaN where they are missing."""
    if term.weights is None:
        return term.measurements
    return term.measurements.masked_fill(term.weights == 0, torch.nan)


def weighed(term: DataTerm, x: Tensor, sigma: Tensor, gain: float) -> tuple[DataTerm, Tensor]:
    """Measurements weighed by the noise that images make one expect, and its size.

    Parameters
    ----------
    term : DataTerm
    x : Tensor of shape ``(n, *image_shape)``
        Images near those that were measured.
    sigma : Tensor of shape (n,)
    gain : float
        See `Noise`.

    Returns
    -------
    term : DataTerm
    sigma : Tensor of shape (n,)
    """
    y = measured(term)
    axes = [1] * (y.ndim - 1)
    variance = sigma.reshape(-1, *axes).square() + gain * term.operator.forward(x).clamp_min(0)
    mean = variance.flatten(1).mean(1)
    variance = torch.maximum(variance, _LEAST_VARIANCE * mean.reshape(-1, *axes))
    weights = mean.reshape(-1, *axes) / variance
    return DataTerm(term.operator, y, weights, term.max_iter, term.tol), mean.sqrt()
