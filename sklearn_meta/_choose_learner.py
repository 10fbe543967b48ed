"""Which learner of reconstruction suits the images and the operator at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sklearn_meta.learners.reconstruction import (
    NETWORKS,
    ImageTask,
    Noise,
    ReconstructionLearner,
    get_reconstruction_learner,
)
from sklearn_meta.learners.reconstruction._images_of_tasks import are_measured_only
from sklearn_meta.operators import Operator

#: Images of up to so many pixels are small: their joint distribution can be learned.
SMALL = 1024

#: Fewer images than this, or than one for so many pixels, are too few to learn it from.
FEWEST, PIXELS_PER_IMAGE = 30, 8


def has_enough_images(images: Sequence[np.ndarray]) -> bool:
    """Whether images ``(n, *image_shape)`` of tasks are small, alike in shape, and enough.

    Then what they share can be learned from them alone.
    """
    shapes = {each.shape[1:] for each in images}
    return len(shapes) == 1 and _are_enough(sum(map(len, images)), math.prod(shapes.pop()))


def _are_enough(n_images: int, n_pixels: int) -> bool:
    return n_pixels <= SMALL and n_images >= max(FEWEST, n_pixels / PIXELS_PER_IMAGE)


def choose_learner(tasks: Sequence[ImageTask]) -> ReconstructionLearner:
    """Choose what meta-training learns, by the size and number of the images and the operators.

    Small images, of which there are enough, have a mixture of Gaussians, whose number of components
    held-out images decide: one is the linear estimator. Large ones, and small ones of which there
    are few, have an unrolled network; under operators that are not linear, plug and play. Where
    there are measurements alone, a Gaussian is learned from these, if images are small and there
    are enough of them; else plug and play learns nothing, and starts from what is bundled.

    Parameters
    ----------
    tasks : sequence of ImageTask

    Returns
    -------
    ReconstructionLearner
    """
    images = [task.images for task in tasks if task.images is not None]
    operators = [task.operator for task in tasks if task.operator is not None]
    if not all(operator.is_linear for operator in operators):
        return get_reconstruction_learner("plug_and_play")
    if has_enough_images(images):
        return get_reconstruction_learner("gaussian_mixture")
    if not images:
        is_told = are_measured_only(tasks) and _are_enough(
            sum(len(task.measurements) for task in tasks), operators[0].n_pixels
        )
        return get_reconstruction_learner("gaussian" if is_told else "plug_and_play")
    return get_reconstruction_learner("unrolled")


def runs_under(name: str, operator: Operator, noise: Noise) -> str:
    """Name of the learner that runs the weights of another one under an operator.

    Parameters
    ----------
    name : str
        Of the learner that a prior was learned by.
    operator : Operator
        Unrolled steps are linear; the same denoiser serves others step by step.
    noise : Noise
        So it does counts.
    """
    is_hard = not operator.is_linear or noise.gain > 0
    return "plug_and_play" if name in NETWORKS and is_hard else name
