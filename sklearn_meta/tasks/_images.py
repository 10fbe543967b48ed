"""Images as rows of pixels: turn and distort them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

#: Quarter turns that keep the shape of an image, by whether it is square.
QUARTER_TURNS = {True: (0, 1, 2, 3), False: (0, 2)}

MOST_TURN = math.radians(12)  # beyond the quarter turns
MOST_STRETCH = 0.15  # of the logarithm of height and width
MOST_SHEAR = 0.15
MOST_SHIFT = 0.14  # of half the image: 2 pixels of 28


def turned(x: Tensor, quarters: np.ndarray, image_shape: tuple[int, ...]) -> Tensor:
    """Turn images (n, pixels), each by its number of quarter turns (n,)."""
    images = x.reshape(len(x), *image_shape)
    result = images.clone()
    for k in (1, 2, 3):
        chosen = torch.from_numpy(quarters == k)
        if chosen.any():
            result[chosen] = torch.rot90(images[chosen], k, (-2, -1))
    return result.reshape(x.shape)


def distorted(x: Tensor, image_shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Shift, turn, stretch and shear images (n, pixels) a little; borders are continued."""
    most = np.array([MOST_TURN, MOST_SHEAR, MOST_STRETCH, MOST_STRETCH, MOST_SHIFT, MOST_SHIFT])
    turn, shear, *stretch, down, right = rng.uniform(-1, 1, size=(len(x), 6)).T * most[:, None]
    height, width = np.exp(stretch)
    cos, sin = np.cos(turn), np.sin(turn)
    affine = np.array(
        [[height * cos, shear - width * sin, right], [height * sin, width * cos, down]]
    )
    channels = image_shape if len(image_shape) == 3 else (1, *image_shape)
    images = x.reshape(len(x), *channels)
    affine = torch.from_numpy(affine).movedim(-1, 0).to(x.dtype)
    grid = affine_grid(affine, images.shape, align_corners=False)
    moved = grid_sample(images, grid, padding_mode="border", align_corners=False)
    return moved.reshape(x.shape)
