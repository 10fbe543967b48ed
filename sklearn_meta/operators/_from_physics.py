"""Operators around physics of deepinv, and what looks like them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_meta.operators import _door
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._linear_map import linear_map
from sklearn_meta.operators._torch_function import FRESH


class FromPhysics(Operator):
    """A forward model with methods ``A`` and perhaps ``A_adjoint`` of tensors (n, C, H, W).

    It is linear if it has ``A_adjoint``. Measurements keep the shape that ``A`` gives.

    Parameters
    ----------
    image_shape : tuple of int
    physics : object
        Computes in the precision and on the device of its own parameters and buffers, where it
        is a `torch.nn.Module` that has any.

    Raises
    ------
    ValueError
        If ``A`` fails on an image, or gives no real tensor.
    """

    def __init__(self, image_shape: Any, physics: Any) -> None:
        self.physics, self.image_shape = physics, tuple(image_shape)
        self.is_linear = callable(getattr(physics, "A_adjoint", None))
        name = type(physics).__name__
        zeros = torch.zeros((1, *self.image_shape), dtype=torch.float64)
        try:
            measured = self.forward(zeros)
        except Exception as error:  # whatever the user's code raises is told to the user
            raise ValueError(
                f"A of {name} failed on a batch of shape {tuple(self._planes(zeros).shape)}: "
                f"{error}"
            ) from error
        if not isinstance(measured, Tensor):
            raise ValueError(
                f"A of {name} must return a tensor; got {type(measured).__name__}. Wrap its parts "
                "one by one and use Stack."
            )
        if measured.is_complex():
            raise ValueError(f"A of {name} is complex: {_door.COMPLEX}.")
        self.set_shapes(image_shape, measured.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        # by its own adjoint, a physics that computes outside of torch is differentiable too
        return linear_map(x, self._forward, self._adjoint) if self.is_linear else self._forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        if not self.is_linear:
            return super().adjoint(y)
        return linear_map(y, self._adjoint, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        return self._call(self.physics.A, self._planes(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        planes = self._call(self.physics.A_adjoint, y)
        return planes[:, 0] if len(self.image_shape) == 2 else planes.movedim(1, -1)

    def _planes(self, x: Tensor) -> Tensor:
        return x[:, None] if len(self.image_shape) == 2 else x.movedim(-1, 1)

    def _call(self, function: Callable[[Tensor], Any], x: Tensor) -> Any:
        own = self._own()
        like = x if own is None else own
        # a copy in the usual layout: the physics may work in place, or take views
        result = function(x.to(like.device, like.dtype.to_real(), **FRESH))
        return result.to(x) if isinstance(result, Tensor) and not result.is_complex() else result

    def _own(self) -> Tensor | None:
        """Return a tensor of the physics in its precision and on its device."""
        if isinstance(self.physics, nn.Module):
            for tensor in (*self.physics.parameters(), *self.physics.buffers()):
                if tensor.is_floating_point() or tensor.is_complex():
                    return tensor
        return None
