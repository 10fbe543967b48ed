"""Which rows belong to which class of which task."""

from __future__ import annotations

import numpy as np

from ._store import TaskStore


def class_index(store: TaskStore) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sort the rows of a store by task and class, and drop classes of a single row.

    Parameters
    ----------
    store : TaskStore
        With class codes for targets.

    Returns
    -------
    rows : int64 ndarray of shape (n_rows,)
        All rows, those of a class one after the other.
    first, count, task : int64 ndarrays of shape (n_classes,)
        Position in `rows` of the first row of each class, number of its rows, and its task.
    """
    task = np.repeat(np.arange(store.n_tasks), store.counts)
    ends = np.cumsum(store.counts)
    rows = np.arange(ends[-1]) + np.repeat(store.starts - ends + store.counts, store.counts)
    order = np.lexsort((store.y[rows], task))
    rows, task = rows[order], task[order]
    first = np.flatnonzero(np.r_[True, (np.diff(task) != 0) | (np.diff(store.y[rows]) != 0)])
    count = np.diff(np.r_[first, len(rows)])
    kept = count > 1
    return rows, first[kept], count[kept], task[first[kept]]


def class_pools(store: TaskStore, task: np.ndarray) -> list[np.ndarray]:
    """Classes, by number, that may meet in an episode: two and more, of tasks `task` (n_classes,).

    Those of one task, or of all where no class is in two.
    """
    pool = np.zeros_like(task) if store.disjoint else task
    pools = [np.flatnonzero(pool == p) for p in np.unique(pool)]
    return [classes for classes in pools if len(classes) > 1]


def has_class_episodes(store: TaskStore) -> bool:
    """Whether a store holds images of unshared classes from which episodes can be drawn."""
    if store.image_shape is None or store.ways is None:
        return False
    return len(class_pools(store, class_index(store)[-1])) > 0
