"""Operators around dense matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_array

# Side of the smaller Gram matrix up to which its eigenvectors are computed (seconds).
LARGEST_SPECTRUM = 3000
_ORTHOGONAL = 1e-10


class Dense(Operator):
    """``y = matrix @ x`` of flattened images.

    Parameters
    ----------
    image_shape : tuple of int
    matrix : array-like of shape (m, n_pixels)
    measurement_shape : tuple of int, default=(m,)
    """

    def __init__(self, image_shape: Any, matrix: Any, measurement_shape: Any = None) -> None:
        self.matrix = check_array(matrix, "the matrix")
        self.set_shapes(image_shape, measurement_shape or self.matrix.shape[:1])

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(1) @ self._cast("matrix", x).T
        return y.reshape(-1, *self.measurement_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        x = y.flatten(1) @ self._cast("matrix", y)
        return x.reshape(-1, *self.image_shape)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        """Return the solver by eigenvectors of the smaller Gram matrix, kept after the first use.

        Orthogonal rows of one length need no eigenvectors; very large matrices are tried out.
        """
        if "_values" not in vars(self) and not self._decompose():
            return super().gram_solver(weight)
        n_rows, n_pixels = self.matrix.shape
        if n_rows < n_pixels:
            return _solvers.woodbury(self._forward_flat, self.adjoint, self._divide, weight)

        def solve(b: Tensor, rho: Any) -> Tensor:
            flat = b.flatten(1)
            w, r = _solvers.per_sample(weight, flat), _solvers.per_sample(rho, flat)
            return self._divide(flat, lambda value: 1 / (w * value + r)).reshape(b.shape)

        return solve

    @torch.inference_mode(False)  # what is kept has to be of use to autograd
    def _decompose(self) -> bool:
        """Find the spectrum of the smaller Gram matrix; False if that would take too long."""
        wide = self.matrix if self.matrix.shape[0] < self.matrix.shape[1] else self.matrix.T
        if len(wide) > LARGEST_SPECTRUM:
            return False
        gram = wide @ wide.T
        scale = gram.diagonal().mean()
        error = (gram - scale * torch.eye(len(gram), dtype=gram.dtype)).abs().max()
        if error <= _ORTHOGONAL * scale:
            self._vectors, self._values = None, scale
        else:
            values, self._vectors = torch.linalg.eigh(gram)
            self._values = values.clamp(min=0.0)
        return True

    def _forward_flat(self, x: Tensor) -> Tensor:
        return self.forward(x).flatten(1)

    def _divide(self, z: Tensor, function: Any) -> Tensor:
        """Apply a function of the smaller Gram matrix to rows."""
        factor = function(self._cast("_values", z))
        if self._vectors is None:
            return z * factor
        vectors = self._cast("_vectors", z)
        return (z @ vectors * factor) @ vectors.T

    def norm(self) -> float:
        """Exact where the spectrum is known, else by power iteration."""
        if "_values" not in vars(self):
            return super().norm()
        return math.sqrt(float(self._values.max()))
