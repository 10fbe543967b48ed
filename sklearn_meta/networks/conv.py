"""Convolutional network for small images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, pad

from ._normalization import normalized
from ._pooled_convolution import pooled_convolution
from ._precision import computing_dtype
from .template import as_channels

#: Rows that go through the network together: more of them leave the cache, and the memory that
#: each layer of them takes is mapped anew.
CHUNK = 100


class ConvNet(nn.Module):
    """Conv4 and kin: blocks of 3x3 convolution, 2x2 pooling, norm and ReLU, none after the last.

    The norm is over all channels and pixels of an image (Ba, Kiros & Hinton, 2016, Layer
    Normalization), with a scale and a shift a channel. There are no running statistics: a row's
    output depends on that row alone. Pooling comes before the norm, which then has a quarter of
    the pixels to work on. In training the convolutions may be computed in bfloat16, see
    `computing_dtype`.

    Parameters
    ----------
    image_shape : (H, W) or (C, H, W)
    channels : sequence of int
        Of each block; a block pools while the image is at least 2 pixels wide and high.
    generator : torch.Generator
        Source of the random start.
    activate_last : bool, default=False
        Whether ReLU follows the last block too.

    Attributes
    ----------
    n_features : int
        Width of the output: channels times pixels that are left.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int],
        generator: torch.Generator,
        activate_last: bool = False,
    ):
        super().__init__()
        self.row_shape = as_channels(image_shape)
        self.activate_last = activate_last
        n_in, height, width = self.row_shape
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for n_out in channels:
            convolution = nn.utils.skip_init(nn.Conv2d, n_in, n_out, 3, padding=1, bias=False)
            with torch.no_grad():
                scale = math.sqrt(2 / (9 * n_in))
                convolution.weight.normal_(0, scale, generator=generator)
            self.convolutions.append(convolution)
            self.norms.append(nn.GroupNorm(1, n_out))
            if _pools(height, width):
                height, width = height // 2, width // 2
            n_in = n_out
        self.n_features = n_in * height * width

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., pixels) to (..., n_features)."""
        rows = x.reshape(-1, math.prod(self.row_shape))
        features = [self._features(part) for part in rows.split(CHUNK)]
        return torch.cat(features).reshape(*x.shape[:-1], self.n_features)

    def stacked(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Map the rows of many tasks, each of which has parameters of its own.

        Parameters
        ----------
        parameters : mapping of str to Tensor of shape (T, *shape)
            Named parameters, the task axis first.
        x : Tensor of shape (T, n, pixels)

        Returns
        -------
        Tensor of shape (T, n, n_features)
            It can be differentiated twice.
        """
        dtype = computing_dtype(x.dtype, x.device, self.training)
        weights = {name: _laid_out(p.to(dtype)) for name, p in parameters.items()}
        n_tasks = max(1, CHUNK // max(1, x.shape[1]))
        chunks = [{} for _ in x.split(n_tasks)]
        for name, p in weights.items():
            for chunk, part in zip(chunks, p.split(n_tasks), strict=True):
                chunk[name] = part
        parts = zip(chunks, x.split(n_tasks), strict=True)
        return torch.cat([self._stacked_features(chunk, part, dtype) for chunk, part in parts])

    def _features(self, x: Tensor) -> Tensor:
        dtype = computing_dtype(x.dtype, x.device, self.training)
        z = self._patches(x.to(dtype))
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            weight = convolution.weight.to(dtype)
            if i == 0:
                z = (z @ weight.movedim(1, -1).flatten(1).T).permute(0, 3, 1, 2)
            else:
                weight = weight.contiguous(memory_format=torch.channels_last)
                z = conv2d(z, weight, padding=1)
            if _pools(*z.shape[-2:]):
                z = max_pool2d(z, 2)
            z = nn.functional.group_norm(z, 1, norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)
            z = torch.relu(z) if self._activates(i) else z
        return z.permute(0, 2, 3, 1).flatten(1).to(x.dtype)

    def _stacked_features(self, parameters: Mapping[str, Tensor], x: Tensor, dtype: torch.dtype):
        z = self._patches(x.to(dtype))
        for i in range(len(self.convolutions)):
            weight = parameters[f"convolutions.{i}.weight"]
            if i == 0:
                weight = weight.flatten(2)[:, :, None, None]
            z = pooled_convolution(z, weight, _pools(*z.shape[2:4]))
            scale, shift = (parameters[f"norms.{i}.{name}"] for name in ("weight", "bias"))
            z = normalized(z, scale, shift, self.norms[i].eps, self._activates(i))
        return z.flatten(2).to(x.dtype)

    def _patches(self, x: Tensor) -> Tensor:
        """Neighbourhoods (..., H, W, 9 C) of the pixels of rows: convolution is their product.

        With few channels that is much quicker, and its result has the channels innermost.
        """
        _, height, width = self.row_shape
        images = pad(x.reshape(*x.shape[:-1], *self.row_shape), (1, 1, 1, 1))
        shifts = [images[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return torch.stack(shifts, -1).movedim(-4, -1).flatten(-2)

    def _activates(self, i: int) -> bool:
        return i + 1 < len(self.convolutions) or self.activate_last


def _pools(height: int, width: int) -> bool:
    return min(height, width) > 1


def _laid_out(parameter: Tensor) -> Tensor:
    """Weights (T, K, C, 3, 3) as (T, K, 3, 3, C), each task's in one piece of memory."""
    if parameter.ndim < 5:
        return parameter
    weights = parameter.movedim(2, -1)
    return weights if weights[0].is_contiguous() else weights.contiguous()
