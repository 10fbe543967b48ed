"""Operators around linear operators of NumPy, such as those of SciPy and PyLops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._door import COMPLEX
from sklearn_meta.operators._linear_map import linear_map


class FromNumpy(Operator):
    """A linear operator that computes with NumPy, in double precision, on flattened images.

    Parameters
    ----------
    image_shape : tuple of int
    operator : object
        With ``matvec`` and ``rmatvec`` of vectors, and perhaps ``matmat`` and ``rmatmat`` of
        several at once, as columns: `scipy.sparse.linalg.LinearOperator`.
    measurement_shape : tuple of int, default=(m,)
    """

    def __init__(self, image_shape: Any, operator: Any, measurement_shape: Any = None) -> None:
        self.operator = operator
        self.set_shapes(image_shape, measurement_shape or operator.shape[:1])

    def forward(self, x: Tensor) -> Tensor:
        return linear_map(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        return linear_map(y, self._adjoint, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        return self._product("matmat", "matvec", x, self.measurement_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._product("rmatmat", "rmatvec", y, self.image_shape)

    def _product(self, many: str, one: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        # a copy: the operator may work in place
        rows = x.detach().flatten(1).to("cpu", torch.float64, copy=True).numpy()
        if len(rows) > 1 and hasattr(self.operator, many):
            values = np.asarray(getattr(self.operator, many)(np.ascontiguousarray(rows.T))).T
        else:
            values = np.stack([np.ravel(getattr(self.operator, one)(row)) for row in rows])
        if np.iscomplexobj(values):
            raise ValueError(f"{one} returns complex values: {COMPLEX}.")
        if values.shape != (len(rows), math.prod(shape)):
            raise ValueError(f"expected {math.prod(shape)} values, got {values.shape[1:]}.")
        values = np.ascontiguousarray(values, dtype=np.float64)
        return torch.from_numpy(values).to(x).reshape(len(x), *shape)
