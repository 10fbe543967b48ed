"""The same measurements in another shape."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator


class Reshaped(Operator):
    """A linear operator whose measurements have another shape, in the same order.

    Parameters
    ----------
    operator : Operator
    measurement_shape : tuple of int

    Raises
    ------
    ValueError
        If the number of values differs.
    """

    def __init__(self, operator: Operator, measurement_shape: Any) -> None:
        self.set_shapes(operator.image_shape, measurement_shape)
        if math.prod(self.measurement_shape) != operator.n_measurements:
            raise ValueError(
                f"measurement_shape {self.measurement_shape} has {self.n_measurements} values, "
                f"but the operator gives {operator.n_measurements}: {operator.measurement_shape}."
            )
        self.operator, self.n_samples = operator, operator.n_samples

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.forward(x).reshape(-1, *self.measurement_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y.reshape(-1, *self.operator.measurement_shape))

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        return self.operator.gram_solver(weight)

    def select(self, index: Any) -> Operator:
        if self.n_samples is None:
            return self
        return Reshaped(self.operator.select(index), self.measurement_shape)

    def norm(self) -> float:
        return self.operator.norm()
