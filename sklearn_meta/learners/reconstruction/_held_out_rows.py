"""Judge reconstructions by measurements that they were not made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sklearn_meta.operators import Operator

SHARE = 0.15
_CLEAR = 2.0  # standard errors


def hide_rows(
    measurements: Tensor, generator: torch.Generator, share: float = SHARE
) -> tuple[Tensor, Tensor]:
    """Hide some measurements at random, the same of every image.

    Parameters
    ----------
    measurements : Tensor of shape ``(n, *measurement_shape)``
        NaN where one is missing.
    generator : torch.Generator
    share : float, default=0.15

    Returns
    -------
    kept : Tensor of the shape of the measurements
        NaN where one is missing or hidden.
    hidden : Tensor of bool of the same shape
    """
    draws = torch.rand(measurements.shape[1:], generator=generator).to(measurements.device)
    hidden = (draws < share) & ~torch.isnan(measurements)
    return measurements.masked_fill(hidden, math.nan), hidden


def misfit_of_rows(
    operator: Operator, images: Tensor, measurements: Tensor, hidden: Tensor
) -> Tensor:
    """Mean square misfit of the hidden measurements of each image, shape (n,)."""
    difference = torch.where(hidden, operator.forward(images) - measurements, 0.0)
    return difference.square().flatten(1).sum(1) / hidden.flatten(1).sum(1).clamp_min(1)


def blend_on_rows(
    operator: Operator, first: Tensor, second: Tensor, measurements: Tensor, hidden: Tensor
) -> Tensor:
    """Share of the second of two reconstructions that foretells hidden measurements best.

    Parameters
    ----------
    operator : Operator
        Linear.
    first, second : Tensor of shape ``(n, *image_shape)``
        Made without the hidden measurements.
    measurements : Tensor of shape ``(n, *measurement_shape)``
    hidden : Tensor of bool of the same shape

    Returns
    -------
    Tensor of shape (n,)
        In [0, 1]; 1 where the two are the same.
    """
    step = torch.where(hidden, operator.forward(second - first), 0.0).flatten(1)
    missing = torch.where(hidden, measurements - operator.forward(first), 0.0).flatten(1)
    size = step.square().sum(1)
    share = (step * missing).sum(1) / size.clamp_min(1e-30)
    return torch.where(size > 0, share, 1.0).clamp(0.0, 1.0)


def clear_gain(before: Tensor, after: Tensor) -> float:
    """How clearly errors of the same images got smaller.

    Parameters
    ----------
    before, after : Tensor of shape (n,)
        Mean square errors.

    Returns
    -------
    float
        Mean difference less two standard errors, over the mean error before; positive where
        the gain is clear.
    """
    gain = before - after
    doubt = gain.std() / len(gain) ** 0.5 if len(gain) > 1 else gain.abs().mean()
    return float((gain.mean() - _CLEAR * doubt) / before.mean().clamp_min(1e-30))


def choose_on_rows(
    reconstructions: Sequence[Callable[[Tensor], Tensor]],
    operator: Operator,
    measurements: Tensor,
    generator: torch.Generator,
) -> int:
    """Choose among ways to reconstruct by measurements that are hidden from them.

    Parameters
    ----------
    reconstructions : sequence of callable
        Measurements, NaN where missing, -> images. The first is the default: another is chosen
        where it is clearly better.
    operator : Operator
    measurements : Tensor of shape ``(n, *measurement_shape)``
    generator : torch.Generator

    Returns
    -------
    int
    """
    kept, hidden = hide_rows(measurements, generator)
    errors = [misfit_of_rows(operator, f(kept), measurements, hidden) for f in reconstructions]
    gains = [0.0, *(clear_gain(errors[0], other) for other in errors[1:])]
    return max(range(len(gains)), key=gains.__getitem__)
