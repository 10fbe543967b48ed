"""Which rows belong to which class of which task, and which classes may meet in an episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._store import TaskStore

MAX_TRIES = 20


@dataclass(frozen=True)
class ClassIndex:
    """The classes of all tasks; a class of one task is not that of another, whatever its label.

    Attributes
    ----------
    rows : int64 ndarray of shape (n_rows,)
        All rows of the store, those of a class one after the other.
    first, count : int64 ndarrays of shape (n_classes,)
        Position in `rows` of the first row of each class of two rows and more, and their number.
    task : int64 ndarray of shape (n_classes,)
    label : int ndarray of shape (n_classes,)
        Codes, the same in all tasks; where the store knows none, those of each task.
    """

    rows: np.ndarray
    first: np.ndarray
    count: np.ndarray
    task: np.ndarray
    label: np.ndarray

    def pools(self) -> list[np.ndarray]:
        """Classes, by number, that may meet in an episode, two and more.

        Those of one task; or of all where no label is in two: then no two can be the same.
        """
        disjoint = len(np.unique(self.label)) == len(self.label)
        pool = np.zeros_like(self.task) if disjoint else self.task
        pools = [np.flatnonzero(pool == p) for p in np.unique(pool)]
        return [classes for classes in pools if len(classes) > 1]


def class_index(store: TaskStore) -> ClassIndex:
    """Sort the rows of a store by task and class.

    Parameters
    ----------
    store : TaskStore
        With class codes for targets.
    """
    task = np.repeat(np.arange(store.n_tasks), store.counts)
    ends = np.cumsum(store.counts)
    rows = np.arange(ends[-1]) + np.repeat(store.starts - ends + store.counts, store.counts)
    order = np.lexsort((store.y[rows], task))
    rows, task = rows[order], task[order]
    first = np.flatnonzero(np.r_[True, (np.diff(task) != 0) | (np.diff(store.y[rows]) != 0)])
    count = np.diff(np.r_[first, len(rows)])
    label = (store.y if store.labels is None else store.labels)[rows[first]]
    kept = count > 1
    if store.kept_labels is not None:
        kept &= np.isin(label, store.kept_labels)
    return ClassIndex(rows, first[kept], count[kept], task[first[kept]], label[kept])


def has_class_episodes(store: TaskStore) -> bool:
    """Whether a store holds images of unshared classes from which episodes can be drawn."""
    if store.image_shape is None or store.ways is None:
        return False
    return len(class_index(store).pools()) > 0


def split_labels(
    store: TaskStore, fraction: float, rng: np.random.Generator
) -> tuple[TaskStore, TaskStore] | None:
    """Split a store into views without common labels, the second of about a share of them.

    None where there are too few labels for episodes from both.
    """
    labels = np.unique(class_index(store).label)
    n = max(2, round(fraction * len(labels)))
    for _ in range(MAX_TRIES):
        held, kept = np.split(rng.permutation(labels), [n])
        views = store.only(kept), store.only(held)
        if all(has_class_episodes(view) for view in views):
            return views
    return None
