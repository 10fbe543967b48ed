"""Operators around torch functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._linear_map import linear_map
from sklearn_meta.operators._pointwise import PointwiseLaw


class LinearFunction(Operator):
    """A linear torch function; its adjoint is the derivative that autograd finds.

    Parameters
    ----------
    function : callable
        ``(n, *image_shape) -> (n, *measurement_shape)``, linear.
    image_shape, measurement_shape : tuple of int
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], image_shape: Any, measurement_shape: Any
    ) -> None:
        self.function = function
        self.set_shapes(image_shape, measurement_shape)
        # Off zero, where parts such as relu(z) - relu(-z) have the derivative of their sum.
        generator = torch.Generator().manual_seed(0)
        self._point = torch.randn(self.image_shape, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Measure images."""
        return linear_map(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint."""
        return linear_map(y, self._adjoint, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.function(x.detach())

    def _adjoint(self, y: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            point = self._cast("_point", y).expand(len(y), *self.image_shape)
            point = point.detach().requires_grad_()
            (x,) = torch.autograd.grad(self.function(point), point, y.detach())
        return x


class Shifted(PointwiseLaw):
    """Linear measurements plus a constant: ``y = A x + offset``.

    Parameters
    ----------
    operator : Operator
        The linear A.
    offset : Tensor of shape measurement_shape
    """

    def __init__(self, operator: Operator, offset: Tensor) -> None:
        super().__init__(None, operator)
        self.offset = offset

    def law(self, z: Tensor) -> Tensor:
        """Add the offset."""
        return z + self._cast("offset", z)

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Subtract the offset."""
        z = y - self._cast("offset", y)
        return z - slack, z + slack


class NonlinearFunction(Operator):
    """A torch function that nothing more is known of; differentiable by autograd.

    Parameters
    ----------
    function : callable
        ``(n, *image_shape) -> (n, *measurement_shape)``.
    image_shape, measurement_shape : tuple of int
    is_even : bool, default=False
        Whether an image and its negative have the same measurement.
    """

    is_linear = False

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        image_shape: Any,
        measurement_shape: Any,
        is_even: bool = False,
    ) -> None:
        self.function, self.is_even = function, is_even
        self.set_shapes(image_shape, measurement_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Measure images."""
        return self.function(x)
