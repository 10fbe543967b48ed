"""Held-out images under operators: by which choices of a prior are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import ImageTask
from sklearn_meta.learners.reconstruction._covariance import seen_levels
from sklearn_meta.learners.reconstruction._factored import Conditioner, FactoredMixture
from sklearn_meta.operators import Operator
from sklearn_meta.operators._materialize import materialize

#: Share of the images that is held out, and how many of them are reconstructed.
HELD_OUT, MOST_HELD_OUT = 0.2, 60

#: Operators of the tasks under which they are.
MOST_OPERATORS = 3

#: Noise where the tasks do not say, as a share of the deviation of what is measured.
NOISE_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Trial:
    """Images to fit to, and measurements of others.

    Parameters
    ----------
    kept : Tensor of shape ``(n, *image_shape)``
    held_out : Tensor of shape (q, n_pixels)
    cases : list of (matrix, sigma, measurements)
    """

    kept: Tensor
    held_out: Tensor
    cases: list[tuple[Tensor, float, Tensor]]

    def error(self, mixture: FactoredMixture) -> float:
        """Mean logarithm of the squared error of held-out images, as mean PSNR counts it."""
        found = []
        for matrix, sigma, measurements in self.cases:
            noise = matrix.new_full((len(matrix),), sigma**2)
            images = Conditioner(mixture, matrix, noise)(measurements).mean()
            found.append((images - self.held_out).square().mean(1).clamp(min=1e-12).log().mean())
        return float(torch.stack(found).mean())


def make_trial(
    images: np.ndarray, tasks: Sequence[ImageTask], sigma: float | None, rng: np.random.Generator
) -> Trial:
    """Hold out images, and measure them by operators of the tasks, or at random.

    Parameters
    ----------
    images : ndarray of shape ``(n, *image_shape)``
    tasks : sequence of ImageTask
    sigma : float or None
        Noise of the measurements.
    rng : numpy.random.Generator
    """
    order = rng.permutation(len(images))
    n_held_out = min(MOST_HELD_OUT, max(1, round(HELD_OUT * len(images))))
    held_out = torch.from_numpy(images[order[:n_held_out]]).flatten(1)
    kept = torch.from_numpy(images[order[n_held_out:]])
    cases = []
    for matrix in _matrices(tasks, images.shape[1:], rng):
        clean = held_out @ matrix.T
        level = NOISE_SHARE * seen_levels(clean.numpy()) if sigma is None else sigma
        draws = torch.from_numpy(rng.standard_normal(tuple(clean.shape)))
        cases.append((matrix, level, clean + level * draws))
    return Trial(kept, held_out, cases)


def is_dense(operator: Operator | None) -> bool:
    """Whether the matrix of an operator can be had: it is linear, the same for every image."""
    return operator is not None and operator.is_linear and operator.n_samples is None


def _matrices(
    tasks: Sequence[ImageTask], shape: tuple[int, ...], rng: np.random.Generator
) -> list[Tensor]:
    known = [t.operator for t in tasks if is_dense(t.operator) and t.operator.image_shape == shape]
    if known:
        chosen = rng.permutation(len(known))[:MOST_OPERATORS]
        return [materialize(known[i]).matrix for i in chosen]
    n_pixels = int(np.prod(shape))
    few = max(1, n_pixels // 4)
    projection = torch.from_numpy(rng.standard_normal((few, n_pixels)) / np.sqrt(few))
    some = torch.from_numpy(rng.permutation(n_pixels)[: max(1, n_pixels // 2)])
    return [projection, torch.eye(n_pixels, dtype=torch.float64)[some]]
