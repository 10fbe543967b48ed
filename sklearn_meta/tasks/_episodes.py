"""Draw episodes: padded batches of tasks split into support and query."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ._sampling import distinct_rows
from ._store import TaskStore


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Rows of many tasks, padded to the same number; the task axis comes first.

    Attributes
    ----------
    x : tensor of shape (n_tasks, n, ...)
        Zero where padded.
    y : tensor of shape (n_tasks, n) or (n_tasks, n, n_targets)
        Some finite number or valid class code where padded.
    mask : bool tensor of shape (n_tasks, n)
        True for rows, False for padding.
    ways : int64 tensor of shape (n_tasks,), optional
        Classification: the number of classes of each task, where codes mean nothing beyond the
        task. None where class c is the same in every task.
    """

    x: torch.Tensor
    y: torch.Tensor
    mask: torch.Tensor
    ways: torch.Tensor | None = None

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return self.x.shape[0]

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Rows:
        """Return the rows on a device, ``x`` and floating ``y`` in a floating ``dtype``."""
        y_dtype = dtype if self.y.is_floating_point() else None
        return Rows(
            self.x.to(device=device, dtype=dtype),
            self.y.to(device=device, dtype=y_dtype),
            self.mask.to(device=device),
            None if self.ways is None else self.ways.to(device=device),
        )

    def extend(self, more: Rows) -> Rows:
        """Return these rows of each task and then those."""
        both = ((self.x, more.x), (self.y, more.y), (self.mask, more.mask))
        return Rows(*(torch.cat(pair, 1) for pair in both), self.ways)

    def take(self, tasks: slice | torch.Tensor) -> Rows:
        """Return the rows of some tasks."""
        ways = None if self.ways is None else self.ways[tasks]
        return Rows(self.x[tasks], self.y[tasks], self.mask[tasks], ways)


@dataclass(frozen=True, eq=False, slots=True)
class TaskBatch:
    """One episode of each of several tasks.

    Attributes
    ----------
    support, query : Rows
        Rows to adapt on and rows to be judged on; no row is in both. A support may be 0 rows wide.
    task : int64 tensor of shape (n_tasks,)
        Position of each task in the store.
    """

    support: Rows
    query: Rows
    task: torch.Tensor

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return self.task.shape[0]

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> TaskBatch:
        """Return the batch on a device, floating data in a floating ``dtype``."""
        return TaskBatch(
            self.support.to(device, dtype),
            self.query.to(device, dtype),
            self.task.to(device=device),
        )

    def chunk(self, n: int) -> Iterator[TaskBatch]:
        """Yield the batch in pieces of at most ``n`` tasks."""
        for start in range(0, self.n_tasks, n):
            part = slice(start, start + n)
            yield TaskBatch(self.support.take(part), self.query.take(part), self.task[part])


class EpisodeSampler:
    """Endless random episodes from the tasks of a store.

    Every task is visited once before any is visited again. In each visit the number of support
    rows is uniform over ``shots``, cut off where less than one row would be left for the query, and
    both sets of rows are drawn afresh.

    Parameters
    ----------
    store : TaskStore
    shots : int or (int, int)
        Number of support rows, or its smallest and largest.
    n_query : int, default=20
        Most query rows of an episode.
    batch_size : int, default=16
        Tasks in a batch; a task occurs twice in one only if there are fewer tasks than that.
    rng : numpy.random.Generator
        Its state is all that the draws depend on.

    Raises
    ------
    ValueError
        If ``shots``, ``n_query`` or ``batch_size`` is out of range.
    """

    def __init__(
        self,
        store: TaskStore,
        shots: int | tuple[int, int],
        n_query: int = 20,
        batch_size: int = 16,
        *,
        rng: np.random.Generator,
    ) -> None:
        low, high = (shots, shots) if isinstance(shots, numbers.Integral) else shots
        if not 0 <= low <= high:
            raise ValueError(
                f"shots is {shots!r}, expected a number >= 0 or (low, high), 0 <= low <= high."
            )
        for name, value in (("n_query", n_query), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} is {value!r}, expected at least 1.")
        self.store = store
        self.shots = (int(low), int(high))
        self.n_query = n_query
        self.batch_size = batch_size
        self.rng = rng
        self._queue = np.empty(0, dtype=np.int64)

    def draw(self) -> TaskBatch:
        """Draw the next batch of episodes."""
        tasks = self._next_tasks()
        high = np.minimum(self.shots[1], self.store.counts[tasks] - 1)
        shots = self.rng.integers(np.minimum(self.shots[0], high), high, endpoint=True)
        return _make_batch(self.store, tasks, shots, self.n_query, self.rng)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the draws to come depend on, beside the arguments; for a checkpoint."""
        return {"rng": self.rng.bit_generator.state, "queue": self._queue.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on drawing from where `state_dict` was called."""
        self.rng.bit_generator.state = state["rng"]
        self._queue = np.array(state["queue"], dtype=np.int64)

    def _next_tasks(self) -> np.ndarray:
        tasks = self._queue[: self.batch_size]
        self._queue = self._queue[self.batch_size :]
        while len(tasks) < self.batch_size:
            epoch = self.rng.permutation(self.store.n_tasks)
            # Those already in this batch come last in the new epoch: no task twice in one batch.
            repeats = np.isin(epoch, tasks)
            epoch = np.concatenate([epoch[~repeats], epoch[repeats]])
            n_more = self.batch_size - len(tasks)
            tasks, self._queue = np.concatenate([tasks, epoch[:n_more]]), epoch[n_more:]
        return tasks


