"""A prior of `Unrolled` ready to run, and what adaptation to an operator adds to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._calibration import N_PIXELS, images_of_shape
from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._half_quadratic import smooth_start
from sklearn_meta.learners.reconstruction._noise import estimate_noise
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import Calibrated, Scalars
from sklearn_meta.operators import Operator

_STIFFNESS = 1e-2  # of a smooth image, over the squared norm of the operator
_HIGH = 0.99  # quantile that stands for the largest value
_MOST = 1.2  # of it, in multiples of the scale: where there is noise, it is above 1


@dataclass(frozen=True, eq=False)
class UnrolledModel:
    """What `Unrolled.load` makes of a prior.

    Attributes
    ----------
    module : UnrolledModule
    images : ndarray of shape (n, h, w[, c]), uint8
        On which schedules are found.
    scale : float
        Largest value of images, about: they are divided by it.
    sigma : float or None
        Noise of the measurements of meta-training, where it was one.
    """

    module: UnrolledModule
    images: np.ndarray
    scale: float
    sigma: float | None

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return next(self.module.parameters()).device

    def known_images(self, operator: Operator, n_pixels: int = N_PIXELS) -> Tensor:
        """Return images in the shape that an operator takes, about so many pixels of them."""
        images = images_of_shape(self.images, operator.image_shape, n_pixels)
        return torch.from_numpy(images).to(self.device)

    def noise_of(self, operator: Operator, measurements: Tensor) -> Tensor:
        """Estimate the noise of measurements of each image, shape (n,).

        That of meta-training where they do not tell for sure.
        """
        found = estimate_noise(operator, measurements)
        if self.sigma is None:
            return found.sigma
        return torch.where(found.is_sure, found.sigma, self.sigma)

    def scale_of(self, operator: Operator, measurements: Tensor) -> Tensor:
        """Return what measurements of each image are divided by, shape (n,).

        Such that its largest value is about that of the images on which schedules are found,
        whatever its units; powers of 2, so that there are few schedules.
        """
        term = DataTerm(operator, measurements)
        smooth = smooth_start(term, _STIFFNESS * operator.norm() ** 2)
        high = torch.stack([x.abs().flatten().quantile(_HIGH) for x in smooth])
        steps = (high.clamp_min(1e-30) / (_MOST * self.scale)).log2().ceil()
        return torch.where(high > 0, 2.0**steps, 1.0) * self.scale


@dataclass(frozen=True, eq=False)
class UnrolledState:
    """What `Unrolled.adapt` found.

    Attributes
    ----------
    operator : Operator
    noise : Noise
    scalars : Scalars
    weights : dict of str to ndarray, or None
        Of the module, where they are not the prior's.
    schedules : dict
        Found so far, by noise level and missing measurements.
    """

    operator: Operator
    noise: Noise
    scalars: Scalars = field(default_factory=Scalars)
    weights: dict[str, np.ndarray] | None = None
    schedules: dict[Any, Calibrated | None] = field(default_factory=dict)

    @property
    def is_adapted(self) -> bool:
        """Whether anything is not the prior's."""
        return self.weights is not None or self.scalars != Scalars()

    def module(self, model: UnrolledModel) -> UnrolledModule:
        """Return the adapted module, or the prior's."""
        if self.weights is None:
            return model.module
        return ready(UnrolledModule.of_weights(self.weights), model.device)


def ready(module: UnrolledModule, device: torch.device) -> UnrolledModule:
    """Put a module on a device, in the layout that convolutions are fastest in."""
    return module.to(device, memory_format=torch.channels_last).requires_grad_(False)
