"""Norm over an image, scale, shift and ReLU as one operation that can be differentiated twice.

Automatic differentiation would write the second derivative of a norm as some thirty operations,
each of which passes over all pixels. Here both derivatives are written out. With n the normed
pixels of an image, of N, and r the reciprocal of their deviation, the derivative of n is r P with
P(k) = k - mean(k) - n mean(k n), a symmetric map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

#: Bytes of images that are worked on at a time.
CACHED = 1 << 19


def normalized(u: Tensor, scale: Tensor, shift: Tensor, eps: float, activate: bool) -> Tensor:
    """Norm images to mean 0 and variance 1, scale and shift their channels, then ReLU.

    Parameters
    ----------
    u : Tensor of shape (T, n, H, W, C)
    scale, shift : Tensor of shape (T, C)
    eps : float
        Added to variances.
    activate : bool
        Whether ReLU follows.

    Returns
    -------
    Tensor of shape (T, n, H, W, C)
        It can be differentiated twice.
    """
    return _Normalized.apply(u, scale, shift, eps, activate)


class _Normalized(Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, scale: Tensor, shift: Tensor, eps: float, activate: bool
    ) -> Tensor:
        n, mean, r = torch.native_layer_norm(u, u.shape[2:], None, None, eps)
        value = torch.empty_like(u)
        for own in _parts(u):
            torch.addcmul(_wide(shift[own]), n[own], _wide(scale[own]), out=value[own])
            if activate:
                value[own].relu_()
        ctx.save_for_backward(u, scale, n, mean, r, value if activate else None)
        return value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        u, scale, *rest = ctx.saved_tensors
        return *_Gradient.apply(g, u, scale, *rest), None, None


class _Gradient(Function):
    """Gradients of the images, scales and shifts from that of the output."""

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        u: Tensor,
        scale: Tensor,
        n: Tensor,
        mean: Tensor,
        r: Tensor,
        value: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(g, u, scale, n, mean, r, value)
        to_u, to_scale, to_shift = map(torch.empty_like, (u, scale, scale))
        for own in _parts(u):
            h = _masked(g[own], None if value is None else value[own])
            to_shift[own], to_scale[own] = _total(h), _total(h * n[own])
            to_u[own] = _pulled_back(h.mul_(_wide(scale[own])), u[own], mean[own], r[own])
        return to_u, to_scale, to_shift

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_u: Tensor, of_scale: Tensor, of_shift: Tensor) -> tuple:
        g, u, scale, n, mean, r, value = ctx.saved_tensors
        to_g, to_u, to_scale = map(torch.empty_like, (u, u, of_scale))
        for own in _parts(u):
            moments, normed, q = (u[own], mean[own], r[own]), n[own], of_u[own]
            wide, bent, root = _wide(scale[own]), _wide(of_scale[own]), r[own].to(u.dtype)
            h = _masked(g[own], None if value is None else value[own])
            p = _pulled_back(q, *moments)
            z = torch.addcmul(_wide(of_shift[own]), normed, bent).addcmul_(p, wide)
            to_g[own] = _masked(z, None if value is None else value[own])
            to_scale[own] = _total(p.mul_(h))
            k = h * (wide * root)
            k_n, q_n = _mean(k, normed), _mean(q, normed)
            bend = root * (_mean(k, q) - _mean(k) * _mean(q) - k_n * q_n)
            to_n = h.mul_(bent).addcmul_(k, q_n, value=-1).addcmul_(q, k_n, value=-1)
            to_u[own] = _pulled_back(to_n, *moments).addcmul_(normed, bend, value=-1)
        return to_g, to_u, to_scale, None, None, None, None


def _parts(u: Tensor) -> list[slice]:
    """Tasks to work on together: what is made of them on the way should stay in a cache."""
    size = len(u) if u.device.type != "cpu" else CACHED // max(1, u[0].nbytes)
    return [slice(i, i + max(1, size)) for i in range(0, len(u), max(1, size))]


def _wide(channels: Tensor) -> Tensor:
    return channels[:, None, None, None]


def _masked(g: Tensor, value: Tensor | None) -> Tensor:
    """Gradient before ReLU from that after it, and from what it gave."""
    return g.clone() if value is None else torch.ops.aten.threshold_backward(g, value, 0)


def _total(a: Tensor) -> Tensor:
    """Sums over the pixels of each task's images, (T, C)."""
    return a.sum((1, 2, 3))


def _mean(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Means of a, or of a b, over each image, (T, n, 1, 1, 1)."""
    return (a if b is None else a * b).mean((2, 3, 4), keepdim=True)


def _pulled_back(k: Tensor, u: Tensor, mean: Tensor, r: Tensor) -> Tensor:
    """Gradient of images u from that of what they are normed to: r P(k), see above."""
    backward, wanted = torch.ops.aten.native_layer_norm_backward, [True, False, False]
    return backward(k, u, u.shape[2:], mean, r, None, None, wanted)[0]
