"""Draw episodes of so many ways and shots from the classes of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ._class_index import class_index
from ._episodes import Rows, TaskBatch
from ._images import QUARTER_TURNS, distorted, turned
from ._sampling import distinct_rows
from ._store import TaskStore


class ClassEpisodeSampler:
    """Endless random N-way K-shot episodes, for images whose classes mean nothing beyond a task.

    An episode has the same number of support rows of each of its classes. Its classes are those of
    one task, or, where no label is in two tasks, of all. In training, the images of each task in
    an episode are turned by the same quarter turns, which makes new classes of them, and each
    image is distorted a little.

    Parameters
    ----------
    store : TaskStore
        With ``image_shape`` and ``ways``. Classes of one row only are left out.
    shots : (int, int)
        Smallest and largest number of support rows of a class.
    n_query : int
        Most query rows of a class.
    n_ways : int
        Most classes of an episode.
    batch_size : int
        Episodes in a batch.
    rng : numpy.random.Generator
        Its state is all that the draws depend on.
    augment : bool, default=True
        Whether to turn and distort the images.

    Raises
    ------
    ValueError
        If no task has two classes of at least two rows.

    References
    ----------
    A. Santoro et al. (2016). Meta-learning with memory-augmented neural networks (quarter turns as
    new classes).
    """

    def __init__(
        self,
        store: TaskStore,
        shots: tuple[int, int],
        n_query: int,
        n_ways: int,
        batch_size: int,
        *,
        rng: np.random.Generator,
        augment: bool = True,
    ) -> None:
        self.store, self.rng, self.augment = store, rng, augment
        self.shots, self.n_query = shots, n_query
        self.n_ways, self.batch_size = n_ways, batch_size
        index = class_index(store)
        self._rows, self._first, self._count = index.rows, index.first, index.count
        self._task, self._pools = index.task, index.pools()
        if not self._pools:
            raise ValueError("no task has two classes of at least two rows.")

    def draw(self) -> TaskBatch:
        """Draw the next batch of episodes; ``TaskBatch.task`` is that of the first class."""
        rng = self.rng
        pools = [self._pools[p] for p in rng.integers(len(self._pools), size=self.batch_size)]
        ways = np.minimum([len(pool) for pool in pools], self.n_ways)
        classes = np.zeros((self.batch_size, ways.max()), dtype=np.int64)
        for row, pool, n in zip(classes, pools, ways, strict=True):
            row[:n] = rng.choice(pool, n, replace=False)
        real = np.arange(ways.max()) < ways[:, None]
        counts = self._count[classes]
        wanted = rng.integers(self.shots[0], self.shots[1], size=len(ways), endpoint=True)
        n_support = np.minimum(wanted[:, None], counts - 1)
        n_query = np.minimum(self.n_query, counts - n_support)
        width, query_width = int(n_support.max()), int(n_query.max())
        drawn = distinct_rows(counts.ravel(), int((n_support + n_query).max()), rng)
        drawn = drawn.reshape(*classes.shape, -1)

        # Of each class first the support, then the query, each padded to the same width.
        column = np.arange(width + query_width)
        in_query = column >= width
        n_support, n_query = n_support[..., None], n_query[..., None]
        position = np.where(in_query, column - width + n_support, column)
        mask = np.where(in_query, column - width < n_query, column < n_support)
        mask &= real[..., None]
        local = np.take_along_axis(drawn, np.where(mask, position, 0), axis=2)
        rows = self._rows[self._first[classes][..., None] + np.where(mask, local, 0)]
        x = self._images(rows, self._task[classes])
        x[~torch.from_numpy(mask)] = 0.0
        y = torch.arange(int(ways.max()))[:, None].expand(rows.shape)
        task_of = torch.from_numpy(self._task[classes[:, 0]])
        return TaskBatch(
            *(
                Rows(
                    x[:, :, part].flatten(1, 2),
                    y[:, :, part].flatten(1, 2),
                    torch.from_numpy(mask[:, :, part]).flatten(1, 2),
                    torch.from_numpy(ways),
                )
                for part in (slice(width), slice(width, None))
            ),
            task_of,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that the draws to come depend on, beside the arguments; for a checkpoint."""
        return {"rng": self.rng.bit_generator.state, "queue": np.empty(0, dtype=np.int64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on drawing from where `state_dict` was called."""
        self.rng.bit_generator.state = state["rng"]

    def _images(self, rows: np.ndarray, task: np.ndarray) -> torch.Tensor:
        """Rows (T, C, n) of the store, (T, C, n, pixels), turned and distorted in training."""
        x = torch.from_numpy(self.store.x.take(rows, axis=0))
        if not self.augment:
            return x
        turns = QUARTER_TURNS[self._shape[-2] == self._shape[-1]]
        of_task = self.rng.choice(turns, size=(len(task), self.store.n_tasks))
        turn = np.take_along_axis(of_task, task, axis=1)
        turn = np.broadcast_to(turn[..., None], rows.shape)
        x = turned(x.flatten(0, -2), turn.ravel(), self._shape)
        return distorted(x, self._shape, self.rng).reshape(*rows.shape, -1)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.store.image_shape
