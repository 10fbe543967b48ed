"""What all families share: checked arguments, and random numbers of a task's own."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from sklearn_meta._random import generator_of


def generators(
    n_tasks: int, random_state: Any
) -> tuple[np.random.Generator, list[np.random.Generator]]:
    """Random numbers of the family, and those of each of its tasks.

    A task has its own, so that the first tasks of a longer list are those of a shorter one.
    """
    family, *tasks = generator_of(random_state).spawn(1 + check_count("n_tasks", n_tasks))
    return family, tasks


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return an int of at least ``least``.

    Raises
    ------
    ValueError
        If the value is none.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}, expected an int of at least {least}.")
    return int(value)


def check_counts(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Return the smallest and the largest of a number that may vary between tasks.

    Raises
    ------
    ValueError
        If the value is neither an int of at least ``least`` nor a pair of them in order.
    """
    low, high = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, value)
    valid = [isinstance(v, Integral) and not isinstance(v, bool) for v in (low, high)]
    if not all(valid) or not least <= low <= high:
        raise ValueError(
            f"{name} is {value!r}, expected an int of at least {least} or a pair (low, high) of "
            "them with low <= high."
        )
    return int(low), int(high)


def check_range(name: str, value: Any) -> tuple[float, float]:
    """Return the ends of an interval.

    Raises
    ------
    ValueError
        If the value is no pair of finite numbers in order.
    """
    pair = value if isinstance(value, (tuple, list)) and len(value) == 2 else (None, None)
    numbers = all(isinstance(v, Real) and np.isfinite(v) for v in pair)
    if not numbers or not pair[0] <= pair[1]:
        raise ValueError(
            f"{name} is {value!r}, expected a pair (low, high) of numbers with low <= high."
        )
    return float(pair[0]), float(pair[1])


def check_scale(name: str, value: Any) -> float:
    """Return a finite number that is not negative.

    Raises
    ------
    ValueError
        If the value is none.
    """
    if not isinstance(value, Real) or not 0 <= value < np.inf:
        raise ValueError(f"{name} is {value!r}, expected a number >= 0.")
    return float(value)


def draw_count(counts: tuple[int, int], rng: np.random.Generator) -> int:
    """Draw an int between two, both included."""
    return int(rng.integers(counts[0], counts[1], endpoint=True))
