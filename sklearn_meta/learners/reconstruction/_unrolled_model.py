"""A prior of `Unrolled` ready to run, and what adaptation to an operator adds to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._calibration import N_PIXELS, images_of_shape
from sklearn_meta.learners.reconstruction._noise_level import noise_level
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import Calibrated, Scalars
from sklearn_meta.operators import Operator

_NEAR = 1.6  # how far an estimate of noise may be off


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

    def noise_of(self, operator: Operator, measurements: Tensor) -> float:
        """Estimate the noise of measurements; that of meta-training where it may well be it."""
        found = float(noise_level(operator, measurements).median())
        if self.sigma is not None and 1 / _NEAR < found / self.sigma < _NEAR:
            return self.sigma
        return found


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

    def module(self, model: UnrolledModel) -> UnrolledModule:
        """Return the adapted module, or the prior's."""
        if self.weights is None:
            return model.module
        adapted = UnrolledModule.of_weights(self.weights).to(model.device)
        return adapted.requires_grad_(False)
