"""Which learner of reconstruction suits the images at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from sklearn_meta.learners.reconstruction import (
    ImageTask,
    Noise,
    ReconstructionLearner,
    Training,
    get_reconstruction_learner,
)
from sklearn_meta.operators import Operator, RandomProjection

#: Images of up to so many pixels are small: their joint distribution can be learned.
SMALL = 1024

#: Fewer images than this, or than one for so many pixels, are too few to learn it from.
FEWEST, PIXELS_PER_IMAGE = 30, 8

#: Of the images for the comparison of learners, and how many of them at most.
HELD_OUT, MOST_HELD_OUT = 0.2, 100

#: Operators under which learners are compared.
MOST_OPERATORS = 4

#: Standard deviation of noise where nothing says which, as a share of that of the measurements.
NOISE_SHARE = 0.05

_CANDIDATES = ("gaussian", "gaussian_mixture")


def has_enough_images(images: Sequence[np.ndarray]) -> bool:
    """Whether images (n, *image_shape) of tasks are small, alike in shape, and enough.

    Then what they share can be learned from them alone.
    """
    shapes = {each.shape[1:] for each in images}
    if len(shapes) != 1:
        return False
    n_pixels = math.prod(shapes.pop())
    n_images = sum(len(each) for each in images)
    return n_pixels <= SMALL and n_images >= max(FEWEST, n_pixels / PIXELS_PER_IMAGE)


def choose_learner(tasks: Sequence[ImageTask], training: Training) -> ReconstructionLearner:
    """Choose by the size and number of the images, and by images that are held out.

    Small images, of which there are enough, have a prior in closed form: the one that
    reconstructs held-out images best under the operators of the tasks. Large ones, and small ones
    of which there are few, have an unrolled network.

    Parameters
    ----------
    tasks : sequence of ImageTask
    training : Training

    Returns
    -------
    ReconstructionLearner
    """
    images = [task.images for task in tasks if task.images is not None]
    if not images:
        small = all(t.operator.n_pixels <= SMALL for t in tasks if t.operator is not None)
        return get_reconstruction_learner("gaussian" if small else "unrolled")
    if not has_enough_images(images):
        return get_reconstruction_learner("unrolled")
    kept, held_out = _split(np.concatenate(images), training.rng)
    operators = _operators(tasks, held_out.shape[1:], training.rng)
    noise = _noise_of(operators, held_out, training.noise)
    measured = [
        _measured(operator, held_out, level, training.rng)
        for operator, level in zip(operators, noise, strict=True)
    ]
    candidates = [get_reconstruction_learner(name) for name in _CANDIDATES]
    errors = [
        _error(learner, kept, held_out, operators, measured, noise, training)
        for learner in candidates
    ]
    return candidates[int(np.argmin(errors))]


def _split(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n_held_out = min(MOST_HELD_OUT, math.ceil(HELD_OUT * len(images)))
    order = rng.permutation(len(images))
    return images[order[n_held_out:]], images[order[:n_held_out]]


def _operators(
    tasks: Sequence[ImageTask], shape: tuple[int, ...], rng: np.random.Generator
) -> list[Operator]:
    known = [task.operator for task in tasks if task.operator is not None]
    known = [op for op in known if op.is_linear and op.n_samples is None]
    if known:
        chosen = rng.permutation(len(known))[:MOST_OPERATORS]
        return [known[i] for i in chosen]
    n_pixels, seed = math.prod(shape), int(rng.integers(2**31))
    return [RandomProjection(shape, max(1, n_pixels // 4), random_state=seed)]


def _noise_of(operators: Sequence[Operator], images: np.ndarray, given: Noise) -> list[Noise]:
    if isinstance(given.sigma, float):
        return [given] * len(operators)
    spread = [float(op.forward(torch.from_numpy(images)).std()) for op in operators]
    return [replace(given, sigma=NOISE_SHARE * each) for each in spread]


def _measured(
    operator: Operator, images: np.ndarray, noise: Noise, rng: np.random.Generator
) -> torch.Tensor:
    y = operator.forward(torch.from_numpy(images))
    variance = noise.sigma**2 + noise.gain * y.clamp(min=0)
    draws = torch.from_numpy(rng.standard_normal(tuple(y.shape)))
    return y + variance.sqrt() * draws


def _error(
    learner: ReconstructionLearner,
    kept: np.ndarray,
    held_out: np.ndarray,
    operators: Sequence[Operator],
    measured: Sequence[torch.Tensor],
    noise: Sequence[Noise],
    training: Training,
) -> float:
    """Mean logarithm of the error of held-out images: what peak signal to noise ratios average."""
    learned = learner.learn([ImageTask(None, kept, None, "kept")], None, training)
    model = learner.load(learned.facts, learned.weights, training.device)
    truth = torch.from_numpy(held_out)
    errors = []
    for operator, y, level in zip(operators, measured, noise, strict=True):
        state = learner.adapt(model, operator, level, None, None)
        found, _ = learner.reconstruct(model, state, y.to(training.device))
        errors.append((found.cpu() - truth).square().flatten(1).mean(1).clamp(min=1e-12).log())
    return float(torch.cat(errors).mean())