def fixed_episodes(
    store: TaskStore,
    shots_list: Sequence[int],
    n_query: int,
    rng: np.random.Generator,
    max_tasks: int | None = None,
) -> list[TaskBatch]:
    """Draw episodes to keep, for validation: every task once for each number of shots.

    Parameters
    ----------
    store : TaskStore
    shots_list : sequence of int
        Numbers of support rows; a task with too few rows keeps one for the query.
    n_query : int
        Most query rows of an episode.
    rng : numpy.random.Generator
    max_tasks : int, optional
        Of more tasks than this a random choice is taken, the same for each number of shots.

    Returns
    -------
    list of TaskBatch
        One batch for each number of shots, with the tasks in the order of the store.
    """
    tasks = np.arange(store.n_tasks)
    if max_tasks is not None and max_tasks < store.n_tasks:
        tasks = np.sort(rng.choice(store.n_tasks, max_tasks, replace=False))
    most = store.counts[tasks] - 1
    return [_make_batch(store, tasks, np.minimum(s, most), n_query, rng) for s in shots_list]


def pad_rows(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> Rows:
    """Pad arrays of different lengths to one batch, with zeros.

    Parameters
    ----------
    xs : sequence of ndarray of shape (n_rows_of_task, ...)
    ys : sequence of ndarray of shape (n_rows_of_task,) or (n_rows_of_task, n_targets)

    Returns
    -------
    Rows
        As wide as the longest task, in the order given and in the dtypes of ``xs`` and ``ys``.
    """
    counts = np.array([len(x) for x in xs])
    mask = np.arange(counts.max()) < counts[:, None]

    def pad(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        joined = np.concatenate(arrays)
        padded = np.zeros(mask.shape + joined.shape[1:], dtype=joined.dtype)
        padded[mask] = joined
        return torch.from_numpy(padded)

    return Rows(pad(xs), pad(ys), torch.from_numpy(mask))


def _make_batch(
    store: TaskStore,
    tasks: np.ndarray,
    n_support: np.ndarray,
    n_query: int,
    rng: np.random.Generator,
) -> TaskBatch:
    """Split each of ``tasks`` into ``n_support`` random rows and at most ``n_query`` others."""
    counts = store.counts[tasks]
    n_query = np.minimum(n_query, counts - n_support)
    drawn = distinct_rows(counts, int((n_support + n_query).max()), rng)
    support_width, query_width = int(n_support.max()), int(n_query.max())

    # Columns of the padded batch: all supports, then all queries.
    # The first rows drawn of a task are its support, the next ones its query.
    column = np.arange(support_width + query_width)
    in_query = column >= support_width
    position = np.where(in_query, column - support_width + n_support[:, None], column)
    mask = np.where(
        in_query, column - support_width < n_query[:, None], column < n_support[:, None]
    )
    local = np.take_along_axis(drawn, np.where(mask, position, 0), axis=1)
    rows = store.starts[tasks, None] + np.where(mask, local, 0)

    # Gathered by numpy: torch would wake a second thread for a few kilobytes.
    x = store.x.take(rows, axis=0)
    x[~mask] = 0.0
    batch = [torch.from_numpy(array) for array in (x, store.y.take(rows, axis=0), mask)]
    ways = None if store.ways is None else torch.from_numpy(store.ways[tasks])
    support = Rows(*(tensor[:, :support_width] for tensor in batch), ways)
    query = Rows(*(tensor[:, support_width:] for tensor in batch), ways)
    return TaskBatch(support, query, torch.from_numpy(tasks))
