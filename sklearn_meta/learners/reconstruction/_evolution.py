"""How far each step is from the truth, found on images whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._half_quadratic import of_step, relaxed

_SMALLEST_LEVEL = 1e-3  # of images in [0, 1]: below it numbers are rounding


@dataclass(frozen=True)
class Schedule:
    """What `half_quadratic` does at each step.

    Parameters
    ----------
    levels : Tensor of shape (steps,)
        Root mean square error of what is denoised.
    weights : Tensor of shape (steps,)
        Of the denoised image in the data step.
    """

    levels: Tensor
    weights: Tensor


def evolve(
    term: DataTerm,
    denoise: Callable[[Tensor, Tensor, int], Tensor],
    start: Tensor,
    truth: Tensor,
    sigma: float,
    factors: Sequence[Tensor],
    unseen: Tensor | None = None,
    reflection: Tensor | float = 1.0,
    momentum: Tensor | float = 0.0,
) -> tuple[list[Tensor], Tensor, Schedule]:
    """Run half-quadratic splitting on images whose truth is known, and learn its schedule.

    Each step denoises at the level of the error that there is, and weighs the denoised image
    against the measurements by their errors: state evolution, by simulation in place of a formula,
    so that it holds for any operator.

    Parameters
    ----------
    term : DataTerm
        Of measurements of `truth`.
    denoise : callable (x, level, k) -> z
    start, truth : Tensor of shape ``(n, *image_shape)``
    sigma : float
        Standard deviation of the noise of the measurements.
    factors : sequence of Tensor of shape ()
        What the weight of each step is multiplied by; as many as steps.
    unseen : Tensor that broadcasts to `truth`, default=None
        1 at pixels of which alone the error counts that is denoised: those that a mask hides.
    reflection, momentum : float or Tensor of shape (steps,)
        See `half_quadratic`.

    Returns
    -------
    denoised : list of Tensor of the shape of `start`
        What each denoising gave.
    x : Tensor of the shape of `start`
        What the last data step gave.
    schedule : Schedule

    References
    ----------
    D. L. Donoho, A. Maleki, A. Montanari (2009), "Message-passing algorithms for compressed
    sensing", PNAS.
    """
    x = noisy = start
    denoised, levels, weights = [], [], []
    for k, factor in enumerate(factors):
        level = _error(noisy, truth, unseen)
        z = denoise(noisy, level, k)
        weight = factor * max(sigma, _SMALLEST_LEVEL * term.operator.norm()) ** 2
        weight = weight / _error(z, truth) ** 2
        before, x = x, term.prox(z, weight)
        noisy = relaxed(z, x, before, of_step(reflection, k), of_step(momentum, k))
        denoised.append(z)
        levels.append(level)
        weights.append(weight.detach())
    return denoised, x, Schedule(torch.stack(levels), torch.stack(weights))


def _error(x: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Root mean square error over all images, without a graph; shape ()."""
    square = (x - truth).detach().square()
    mean = square.mean() if where is None else (where * square).mean() / where.mean()
    return mean.sqrt().clamp_min(_SMALLEST_LEVEL)


def level_map(level: Tensor, sigma: Tensor | float, diagonal: Tensor | None) -> Tensor:
    """Error of each pixel after a data step.

    Parameters
    ----------
    level : Tensor of shape (n,) or ()
        Error of pixels that the operator does not see.
    sigma : float or Tensor of the shape of `level`
        Standard deviation of the noise of the measurements.
    diagonal : Tensor of shape (1, *image_shape), or None
        What each pixel weighs in the misfit, where pixels do so by themselves.

    Returns
    -------
    Tensor that broadcasts to ``(n, *image_shape)``
        ``(d / sigma^2 + 1 / level^2)^(-1/2)``; `level` where there is no diagonal.
    """
    n_axes = 2 if diagonal is None else diagonal.ndim - 1
    level = level.reshape(-1, *[1] * n_axes)
    if diagonal is None:
        return level
    sigma = torch.as_tensor(sigma, dtype=level.dtype, device=level.device)
    sigma = sigma.clamp_min(_SMALLEST_LEVEL).reshape(-1, *[1] * n_axes)
    return (diagonal / sigma**2 + 1 / level**2).rsqrt()
