"""What `Unrolled` is meta-trained on: the tasks in a store, in units of their own range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sklearn_meta.learners.reconstruction._base import ImageTask, Training
from sklearn_meta.learners.reconstruction._random_operators import random_operator
from sklearn_meta.tasks._image_store import ImageStore

_NOISE_SHARE = 0.05  # of the spread of measurements, where nothing tells their noise


def store_of(tasks: Sequence[ImageTask], training: Training, scale: float) -> ImageStore:
    """Put tasks with images into a store, their images and measurements divided by `scale`.

    A task without an operator is given one drawn at random, for its images' sake.

    Raises
    ------
    ValueError
        If an operator is not linear.
    """
    operators, measurements, sigmas = [], [], []
    for task in tasks:
        operator = task.operator
        if operator is None:
            operator = random_operator(training.rng, task.images.shape[1:])
        if not operator.is_linear:
            raise ValueError(
                f"task {task.name!r}: Unrolled learns across linear operators, and "
                f"{type(operator).__name__} is none; learner='plug_and_play' serves it."
            )
        operators.append(operator)
        sigmas.append(noise_of(task, training) / scale)
        given = task.measurements if is_measured(task) else None
        measurements.append(None if given is None else given / scale)
    return ImageStore(
        [task.images / scale for task in tasks],
        measurements,
        operators,
        sigmas,
        [task.name for task in tasks],
        random_operator,
    )


def is_measured(task: ImageTask) -> bool:
    """Whether a task has pairs and the operator between them."""
    return task.measurements is not None and task.operator is not None


def noise_of(task: ImageTask, training: Training) -> float:
    """Standard deviation of the noise of a task: as given, as its pairs tell, or small."""
    if training.noise.sigma is not None:
        return float(np.median(training.noise.sigma))
    if task.operator is None:
        return _NOISE_SHARE * float(task.images.std())
    measured = task.operator.forward(torch.from_numpy(task.images)).numpy()
    if is_measured(task):
        return float(np.sqrt(np.nanmean((measured - task.measurements) ** 2)))
    return _NOISE_SHARE * float(measured.std())


def common_noise(tasks: Sequence[ImageTask], training: Training) -> float | None:
    """Noise that the measurements of all tasks share, about; None where they do not."""
    levels = [noise_of(task, training) for task in tasks if is_measured(task)]
    if not levels or max(levels) > 2 * min(levels):
        return None
    return float(np.median(levels))
