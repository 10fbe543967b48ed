"""Scaling of number columns that survives heavy tails, half-empty columns and rare dummies."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

TAIL = 0.01
"""Share of the rows at each end that cannot stretch the scale."""
DUMMY_FLOOR = 0.2
"""Smallest scale of a two-valued column, as a share of the distance of its two values."""


class Scaling(NamedTuple):
    """How one column is scaled; `low` and `high` are its extreme raw values."""

    center: float
    scale: float
    two_valued: bool
    low: float
    high: float


def learn_scaling(values: np.ndarray) -> Scaling | None:
    """Centre and scale of one column.

    A column of two values (a dummy) is centred and divided by its standard deviation, which is
    floored so that a rare dummy does not explode. Any other column is scaled as
    :class:`~sklearn.preprocessing.StandardScaler` scales its winsorised values; where winsorising
    leaves one value (nearly all rows are equal), as it scales the values themselves.

    Parameters
    ----------
    values : ndarray of shape (n_rows,), float64
        Rows of all tasks; NaN is missing and left out.

    Returns
    -------
    Scaling or None
        None for a column that is constant or all missing.
    """
    seen = values[~np.isnan(values)]
    if seen.size == 0:
        return None
    low, high = float(seen.min()), float(seen.max())
    if is_constant(low, high):
        return None
    if ((seen == low) | (seen == high)).all():
        scale = max(float(seen.std()), DUMMY_FLOOR * (high - low))
        return Scaling(float(seen.mean()), scale, True, low, high)
    trimmed = winsorise(seen, TAIL)
    if trimmed.min() == trimmed.max():
        trimmed = seen
    # A StandardScaler would take most of the time in which a small table is learned from.
    return Scaling(float(trimmed.mean()), float(trimmed.std()), False, low, high)


def is_constant(low: float, high: float) -> bool:
    """Whether values from `low` to `high` differ by rounding only, or too little for float32."""
    rounding = 10 * np.finfo(np.float64).eps * max(abs(low), abs(high))
    return high - low <= max(rounding, float(np.finfo(np.float32).tiny))


def winsorise(values: np.ndarray, tail: float) -> np.ndarray:
    """Values pulled in to their `tail` and `1 - tail` quantiles, shape (n,) with n > 2.

    The quantiles are rounded towards the centre, not interpolated: with 50 rows an interpolated
    99 % quantile is half the largest value, so a single outlier would still set the scale.
    """
    n_cut = math.ceil(tail * (len(values) - 1))
    kept = n_cut, len(values) - 1 - n_cut
    low, high = np.partition(values, kept)[list(kept)]
    return np.clip(values, low, high)


def soft_clip(z: np.ndarray, limit: float) -> np.ndarray:
    """Identity up to `limit`, logarithmic beyond: order is kept, far values are drawn in."""
    far = np.abs(z) - limit
    if not (far > 0).any():
        return z
    return np.where(far > 0, np.sign(z) * (limit + np.log1p(np.maximum(far, 0.0))), z)
