"""The adjoint of a linear operator, as an operator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator


class Adjoint(Operator):
    """``op.T``: measurements become images.

    Parameters
    ----------
    operator : Operator
        Linear.

    Raises
    ------
    TypeError
        If the operator is not linear.
    """

    def __init__(self, operator: Operator) -> None:
        if not operator.is_linear:
            raise TypeError(f"{type(operator).__name__} is not linear and has no adjoint.")
        self.operator, self.n_samples = operator, operator.n_samples
        self.set_shapes(operator.measurement_shape, operator.image_shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.forward(y)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        solve_pixels = self.operator.gram_solver(weight)
        if solve_pixels is None:
            return None

        def solve(b: Tensor, rho: Any) -> Tensor:
            back = self.operator.adjoint(b)
            fitted = self.operator.forward(solve_pixels(back, _solvers.per_sample(rho, back)))
            return (b - _solvers.per_sample(weight, b) * fitted) / _solvers.per_sample(rho, b)

        return solve

    def select(self, index: Any) -> Operator:
        return Adjoint(self.operator.select(index)) if self.n_samples is not None else self

    def norm(self) -> float:
        return self.operator.norm()

    @property
    def T(self) -> Operator:
        """The operator itself."""
        return self.operator
