"""Turn a torch function of images into the operator that it computes.

What a function is, is found by evaluating it on random images, drawn from generators of its own,
and verified on others: linear, linear plus a constant, linear and clipped, the modulus of a linear
function, a law of each pixel, or none of these. Derivatives of clipping and rounding, which say
nothing where they are zero, are never relied on.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_image_shape
from sklearn_meta.operators._function_operators import (
    LinearFunction,
    NonlinearFunction,
    Shifted,
)
from sklearn_meta.operators._materialize import materialize
from sklearn_meta.operators._probe_law import find_law
from sklearn_meta.operators._probe_modulus import find_modulus
from sklearn_meta.operators._recognise import find_convolution
from sklearn_meta.operators._reshaped import Reshaped
from sklearn_meta.operators._torch_function import TorchFunction, is_differentiable
from sklearn_meta.operators.saturation import Saturation

# Entries, and measurements or pixels, up to which a linear function becomes a matrix.
_SMALL_MATRIX, _SMALL_SIDE = 4_000_000, 1024
_LARGEST_WITHOUT_ADJOINT = 2**24
_FAR, _NEAR = 2.0**20, 2.0**-20  # powers of 2: scaling by them rounds nothing


def probe(function: Callable[[Tensor], Tensor], image_shape: Any) -> Operator:
    """Return the operator that a torch function computes.

    Parameters
    ----------
    function : callable or torch.nn.Module
        Batch of images ``(n, *image_shape) -> (n, ...)``, deterministic.
    image_shape : (H, W) or (H, W, C)

    Returns
    -------
    Operator
        Of the function's shapes; linear where the function is.

    Raises
    ------
    TypeError, ValueError
        If the function does not measure batches of images (see `TorchFunction`), or nothing is
        recognised and autograd cannot differentiate it.

    Warns
    -----
    UserWarning
        If nothing is recognised and the derivative is zero.
    """
    checked = TorchFunction(function, check_image_shape(image_shape))
    with torch.no_grad():
        for find in (_find_linear, _find_clipped, find_modulus, find_law):
            operator = find(checked)
            if operator is not None:
                return operator
    return _unknown(checked)


def _find_linear(function: TorchFunction) -> Operator | None:
    """The linear function, or linear plus a constant, that a function computes."""
    offset = function(0 * function.images(1))
    if not offset.any():
        return _linear(function, function)
    shifted = _Minus(function, offset)
    inner = _linear(function, shifted)
    return None if inner is None else Shifted(inner, offset[0])


def _linear(function: TorchFunction, part: Callable[[Tensor], Tensor]) -> Operator | None:
    """The operator of `part`, of the shapes of `function`, if it is linear."""
    x = torch.cat([function.images(1, seed=1), function.directions(2, seed=2)])
    sums = torch.stack([x[0] + 40 * x[1], -3 * x[2], 100 * x[0] - 0.5 * x[2]])
    y = part(torch.cat([x, sums]))
    expected = torch.stack([y[0] + 40 * y[1], -3 * y[2], 100 * y[0] - 0.5 * y[2]])
    if not all(function.agree(a, b) for a, b in zip(y[3:], expected, strict=True)):
        return None
    linear = LinearFunction(part, function.image_shape, function.measurement_shape)
    if not (is_differentiable(part, x) and _has_adjoint(linear, function.tolerance)):
        if linear.n_pixels * linear.n_measurements > _LARGEST_WITHOUT_ADJOINT:
            raise ValueError(
                "the operator is linear, but autograd does not give its adjoint; give a scipy "
                "LinearOperator, which states it."
            )
        return materialize(linear, use_adjoint=False)
    convolution = find_convolution(linear)
    if convolution is not None:
        if convolution.measurement_shape == function.measurement_shape:
            return convolution
        return Reshaped(convolution, function.measurement_shape)
    m, n = linear.n_measurements, linear.n_pixels
    return materialize(linear) if m * n <= _SMALL_MATRIX and min(m, n) <= _SMALL_SIDE else linear


def _has_adjoint(operator: Operator, tolerance: float) -> bool:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn((1, *operator.image_shape), generator=generator, dtype=torch.float64)
    y = torch.randn((1, *operator.measurement_shape), generator=generator, dtype=torch.float64)
    measured, back = operator.forward(x), operator.adjoint(y)
    size = max(float(measured.norm() * y.norm()), float(x.norm() * back.norm()))
    return abs(float((measured * y).sum() - (x * back).sum())) <= 10 * tolerance * size


class _Minus:
    """A function without its constant."""

    def __init__(self, function: TorchFunction, offset: Tensor) -> None:
        self.function, self.offset = function, offset

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x) - self.offset.to(x)


class _Unclipped:
    """The linear part of a clipped function, from its values at small images.

    ``F(x) - F(-x)`` is the linear part of x where zero is a level of clipping, as in
    ``relu(z) - relu(-z)``, and twice that where zero lies between the levels.
    """

    def __init__(self, function: TorchFunction, count: int) -> None:
        self.function, self.count = function, count

    def __call__(self, x: Tensor) -> Tensor:
        both = self.function(_NEAR * x) - self.function(-_NEAR * x)
        return both / (_NEAR * self.count)


def _find_clipped(function: TorchFunction) -> Operator | None:
    """``clip(A x, low, high)``, with A from small images and the levels from large ones."""
    if function(0 * function.images(1)).any():
        return None
    x = function.directions(2, seed=5)
    x = torch.cat([x, -x])
    far, farther = function(_FAR * x), function(2 * _FAR * x)
    low, high = float(far.min()), float(far.max())
    if float(farther.min()) < low - function.tolerance * abs(low):
        low = -math.inf
    if float(farther.max()) > high + function.tolerance * abs(high):
        high = math.inf
    if not low <= 0 <= high or math.isinf(high - low) and low == -high:
        return None
    inner = _linear(function, _Unclipped(function, 2 if low < 0 < high else 1))
    if inner is None:
        return None
    found = Saturation(None, inner, low=low, high=high)
    others = torch.cat([function.images(2, seed=6), function.directions(2, seed=7)])
    others = torch.cat([others, 10 * others])
    return found if function.agree(found.forward(others), function(others)) else None


def _unknown(function: TorchFunction) -> Operator:
    """The function as it is, if autograd can differentiate it."""
    x = function.images(2)
    if not is_differentiable(function, x):
        raise ValueError(
            "the operator is not linear and autograd cannot differentiate it; write it with torch "
            "functions, or use Saturation, Quantization or PhaseRetrieval around its linear part."
        )
    operator = NonlinearFunction(function, function.image_shape, function.measurement_shape)
    if not operator.vjp(x, torch.ones_like(operator.forward(x))).any():
        warnings.warn(
            "the derivative of the operator is zero, as that of rounding, so its measurements "
            "cannot be used; use Quantization around its linear part.",
            UserWarning,
            stacklevel=3,
        )
    return operator
