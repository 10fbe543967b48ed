"""One operator after another."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sklearn_meta.operators._base import Operator


class Compose(Operator):
    """Apply operators one after another, the last one first: ``Compose(A, B)`` is ``A @ B``.

    After linear operators, write ``law @ A`` for a law of each measurement, such as `Saturation`
    or `PoissonCount`: that is a law of its own, which keeps its intervals and its noise.

    Parameters
    ----------
    *operators : Operator
        At least one; linear or not. Each measures what the next one gives. Shapes have to agree;
        one of both may also be flat.

    Raises
    ------
    TypeError
        If one of them is no `Operator` (see `as_operator`).
    ValueError
        If shapes do not agree, or there is none.
    """

    def __init__(self, *operators: Operator) -> None:
        check_operators("Compose", operators)
        flat: list[Operator] = []
        for operator in operators:
            flat.extend(operator.operators if isinstance(operator, Compose) else [operator])
        for outer, inner in zip(flat, flat[1:], strict=False):
            given, wanted = inner.measurement_shape, outer.image_shape
            is_flat = 1 in (len(given), len(wanted)) and math.prod(given) == math.prod(wanted)
            if given != wanted and not is_flat:
                raise ValueError(
                    f"{type(outer).__name__} takes images of shape {wanted}, but "
                    f"{type(inner).__name__}, which is applied before, gives {given}."
                )
        self.operators = tuple(flat)
        self.is_linear = all(operator.is_linear for operator in flat)
        self.n_samples = common_samples("Compose", flat)
        self.set_shapes(flat[-1].image_shape, flat[0].measurement_shape)

    def forward(self, x: Tensor) -> Tensor:
        for operator in reversed(self.operators):
            x = operator.forward(x.reshape(len(x), *operator.image_shape))
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        if not self.is_linear:
            return super().adjoint(y)
        for operator in self.operators:
            y = operator.adjoint(y.reshape(len(y), *operator.measurement_shape))
        return y

    def select(self, index: Any) -> Operator:
        if self.n_samples is None:
            return self
        return Compose(*(operator.select(index) for operator in self.operators))


def check_operators(name: str, operators: Any) -> None:
    """Raise unless there is an operator, and nothing else."""
    if not operators:
        raise ValueError(f"{name} takes at least one operator.")
    for operator in operators:
        if not isinstance(operator, Operator):
            raise TypeError(
                f"{name} takes operators; got {type(operator).__name__}. Wrap it with "
                "as_operator(A, image_shape)."
            )


def common_samples(name: str, operators: Any) -> int | None:
    """Return the number of samples that the operators are for, if any is for so many only."""
    counts = {operator.n_samples for operator in operators} - {None}
    if len(counts) > 1:
        raise ValueError(f"{name}: operators for {sorted(counts)} images cannot go together.")
    return counts.pop() if counts else None
