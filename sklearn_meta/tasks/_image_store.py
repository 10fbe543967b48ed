"""Tasks of image reconstruction in one place, and the batches drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.operators import Operator

MakeOperator = Callable[[np.random.Generator, tuple[int, ...]], Operator]

_MOST_PIXELS = 2**14  # of one operator in a batch
_RANDOM_SHARE = 1 / 3  # of operators that are drawn and not a task's own
_NOISE_RANGE = (0.5, 2.0)  # noise of those, in multiples of the task's


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one operator, and what it measured of them.

    Attributes
    ----------
    operator : Operator
    images : Tensor of shape ``(n, *image_shape)``
    measurements : Tensor of shape ``(n, *measurement_shape)``
        NaN where one is missing.
    sigma : float
        Standard deviation of the noise of the measurements.
    """

    operator: Operator
    images: Tensor
    measurements: Tensor
    sigma: float

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> ImageSet:
        """Return the images and measurements on a device, in a floating ``dtype``."""
        return replace(
            self,
            images=self.images.to(device=device, dtype=dtype),
            measurements=self.measurements.to(device=device, dtype=dtype),
        )


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of several tasks, each with its own operator and sizes.

    Attributes
    ----------
    sets : tuple of ImageSet
    task : int64 tensor of shape (n_sets,)
        Position of each task in the store.
    """

    sets: tuple[ImageSet, ...]
    task: Tensor

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> ImageBatch:
        """Return the batch on a device, in a floating ``dtype``."""
        return ImageBatch(
            tuple(one.to(device, dtype) for one in self.sets), self.task.to(device=device)
        )


class ImageStore:
    """Tasks of image reconstruction: images, and measurements of them by each task's operator.

    Parameters
    ----------
    images : sequence of ndarray of shape ``(n, *image_shape)``
        Held as float32.
    measurements : sequence of (ndarray of shape ``(n, *measurement_shape)`` or None)
        None: simulated.
    operators : sequence of Operator
        Linear.
    sigmas : sequence of float
        Noise of the measurements of each task.
    names : sequence of str
    make_operator : callable (rng, image_shape) -> Operator, default=None
        Draws other operators to train on too.

    Attributes
    ----------
    counts : int64 ndarray of shape (n_tasks,)
        Images of each task.
    image_shape : (H, W)
        The largest sides.

    Raises
    ------
    ValueError
        If there are no tasks.
    """

    ways = None  # tasks are not of classes

    #: From a start that knows images already: few steps, each of them long.
    training_defaults: Mapping[str, Any] = MappingProxyType(
        {
            "shots": (0, 0),
            "batch_size": 2,
            "n_query": 4,
            "learning_rate_init": 1e-4,
            "alpha": 0.0,
            "max_time": 90.0,
            "decay_iterations": 200,
        }
    )

    def __init__(
        self,
        images: Sequence[np.ndarray],
        measurements: Sequence[np.ndarray | None],
        operators: Sequence[Operator],
        sigmas: Sequence[float],
        names: Sequence[str],
        make_operator: MakeOperator | None = None,
    ) -> None:
        if not images:
            raise ValueError("there are no tasks, expected at least one.")
        self.images = [np.asarray(x, dtype=np.float32) for x in images]
        self.measurements = [
            None if y is None else np.asarray(y, dtype=np.float32) for y in measurements
        ]
        self.operators, self.names = list(operators), list(names)
        self.sigmas = [float(sigma) for sigma in sigmas]
        self.make_operator = make_operator

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.images)

    @property
    def counts(self) -> np.ndarray:
        """Number of images of each task."""
        return np.array([len(x) for x in self.images])

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width that no image exceeds."""
        return tuple(max(x.shape[axis] for x in self.images) for axis in (1, 2))

    def subset(self, task_indices: np.ndarray) -> ImageStore:
        """Return a view of some tasks, in the order given."""
        lists = (self.images, self.measurements, self.operators, self.sigmas, self.names)
        chosen = ([values[t] for t in task_indices] for values in lists)
        return ImageStore(*chosen, self.make_operator)

    def contents(self) -> list[np.ndarray]:
        """Return arrays that tell this store from any other, its operators by what they do."""
        arrays = [np.array(self.sigmas), *self.images]
        for x, y, operator in zip(self.images, self.measurements, self.operators, strict=True):
            n = operator.n_samples or 1
            arrays.append(operator.forward(torch.from_numpy(x[:n])).numpy())
            arrays += [] if y is None else [y]
        return arrays

    def most_images(self, task: int, n: int) -> int:
        """How many images of a task go into a batch where `n` are wanted."""
        pixels = self.images[task][0].size
        return int(max(1, min(n, self.counts[task], _MOST_PIXELS // pixels)))

    def __repr__(self) -> str:
        return f"ImageStore({self.n_tasks} tasks, {self.counts.sum()} images)"


class ImageSampler:
    """Endless random images of random tasks, measured afresh.

    Every task is visited once before any is visited again. The images are turned and reflected
    at random, and measured with fresh noise, in part by operators that are drawn for it; those
    of an operator that differs from image to image are taken as they were measured.

    Parameters
    ----------
    store : ImageStore
    n_images : int
        Most images of one task.
    batch_size : int
        Tasks in a batch.
    rng : numpy.random.Generator
        Its state is all that the draws depend on.
    """

    def __init__(
        self, store: ImageStore, n_images: int, batch_size: int, *, rng: np.random.Generator
    ) -> None:
        self.store, self.n_images, self.batch_size, self.rng = store, n_images, batch_size, rng
        self._queue = np.empty(0, dtype=np.int64)

    def draw(self) -> ImageBatch:
        """Draw the next batch."""
        while len(self._queue) < self.batch_size:
            self._queue = np.append(self._queue, self.rng.permutation(self.store.n_tasks))
        tasks, self._queue = np.split(self._queue, [self.batch_size])
        return ImageBatch(tuple(self._draw(t) for t in tasks.tolist()), torch.from_numpy(tasks))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the draws to come depend on, beside the arguments; for a checkpoint."""
        return {"rng": self.rng.bit_generator.state, "queue": self._queue.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on drawing from where `state_dict` was called."""
        self.rng.bit_generator.state = state["rng"]
        self._queue = np.array(state["queue"], dtype=np.int64)

    def _draw(self, task: int) -> ImageSet:
        store, rng = self.store, self.rng
        operator, sigma = store.operators[task], store.sigmas[task]
        n = store.most_images(task, self.n_images)
        rows = rng.choice(store.counts[task], n, replace=False)
        draws_operator = store.make_operator is not None and rng.random() < _RANDOM_SHARE
        if draws_operator:
            operator = store.make_operator(rng, operator.image_shape)
            sigma *= float(np.exp(rng.uniform(*np.log(_NOISE_RANGE))))
        elif operator.n_samples is not None:
            return fixed_set(store, task, rows, rng)
        images = torch.from_numpy(_turned(store.images[task][rows], rng))
        return ImageSet(operator, images, measured(operator, images, sigma, rng), sigma)


def fixed_set(store: ImageStore, task: int, rows: np.ndarray, rng: np.random.Generator) -> ImageSet:
    """Return images of a task as they were measured; simulated where they were not."""
    operator, sigma = store.operators[task].select(rows), store.sigmas[task]
    images = torch.from_numpy(store.images[task][rows])
    given = store.measurements[task]
    if given is None:
        return ImageSet(operator, images, measured(operator, images, sigma, rng), sigma)
    return ImageSet(operator, images, torch.from_numpy(given[rows]), sigma)


def measured(operator: Operator, images: Tensor, sigma: float, rng: np.random.Generator) -> Tensor:
    """Measure images, with white noise."""
    y = operator.forward(images)
    return y + sigma * torch.from_numpy(rng.standard_normal(tuple(y.shape), dtype=np.float32))


def _turned(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn images of shape (n, H, W[, C]) alike by a symmetry that keeps their shape."""
    square = images.shape[1] == images.shape[2]
    images = np.rot90(images, int(rng.integers(4)) if square else 2 * int(rng.integers(2)), (1, 2))
    return np.ascontiguousarray(images[:, :, ::-1] if rng.random() < 0.5 else images)
