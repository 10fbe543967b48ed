"""Draw rows of many tasks at once, without replacement."""

from __future__ import annotations

import numpy as np


def distinct_rows(counts: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``width`` rows of each task in random order, none twice.

    Returns indices of shape (len(counts), width); from column ``counts[t]`` on they mean nothing.
    """
    drawn = np.zeros((len(counts), width), dtype=np.int64)
    short = counts <= 4 * width
    if short.any():
        rows = _shuffled_rows(counts[short], rng)[:, :width]
        drawn[short, : rows.shape[1]] = rows
    if not short.all():
        drawn[~short] = _first_distinct(counts[~short], width, rng)
    return drawn


def _shuffled_rows(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle all rows of each task; padding comes after them."""
    longest = int(counts.max())
    keys = rng.random((len(counts), longest), dtype=np.float32)
    keys[np.arange(longest) >= counts[:, None]] = 2.0
    return np.argsort(keys, axis=1)


def _first_distinct(counts: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows of long tasks with replacement and keep the first ``width`` that are new.

    That is a draw without replacement, at a cost that does not grow with the length of the task.
    """
    draws = rng.integers(counts[:, None], size=(len(counts), 2 * width))
    order = np.argsort(draws, axis=1, kind="stable")
    ordered = np.take_along_axis(draws, order, axis=1)
    repeated = np.zeros(draws.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    first = np.argsort(repeated, axis=1, kind="stable")[:, :width]
    drawn = np.take_along_axis(draws, first, axis=1)
    too_few = repeated.sum(axis=1) > width
    if too_few.any():  # rare: more than half of the draws were repeats
        drawn[too_few] = _first_distinct(counts[too_few], width, rng)
    return drawn
