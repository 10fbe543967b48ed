"""Linear functions that autograd cannot look into, made differentiable any number of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _LinearMap(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, function: Any, transposed: Any) -> Tensor:
        return function(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, ctx.function, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # itself with both sides swapped: so the second derivative exists too
        return _LinearMap.apply(gradient, ctx.transposed, ctx.function), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _LinearMap.apply(tangent, ctx.function, ctx.transposed)


def linear_map(
    x: Tensor, function: Callable[[Tensor], Tensor], transposed: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return ``function(x)``, differentiable, where `function` is linear and need not be torch.

    Parameters
    ----------
    x : Tensor of shape (n, ...)
    function, transposed : callable
        A linear function of a batch and its adjoint; each gets a detached tensor.
    """
    return _LinearMap.apply(x, function, transposed)
