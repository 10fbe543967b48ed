"""The operator that measures every pixel: denoising."""

from __future__ import annotations

from typing import Any

from torch import Tensor, ones

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_image_shape


class Identity(Operator):
    """The measurement is the image: ``y = x + n``, denoising.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
    """

    def __init__(self, image_shape: Any) -> None:
        shape = check_image_shape(image_shape)
        self.set_shapes(shape, shape)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver:
        return _solvers.diagonal(ones(()), weight)

    def norm(self) -> float:
        """Exactly one."""
        return 1.0
