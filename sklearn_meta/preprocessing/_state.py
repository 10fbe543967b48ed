"""Checks of what `from_dict` is given: a prior's file may be damaged or made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class Damaged(ValueError):
    """What a fitted object was exported to cannot be read back."""

    def __init__(self, owner: str, why: str):
        super().__init__(f"damaged {owner} state: {why}.")


def check_keys(owner: str, given: Mapping, expected: Iterable[str], what: str) -> None:
    """Refuse a mapping whose keys are not exactly `expected`."""
    if not isinstance(given, Mapping):
        raise Damaged(owner, f"{what} must be a dict, got {type(given).__name__}")
    expected = set(expected)
    if set(given) != expected:
        missing, extra = sorted(expected - set(given)), sorted(map(str, set(given) - expected))
        raise Damaged(owner, f"{what} lacks {missing} and has the unexpected {extra}")


def check_array(
    owner: str,
    name: str,
    array: Any,
    shape: tuple[int, ...],
    dtype: type,
    *,
    positive: bool = False,
) -> np.ndarray:
    """Copy `array` read-only; refuse it unless it has this shape and dtype and is finite."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = (
            f"{array.dtype} of shape {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise Damaged(owner, f"{name} must be {np.dtype(dtype)} of shape {shape}, got {got}")
    if not np.isfinite(array).all():
        raise Damaged(owner, f"{name} holds NaN or infinity")
    if positive and not (array > 0).all():
        raise Damaged(owner, f"{name} must be positive")
    return frozen(array)


def frozen(array: np.ndarray) -> np.ndarray:
    """Return a read-only copy."""
    array = np.array(array)
    array.flags.writeable = False
    return array
