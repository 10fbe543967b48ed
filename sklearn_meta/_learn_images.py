"""From reconstruction tasks to a prior: check them, choose a learner, meta-train it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import clone

from sklearn_meta._adapted_images import device_of
from sklearn_meta._choose_learner import choose_learner
from sklearn_meta._image_support import check_random_state
from sklearn_meta._image_tasks import check_image_tasks
from sklearn_meta._learning import IMAGE_TRAINING_PARAMETERS, versions
from sklearn_meta._noise_in import read_noise
from sklearn_meta._prior import Prior
from sklearn_meta._random import generator_of
from sklearn_meta._resolve_prior import bundled_prior, described
from sklearn_meta._small_images import is_for_small, learn_small
from sklearn_meta._training import meta_train
from sklearn_meta._training_config import TrainingConfig, fill
from sklearn_meta._training_state import History
from sklearn_meta.learners.reconstruction import (
    ImageTask,
    Learned,
    Noise,
    ReconstructionLearner,
    Training,
    get_reconstruction_learner,
    reconstruction_learner_config,
)
from sklearn_meta.operators._checks import check_image_shape

if TYPE_CHECKING:
    from sklearn_meta._reconstructor import MetaReconstructor


def learn_image_prior(
    estimator: MetaReconstructor, tasks: Any, validation_tasks: Any = None
) -> tuple[Prior, History]:
    """Meta-train with the parameters of an estimator, which is left as it is.

    Parameters
    ----------
    estimator : MetaReconstructor
    tasks, validation_tasks
        As in `MetaReconstructor.fit_tasks`.

    Returns
    -------
    prior : Prior
    history : History

    Raises
    ------
    TypeError, ValueError
        If a task or a parameter cannot be used; the message names it.
    """
    check_random_state(estimator.random_state)
    shape = estimator.image_shape
    shape = None if shape is None else check_image_shape(shape)
    checked = check_image_tasks(estimator, tasks, shape)
    held_out = None
    if validation_tasks is not None:
        held_out = check_image_tasks(estimator, validation_tasks, shape, "validation_tasks")
    return learn_from(estimator, checked, held_out)


def learn_from(
    estimator: MetaReconstructor,
    tasks: Sequence[ImageTask],
    validation_tasks: Sequence[ImageTask] | None = None,
    noise: Noise | None = None,
    may_train: bool = True,
) -> tuple[Prior, History]:
    """Meta-train on checked tasks.

    Parameters
    ----------
    estimator : MetaReconstructor
    tasks, validation_tasks : sequence of ImageTask
    noise : Noise, default=None
        By default that of the parameter.
    may_train : bool, default=True
        Whether "auto" may be a network for small images too, whose training takes minutes.
    """
    given = {name: getattr(estimator, name) for name in IMAGE_TRAINING_PARAMETERS}
    config = fill(TrainingConfig(**given), {})
    training = Training(
        rng=generator_of(estimator.random_state),
        device=device_of(estimator.device),
        config=config,
        verbose=estimator.verbose,
        checkpoint=estimator.checkpoint,
        noise=read_noise(estimator.noise) if noise is None else noise,
        meta_train=meta_train,
        start=_bundled_start(),
    )
    learner = new_image_learner(estimator.learner)
    if learner is None and may_train and is_for_small(tasks, training):
        learner, learned = learn_small(tasks, validation_tasks, training)
    else:
        learner = choose_learner(tasks) if learner is None else learner
        learned = learner.learn(tasks, validation_tasks, training)
    meta = {
        "n_tasks": len(tasks),
        "n_images": sum(len(t.measurements if t.images is None else t.images) for t in tasks),
        "versions": versions(str(torch.__version__)),
        "meta_parameters": {
            name: described(value) for name, value in (given | {"learner": learner}).items()
        },
    }
    shapes = sorted({_shape_of(task) for task in tasks})
    history = History() if learned.history is None else learned.history
    return image_prior(learner, learned, shapes, meta), history


def image_prior(
    learner: ReconstructionLearner,
    learned: Learned,
    image_shapes: Sequence[tuple[int, ...]],
    meta: dict[str, Any],
) -> Prior:
    """Prior of a reconstructor.

    Parameters
    ----------
    learner : ReconstructionLearner
    learned : Learned
        What its ``learn`` returned.
    image_shapes : sequence of tuple of int
        Of the images that it learned from.
    meta : dict
        What it was trained on and with.
    """
    return Prior(
        estimator_type="reconstructor",
        learner_config=reconstruction_learner_config(learner),
        signature={
            "kind": "reconstruction",
            "image_shapes": [list(shape) for shape in image_shapes],
            "facts": dict(learned.facts),
        },
        weights={name: np.asarray(value) for name, value in learned.weights.items()},
        meta=meta,
    )


def new_image_learner(learner: Any) -> ReconstructionLearner | None:
    """Learner of the parameter `learner`, not shared with the user; None for "auto".

    Raises
    ------
    TypeError, ValueError
        If there is no such learner.
    """
    if isinstance(learner, ReconstructionLearner):
        return clone(learner)
    if not isinstance(learner, str):
        raise TypeError(
            f"learner is {learner!r}, expected 'auto', the name of a learner or a "
            "ReconstructionLearner."
        )
    return None if learner == "auto" else get_reconstruction_learner(learner)


def _bundled_start() -> Learned | None:
    """What the bundled prior holds, from which networks go on; None where it is not installed."""
    try:
        prior = bundled_prior("reconstructor", "image")
    except FileNotFoundError:
        return None
    weights = {name: array.copy() for name, array in prior.weights.items()}  # torch wants to write
    return Learned(weights, prior.signature["facts"])


def _shape_of(task: ImageTask) -> tuple[int, ...]:
    return task.operator.image_shape if task.images is None else task.images.shape[1:]
