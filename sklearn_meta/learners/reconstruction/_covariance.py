"""Mean and covariance of images that are fewer than their pixels: shifts, and a smooth target."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Smallest variance of a direction, as a share of the mean variance of pixels.
FLOOR = 1e-4


def shifted(images: Tensor, reach: int) -> Tensor:
    """Images and the same moved by up to `reach` pixels along and across; borders are repeated.

    Parameters
    ----------
    images : Tensor of shape (n, H, W[, C])
    reach : int
        0 leaves the images as they are.

    Returns
    -------
    Tensor of shape ((1 + 4 reach) n, H, W[, C])
        The images themselves first.
    """
    moves = [(0, 0)]
    for step in range(1, reach + 1):
        moves += [(step, 0), (-step, 0), (0, step), (0, -step)]
    height, width = images.shape[1:3]
    rows, columns = torch.arange(height), torch.arange(width)
    return torch.cat(
        [
            images[:, (rows + i).clamp(0, height - 1)][:, :, (columns + j).clamp(0, width - 1)]
            for i, j in moves
        ]
    )


def moments(images: Tensor, reach: int, smoothness: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance, shrunken to one whose correlation depends on the displacement only.

    Parameters
    ----------
    images : Tensor of shape (n, H, W[, C]), float64
    reach : int
        Also counted are images that are moved by so many pixels (`shifted`).
    smoothness : float
        Weight of the target, from 0 to 1: pixels keep their variances, correlations are the mean
        over all pairs of pixels with the same displacement.

    Returns
    -------
    mean : Tensor of shape (n_pixels,)
    covariance : Tensor of shape (n_pixels, n_pixels)
    """
    many = shifted(images, reach).flatten(1)
    mean = many.mean(0)
    away = many - mean
    covariance = away.T @ away / len(many)
    floor = FLOOR * covariance.diagonal().mean() + 1e-12
    if smoothness:
        target = _stationary(images, covariance.diagonal() + floor, mean)
        covariance = (1 - smoothness) * covariance + smoothness * target
    return mean, covariance + floor * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)


def _stationary(images: Tensor, variances: Tensor, mean: Tensor) -> Tensor:
    """Covariance with these variances and the mean correlation of each displacement."""
    n, height, width = images.shape[:3]
    scale = variances.sqrt()
    z = ((images.flatten(1) - mean) / scale).reshape(n, height, width, -1)
    grid = (2 * height, 2 * width)
    spectrum = torch.fft.fft2(z, s=grid, dim=(1, 2))
    cross = torch.einsum("nhwc,nhwe->hwce", spectrum.conj(), spectrum)
    lagged = torch.fft.ifft2(cross, dim=(0, 1)).real
    one = torch.fft.fft2(z.new_ones(height, width), s=grid).abs().square()
    lagged = lagged / (n * torch.fft.ifft2(one).real.round().clamp(min=1))[..., None, None]
    i, j = (
        (torch.arange(size)[None] - torch.arange(size)[:, None]) % (2 * size)
        for size in (height, width)
    )
    lagged = lagged[i[:, None, :, None], j[None, :, None, :]]  # (H, W, H, W, C, C)
    correlation = lagged.permute(0, 1, 4, 2, 3, 5).reshape(len(mean), len(mean))
    values, vectors = torch.linalg.eigh((correlation + correlation.T) / 2)
    correlation = (vectors * values.clamp(min=0)) @ vectors.T
    # Negative eigenvalues were cut, which has raised the diagonal above that of a correlation.
    ratio = scale / correlation.diagonal().clamp(min=1e-12).sqrt()
    return ratio[:, None] * correlation * ratio


def seen_levels(images: np.ndarray) -> float:
    """Typical deviation of pixels from their means: the unit of noise where there is none."""
    return float(images.reshape(len(images), -1).std(axis=0).mean())
