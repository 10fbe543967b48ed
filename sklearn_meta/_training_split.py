"""Which tasks meta-training learns from, and by which episodes it is judged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from sklearn_meta._training_config import TrainingConfig
from sklearn_meta.learners._base import Learner
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._class_episodes import ClassEpisodeSampler
from sklearn_meta.tasks._class_index import has_class_episodes, split_labels
from sklearn_meta.tasks._episodes import EpisodeSampler, TaskBatch, fixed_episodes

VALIDATION_SHOTS = (0, 1, 3, 5, 10, 20)
MAX_VALIDATION_TASKS = 60
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
    store : TaskStore
        Those tasks, of classes that are not held out.
    episodes : list of TaskBatch
        Fixed episodes to be judged on; their ``task`` is a position too, or -1 for a task that is
        not in the store.
    """

    kind: str | None
    train: np.ndarray
    store: TaskStore
    episodes: list[TaskBatch]


def hold_out(
    learner: Learner,
    store: TaskStore,
    validation_store: TaskStore | None,
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


def episode_sampler(
    store: TaskStore, config: TrainingConfig, rng: np.random.Generator
) -> EpisodeSampler | ClassEpisodeSampler:
    """Make what draws the episodes to train on."""
    if has_class_episodes(store):
        return ClassEpisodeSampler(
            store, config.shots, config.n_query, config.n_ways, config.batch_size, rng=rng
        )
    return EpisodeSampler(store, config.shots, config.n_query, config.batch_size, rng=rng)


def _fixed_episodes(
    store: TaskStore, config: TrainingConfig, rng: np.random.Generator
) -> list[TaskBatch]:
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


def _renumber(episodes: list[TaskBatch], positions: np.ndarray) -> list[TaskBatch]:
    return [replace(e, task=torch.from_numpy(positions)[e.task]) for e in episodes]
