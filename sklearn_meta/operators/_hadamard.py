"""Random rows of a Hadamard matrix with random signs, by the fast transform."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._linear_map import linear_map
from sklearn_meta.operators._materialize import SMALL, materialize


class RandomHadamard(Operator):
    """Subsampled randomised Hadamard transform of flattened images.

    ``y = sqrt(N / n_pixels) * (H D x)[rows]`` with orthonormal H of size N, a power of 2; images
    of another size are padded with zeros. Rows have unit length; they are orthogonal if
    ``n_pixels == N``.

    Parameters
    ----------
    image_shape : tuple of int
    n_rows : int
        At most N.
    rng : numpy.random.Generator
    """

    def __init__(self, image_shape: Any, n_rows: int, rng: np.random.Generator) -> None:
        self.set_shapes(image_shape, (n_rows,))
        self.size = 2 ** math.ceil(math.log2(self.n_pixels))
        rows = rng.permutation(self.size)[:n_rows]
        self.rows = torch.from_numpy(rows.astype(np.int64))
        scale = math.sqrt(self.size / self.n_pixels)
        self.signs = torch.from_numpy(scale * rng.choice([-1.0, 1.0], self.n_pixels))
        self._matrix: Any = None

    def forward(self, x: Tensor) -> Tensor:
        """Measure ``(n, *image_shape)`` -> (n, n_rows)."""
        signed = x.flatten(1) * self._cast("signs", x)
        padded = torch.nn.functional.pad(signed, (0, self.size - self.n_pixels))
        return linear_map(padded, hadamard, hadamard).index_select(1, self._cast("rows", x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint: (n, n_rows) -> ``(n, *image_shape)``."""
        placed = y.new_zeros((len(y), self.size)).index_copy(1, self._cast("rows", y), y)
        signed = linear_map(placed, hadamard, hadamard)[:, : self.n_pixels]
        return (signed * self._cast("signs", y)).reshape(-1, *self.image_shape)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        """Exact where rows are orthogonal; by eigenvectors where the image is small."""
        if self.size == self.n_pixels:
            return _solvers.woodbury(
                self.forward, self.adjoint, lambda z, function: z * function(1.0), weight
            )
        if self.n_pixels > SMALL:
            return None
        if self._matrix is None:
            self._matrix = materialize(self)
        return self._matrix.gram_solver(weight)


def hadamard(x: Tensor) -> Tensor:
    """Orthonormal Walsh-Hadamard transform of the last axis, whose size is a power of 2.

    It is its own inverse and adjoint (Fino & Algazi, Unified matrix treatment of the fast
    Walsh-Hadamard transform, 1976).
    """
    size, step = x.shape[-1], 1
    while step < size:
        pairs = x.reshape(-1, size // (2 * step), 2, step)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        x = torch.stack([first + second, first - second], 2).reshape(x.shape)
        step *= 2
    return x / math.sqrt(size)
