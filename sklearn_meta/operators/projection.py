"""Random projections: compressive sensing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from sklearn_meta._random import generator_of
from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_count, check_image_shape
from sklearn_meta.operators._dense import Dense
from sklearn_meta.operators._hadamard import RandomHadamard

_LARGEST = 2**28  # entries of a matrix: 2 GB


class RandomProjection(Operator):
    """Random linear measurements of whole images or of blocks: compressive sensing.

    Every channel and every block is measured by the same rows.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
    n_measurements : int
        Measurements of a channel, or of a block of it.
    kind : {"gaussian", "orthogonal", "hadamard"}, default="gaussian"
        Independent normal entries of variance ``1 / n_measurements``; orthonormal rows of a random
        rotation; or random rows of a Hadamard matrix with random signs, which needs no matrix and
        suits large images.
    block : int, default=None
        Side of square blocks that divide the image; the whole image if None.
    random_state : int, RandomState, Generator or None, default=None

    Attributes
    ----------
    measurement_shape : tuple
        (n_measurements,) or (n_blocks, n_measurements); a last axis C for channels.

    Raises
    ------
    ValueError
        If `kind` is unknown, `block` does not divide the image, there are more orthogonal rows
        than pixels, or the matrix would be larger than 2 GB.

    Examples
    --------
    >>> from sklearn_meta.operators import RandomProjection
    >>> RandomProjection((66, 99), 272, block=33, random_state=0).measurement_shape
    (6, 272)
    """

    def __init__(
        self,
        image_shape: Any,
        n_measurements: int,
        kind: str = "gaussian",
        *,
        block: int | None = None,
        random_state: Any = None,
    ) -> None:
        shape = check_image_shape(image_shape)
        n_rows = check_count(n_measurements, "n_measurements")
        self.core_shape = shape[:2]
        if block is not None:
            block = check_count(block, "block")
            if shape[0] % block or shape[1] % block:
                raise ValueError(f"blocks of {block} do not divide images of {shape[:2]}.")
            self.core_shape = (block, block)
        self.core = _core(self.core_shape, n_rows, kind, generator_of(random_state))
        self.grid = (shape[0] // self.core_shape[0], shape[1] // self.core_shape[1])
        self.n_cores = math.prod(self.grid) * math.prod(shape[2:])  # of one image
        blocks = () if block is None else (math.prod(self.grid),)
        self.set_shapes(shape, (*blocks, n_rows, *shape[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """Measure ``(n, *image_shape) -> (n, *measurement_shape)``."""
        y = self.core.forward(self._cut(x))
        blocks, channels = math.prod(self.grid), self.n_cores // math.prod(self.grid)
        split = y.reshape(len(x), channels, blocks, y.shape[1])
        return split.permute(0, 2, 3, 1).reshape(len(x), *self.measurement_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint."""
        blocks, channels = math.prod(self.grid), self.n_cores // math.prod(self.grid)
        split = y.reshape(len(y), blocks, -1, channels).permute(0, 3, 1, 2)
        return self._glue(self.core.adjoint(split.reshape(-1, split.shape[-1])))

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        """Exact, block by block: orthogonal rows, or eigenvectors of a small enough matrix."""
        solve_core = self.core.gram_solver(self._each(weight))
        if solve_core is None:
            return None

        def solve(b: Tensor, rho: Any) -> Tensor:
            return self._glue(solve_core(self._cut(b), self._each(rho)))

        return solve

    def _each(self, value: Any) -> Any:
        """One number for each image -> one for each of its blocks and channels."""
        if not isinstance(value, Tensor) or value.ndim == 0 or len(value) == 1:
            return value
        return value.reshape(-1, 1, 1).repeat_interleave(self.n_cores, 0)

    def _cut(self, x: Tensor) -> Tensor:
        (rows, columns), (height, width) = self.grid, self.core_shape
        split = x.reshape(len(x), rows, height, columns, width, -1)
        return split.permute(0, 5, 1, 3, 2, 4).reshape(-1, height, width)

    def _glue(self, blocks: Tensor) -> Tensor:
        (rows, columns), (height, width) = self.grid, self.core_shape
        n = len(blocks) // self.n_cores
        split = blocks.reshape(n, -1, rows, columns, height, width)
        return split.permute(0, 2, 4, 3, 5, 1).reshape(n, *self.image_shape)


def _core(shape: tuple, n_rows: int, kind: str, rng: np.random.Generator) -> Operator:
    """The projection of one block."""
    n_pixels = math.prod(shape)
    if kind not in ("gaussian", "orthogonal", "hadamard"):
        raise ValueError(f"kind must be 'gaussian', 'orthogonal' or 'hadamard'; got {kind!r}.")
    largest = {"orthogonal": n_pixels, "hadamard": 2 ** math.ceil(math.log2(n_pixels))}
    if n_rows > largest.get(kind, n_rows):
        raise ValueError(f"n_measurements must be from 1 to {largest[kind]}; got {n_rows}.")
    if kind == "hadamard":
        return RandomHadamard(shape, n_rows, rng)
    if n_rows * n_pixels > _LARGEST:
        raise ValueError(
            f"a matrix of {n_rows} x {n_pixels} does not fit into memory: use kind='hadamard' or "
            "blocks."
        )
    if kind == "gaussian":
        return Dense(shape, rng.normal(size=(n_rows, n_pixels)) / math.sqrt(n_rows))
    basis, triangle = np.linalg.qr(rng.normal(size=(n_pixels, n_rows)))
    return Dense(shape, (basis * np.sign(np.diag(triangle))).T)  # uniform: Stewart 1980
