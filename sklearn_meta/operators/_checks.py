"""Checks of constructor arguments that operators share."""

from __future__ import annotations

import operator as op
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor


def check_image_shape(image_shape: Any) -> tuple[int, ...]:
    """Return (H, W) or (H, W, C) as a tuple of int.

    Raises
    ------
    ValueError
        If it is something else.
    """
    shape = _positive(image_shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"image_shape must be (H, W) or (H, W, C); got {image_shape!r}.")
    return shape


def check_measurement_shape(measurement_shape: Any) -> tuple[int, ...]:
    """Return the shape of a measurement as a tuple of int.

    Raises
    ------
    ValueError
        If it is something else.
    """
    shape = _positive(measurement_shape)
    if not shape:
        raise ValueError(
            "measurement_shape must be a tuple of positive int, such as (m,); got "
            f"{measurement_shape!r}."
        )
    return shape


def _positive(values: Any) -> tuple[int, ...]:
    """Positive whole numbers; none at all if anything else is among them."""
    try:
        numbers = tuple(op.index(n) for n in values)
    except TypeError:
        return ()
    return numbers if min(numbers, default=0) > 0 else ()


def check_count(value: Any, name: str) -> int:
    """Return a positive whole number as an int.

    Raises
    ------
    ValueError
        If it is something else.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (is_number and value > 0 and float(value).is_integer()):
        raise ValueError(f"{name} must be a positive int; got {value!r}.")
    return int(value)


def check_array(values: Any, name: str) -> Tensor:
    """Return a copy of real, finite numbers as a float64 tensor.

    Raises
    ------
    ValueError
        If they are complex, not numeric, not finite, or none.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    try:
        values = np.asarray(values)
        is_complex = values.dtype.kind == "c"
        values = values if is_complex else np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers, in rows of one length: {error}") from None
    if is_complex:
        raise ValueError(f"{name} must be real: stack real and imaginary parts as real numbers.")
    if values.size == 0:
        raise ValueError(f"{name} is empty.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite.")
    return torch.from_numpy(values)
