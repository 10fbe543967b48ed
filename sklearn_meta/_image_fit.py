"""Adapt to the support of one reconstruction task: from which prior, and under which operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sklearn_meta._adapted_images import AdaptedImages, device_of, learner_of
from sklearn_meta._blended_images import BlendedImages
from sklearn_meta._choose_learner import has_enough_images
from sklearn_meta._found_operator import under_found_operator
from sklearn_meta._image_support import ImageSupport
from sklearn_meta._learn_images import learn_from, new_image_learner
from sklearn_meta._noise_in import check_noise_fits, read_noise
from sklearn_meta._prior import Prior
from sklearn_meta._resolve_prior import bundled_prior
from sklearn_meta._table_prior import prior_of_table
from sklearn_meta.learners.reconstruction import (
    NETWORKS,
    ImageTask,
    Noise,
    ReconstructionLearner,
    get_reconstruction_learner,
    reconstruction_learner_config,
)
from sklearn_meta.learners.reconstruction._adaptation import LARGE
from sklearn_meta.learners.reconstruction._nonlinear_noise import gain_of_counts
from sklearn_meta.learners.reconstruction._operator_regression import regress_operator
from sklearn_meta.learners.reconstruction._unrolled_steps import sees_every_pixel

if TYPE_CHECKING:
    from sklearn_meta._reconstructor import MetaReconstructor

#: Learner that the bundled prior gives a second opinion by.
RIVAL = "plug_and_play"


def adapt_to_support(
    estimator: MetaReconstructor, prior: Prior | None, support: ImageSupport
) -> dict[str, Any]:
    """Adapt to a checked support; return the fitted attributes.

    Parameters
    ----------
    estimator : MetaReconstructor
        It is left as it is.
    prior : Prior or None
        Where there is none, it is the bundled one or learned from the support.
    support : ImageSupport
    """
    noise = read_noise(estimator.noise)
    if support.measurements is not None:
        check_noise_fits(noise, len(support.measurements))
    trained: dict[str, Any] = {}
    if support.is_table:
        _check_learner_of_table(estimator.learner)
        prior, noise = prior_of_table(support.measurements[:, 0], noise)
    elif prior is None:
        prior, trained = _prior_for(estimator, support, noise)
    given = estimator.learner
    if _is_beyond(prior, support):
        prior, given = bundled_prior("reconstructor", "image"), "auto"
    noise = _with_counts(noise, prior, support)
    learner = learner_of(prior, given, support.operator, noise)
    _check_serves(prior, learner, support)
    device = device_of(estimator.device)
    operator, pairs = support.operator, (support.measurements, support.images)
    if operator is None:
        # The pairs are used up: the operator fits them better than it fits what is to come.
        operator, pairs = regress_operator(*pairs, noise), (None, None)
        prior, learner, noise = under_found_operator(prior, learner, operator, noise)
    adapted = AdaptedImages(prior, learner, operator, noise, device, *pairs)
    if pairs[0] is not None:
        adapted = _with_bundled(adapted, pairs[0])
    rows = None if support.measurements is None else (support.measurements, support.images)
    return trained | {
        "_adapted": adapted,
        "_is_table": support.is_table,
        "_rows": rows,
        "operator_": getattr(adapted.state, "operator", operator),
        "image_shape_": support.image_shape,
        "noise_": getattr(adapted.state, "noise", noise),
        "adapt_to_": support.adapt_to,
    }


def _with_bundled(
    adapted: AdaptedImages, measurements: np.ndarray
) -> AdaptedImages | BlendedImages:
    """Unrolled steps beside plug and play with the bundled prior, where measurements can judge.

    Where every pixel is measured by itself, nothing hidden is foretold as what was seen is.
    """
    config = reconstruction_learner_config(adapted.learner)
    operator = adapted.operator
    if config["name"] != "unrolled" or config["params"]["adaptation"] == "none":
        return adapted
    if operator.n_pixels > LARGE or sees_every_pixel(operator, torch.from_numpy(measurements)):
        return adapted
    bundled, learner = bundled_prior("reconstructor", "image"), get_reconstruction_learner(RIVAL)
    other = AdaptedImages(bundled, learner, operator, adapted.state.noise, adapted.device)
    return BlendedImages(adapted, other, measurements)


def _prior_for(
    estimator: MetaReconstructor, support: ImageSupport, noise: Noise
) -> tuple[Prior, dict[str, Any]]:
    """Prior where the user has none, and the fitted attributes of its training."""
    if _starts_from_bundled(estimator.learner, support):
        return bundled_prior("reconstructor", "image"), {}
    task = ImageTask(support.measurements, support.images, support.operator, "0")
    prior, history = learn_from(estimator, [task], noise=noise, may_train=False)
    return prior, {"history_": history}


def _is_beyond(prior: Prior, support: ImageSupport) -> bool:
    """Whether a prior serves linear operators only, and this one is not: the bundled one does."""
    is_linear = support.operator is None or support.operator.is_linear
    return not is_linear and prior.learner_config["name"] not in NETWORKS


def _with_counts(noise: Noise, prior: Prior, support: ImageSupport) -> Noise:
    """Noise with what the operator, or measurements that are counts, tell of it."""
    operator = support.operator
    if noise.gain > 0 or operator is None:
        return noise
    of_operator = getattr(operator, "noise_gain", 0.0)
    if of_operator > 0:
        return Noise(0.0 if noise.sigma is None else noise.sigma, of_operator)
    # Priors of small images estimate the noise by themselves, and better.
    if noise.sigma is None and operator.is_linear and prior.learner_config["name"] in NETWORKS:
        if support.measurements is not None:
            gain = gain_of_counts(operator, torch.from_numpy(support.measurements))
            return noise if gain is None else Noise(0.0, gain)
    return noise


def _starts_from_bundled(given: Any, support: ImageSupport) -> bool:
    learner = new_image_learner(given)
    if learner is None:
        return support.images is None or not has_enough_images([support.images])
    return reconstruction_learner_config(learner)["name"] in NETWORKS


def _check_learner_of_table(given: Any) -> None:
    learner = new_image_learner(given)
    if learner is not None and reconstruction_learner_config(learner)["name"] != "gaussian":
        raise ValueError(
            f"learner is {given!r}, which takes images, and neither operator nor image_shape says "
            "that the rows of X are: pass one of them, or leave learner at 'auto'."
        )


def _check_serves(prior: Prior, learner: ReconstructionLearner, support: ImageSupport) -> None:
    """Raise ValueError where a prior is one of images of another shape."""
    shapes = [tuple(shape) for shape in prior.signature["image_shapes"]]
    if learner.serves_any_shape or support.image_shape in shapes:
        return
    raise ValueError(
        f"images have the shape {support.image_shape}, but the prior was meta-trained on images of "
        f"shape {' or '.join(map(str, shapes))}, and {type(learner).__name__} serves no others; "
        "choose a learner for images of any shape, such as 'plug_and_play'."
    )
