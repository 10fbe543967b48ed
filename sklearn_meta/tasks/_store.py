"""All encoded rows of all tasks in one place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np


class TaskStore:
    """The rows of many tasks, one after the other in shared arrays.

    A task is a run of rows; a subset of tasks is a view that shares the rows. The arrays are not to
    be written to.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_columns) or (n_rows, ...)
        Encoded rows, finite; held as float32.
    y : ndarray of shape (n_rows, n_targets) or (n_rows,)
        Floating targets are held as float32 of shape (n_rows, n_targets), class codes (integers or
        booleans) as int64 of the shape given.
    offsets : ndarray of shape (n_tasks + 1,)
        Task ``t`` has the rows ``offsets[t]`` to ``offsets[t + 1] - 1``; at least one.
    names : sequence of str
        One a task.
    ways : ndarray of shape (n_tasks,), optional
        Number of classes of each task, where class codes mean nothing beyond the task.
    labels : int ndarray of shape (n_rows,), optional
        Codes of the labels by value, the same in all tasks, of which nobody knows whether they mean
        the same: they tell that two classes may be one.
    image_shape : (H, W) or (C, H, W), optional
        Rows are images, flattened.

    Attributes
    ----------
    starts, counts : ndarray of int64 of shape (n_tasks,)
        First row and number of rows of each task.
    kept_labels : ndarray or None
        See `only`.

    Raises
    ------
    ValueError
        If the shapes do not fit together or a task has no row.
    """

    #: What "auto" stands for in meta-training, where it is not the common default.
    training_defaults: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        offsets: np.ndarray,
        names: Sequence[str],
        ways: np.ndarray | None = None,
        *,
        labels: np.ndarray | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.labels, self.image_shape = labels, image_shape
        self.kept_labels: np.ndarray | None = None
        offsets = np.asarray(offsets, dtype=np.int64)
        self.names = list(names)
        self.starts = offsets[:-1]
        self.counts = np.diff(offsets)
        self.ways = None if ways is None else np.asarray(ways, dtype=np.int64)
        self._set_arrays(x, y)
        if self.ways is not None and self.ways.shape != (self.n_tasks,):
            raise ValueError(
                f"ways has shape {self.ways.shape}, expected ({self.n_tasks},): one a task."
            )
        if len(self.names) != self.n_tasks:
            raise ValueError(
                f"names has {len(self.names)} names, expected {self.n_tasks}: one a task."
            )
        if not self.n_tasks or offsets[0] != 0 or offsets[-1] != len(self.x):
            raise ValueError(
                f"offsets must begin with 0 and end with {len(self.x)}, the number of rows."
            )
        if self.counts.min() < 1:
            raise ValueError(
                f"task {self.names[int(self.counts.argmin())]!r} has no rows, expected at least 1."
            )

    @classmethod
    def from_lists(
        cls, xs: Sequence[np.ndarray], ys: Sequence[np.ndarray], names: Sequence[str]
    ) -> TaskStore:
        """Join one array of rows and one of targets a task into a store.

        Parameters
        ----------
        xs : sequence of ndarray of shape (n_rows_of_task, n_columns)
        ys : sequence of ndarray of shape (n_rows_of_task,) or (n_rows_of_task, n_targets)
        names : sequence of str

        Returns
        -------
        TaskStore

        Raises
        ------
        ValueError
            If there are no tasks, or the rows and targets of one do not match.
        """
        if not len(xs) == len(ys) == len(names) or not len(xs):
            raise ValueError(
                f"xs, ys and names have {len(xs)}, {len(ys)} and {len(names)} items, "
                "expected one a task, and at least one task."
            )
        for name, x, y in zip(names, xs, ys, strict=True):
            if len(x) != len(y):
                raise ValueError(
                    f"task {name!r} has {len(x)} rows in xs and {len(y)} in ys, expected the same."
                )
        offsets = np.concatenate([[0], np.cumsum([len(x) for x in xs])])
        return cls(np.concatenate(xs), np.concatenate(ys), offsets, names)

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.counts)

    @property
    def task_of_row(self) -> np.ndarray:
        """Task of each row, int64 of shape (n_rows,); -1 for rows of tasks outside this view."""
        task = np.full(len(self.x), -1, dtype=np.int64)
        ends = np.cumsum(self.counts)
        # Rows of task t: starts[t] + 0, 1, ...; written for all tasks at once.
        within = np.arange(ends[-1]) - np.repeat(ends - self.counts, self.counts)
        task[np.repeat(self.starts, self.counts) + within] = np.repeat(
            np.arange(self.n_tasks), self.counts
        )
        return task

    def rows(self, task: int) -> slice:
        """Return the rows of one task, as a slice into ``x`` and ``y``."""
        start = int(self.starts[task])
        return slice(start, start + int(self.counts[task]))

    def subset(self, task_indices: np.ndarray) -> TaskStore:
        """Return a view of some tasks, in the order given; it shares ``x`` and ``y``.

        Parameters
        ----------
        task_indices : array-like of int of shape (n,), n >= 1
        """
        task_indices = np.asarray(task_indices, dtype=np.int64)
        if not len(task_indices):
            raise ValueError("task_indices is empty, expected at least one task.")
        view = copy.copy(self)
        view.starts = self.starts[task_indices]
        view.counts = self.counts[task_indices]
        view.names = [self.names[t] for t in task_indices.tolist()]
        view.ways = None if self.ways is None else self.ways[task_indices]
        return view

    def only(self, labels: np.ndarray) -> TaskStore:
        """Return a view of which episodes of classes have these labels and no others."""
        view = copy.copy(self)
        view.kept_labels = labels
        return view

    def replace(self, *, x: np.ndarray | None = None, y: np.ndarray | None = None) -> TaskStore:
        """Return a store of the same tasks with other rows or targets.

        Parameters
        ----------
        x : ndarray of shape (n_rows, ...), optional
        y : ndarray of shape (n_rows, n_targets) or (n_rows,), optional
            As many rows as before; what is None is shared.
        """
        view = copy.copy(self)
        view._set_arrays(self.x if x is None else x, self.y if y is None else y)
        if len(view.x) != len(self.x):
            raise ValueError(f"x and y have {len(view.x)} rows, expected {len(self.x)} as before.")
        return view

    def contents(self) -> list[np.ndarray | None]:
        """Return arrays that tell this store from any other."""
        return [self.x, self.y, self.starts, self.counts, self.labels]

    def __repr__(self) -> str:
        return (
            f"TaskStore({self.n_tasks} tasks, {self.counts.sum()} rows, x of shape {self.x.shape})"
        )

    def _set_arrays(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x = np.ascontiguousarray(x, dtype=np.float32)
        y = np.asarray(y)
        if y.dtype.kind == "f":
            self.y = np.ascontiguousarray(y[:, None] if y.ndim == 1 else y, dtype=np.float32)
        else:
            self.y = np.ascontiguousarray(y, dtype=np.int64)
        if self.x.ndim < 2:
            raise ValueError(f"x has shape {self.x.shape}, expected (rows, columns).")
        if len(self.y) != len(self.x):
            raise ValueError(
                f"x has {len(self.x)} rows and y has {len(self.y)}, expected the same number."
            )
