"""Which tasks meta-training learns from, and by which episodes it is judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch

from sklearn_meta._training_config import TrainingConfig
from sklearn_meta.learners._base import Learner
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._class_episodes import ClassEpisodeSampler
from sklearn_meta.tasks._class_index import has_class_episodes, split_labels
from sklearn_meta.tasks._episodes import EpisodeSampler, TaskBatch, fixed_episodes
from sklearn_meta.tasks._image_store import ImageBatch, ImageSampler, ImageStore, fixed_set

VALIDATION_SHOTS = (0, 1, 3, 5, 10, 20)
MAX_VALIDATION_TASKS = 60
MAX_VALIDATION_IMAGES = 8  # of a task
MIN_CLASS_EPISODES = 20  # a few tasks of many classes would say little by an episode each
FEWEST_TASKS_TO_SPLIT = 4


@dataclass(frozen=True)
class Split:
    """What a run trains on and what it is judged on.

    Attributes
    ----------
    kind : {"tasks", "folds", "classes", "rows", "given"} or None
        See `History.validation`.
    train : int64 ndarray of shape (n_train,)
        Positions of the tasks to train on.
    store : TaskStore or ImageStore
        Those tasks, of classes that are not held out.
    episodes : list of TaskBatch or of ImageBatch
        Fixed episodes to be judged on; their ``task`` is a position too, or -1 for a task that is
        not in the store.
    """

    kind: str | None
    train: np.ndarray
    store: TaskStore | ImageStore
    episodes: list[TaskBatch] | list[ImageBatch]


def hold_out(
    learner: Learner,
    store: TaskStore | ImageStore,
    validation_store: TaskStore | ImageStore | None,
    config: TrainingConfig,
    split_rng: np.random.Generator,
    episode_rng: np.random.Generator,
) -> Split:
    """Split the tasks, and draw the episodes to be judged on once and for all.

    Of images whose classes mean nothing beyond a task, labels are held out in all tasks: new
    classes are what such a prior is for.
    """
    every = np.arange(store.n_tasks)
    if not config.early_stopping:
        return Split(None, every, store, [])
    if validation_store is not None:
        episodes = _fixed_episodes(validation_store, config, episode_rng)
        outside = np.full(validation_store.n_tasks, -1)
        return Split("given", every, store, _renumber(episodes, outside))
    if has_class_episodes(store):
        views = split_labels(store, config.validation_fraction, split_rng)
        if views is not None:
            kept, held = views
            return Split("classes", every, kept, _fixed_episodes(held, config, episode_rng))
    if learner.cross_fitted or store.n_tasks < FEWEST_TASKS_TO_SPLIT:
        kind = "folds" if learner.cross_fitted else "rows"
        return Split(kind, every, store, _fixed_episodes(store, config, episode_rng))
    n_held_out = max(1, round(config.validation_fraction * store.n_tasks))
    n_held_out = min(n_held_out, store.n_tasks - 1)
    held_out, train = np.split(split_rng.permutation(store.n_tasks), [n_held_out])
    episodes = _fixed_episodes(store.subset(held_out), config, episode_rng)
    return Split("tasks", train, store.subset(train), _renumber(episodes, held_out))


@singledispatch
def episode_sampler(store: Any, config: TrainingConfig, rng: np.random.Generator) -> Any:
    """Make what draws the episodes to train on."""
    raise TypeError(f"store is of type {type(store).__name__}, expected one of sklearn_meta.tasks.")


@episode_sampler.register
def _(
    store: TaskStore, config: TrainingConfig, rng: np.random.Generator
) -> EpisodeSampler | ClassEpisodeSampler:
    if has_class_episodes(store):
        return ClassEpisodeSampler(
            store, config.shots, config.n_query, config.n_ways, config.batch_size, rng=rng
        )
    return EpisodeSampler(store, config.shots, config.n_query, config.batch_size, rng=rng)


@episode_sampler.register
def _(store: ImageStore, config: TrainingConfig, rng: np.random.Generator) -> ImageSampler:
    return ImageSampler(store, config.n_query, config.batch_size, rng=rng)


@singledispatch
def _fixed_episodes(store: Any, config: TrainingConfig, rng: np.random.Generator) -> list[Any]:
    """Draw the episodes to be judged on."""
    raise TypeError(f"store is of type {type(store).__name__}, expected one of sklearn_meta.tasks.")


@_fixed_episodes.register
def _(store: TaskStore, config: TrainingConfig, rng: np.random.Generator) -> list[TaskBatch]:
    """Draw every task once for a few numbers of shots from the smallest to the largest.

    Of images of unshared classes, about as many episodes as there are tasks.
    """
    if has_class_episodes(store):
        n_episodes = min(max(store.n_tasks, MIN_CLASS_EPISODES), MAX_VALIDATION_TASKS)
        sampler = ClassEpisodeSampler(
            store, config.shots, config.n_query, config.n_ways, 1, rng=rng, augment=False
        )
        return [sampler.draw() for _ in range(n_episodes)]
    low, high = np.minimum(config.shots, store.counts.max() - 1).tolist()
    shots = sorted({low, high, *(s for s in VALIDATION_SHOTS if low <= s <= high)})
    return fixed_episodes(store, shots, config.n_query, rng, MAX_VALIDATION_TASKS)


@_fixed_episodes.register
def _(store: ImageStore, config: TrainingConfig, rng: np.random.Generator) -> list[ImageBatch]:
    """Take some images of every task as they were measured, each task for an episode."""
    tasks = np.arange(store.n_tasks)
    if store.n_tasks > MAX_VALIDATION_TASKS:
        tasks = rng.choice(tasks, MAX_VALIDATION_TASKS, replace=False)
    return [
        ImageBatch(
            (fixed_set(store, t, np.arange(store.most_images(t, MAX_VALIDATION_IMAGES)), rng),),
            torch.tensor([t]),
        )
        for t in tasks.tolist()
    ]


def _renumber(episodes: list[Any], positions: np.ndarray) -> list[Any]:
    return [replace(e, task=torch.from_numpy(positions)[e.task]) for e in episodes]
