"""Tables of pixels: their shape, their moments, and large ones in pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_meta.preprocessing._columns import Table
from sklearn_meta.preprocessing._numeric import is_constant
from sklearn_meta.preprocessing._values import Levels

ROWS_AT_ONCE = 1024  # bounds the memory that float64 takes


def check_image_shape(image_shape: Any, n_columns: int | None = None) -> tuple[int, ...]:
    """Return (H, W) or (C, H, W) as a tuple of int.

    Raises
    ------
    ValueError
        If it is something else, or does not multiply to ``n_columns``.
    """
    shape = tuple(image_shape) if isinstance(image_shape, (tuple, list, np.ndarray)) else ()
    positive = all(isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in shape)
    if len(shape) not in (2, 3) or not positive:
        raise ValueError(
            f"image_shape is {image_shape!r}, expected (height, width) or (channels, height, "
            "width), positive numbers of pixels."
        )
    shape = tuple(int(n) for n in shape)
    if n_columns is not None and math.prod(shape) != n_columns:
        raise ValueError(
            f"image_shape is {shape!r}, which makes {math.prod(shape)} pixels, but the rows have "
            f"{n_columns} columns: one for each pixel is expected."
        )
    return shape


class Moments:
    """Mean, scale and range of each channel, of pixels that come in pieces.

    Pieces are merged as T. F. Chan, G. H. Golub, R. J. LeVeque (1983), Algorithms for computing
    the sample variance.
    """

    def __init__(self, n_channels: int):
        self.count, self.mean, self._squares = (np.zeros(n_channels) for _ in range(3))
        self._low, self._high = (np.full(n_channels, end) for end in (np.inf, -np.inf))

    def add(self, pixels: np.ndarray) -> None:
        """Take in pixels (n, C, P); NaN is missing."""
        seen = ~np.isnan(pixels)
        count = seen.sum(axis=(0, 2))
        total = self.count + count
        part = np.where(seen, pixels, 0.0)
        mean = part.sum(axis=(0, 2)) / np.maximum(count, 1)
        squares = (np.where(seen, part - mean[:, None], 0.0) ** 2).sum(axis=(0, 2))
        far = mean - self.mean
        share = count / np.maximum(total, 1)
        self._squares += squares + far**2 * self.count * share
        self.mean = self.mean + far * share
        self.count = total
        self._low = np.minimum(self._low, np.where(seen, pixels, np.inf).min(axis=(0, 2)))
        self._high = np.maximum(self._high, np.where(seen, pixels, -np.inf).max(axis=(0, 2)))

    @property
    def low(self) -> np.ndarray:
        """Smallest pixel of each channel; the mean where none was seen."""
        return np.where(self.count > 0, self._low, self.mean)

    @property
    def high(self) -> np.ndarray:
        """Largest pixel of each channel; the mean where none was seen."""
        return np.where(self.count > 0, self._high, self.mean)

    @property
    def scale(self) -> np.ndarray:
        """Standard deviation of each channel, 1 where it is constant."""
        ends = zip(self.low.tolist(), self.high.tolist(), strict=True)
        constant = np.array([is_constant(*pair) for pair in ends])
        std = np.sqrt(self._squares / np.maximum(self.count, 1))
        return np.where(constant, 1.0, std)


def pieces(X: Any) -> Iterator[Any]:
    """Yield a large array of numbers some rows at a time, anything else as it is."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf" and len(X):
        for start in range(0, len(X), ROWS_AT_ONCE):
            yield X[start : start + ROWS_AT_ONCE]
    else:
        yield X


def check_numbers(table: Table) -> None:
    """Raise ValueError if a column holds text or categories."""
    columns = table.columns or ()
    for j, column in enumerate(columns):
        if isinstance(column, Levels):
            raise ValueError(
                f"{table.label(j)} of X holds text or categories, and a pixel is a number: could "
                f"not convert {column.levels[0]!r} to float."
            )


def pixels_of(table: Table) -> np.ndarray:
    """Return the pixels, float64 of shape (n_rows, n_columns)."""
    return np.column_stack(table.columns) if table.matrix is None else table.matrix
