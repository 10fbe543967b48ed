"""What reconstructs under an operator that was regressed from pairs, and is not quite known."""

from __future__ import annotations

from dataclasses import replace

import torch

from sklearn_meta._prior import Prior
from sklearn_meta._small_images import mixture_of
from sklearn_meta.learners.reconstruction import (
    NETWORKS,
    Noise,
    ReconstructionLearner,
    get_reconstruction_learner,
)
from sklearn_meta.learners.reconstruction._calibration import images_of_shape
from sklearn_meta.learners.reconstruction._images_of_tasks import MOST_PIXELS
from sklearn_meta.learners.reconstruction._operator_regression import UncertainOperator


def under_found_operator(
    prior: Prior, learner: ReconstructionLearner, operator: UncertainOperator, noise: Noise
) -> tuple[Prior, ReconstructionLearner, Noise]:
    """Return the prior, learner and noise to reconstruct with.

    To a network, what is uncertain about an operator is noise. Where it is more than the noise, the
    mixture of Gaussians beside the network takes over, which weighs each measurement by it.

    Parameters
    ----------
    prior : Prior
    learner : ReconstructionLearner
        Of the prior.
    operator : UncertainOperator
    noise : Noise
        As the user gave it.
    """
    if prior.learner_config["name"] not in NETWORKS or noise.gain > 0:
        return prior, learner, noise
    excess = _excess(prior, operator)
    mixture = mixture_of(prior)
    if mixture is not None and excess > operator.sigma**2:
        config = mixture.learner_config
        return mixture, get_reconstruction_learner(config["name"], config["params"]), noise
    if noise.sigma is None:
        noise = replace(noise, sigma=(operator.sigma**2 + excess) ** 0.5)
    return prior, learner, noise


def _excess(prior: Prior, operator: UncertainOperator) -> float:
    """Mean variance that the uncertainty of an operator adds to measurements of small images."""
    if operator.n_pixels > MOST_PIXELS or "calibration" not in prior.weights:
        return 0.0
    kept = images_of_shape(prior.weights["calibration"], operator.image_shape)
    images = prior.signature["facts"].get("scale", 1.0) * torch.from_numpy(kept).double().flatten(1)
    return float(operator.excess(images.mT @ images / len(images)).mean())
