"""Checks of constructor arguments that operators share."""

from __future__ import annotations

import operator as op
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
    try:
        shape = tuple(op.index(n) for n in image_shape)
    except TypeError:
        shape = ()
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"image_shape must be (H, W) or (H, W, C); got {image_shape!r}.")
    return shape


def check_array(values: Any, name: str) -> Tensor:
    """Return a copy of real, finite numbers as a float64 tensor.

    Raises
    ------
    ValueError
        If they are complex, not numeric, not finite, or none.
    """
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if values.dtype.kind == "c":
        raise ValueError(f"{name} must be real: stack real and imaginary parts as real numbers.")
    try:
        values = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers; got dtype {values.dtype}.") from None
    if values.size == 0:
        raise ValueError(f"{name} is empty.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite.")
    return torch.from_numpy(values)
