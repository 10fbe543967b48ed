"""What the priors over whole images learn from: the images of all tasks, or their measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_meta.learners.reconstruction._base import ImageTask
from sklearn_meta.learners.reconstruction._trial import is_dense

#: Images of up to so many pixels have a joint covariance.
MOST_PIXELS = 1100


def images_of(tasks: Sequence[ImageTask], name: str) -> np.ndarray:
    """Images of all tasks, alike in shape and small.

    Raises
    ------
    ValueError
        If there are none, they differ in shape, or they are large.
    """
    images = [task.images for task in tasks if task.images is not None]
    if not images:
        raise ValueError(f"{name} learns from images, but no task has any.")
    shapes = sorted({each.shape[1:] for each in images})
    if len(shapes) > 1:
        raise ValueError(f"{name} needs images of one shape; the tasks have {shapes}.")
    if np.prod(shapes[0]) > MOST_PIXELS:
        raise ValueError(
            f"{name} holds a covariance of all pixels, up to {MOST_PIXELS}; images have the shape "
            f"{shapes[0]}. Use learner='unrolled' or 'plug_and_play'."
        )
    return np.concatenate(images).astype(np.float64)


def are_measured_only(tasks: Sequence[ImageTask]) -> bool:
    """Whether no task has images, and all have measurements under a small linear operator."""
    shapes = {None if task.operator is None else task.operator.image_shape for task in tasks}
    return len(shapes) == 1 and all(
        task.images is None
        and task.measurements is not None
        and is_dense(task.operator)
        and task.operator.n_pixels <= MOST_PIXELS
        for task in tasks
    )
