"""What the Gaussian priors learn from: the images of all tasks, or their measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_meta.learners.reconstruction._base import ImageTask
from sklearn_meta.learners.reconstruction._trial import is_dense

#: Images of up to so many pixels have a joint covariance.
MOST_PIXELS = 1100


#: Images of any shape have sides of at least so many pixels.
LEAST_SIDE = 8


def are_small(tasks: Sequence[ImageTask]) -> bool:
    """Whether all images are alike in shape, and so small that they have a joint covariance."""
    shapes = {task.images.shape[1:] for task in tasks if task.images is not None}
    return len(shapes) == 1 and np.prod(shapes.pop()) <= MOST_PIXELS


def images_of(tasks: Sequence[ImageTask], name: str) -> np.ndarray:
    """Images of all tasks, alike in shape.

    Raises
    ------
    ValueError
        If there are none.
    """
    return np.concatenate(groups_of(tasks, name)).astype(np.float64)


def groups_of(tasks: Sequence[ImageTask], name: str) -> list[np.ndarray]:
    """Images of each task that has any.

    Raises
    ------
    ValueError
        If there are none.
    """
    groups = [task.images for task in tasks if task.images is not None]
    if not groups:
        raise ValueError(f"{name} learns from images, but no task has any.")
    return groups


def large_groups_of(tasks: Sequence[ImageTask], name: str) -> list[np.ndarray]:
    """Images of each task that has any, of any shape.

    Raises
    ------
    ValueError
        If there are none, they differ in channels, or are smaller than `LEAST_SIDE`.
    """
    groups = groups_of(tasks, name)
    shapes = sorted({group.shape[1:] for group in groups})
    if len({shape[2:] for shape in shapes}) > 1:
        raise ValueError(
            f"{name} needs images of as many channels in all tasks; they have the shapes {shapes}."
        )
    small = [shape for shape in shapes if min(shape[:2]) < LEAST_SIDE]
    if small:
        raise ValueError(
            f"{name} needs images of one shape and up to {MOST_PIXELS} pixels, or of any shape "
            f"from {LEAST_SIDE} x {LEAST_SIDE} pixels on; some have the shape {small[0]}."
        )
    return groups


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
