"""Judge reconstructions by measurements that they were not made from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_meta.operators import Operator

SHARE = 0.15
_DOUBTS = 2.0  # standard errors
_FAR = 0.5  # of the logarithm of a mean square misfit: 2 dB


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
        NaN where one is missing or hidden; never all of an image.
    hidden : Tensor of bool of the same shape
    """
    draws = torch.rand(measurements.shape[1:], generator=generator).to(measurements.device)
    known = ~torch.isnan(measurements)
    hidden = (draws < share) & known
    nothing_left = (hidden == known).flatten(1).all(1)
    hidden[nothing_left] = False
    return measurements.masked_fill(hidden, math.nan), hidden


def misfit_of_rows(
    operator: Operator, images: Tensor, measurements: Tensor, hidden: Tensor
) -> Tensor:
    """Mean square misfit of the hidden measurements of each image, shape (n,)."""
    difference = torch.where(hidden, operator.forward(images) - measurements, 0.0)
    return difference.square().flatten(1).sum(1) / hidden.flatten(1).sum(1).clamp_min(1)


def share_on_rows(
    operator: Operator, first: Tensor, second: Tensor, measurements: Tensor, hidden: Tensor
) -> Tensor:
    """How far to go from the first of two reconstructions to the second.

    The share that foretells hidden measurements best, less its standard error, and half of that:
    where measurements do not tell all of an image, half the way keeps three quarters of what the
    best share gains, and harms only where the best is less than a quarter of what they tell.

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
        In [0, 1/2].
    """
    step = torch.where(hidden, operator.forward(second - first), 0.0).flatten(1)
    missing = torch.where(hidden, measurements - operator.forward(first), 0.0).flatten(1)
    size = step.square().sum(1).clamp_min(1e-30)
    share = (step * missing).sum(1) / size
    left = (missing - share[:, None] * step).square().sum(1)
    error = (left / (hidden.flatten(1).sum(1) * size).clamp_min(1e-30)).sqrt()
    return 0.5 * (share - error).clamp(0.0, 1.0)


def is_far_better(before: Tensor, after: Tensor) -> bool:
    """Whether misfits of the same images, of shape (n,), are clearly and by far smaller."""
    gain = (before.clamp_min(1e-30) / after.clamp_min(1e-30)).log()
    doubt = float(gain.std()) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
    return float(gain.mean()) - _DOUBTS * doubt > _FAR
