"""Convolution and pooling of many tasks' images by each task's own weights.

Once it is settled which pixel of each window pooling keeps, the output is linear in the images and
in the weights: output, gradient of the images and gradient of the weights are the derivatives of
one form that is linear in three arguments. So three functions are each other's derivatives, of any
order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import conv2d, conv_transpose2d, max_pool2d, max_unpool2d, pad
from torch.nn.grad import conv2d_weight

#: Tasks with at most so many pixels, of all their rows, are taken together.
FEW_PIXELS = 64

#: Of each group of tasks, the places of the pixels that pooling keeps.
Kept = Sequence[Tensor]


def pooled_convolution(x: Tensor, weight: Tensor, pool: bool) -> Tensor:
    """Convolve each task's images by its own weights, then keep the maximum of 2x2 pixels.

    Parameters
    ----------
    x : Tensor of shape (T, n, H, W, C)
    weight : Tensor of shape (T, K, C, 3, 3) or (T, K, C, 1, 1)
        Around an image are zeros, so that convolution keeps its size.
    pool : bool

    Returns
    -------
    Tensor of shape (T, n, H // 2, W // 2, K), or (T, n, H, W, K) without pooling
        It can be differentiated twice.
    """
    return _Output.apply(x, weight, pool, None)


class _Output(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pool: bool, kept: Kept | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        size = _group_size(x)
        pairs = zip(x.split(size), weight.split(size), strict=True)
        maps = [_convolve(images, w) for images, w in pairs]
        if pool and kept is None:
            maps, kept = zip(*map(_pool, maps), strict=True)
        elif pool:
            maps = [_take(z, places) for z, places in zip(maps, kept, strict=True)]
        ctx.kept = kept
        return torch.cat(maps)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight = ctx.needs_input_grad[:2]
        return (
            _ImageGradient.apply(g, weight, ctx.kept, x.shape) if to_x else None,
            _WeightGradient.apply(g, x, ctx.kept, weight.shape) if to_weight else None,
            None,
            None,
        )


class _ImageGradient(Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, kept: Kept | None, shape: Any) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.kept = kept
        maps = _unpool(g, kept, shape)
        weights = weight.split(len(maps[0]))
        return torch.cat([_convolve_back(z, w) for z, w in zip(maps, weights, strict=True)])

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        to_g, to_weight = ctx.needs_input_grad[:2]
        return (
            _Output.apply(x, weight, ctx.kept is not None, ctx.kept) if to_g else None,
            _WeightGradient.apply(g, x, ctx.kept, weight.shape) if to_weight else None,
            None,
            None,
        )


class _WeightGradient(Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, kept: Kept | None, shape: Any) -> Tensor:
        ctx.save_for_backward(g, x)
        ctx.kept = kept
        maps = _unpool(g, kept, x.shape)
        images = x.split(len(maps[0]))
        return torch.cat([_weigh(i, z, shape[-1]) for i, z in zip(images, maps, strict=True)])

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        g, x = ctx.saved_tensors
        to_g, to_x = ctx.needs_input_grad[:2]
        return (
            _Output.apply(x, weight, ctx.kept is not None, ctx.kept) if to_g else None,
            _ImageGradient.apply(g, weight, ctx.kept, x.shape) if to_x else None,
            None,
            None,
        )


def _few_pixels(x: Tensor) -> bool:
    return x.device.type != "cpu" or math.prod(x.shape[1:4]) <= FEW_PIXELS


def _group_size(x: Tensor) -> int:
    """Tasks that are taken together: one, whose images fit in a processor's cache, or all."""
    return len(x) if _few_pixels(x) else 1


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve images (t, n, H, W, C) by weights (t, K, C, 3, 3) or (t, K, C, 1, 1)."""
    if weight.shape[-1] == 1 or _few_pixels(x):
        products = _columns(x, weight.shape[-1]) @ weight.movedim(2, -1).flatten(2).mT
        return products.view(*x.shape[:4], -1)
    weight = weight[0].contiguous(memory_format=torch.channels_last)
    return conv2d(_as_maps(x), weight, padding=1).permute(0, 2, 3, 1)[None]


def _convolve_back(g: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the images (t, n, H, W, C) from that of the maps (t, n, H, W, K)."""
    if weight.shape[-1] == 1 or _few_pixels(g):
        columns = _columns(g, weight.shape[-1], mirrored=True)
        products = columns @ weight.permute(0, 3, 4, 1, 2).flatten(1, 3)
        return products.view(*g.shape[:4], -1)
    weight = weight[0].contiguous(memory_format=torch.channels_last)
    return conv_transpose2d(_as_maps(g), weight, padding=1).permute(0, 2, 3, 1)[None]


def _weigh(x: Tensor, g: Tensor, size: int) -> Tensor:
    """Gradient of the weights (t, K, C, size, size) from that of the maps (t, n, H, W, K)."""
    if size == 1 or _few_pixels(x):
        products = _columns(x, size).mT @ g.flatten(1, 3)
        return products.unflatten(1, (size, size, -1)).permute(0, 4, 3, 1, 2)
    shape = (g.shape[-1], x.shape[-1], size, size)
    return conv2d_weight(_as_maps(x), shape, _as_maps(g), padding=1)[None]


def _columns(x: Tensor, size: int, mirrored: bool = False) -> Tensor:
    """Neighbourhoods of the pixels of images, (t, n H W, size size C)."""
    if size == 1:
        return x.flatten(1, 3)
    height, width = x.shape[2:4]
    x = pad(x, (0, 0, 1, 1, 1, 1))
    shifts = [x[:, :, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    return torch.cat(shifts[::-1] if mirrored else shifts, -1).flatten(1, 3)


def _pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima of 2x2 pixels, and their places as maps (t n, C, H // 2, W // 2)."""
    maxima, places = max_pool2d(_as_maps(x), 2, return_indices=True)
    return maxima.permute(0, 2, 3, 1).unflatten(0, x.shape[:2]), places


def _take(x: Tensor, places: Tensor) -> Tensor:
    taken = _as_maps(x).flatten(2).gather(2, places.flatten(2)).view_as(places)
    return taken.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def _unpool(g: Tensor, kept: Kept | None, shape: torch.Size) -> Sequence[Tensor]:
    """Gradient (T, n, h, w, C) of what was kept as that of all pixels, by groups of tasks."""
    if kept is None:
        return g.split(_group_size(g))
    groups = g.split(len(g) // len(kept))
    pairs = zip(map(_as_maps, groups), kept, strict=True)
    maps = [max_unpool2d(z, places, 2, output_size=shape[2:4]) for z, places in pairs]
    return [z.permute(0, 2, 3, 1).unflatten(0, (-1, shape[1])) for z in maps]


def _as_maps(x: Tensor) -> Tensor:
    """Images (t, n, H, W, C) as (t n, C, H, W), the channels innermost in memory."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)
