"""Small images: a mixture of Gaussians or a network, by held-out images; and both in one prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sklearn_meta._prior import Prior
from sklearn_meta.learners.reconstruction import (
    ImageTask,
    Learned,
    Noise,
    ReconstructionLearner,
    Training,
    get_reconstruction_learner,
    reconstruction_learner_config,
)
from sklearn_meta.learners.reconstruction._images_of_tasks import are_small, images_of
from sklearn_meta.learners.reconstruction._prior_noise import noise_of_tasks
from sklearn_meta.learners.reconstruction._trial import Trial, make_trial
from sklearn_meta.operators import as_operator

#: Fewer images than this say too little when some are held out.
FEWEST = 10

_MIXTURE, _NETWORK, _QUICK = "gaussian_mixture", "unrolled", "plug_and_play"
_MOST = 600  # images that are fitted to and held out
_JUDGED = 16  # of those held out
_PART = "mixture"  # of a prior of a network: its name in facts, and the prefix of its weights


def is_for_small(tasks: Sequence[ImageTask], training: Training) -> bool:
    """Whether images are small, alike, and enough to choose a learner by; operators linear."""
    number = sum(len(task.images) for task in tasks if task.images is not None)
    are_linear = all(task.operator is None or task.operator.is_linear for task in tasks)
    return training.start is not None and are_linear and number >= FEWEST and are_small(tasks)


def learn_small(
    tasks: Sequence[ImageTask],
    validation_tasks: Sequence[ImageTask] | None,
    training: Training,
) -> tuple[ReconstructionLearner, Learned]:
    """Learn a mixture of Gaussians, or a network too where that is better at held-out images.

    A network leaves operators that are not known to the mixture, which stays beside it.

    Parameters
    ----------
    tasks, validation_tasks : sequence of ImageTask
        Such that `is_for_small`.
    training : Training

    Returns
    -------
    learner : ReconstructionLearner
    learned : Learned
    """
    mixture, network = (get_reconstruction_learner(name) for name in (_MIXTURE, _NETWORK))
    part = mixture.learn(tasks, None, training)
    if not _network_is_better(tasks, training):
        return mixture, part
    learned = network.learn(tasks, validation_tasks, training)
    weights = {f"{_PART}.{name}": value for name, value in part.weights.items()}
    both = {**learned.weights, **weights}, {**learned.facts, _PART: dict(part.facts)}
    return network, Learned(*both, learned.history)


def _network_is_better(tasks: Sequence[ImageTask], training: Training) -> bool:
    """Compare a mixture with the bundled denoiser, by plug and play, at held-out images.

    Meta-training makes the network better still.
    """
    images, rng = images_of(tasks, _MIXTURE), np.random.default_rng(0)
    given = training.noise.sigma
    sigma = given if isinstance(given, float) else noise_of_tasks(tasks)
    trial = make_trial(rng.permutation(images)[:_MOST], tasks, sigma, rng)
    kept = {_MIXTURE: [ImageTask(None, trial.kept.numpy(), None, "0")], _QUICK: []}
    errors = []
    for name, seen in kept.items():
        learner = get_reconstruction_learner(name)
        learned = learner.learn(seen, None, replace(training, rng=rng))
        errors.append(_error(learner, learned, trial, images.shape[1:]))
    return errors[1] < errors[0]


def _error(
    learner: ReconstructionLearner, learned: Learned, trial: Trial, image_shape: tuple[int, ...]
) -> float:
    """Mean logarithm of the error of held-out images, as mean PSNR counts it."""
    model = learner.load(learned.facts, learned.weights, torch.device("cpu"))
    truth, found = trial.held_out[:_JUDGED], []
    for matrix, sigma, measurements in trial.cases:
        operator = as_operator(matrix.numpy(), image_shape)
        state = learner.adapt(model, operator, Noise(sigma), None, None)
        images, _ = learner.reconstruct(model, state, measurements[:_JUDGED])
        error = (images.flatten(1) - truth).square().mean(1)
        found.append(float(error.clamp(min=1e-12).log().mean()))
    return float(np.mean(found))


def mixture_of(prior: Prior) -> Prior | None:
    """The mixture beside a network, as a prior of its own; None where there is none."""
    facts: dict[str, Any] = prior.signature["facts"]
    if _PART not in facts:
        return None
    prefix = f"{_PART}."
    return Prior(
        estimator_type=prior.estimator_type,
        learner_config=reconstruction_learner_config(get_reconstruction_learner(_MIXTURE)),
        signature={**prior.signature, "facts": facts[_PART]},
        weights={n[len(prefix) :]: w for n, w in prior.weights.items() if n.startswith(prefix)},
        meta=prior.meta,
    )
