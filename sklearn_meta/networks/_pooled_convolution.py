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

#: Tasks whose rows have at most so many pixels are convolved as a product with neighbourhoods.
FEW_PIXELS = 256
#: Bytes of neighbourhoods or maps that are worked on at a time: more leave a processor's cache.
CACHED = 1 << 21

#: Which tasks, and which of their rows, are worked on together.
Part = tuple[slice, slice]
#: Of each part, the places of the pixels that pooling keeps.
Kept = list[Tensor]


def pooled_convolution(x: Tensor, weight: Tensor, pool: bool) -> Tensor:
    """Convolve each task's images by its own weights, then keep the maximum of 2x2 pixels.

    Parameters
    ----------
    x : Tensor of shape (T, n, H, W, C)
    weight : Tensor of shape (T, K, 3, 3, C) or (T, K, 1, 1, C)
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
        height, width = (size // 2 for size in x.shape[2:4]) if pool else x.shape[2:4]
        outputs = x.new_empty(*x.shape[:2], height, width, weight.shape[1])
        places = []
        for i, part in enumerate(_parts(x, weight.shape)):
            maps = _convolve(x[part], weight[part[0]])
            if pool and kept is None:
                maps, own = _pool(maps)
                places.append(own)
            elif pool:
                maps = _take(maps, kept[i])
            outputs[part] = maps
        ctx.kept = (kept or places) if pool else None
        return outputs

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
        found = g.new_empty(shape)
        for i, part in enumerate(_parts(found, weight.shape)):
            found[part] = _convolve_back(_unpool(g[part], kept, i, shape), weight[part[0]])
        return found

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
        found = g.new_empty(shape)
        for i, part in enumerate(_parts(x, shape)):
            own = _weigh(x[part], _unpool(g[part], kept, i, x.shape), shape[2])
            if part[1].start:
                found[part[0]] += own
            else:
                found[part[0]] = own
        return found

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


def _parts(x: Tensor, shape: Sequence[int]) -> list[Part]:
    """What to work on together, of images (T, n, H, W, C) and weights of a shape."""
    n_tasks, n_rows = x.shape[:2]
    if x.device.type != "cpu":
        return [(slice(None), slice(None))]
    widest = max(shape[1], math.prod(shape[2:]) if _few_pixels(x) else 0)
    n_together = max(1, CACHED // (math.prod(x.shape[2:4]) * widest * x.element_size()))
    if _few_pixels(x):
        size = max(1, n_together // max(1, n_rows))
        return [(slice(i, i + size), slice(None)) for i in range(0, n_tasks, size)]
    size = n_together if shape[2] == 1 else n_rows
    rows = [slice(j, j + size) for j in range(0, n_rows, size)]
    return [(slice(i, i + 1), part) for i in range(n_tasks) for part in rows]


def _few_pixels(x: Tensor) -> bool:
    return x.device.type != "cpu" or math.prod(x.shape[1:4]) <= FEW_PIXELS


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve images (t, n, H, W, C) by weights (t, K, 3, 3, C) or (t, K, 1, 1, C)."""
    if weight.shape[2] == 1 or _few_pixels(x):
        return (_columns(x, weight.shape[2]) @ weight.flatten(2).mT).view(*x.shape[:4], -1)
    return conv2d(_as_maps(x), _as_filters(weight), padding=1).permute(0, 2, 3, 1)[None]


def _convolve_back(g: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the images (t, n, H, W, C) from that of the maps (t, n, H, W, K)."""
    size = weight.shape[2]
    if size == 1 or _few_pixels(g):
        places = [(i, j) for i in range(size) for j in range(size)]
        mirrored = torch.cat([weight[:, :, i, j] for i, j in reversed(places)], 1)
        return (_columns(g, size) @ mirrored).view(*g.shape[:4], -1)
    maps = conv_transpose2d(_as_maps(g), _as_filters(weight), padding=1)
    return maps.permute(0, 2, 3, 1)[None]


def _weigh(x: Tensor, g: Tensor, size: int) -> Tensor:
    """Gradient of the weights (t, K, size, size, C) from that of the maps (t, n, H, W, K)."""
    if size == 1:
        return (x.flatten(1, 3).mT @ g.flatten(1, 3)).mT[:, :, None, None]
    if _few_pixels(x):
        return (g.flatten(1, 3).mT @ _columns(x, size)).unflatten(2, (size, size, -1))
    shape = (g.shape[-1], x.shape[-1], size, size)
    return conv2d_weight(_as_maps(x), shape, _as_maps(g), padding=1).movedim(1, -1)[None]


def _columns(x: Tensor, size: int) -> Tensor:
    """Neighbourhoods of the pixels of images, (t, n H W, size size C)."""
    if size == 1:
        return x.flatten(1, 3)
    t, n, height, width, n_channels = x.shape
    x = pad(x, (0, 0, 1, 1, 1, 1))
    # Neighbours in a line of pixels lie one after the other.
    shape = (t, n, height, width, size, size * n_channels)
    return x.as_strided(shape, (*x.stride()[:4], x.stride(2), 1)).flatten(4).flatten(1, 3)


def _pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima of 2x2 pixels, and their places as maps (t n, C, H // 2, W // 2)."""
    maxima, places = max_pool2d(_as_maps(x), 2, return_indices=True)
    return maxima.permute(0, 2, 3, 1).unflatten(0, x.shape[:2]), places


def _take(x: Tensor, places: Tensor) -> Tensor:
    taken = _as_maps(x).flatten(2).gather(2, places.flatten(2)).view_as(places)
    return taken.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def _unpool(g: Tensor, kept: Kept | None, part: int, shape: Sequence[int]) -> Tensor:
    """Gradient (t, n, h, w, K) of what a part kept as that of all its pixels."""
    if kept is None:
        return g
    maps = max_unpool2d(_as_maps(g), kept[part], 2, output_size=shape[2:4])
    return maps.permute(0, 2, 3, 1).unflatten(0, g.shape[:2])


def _as_maps(x: Tensor) -> Tensor:
    """Images (t, n, H, W, C) as (t n, C, H, W), the channels innermost in memory."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def _as_filters(weight: Tensor) -> Tensor:
    """Weights (1, K, 3, 3, C) of one task as (K, C, 3, 3), the channels innermost in memory."""
    return weight[0].movedim(-1, 1)
