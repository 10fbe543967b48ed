"""Ranges of the encoder's constructor parameters."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np


def check_parameters(max_levels: Any, min_frequency: Any, clip: Any) -> None:
    """Raise ValueError for the parameter that is out of range."""
    if not _is(max_levels, Integral) or max_levels < 2:
        raise ValueError(f"max_levels must be an int of at least 2, got {max_levels!r}.")
    count = _is(min_frequency, Integral) and min_frequency >= 1
    share = _is(min_frequency, Real) and 0 < min_frequency < 1
    if min_frequency is not None and not count and not share:
        raise ValueError(
            "min_frequency must be an int of at least 1, a float between 0 and 1, or None, "
            f"got {min_frequency!r}."
        )
    if not _is(clip, Real) or not 0 < clip < np.inf:
        raise ValueError(f"clip must be a positive finite number, got {clip!r}.")


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
