"""GaussianPrior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sklearn_meta.learners.reconstruction._base import ImageTask, Learned, Training
from sklearn_meta.learners.reconstruction._closed_form import ClosedFormPrior
from sklearn_meta.learners.reconstruction._covariance import moments
from sklearn_meta.learners.reconstruction._factored import FactoredMixture
from sklearn_meta.learners.reconstruction._images_of_tasks import (
    are_measured_only,
    are_small,
    images_of,
    large_groups_of,
)
from sklearn_meta.learners.reconstruction._measured_moments import measured_moments
from sklearn_meta.learners.reconstruction._prior_noise import noise_of_tasks
from sklearn_meta.learners.reconstruction._spectrum import Spectrum
from sklearn_meta.learners.reconstruction._stationary import StationaryModel
from sklearn_meta.learners.reconstruction._trial import Trial, make_trial

#: What is compared on held-out images: reach of shifts, weight of the stationary correlation.
CHOICES = ((0, 0.0), (0, 0.03), (0, 0.2), (1, 0.0), (1, 0.1), (2, 0.0), (2, 0.1), (2, 0.5))

#: Kind of model of large images, and of images of several shapes.
STATIONARY = "stationary"


class GaussianPrior(ClosedFormPrior):
    """One Gaussian over images; its posterior mean is the linear estimator of least error.

    Images of one shape and up to about a thousand pixels have a covariance of all pixels: mean and
    covariance are those of the images of all tasks. Where these are few for their
    pixels, shifted copies are counted too and correlations are drawn to those that depend on the
    displacement alone, as far as that helps to reconstruct held-out images. The posterior is
    exact, for any linear operator: mean, and standard deviation of each pixel. Tasks without any
    image, but with measurements under known operators, teach mean and covariance by expectation
    maximisation.

    Larger images, and those of several shapes, are taken for a stationary field: a mean, and a
    power spectrum that is pooled over all images and smooth in frequency, so that it serves images
    of any shape. The estimator is a Wiener filter where the operator is a circular convolution,
    else it is found by conjugate gradients.

    References
    ----------
    O. Ledoit, M. Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis.

    N. Wiener (1949), "Extrapolation, interpolation, and smoothing of stationary time series".

    S. M. Kay (1993), "Fundamentals of statistical signal processing: estimation theory".

    Examples
    --------
    >>> from sklearn_meta.learners.reconstruction import GaussianPrior
    >>> GaussianPrior()
    GaussianPrior()
    """

    def learn(
        self,
        tasks: Sequence[ImageTask],
        validation_tasks: Sequence[ImageTask] | None,
        training: Training,
    ) -> Learned:
        """Learn mean and covariance from the images of all tasks.

        Where there are none, they are learned from the measurements under known operators.
        """
        sigma = training.noise.sigma if isinstance(training.noise.sigma, float) else None
        sigma = noise_of_tasks(tasks) if sigma is None else sigma
        if are_measured_only(tasks):
            mean, covariance, sigma = measured_moments(tasks, sigma)
            shape = tasks[0].operator.image_shape
            facts = {"sigma": sigma, "image_shape": list(shape), "reach": 0, "smoothness": 0.0}
            return Learned(FactoredMixture.single(mean, covariance).arrays(), facts)
        if not are_small(tasks):
            spectrum = Spectrum.of(large_groups_of(tasks, type(self).__name__))
            return Learned(spectrum.arrays(), {"sigma": sigma, "kind": STATIONARY})
        images = images_of(tasks, type(self).__name__)
        reach, smoothness = 0, 0.0
        if len(images) > 1:
            trial = make_trial(images, tasks, sigma, training.rng)
            reach, smoothness = choose_covariance(trial)
        mixture = FactoredMixture.single(*moments(torch.from_numpy(images), reach, smoothness))
        facts = {
            "sigma": sigma,
            "image_shape": list(images.shape[1:]),
            "reach": reach,
            "smoothness": smoothness,
        }
        return Learned(mixture.arrays(), facts)

    def load(
        self, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], device: torch.device
    ) -> Any:
        """Return the model that weights of `learn` stand for."""
        if facts.get("kind") == STATIONARY:
            return StationaryModel.load(facts["sigma"], weights, device)
        return super().load(facts, weights, device)


def choose_covariance(trial: Trial) -> tuple[int, float]:
    """Reach of shifts and weight of the stationary correlation, by held-out images."""
    errors = [trial.error(FactoredMixture.single(*moments(trial.kept, *c))) for c in CHOICES]
    return CHOICES[int(np.argmin(errors))]
