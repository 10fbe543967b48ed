"""GaussianMixturePrior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import ImageTask, Learned, Training
from sklearn_meta.learners.reconstruction._closed_form import ClosedFormPrior
from sklearn_meta.learners.reconstruction._covariance import moments, shifted
from sklearn_meta.learners.reconstruction._epll import PatchModel
from sklearn_meta.learners.reconstruction._factored import FactoredMixture, pool
from sklearn_meta.learners.reconstruction._images_of_tasks import (
    are_small,
    images_of,
    large_groups_of,
)
from sklearn_meta.learners.reconstruction._mixture_em import FEW_PIXELS, fit_mixture
from sklearn_meta.learners.reconstruction._patch_mixture import fit_patches
from sklearn_meta.learners.reconstruction._prior_noise import noise_of_tasks
from sklearn_meta.learners.reconstruction._trial import make_trial
from sklearn_meta.learners.reconstruction.gaussian import choose_covariance

#: Images that the pooled covariance counts for in each component.
STRENGTH = 20.0

#: Images for each component, and most components of images with few and with many pixels.
PER_COMPONENT, MOST, MOST_OF_LARGE = 30, 40, 24

#: Mixtures of images of few pixels that are fitted from different starts, and pooled.
MEMBERS = 4

#: Shifted copies of images that the components are fitted to.
MOST_ROWS = 6000

#: Components are compared with one Gaussian from so many images on.
FEWEST = 60


#: Kind of model of large images, and of images of several shapes.
PATCHES = "patches"


class GaussianMixturePrior(ClosedFormPrior):
    """A mixture of Gaussians over images, or over patches of large ones.

    Images of one shape and up to about a thousand pixels have a mixture over whole images, and so
    has their posterior. Its mean is the mean of the components' linear estimators, weighted by how
    well each foresaw the measurements. Components differ in the leading directions of the images,
    where their covariances are shrunken to the pooled one, and share the others, so that there may
    be many of them. Their number, and whether shifted copies of the images count too, is chosen by
    held-out images; one component is `GaussianPrior`.

    Larger images, and those of several shapes, have a mixture over their patches (of 8 x 8 pixels,
    6 x 6 for small images), whose means are free; it serves images of any shape. Half-quadratic
    splitting makes all patches likely, each under its likeliest component, in turn with steps
    towards the measurements.

    Parameters
    ----------
    n_components : "auto" or int, default="auto"
        "auto" chooses by held-out images; for images of few pixels several such mixtures, fitted
        from different starts, are pooled. A mixture of patches has up to 64. At most as many as
        there are images, or patches.

    References
    ----------
    D. Zoran, Y. Weiss (2011), "From learning models of natural image patches to whole image
    restoration", ICCV.

    J. Yang, X. Liao, X. Yuan et al. (2015), "Compressive sensing by learning a Gaussian mixture
    model from measurements", IEEE Transactions on Image Processing.

    C. Fraley, A. E. Raftery (2007), "Bayesian regularization for normal mixture estimation and
    model-based clustering", Journal of Classification.

    Examples
    --------
    >>> from sklearn_meta.learners.reconstruction import GaussianMixturePrior
    >>> GaussianMixturePrior(n_components=8)
    GaussianMixturePrior(n_components=8)
    """

    def __init__(self, n_components: int | str = "auto"):
        self.n_components = n_components

    def learn(
        self,
        tasks: Sequence[ImageTask],
        validation_tasks: Sequence[ImageTask] | None,
        training: Training,
    ) -> Learned:
        """Learn the mixture from the images of all tasks.

        Raises
        ------
        ValueError
            If `n_components` is neither "auto" nor an int of at least 1, or there are fewer images.
        """
        self._check()
        sigma = training.noise.sigma if isinstance(training.noise.sigma, float) else None
        sigma = noise_of_tasks(tasks) if sigma is None else sigma
        if not are_small(tasks):
            groups = large_groups_of(tasks, type(self).__name__)
            n_components = None if self.n_components == "auto" else self._given()
            mixture = fit_patches(groups, n_components, training.rng, training.device)
            facts = {"sigma": sigma, "kind": PATCHES, "n_components": len(mixture.weights)}
            return Learned(mixture.arrays(), facts)
        images = images_of(tasks, type(self).__name__)
        if self._given() > len(images):
            raise ValueError(
                f"n_components is {self.n_components}, but there are {len(images)} images; "
                "expected at most as many, or 'auto'."
            )
        choice, smoothness = (self._given(), 0), 0.0
        if len(images) > 1:
            trial = make_trial(images, tasks, sigma, training.rng)
            reach, smoothness = choose_covariance(trial)
            choices = self._choices(images, reach)
            choice = choices[0]
            if len(choices) > 1:
                errors = [
                    trial.error(_fit(trial.kept, *c, smoothness, training.rng)) for c in choices
                ]
                choice = choices[int(np.argmin(errors))]
        is_small = self.n_components == "auto" and images[0].size <= FEW_PIXELS
        n_members = MEMBERS if is_small and choice[0] > 1 else 1
        mixture = pool(
            [
                _fit(torch.from_numpy(images), *choice, smoothness, training.rng)
                for _ in range(n_members)
            ]
        )
        facts = {
            "sigma": sigma,
            "image_shape": list(images.shape[1:]),
            "n_components": len(mixture.weights),
            "reach": choice[1],
            "smoothness": smoothness,
        }
        return Learned(mixture.arrays(), facts)

    def load(
        self, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], device: torch.device
    ) -> Any:
        """Return the model that weights of `learn` stand for."""
        if facts.get("kind") == PATCHES:
            return PatchModel.load(facts["sigma"], weights, device)
        return super().load(facts, weights, device)

    def _check(self) -> None:
        n = self.n_components
        is_number = isinstance(n, Integral) and not isinstance(n, bool) and n >= 1
        if not is_number and not (isinstance(n, str) and n == "auto"):
            raise ValueError(f"n_components is {n!r}, expected 'auto' or an int of at least 1.")

    def _given(self) -> int:
        return 1 if self.n_components == "auto" else int(self.n_components)

    def _choices(self, images: np.ndarray, reach: int) -> list[tuple[int, int]]:
        """Numbers of components with the reach of shifts."""
        if self.n_components != "auto":
            return [(self._given(), reach)]
        if len(images) < FEWEST:
            return [(1, reach)]
        few = images[0].size <= FEW_PIXELS
        many = max(2, min(MOST if few else MOST_OF_LARGE, len(images) // PER_COMPONENT))
        counts = sorted({1, max(2, many // 3), many}) if few else [1, many]
        return [(count, reach) for count in counts]


def _fit(
    images: Tensor, n_components: int, reach: int, smoothness: float, rng: np.random.Generator
) -> FactoredMixture:
    mean, covariance = moments(images, reach, smoothness)
    rows = shifted(images, reach).flatten(1)
    if len(rows) > MOST_ROWS > len(images):
        rows = rows[torch.from_numpy(rng.permutation(len(rows))[:MOST_ROWS])]
    strength = STRENGTH * len(rows) / len(images)
    return fit_mixture(rows, mean, covariance, n_components, strength, rng)
