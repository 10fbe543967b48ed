"""Images as planes of one channel, which is what the denoiser takes."""

from __future__ import annotations

import torch
from torch import Tensor

# Orthonormal, so white noise stays white and of the same level: mean, red - blue, green.
_OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)


def to_planes(x: Tensor) -> Tensor:
    """Turn images (n, H, W[, C]) into planes (n * C, 1, H, W); three channels are decorrelated.

    References
    ----------
    K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian (2007), "Color image denoising via sparse 3D
    collaborative filtering with grouping constraint in luminance-chrominance space", IEEE ICIP.
    """
    if x.ndim == 3:
        return x[:, None]
    if x.shape[-1] == 3:
        x = x @ x.new_tensor(_OPPONENT).T
    return x.movedim(-1, 1).flatten(0, 1)[:, None]


def from_planes(planes: Tensor, image_shape: tuple[int, ...]) -> Tensor:
    """Undo `to_planes`; `image_shape` is (H, W) or (H, W, C)."""
    planes = planes[:, 0]
    if len(image_shape) == 2:
        return planes
    x = planes.unflatten(0, (-1, image_shape[2])).movedim(1, -1)
    return x @ x.new_tensor(_OPPONENT) if image_shape[2] == 3 else x


def levels_of_planes(level: Tensor, shape: torch.Size) -> Tensor:
    """Turn noise levels that broadcast to images of a shape (n, H, W[, C]) into those of planes.

    Where three channels are mixed, each plane has the levels' mean square.
    """
    level = level.expand(shape)
    if len(shape) == 3:
        return level[:, None]
    if shape[-1] == 3:
        level = level.square().mean(-1, keepdim=True).sqrt().expand(shape)
    return level.movedim(-1, 1).flatten(0, 1)[:, None]
