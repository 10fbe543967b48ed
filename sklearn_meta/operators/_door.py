"""Checks of an operator from outside, once, before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._pointwise import PointwiseLaw

_TOLERANCE = 1e-5
_LINEARITY = 1e-4
COMPLEX = "stack real and imaginary parts into twice as many real measurements"


class Sides:
    """Names of both sides of an operator, for messages.

    Parameters
    ----------
    what : str
        How the user calls the operator.
    forward, adjoint : str
        Names of the methods that the user gave.
    """

    def __init__(self, what: str, forward: str = "forward", adjoint: str = "adjoint") -> None:
        self.what, self.forward, self.adjoint = what, forward, adjoint


def check_operator(operator: Operator, sides: Sides) -> Operator:
    """Return the operator if its sides take and give what they should, and fit each other.

    Raises
    ------
    ValueError
        If a side fails, gives another shape, complex or infinite values, is random, or mixes the
        images of a batch; or the adjoint is not that of the forward side. Says which side.
    """
    generator = torch.Generator().manual_seed(0)
    n = operator.n_samples or 2

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn((n, *shape), generator=generator, dtype=torch.float64)

    x = draw(operator.image_shape)
    if isinstance(operator, PointwiseLaw):  # which may exist for images only, as a root does
        x = x.abs() / x.abs().max()
    n_alone = operator.n_samples or 1
    measured = _measure(
        operator.forward, x, operator.measurement_shape, sides.what, sides.forward, n_alone
    )
    if operator.is_linear:
        noise = draw(operator.measurement_shape)
        y = measured + noise * measured.norm() / noise.norm()
        back = _measure(
            operator.adjoint, y, operator.image_shape, sides.what, sides.adjoint, n_alone
        )
        error = _products(measured, y) - _products(x, back)
        if (error.abs() > _TOLERANCE * _sizes(measured) * _sizes(y)).any():
            raise ValueError(_blame(operator, x, y, sides))
    return operator


def call(
    function: Callable[[Tensor], Tensor], x: Tensor, shape: tuple[int, ...], what: str, side: str
) -> Tensor:
    """Call one side with a batch; raise an error that names it, where it fails."""
    given = x.clone()
    try:
        result: Any = function(given)
    except NotImplementedError as error:
        raise ValueError(f"{what} has no {side}, which is needed: {error}") from error
    except Exception as error:  # whatever the user's code raises is told to the user
        raise ValueError(
            f"{side} of {what} failed on a batch of shape {tuple(x.shape)}: {error}"
        ) from error
    if not isinstance(result, Tensor):
        raise ValueError(f"{side} of {what} must return a tensor; got {type(result).__name__}.")
    if result.is_complex():
        raise ValueError(f"{side} of {what} returns complex values: {COMPLEX}.")
    if tuple(result.shape) != (len(x), *shape):
        raise ValueError(
            f"{side} of {what} must return the shape {(len(x), *shape)} for a batch of shape "
            f"{tuple(x.shape)}; got {tuple(result.shape)}."
        )
    if not result.isfinite().all():
        raise ValueError(
            f"{side} of {what} returns NaN or infinite values for finite ones, between "
            f"{float(x.min()):.2g} and {float(x.max()):.2g}."
        )
    if not torch.equal(given, x):
        raise ValueError(f"{side} of {what} changes its input in place; let it work on a copy.")
    return result.to(torch.float64)


def _measure(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    shape: tuple[int, ...],
    what: str,
    side: str,
    n_alone: int,
) -> Tensor:
    """Call one side with a batch; it has to do the same to the first `n_alone` by themselves."""
    alone = call(function, x[:n_alone], shape, what, side)
    result = call(function, x, shape, what, side)
    if not _are_equal(alone, result[:n_alone]):
        if not _are_equal(alone, call(function, x[:n_alone], shape, what, side)):
            raise ValueError(
                f"{side} of {what} gives other values each time: it must not add noise."
            )
        raise ValueError(
            f"{side} of {what} gives other values for an image by itself and in a batch of two."
        )
    return result


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= _LINEARITY * b.norm())


def _blame(operator: Operator, x: Tensor, y: Tensor, sides: Sides) -> str:
    """Say which side breaks ``<A x, y> = <x, A^T y>``."""
    broken = [
        name
        for name, function, values in (
            (sides.forward, operator.forward, x),
            (sides.adjoint, operator.adjoint, y),
        )
        if not _is_linear(function, values)
    ]
    if broken:
        hint = ""
        if operator.forward(0 * x).any():
            hint = (
                " It does not give zero for an image of zeros: subtract what it gives, from it and "
                "from the measurements."
            )
        elif sides.forward in broken:
            hint = " A torch function that is not linear may be given as it is."
        return f"{' and '.join(broken)} of {sides.what} is not linear.{hint}"
    direct, swapped = (
        _products(operator.forward(x), y).sum(),
        _products(x, operator.adjoint(y)).sum(),
    )
    text = (
        f"{sides.adjoint} of {sides.what} is not the adjoint of {sides.forward}: both are linear, "
        f"but <A x, y> = {direct:.6g} and <x, A^T y> = {swapped:.6g} for random x and y."
    )
    if _is_multiple(operator, x):
        text += f" It is the adjoint times {swapped / direct:.6g}."
    return text


def _is_linear(function: Callable[[Tensor], Tensor], values: Tensor) -> bool:
    other = values.flip(-1) ** 2
    parts = 2.0 * function(values) - 3.0 * function(other)
    error = (function(2.0 * values - 3.0 * other) - parts).norm()
    return bool(error <= _LINEARITY * parts.norm())


def _is_multiple(operator: Operator, x: Tensor) -> bool:
    """Whether the adjoint is off by a factor only."""
    ratios = []
    for power in (1, 2, 3):
        images = x**power
        measured = operator.forward(images)
        ratios.append(_products(images, operator.adjoint(measured)) / _products(measured, measured))
    ratio = torch.cat(ratios)
    return bool((ratio - ratio[0]).abs().max() <= _LINEARITY * ratio[0].abs())


def _products(a: Tensor, b: Tensor) -> Tensor:
    return (a.to(torch.float64) * b.to(torch.float64)).flatten(1).sum(1)


def _sizes(a: Tensor) -> Tensor:
    return a.flatten(1).norm(dim=1)
