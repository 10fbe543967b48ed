"""Several operators that measure the same image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators.compose import check_operators, common_samples


class Stack(Operator):
    """Measure one image by several operators; the flattened measurements are concatenated.

    Parameters
    ----------
    *operators : Operator
        At least one; linear or not, of the same `image_shape`.

    Raises
    ------
    TypeError
        If one of them is no `Operator` (see `as_operator`).
    ValueError
        If they measure images of different shapes, or there is none.
    """

    def __init__(self, *operators: Operator) -> None:
        check_operators("Stack", operators)
        shapes = {operator.image_shape for operator in operators}
        if len(shapes) > 1:
            raise ValueError(f"Stack takes operators of one image_shape; got {sorted(shapes)}.")
        self.operators = tuple(operators)
        self.is_linear = all(operator.is_linear for operator in operators)
        self.n_samples = common_samples("Stack", operators)
        total = sum(operator.n_measurements for operator in operators)
        self.set_shapes(operators[0].image_shape, (total,))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([operator.forward(x).flatten(1) for operator in self.operators], 1)

    def adjoint(self, y: Tensor) -> Tensor:
        if not self.is_linear:
            return super().adjoint(y)
        parts = y.split([operator.n_measurements for operator in self.operators], 1)
        return sum(
            operator.adjoint(part.reshape(len(y), *operator.measurement_shape))
            for operator, part in zip(self.operators, parts, strict=True)
        )

    def select(self, index: Any) -> Operator:
        if self.n_samples is None:
            return self
        return Stack(*(operator.select(index) for operator in self.operators))
