"""Convolutional network for small images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .template import as_channels

GROUPS = 8


class ConvNet(nn.Module):
    """Conv4 and kin: blocks of 3x3 convolution, group norm, ReLU and 2x2 pooling.

    There are no running statistics: a row's output depends on that row alone.

    Parameters
    ----------
    image_shape : (H, W) or (C, H, W)
    channels : sequence of int
        Of each block; a block pools while the image is at least 2 pixels wide and high.
    generator : torch.Generator
        Source of the random start.

    Attributes
    ----------
    n_features : int
        Width of the output: channels times pixels that are left.
    """

    def __init__(
        self, image_shape: Sequence[int], channels: Sequence[int], generator: torch.Generator
    ):
        super().__init__()
        self.row_shape = as_channels(image_shape)
        n_in, height, width = self.row_shape
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for n_out in channels:
            convolution = nn.utils.skip_init(nn.Conv2d, n_in, n_out, 3, padding=1, bias=False)
            with torch.no_grad():
                scale = math.sqrt(2 / (9 * n_in))
                convolution.weight.normal_(0, scale, generator=generator)
            self.convolutions.append(convolution)
            self.norms.append(nn.GroupNorm(math.gcd(GROUPS, n_out), n_out))
            if min(height, width) > 1:
                height, width = height // 2, width // 2
            n_in = n_out
        self.n_features = n_in * height * width

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., pixels) to (..., n_features)."""
        z = x.reshape(-1, *self.row_shape)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            z = torch.relu(norm(convolution(z)))
            if min(z.shape[-2:]) > 1:
                z = nn.functional.max_pool2d(z, 2)
        return z.reshape(*x.shape[:-1], self.n_features)
