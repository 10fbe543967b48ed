"""Split a task into support and query rows, the same way wherever the task comes up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_meta.tasks import Task


@dataclass(frozen=True)
class Plan:
    """How the rows of a task are dealt out.

    Attributes
    ----------
    shots : tuple of int
        Numbers of support rows, in ascending order.
    n_query : int, optional
        Most query rows; all that are left where None.
    n_episodes : int
    stratify : bool
        Whether each label occurs in a support that is large enough.
    shrink : bool
        What a task with too few rows does: give the support what it has and keep one query row, or
        leave out this number of shots.
    seed : int
    """

    shots: tuple[int, ...]
    n_query: int | None
    n_episodes: int
    stratify: bool
    shrink: bool
    seed: int

    def supports(self, n_rows: int) -> list[int | None]:
        """Return the size of each support; None where the task has too few rows for it."""
        if self.shrink:
            return [min(k, n_rows - 1) or None for k in self.shots]
        # A score on a single row says little: a quarter of the rows is kept for the query.
        reserved = self.n_query if self.n_query is not None else -(-n_rows // 4)
        return [k if k <= n_rows - reserved else None for k in self.shots]

    def episodes(self, task: Task) -> Iterator[tuple[list[np.ndarray | None], np.ndarray]]:
        """Yield the rows of the supports, each contained in the next, and of one query for all."""
        sizes = self.supports(len(task.y))
        start = max((size for size in sizes if size is not None), default=0)
        if not start:
            return
        stop = None if self.n_query is None else start + self.n_query
        # The draw depends on the content of a task, not on its position: all candidates of a search
        # and all estimators that are compared see the same rows, in whatever fold the task is.
        content = _digest(task)
        for episode in range(self.n_episodes):
            rng = np.random.default_rng([self.seed, episode, content])
            order = _shuffled_rows(task.y, rng, self.stratify)
            yield [None if size is None else order[:size] for size in sizes], order[start:stop]


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return some rows of a DataFrame or an array."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _digest(task: Task) -> int:
    digest = hashlib.blake2b(digest_size=8)
    # X too: tasks sorted by class all have the same y, and must not all get the same draw.
    for values in (np.asarray(task.X), task.y):
        plain = values.dtype != object
        digest.update(
            np.ascontiguousarray(values).tobytes() if plain else repr(values.tolist()).encode()
        )
    return int.from_bytes(digest.digest(), "little")


def _shuffled_rows(y: np.ndarray, rng: np.random.Generator, stratify: bool) -> np.ndarray:
    """Shuffle the rows; with ``stratify``, one row of each label comes before all others."""
    order = rng.permutation(len(y))
    if not stratify or y.ndim != 1:
        return order
    first = np.sort(np.unique(y[order], return_index=True)[1])
    return np.concatenate([order[first], np.delete(order, first)])
