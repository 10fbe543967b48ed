"""Arrays of pixels: to the unit interval, and to another size."""

from __future__ import annotations

import numpy as np


def to_unit(pixels: np.ndarray, source: str) -> np.ndarray:
    """Return pixels as float32 in [0, 1], 1 being the brightest value of their type.

    Raises
    ------
    ValueError
        If they are of another type than bytes, 16-bit integers, booleans or floats, or floats
        outside [0, 1]; the message starts with ``source``.
    """
    if pixels.dtype == bool:
        return pixels.astype(np.float32)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype.kind != "f":
        raise ValueError(
            f"{source} is of type {pixels.dtype}, expected uint8, uint16, bool or floats in [0, 1]."
        )
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError(
            f"{source} has values from {np.nanmin(pixels):.3g} to {np.nanmax(pixels):.3g} or "
            "missing ones, expected floats in [0, 1]."
        )
    return pixels.astype(np.float32)


def resize(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize images (..., H, W) to another height and width; each new pixel is an area's mean."""
    height, width = images.shape[-2:]
    if (height, width) == tuple(shape):
        return images
    rows, columns = _area_weights(height, shape[0]), _area_weights(width, shape[1])
    return np.clip(rows @ images @ columns.T, 0, 1)


def _area_weights(n_old: int, n_new: int) -> np.ndarray:
    """Share of each old pixel in each new one along an axis, float32 of shape (n_new, n_old)."""
    edges = np.arange(n_new + 1)[:, None] * (n_old / n_new)
    starts = np.maximum(edges[:-1], np.arange(n_old))
    ends = np.minimum(edges[1:], np.arange(n_old) + 1)
    return (np.maximum(ends - starts, 0) * (n_new / n_old)).astype(np.float32)
