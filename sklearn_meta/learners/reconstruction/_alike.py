"""Sort measurements by what the schedule of the steps depends on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

_NOISE_STEP = 0.06  # of the logarithm of the noise: 3 % off is nothing that is seen


def alike(
    measurements: Tensor, sigma: np.ndarray, each_alone: bool = False
) -> Iterator[tuple[float, Tensor | None, Tensor]]:
    """Yield groups of images of about the same noise and the same missing measurements.

    The groups of an image, and so what becomes of it, do not depend on the other images.

    Parameters
    ----------
    measurements : Tensor of shape ``(n, *measurement_shape)``
        NaN where one is missing.
    sigma : ndarray of shape (n,)
    each_alone : bool, default=False
        Whether the noise depends on the image in yet another way.

    Yields
    ------
    sigma : float
    known : Tensor of bool of shape (1, *measurement_shape), or None
        Which measurements there are; None where all are.
    rows : int64 Tensor
        Positions of the images.
    """
    levels = _rounded(sigma).tolist()
    marks = [(level, row if each_alone else 0) for row, level in enumerate(levels)]
    for rows in same_missing(measurements, marks):
        lost = torch.isnan(measurements[rows[:1]])
        yield levels[rows[0]], ~lost if lost.any() else None, rows


def same_missing(measurements: Tensor, marks: Sequence[Hashable]) -> list[Tensor]:
    """Positions of the images that miss the same measurements and have the same mark."""
    missing = torch.isnan(measurements).flatten(1).cpu()
    groups: dict[tuple[Hashable, bytes], list[int]] = {}
    for row, (mark, lost) in enumerate(zip(marks, missing, strict=True)):
        pattern = lost.numpy().tobytes() if lost.any() else b""
        groups.setdefault((mark, pattern), []).append(row)
    return [torch.tensor(rows) for rows in groups.values()]


def check_measured(measurements: Tensor) -> None:
    """Raise ValueError where nothing is known of an image: all its measurements are missing."""
    lost = torch.isnan(measurements).flatten(1).all(1)
    if lost.any():
        raise ValueError(
            f"X has no measurement in row {int(lost.nonzero()[0, 0])}: all its values are NaN, "
            "so there is nothing to reconstruct from. Leave such rows out."
        )


def about(sigma: float) -> float:
    """Round a noise level as `alike` does."""
    return float(_rounded(np.array(sigma)))


def _rounded(sigma: np.ndarray) -> np.ndarray:
    """Levels so close that it makes no difference; else each image had a schedule of its own."""
    positive = np.where(sigma > 0, sigma, 1.0)
    steps = np.round(np.log(positive) / _NOISE_STEP)
    return np.where(sigma > 0, np.exp(steps * _NOISE_STEP), 0.0)
