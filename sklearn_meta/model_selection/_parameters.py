"""Check parameters that several names of this room share."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state


def check_count(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return a whole number of at least ``minimum``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is not a whole number; pass an int >= {minimum}.")
    if value < minimum:
        raise ValueError(f"{name}={value!r} is too small; pass an int >= {minimum}.")
    return int(value)


def check_shots(shots: Any) -> tuple[int, ...]:
    """Return numbers of shots in ascending order, none twice; an int is one of them."""
    values = shots if isinstance(shots, Iterable) and not isinstance(shots, str) else [shots]
    checked = sorted({check_count(value, "shots") for value in values})
    if not checked:
        raise ValueError("shots is empty; pass at least one number of support rows.")
    return tuple(checked)


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return one number that settles every draw; fresh without a random state."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
