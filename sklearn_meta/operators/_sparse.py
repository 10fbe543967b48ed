"""Operators around sparse matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._linear_map import linear_map


class SparseMatrix:
    """A sparse matrix that multiplies batches of rows, on any device, and is differentiable.

    Parameters
    ----------
    matrix : scipy.sparse matrix of shape (m, k)
        Not copied if it is in CSR format and double precision already.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = sp.csr_array(matrix).astype(np.float64, copy=False)
        self._reset()

    def _reset(self) -> None:
        self._transposed = self.matrix.T  # the same numbers; another copy is hardly faster
        self._casts: dict[Any, Any] = {}

    def multiply(self, x: Tensor) -> Tensor:
        """Return ``x @ matrix.T``: (n, k) -> (n, m)."""
        return linear_map(x, self._multiply, self._multiply_transposed)

    def multiply_transposed(self, y: Tensor) -> Tensor:
        """Return ``y @ matrix``: (n, m) -> (n, k)."""
        return linear_map(y, self._multiply_transposed, self._multiply)

    def _multiply(self, x: Tensor) -> Tensor:
        return self._product("direct", self.matrix, x)

    def _multiply_transposed(self, y: Tensor) -> Tensor:
        return self._product("transposed", self._transposed, y)

    def _product(self, side: str, matrix: Any, x: Tensor) -> Tensor:
        key = (side, x.dtype, x.device)
        if x.device.type == "cpu":
            if key not in self._casts:
                dtype = torch.empty(0, dtype=x.dtype).numpy().dtype
                self._casts[key] = matrix.astype(dtype, copy=False)
            product = self._casts[key] @ np.ascontiguousarray(x.detach().numpy().T)
            return torch.from_numpy(np.ascontiguousarray(product.T))
        if key not in self._casts:
            matrix = sp.csr_array(matrix)
            self._casts[key] = (
                torch.from_numpy(matrix.indices.astype(np.int64)).to(x.device),
                torch.from_numpy(matrix.indptr.astype(np.int64)).to(x.device),
                torch.from_numpy(matrix.data).to(x.device, x.dtype),
            )
        index, offsets, values = self._casts[key]
        # weighted sums of columns: a sparse product without torch's sparse tensors, which warn
        return torch.nn.functional.embedding_bag(
            index,
            x.detach().T.contiguous(),
            offsets,
            mode="sum",
            per_sample_weights=values,
            include_last_offset=True,
        ).T

    def __getstate__(self) -> dict[str, Any]:
        return {"matrix": self.matrix}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.matrix = state["matrix"]
        self._reset()


class Sparse(Operator):
    """``y = matrix @ x`` of flattened images.

    Parameters
    ----------
    image_shape : tuple of int
    matrix : scipy.sparse matrix of shape (m, n_pixels)
    measurement_shape : tuple of int, default=(m,)
    """

    def __init__(self, image_shape: Any, matrix: Any, measurement_shape: Any = None) -> None:
        self.matrix = SparseMatrix(matrix)
        self.set_shapes(image_shape, measurement_shape or matrix.shape[:1])
        self._diagonal = self._row_gram()

    def _row_gram(self) -> Tensor | None:
        """Diagonal of ``A A^T`` where no two rows share a pixel."""
        matrix = self.matrix.matrix
        if matrix.nnz > matrix.shape[1] or np.bincount(matrix.indices).max(initial=0) > 1:
            return None
        return torch.from_numpy(np.asarray(matrix.multiply(matrix).sum(1)).ravel())

    @property
    def has_separate_rows(self) -> bool:
        """Whether no two rows share a pixel, so that there is an exact solver."""
        return self._diagonal is not None

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix.multiply(x.flatten(1)).reshape(-1, *self.measurement_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.matrix.multiply_transposed(y.flatten(1)).reshape(-1, *self.image_shape)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        if self._diagonal is None:
            return super().gram_solver(weight)

        def divide(z: Tensor, function: Any) -> Tensor:
            values = self._cast("_diagonal", z).reshape(self.measurement_shape)
            return z * function(values)

        return _solvers.woodbury(self.forward, self.adjoint, divide, weight)


class Selection(Operator):
    """``y[i] = values[i] * x[index[i]]``: some pixels of the flattened image, as a short vector.

    Parameters
    ----------
    image_shape : tuple of int
    index : array of int of shape (m,)
    values : array of shape (m,)
    measurement_shape : tuple of int, default=(m,)
    """

    def __init__(
        self, image_shape: Any, index: Any, values: Any, measurement_shape: Any = None
    ) -> None:
        self.index = torch.as_tensor(np.asarray(index, dtype=np.int64))
        self.values = torch.as_tensor(np.asarray(values, dtype=np.float64))
        self.set_shapes(image_shape, measurement_shape or self.index.shape)
        power = torch.zeros(self.n_pixels, dtype=torch.float64)
        power.index_add_(0, self.index, self.values.square())
        self._power = power.reshape(self.image_shape)

    def forward(self, x: Tensor) -> Tensor:
        taken = x.flatten(1)[:, self._cast("index", x)] * self._cast("values", x)
        return taken.reshape(-1, *self.measurement_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        given = y.flatten(1) * self._cast("values", y)
        image = y.new_zeros((len(y), self.n_pixels))
        return image.index_add(1, self._cast("index", y), given).reshape(-1, *self.image_shape)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver:
        return _solvers.diagonal(self._power, weight)

    def norm(self) -> float:
        return float(self._power.max().sqrt())
