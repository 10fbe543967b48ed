"""Recognise a monotone law of each pixel: curves, rounding, dither, saturation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._monotone import Monotone
from sklearn_meta.operators._torch_function import TorchFunction, is_differentiable

_GRID = 65
_STRIDE = 4  # of the grid, where a derivative is integrated
_LAW_CHECK = 0.25


def find_law(function: TorchFunction) -> Operator | None:
    """Return the monotone law of each pixel that a function is, or None.

    The i-th measurement depends on the i-th pixel alone, and never turns back as it grows.
    """
    shape, n = function.image_shape, math.prod(function.image_shape)
    if math.prod(function.measurement_shape) != n:
        return None
    generator = torch.Generator().manual_seed(8)
    one, other = function.images(8, seed=9), function.images(8, seed=10)
    kept = torch.rand((8, *shape), generator=generator) < 0.5
    before, after = function(one).flatten(1), function(torch.where(kept, one, other)).flatten(1)
    if not function.agree(before[kept.flatten(1)], after[kept.flatten(1)]):
        return None
    levels = torch.linspace(0, 1, _GRID, dtype=torch.float64).tolist()
    constant = [torch.full((1, *shape), level, dtype=torch.float64) for level in levels]
    first, last = function(constant[0])[0], function(constant[-1])[0]
    signs = torch.where(last < first, -1.0, 1.0).to(torch.float64)
    slack = function.tolerance * float((last - first).abs().max())
    previous = first
    for image in constant:
        value = function(image)[0]
        if not ((value - previous) * signs >= -slack).all():
            return None
        previous = value
    return Monotone(
        function,
        shape,
        function.measurement_shape,
        domain=_domain(function, constant, signs, slack),
        signs=signs,
        is_smooth=_is_smooth(function, constant),
        tolerance=function.tolerance,
    )


def _domain(
    function: TorchFunction, constant: list[Tensor], signs: Tensor, slack: float
) -> tuple[float, float]:
    """[0, 1], or more where the function goes on in the same direction."""
    ends = [0.0, 1.0]
    for side, steps in enumerate(((-0.25, -0.5, -1.0), (1.25, 1.5, 2.0))):
        previous, direction = function(constant[-side]), (-1.0, 1.0)[side]
        for step in steps:
            value = function(torch.full_like(constant[0], step))
            if not (direction * (value - previous) * signs >= -slack).all():
                break
            previous = value
        else:
            ends[side] = steps[-1]
    return ends[0], ends[1]


def _is_smooth(function: TorchFunction, constant: list[Tensor]) -> bool:
    """Whether the derivative by autograd, integrated over a range, gives the values back."""
    inside = constant[_GRID // 8 : -_GRID // 8 : _STRIDE]
    if not is_differentiable(function, inside[0]):
        return False
    total = torch.zeros_like(constant[0])
    with torch.enable_grad():
        for image in inside:
            x = image.clone().requires_grad_()
            (slope,) = torch.autograd.grad(function(x).sum(), x)
            total += slope.abs() * _STRIDE / (_GRID - 1)
    rise = (function(inside[-1]) - function(inside[0])).abs().sum()
    return bool((total.sum() - rise).abs() <= _LAW_CHECK * rise)
