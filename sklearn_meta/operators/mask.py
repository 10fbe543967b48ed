"""Pixels that are seen or hidden: inpainting."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_array, check_image_shape


class Mask(Operator):
    """Hide pixels: ``y = mask * x``, inpainting.

    The measurement has the shape of the image and holds 0 where a pixel is hidden, so that masks
    that differ from image to image go into one batch. What stands in the measurement at hidden
    pixels is never looked at.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
    mask : array-like of bool or 0/1
        True where a pixel is seen. One mask for all images, of shape (H, W) or `image_shape`, or
        one for each, (n, H, W) or ``(n, *image_shape)``; such an operator takes exactly n images.
        A mask without channels holds for every channel.

    Raises
    ------
    ValueError
        If the mask has another shape, or values other than 0 and 1.
    """

    def __init__(self, image_shape: Any, mask: Any) -> None:
        shape = check_image_shape(image_shape)
        values = check_array(mask, "mask")
        if not ((values == 0) | (values == 1)).all():
            raise ValueError("mask must hold True and False, or 1 and 0.")
        seen, size = values.bool(), tuple(values.shape)
        if size in (shape, shape[:2]):
            seen = seen[None]
        elif size[1:] in (shape, shape[:2]):
            self.n_samples = len(seen)
        else:
            raise ValueError(
                f"mask must have the shape {shape[:2]} of an image, or (n, H, W) for one mask for "
                f"each image; got shape {size}."
            )
        self.mask = seen.reshape(*seen.shape, *[1] * (len(shape) + 1 - seen.ndim))
        self.set_shapes(shape, shape)

    def forward(self, x: Tensor) -> Tensor:
        if self.n_samples is not None and len(x) != self.n_samples:
            raise ValueError(
                f"this Mask holds one mask for each of {self.n_samples} images; got {len(x)} "
                "images. Take those of some images with select(index)."
            )
        # not a product: a hidden pixel may be NaN
        return torch.where(self._cast("mask", x), x, x.new_zeros(()))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver:
        return _solvers.diagonal(self.mask, weight)

    def select(self, index: Any) -> Mask:
        """Return the operator of some of the images."""
        if self.n_samples is None:
            return self
        other = copy.copy(self)
        other.mask = self.mask[index]
        other.n_samples = len(other.mask)
        return other

    def norm(self) -> float:
        """One, or zero if every pixel is hidden."""
        return float(self.mask.any())
