"""How the columns of a task lie among those of the meta-training tasks."""

from __future__ import annotations

import numpy as np

from sklearn_meta.preprocessing._state import frozen

SPREAD_FLOOR = 0.5
"""Smallest typical distance of a task's median, in standard deviations of the pooled column.

Without it, a column that is alike in all tasks (the same visits for every patient) would make any
support that covers a part of its range look foreign."""
ROUNDING = 1e-5
"""What float32 may add to a distance."""


def task_statistics(
    Z: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Statistics of the encoded rows by task.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, d)
    offsets : ndarray of shape (n_tasks + 1,)
        Task t is `Z[offsets[t]:offsets[t + 1]]` and has at least one row.

    Returns
    -------
    center, between, within : ndarray of shape (d,), float64
        Mean over tasks of the tasks' means; their standard deviation, less what comes from the
        tasks being finite; standard deviation within tasks.
    """
    Z, starts, counts = Z.astype(np.float64), offsets[:-1], np.diff(offsets)
    means = np.add.reduceat(Z, starts) / counts[:, None]
    residuals = Z - np.repeat(means, counts, axis=0)
    within = (residuals**2).sum(axis=0) / max(len(Z) - len(counts), 1)
    between = means.var(axis=0) - within * (1 / counts).mean()
    between = np.sqrt(np.maximum(between, 0.0))
    return frozen(means.mean(axis=0)), frozen(between), frozen(np.sqrt(within))


def column_novelty(
    Z: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    center: np.ndarray,
    between: np.ndarray,
    within: np.ndarray,
) -> np.ndarray:
    """Distance of the median row from the typical task, over what is typical for so many rows.

    Parameters
    ----------
    Z : ndarray of shape (..., n_rows, d)
        Encoded rows of one task, or of many tasks of one size.
    low, high : ndarray of shape (d,)
        Where low < high the column has these two values, and anything between is not novel.
    center, between, within : ndarray of shape (d,)
        From `task_statistics`.

    Returns
    -------
    ndarray of shape (..., d), float64
    """
    n_rows = Z.shape[-2]
    if n_rows == 0:
        return np.zeros((*Z.shape[:-2], len(center)))
    median = np.median(np.asarray(Z, dtype=np.float64), axis=-2)
    two_valued = low < high
    low, high = np.where(two_valued, low, center), np.where(two_valued, high, center)
    far = np.maximum(low - median, median - high)
    far = np.where(far > ROUNDING, far, 0.0)
    spread = np.sqrt(between**2 + within**2 / n_rows)
    return far / np.maximum(spread, SPREAD_FLOOR)
