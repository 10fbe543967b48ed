"""A prior of `PlugAndPlay` ready to run, and what adaptation to an operator adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._calibration import images_of_shape
from sklearn_meta.learners.reconstruction._image_denoiser import ImageDenoiser, is_network
from sklearn_meta.learners.reconstruction._nonlinear_plan import Plans
from sklearn_meta.learners.reconstruction._plug_and_play_steps import Scalars
from sklearn_meta.operators import Operator

_PREFIX = "denoiser."  # of the denoiser's weights in a prior that is more than it
_REFERENCE = "calibration"


@dataclass(frozen=True, eq=False)
class PlugAndPlayModel:
    """What `PlugAndPlay.load` makes of a prior.

    Attributes
    ----------
    denoise : callable
        See `ImageDenoiser`.
    images : ndarray of shape (n, h, w[, c]), uint8, or None
        On which the steps under non-linear operators are chosen.
    scale : float
        Largest value of images, about, which 255 stands for.
    """

    denoise: Callable[..., Tensor]
    images: np.ndarray | None
    scale: float

    def __post_init__(self) -> None:
        if not callable(self.denoise):
            raise TypeError(
                f"denoiser is {self.denoise!r}, expected a callable (x, sigma) -> z of tensors of "
                "shape (1, C, H, W), or None for the bundled one."
            )

    @property
    def is_own(self) -> bool:
        """Whether the denoiser is the user's."""
        return not is_network(self.denoise)

    def reference(self, operator: Operator, like: Tensor) -> Tensor:
        """Return images of the kind, in the shape that an operator takes.

        Raises
        ------
        ValueError
            If there are none.
        """
        if self.images is None:
            raise ValueError(
                "PlugAndPlay chooses its steps under operators that are not linear on images of "
                "the kind, and has none: pass prior='image', or meta-train on tasks with images."
            )
        images = images_of_shape(self.images, operator.image_shape)
        return self.scale * torch.from_numpy(images).to(like)

    def denoise_as_is(self, x: Tensor, level: Tensor) -> Tensor:
        """Denoise images (n, H, W[, C]) of the range of the reference."""
        clean = ImageDenoiser(self.denoise, x, self.is_own, moves=False)
        return self.scale * clean(x / self.scale, level / self.scale)


@dataclass(frozen=True, eq=False)
class PlugAndPlayState:
    """What `PlugAndPlay.adapt` found.

    Attributes
    ----------
    operator : Operator
    noise : Noise
        Its sigma is None where each image's is estimated by itself.
    scalars : Scalars
    plans : Plans
        Found so far, by noise; for operators that are not linear.
    """

    operator: Operator
    noise: Noise
    scalars: Scalars = field(default_factory=Scalars)
    plans: Plans = field(default_factory=Plans)


def denoiser_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of the denoiser alone, named as in its `state_dict`."""
    own = {n[len(_PREFIX) :]: w for n, w in weights.items() if n.startswith(_PREFIX)}
    return own or {n: w for n, w in weights.items() if n != _REFERENCE}


def reference_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Images of a prior on which the steps are chosen, by their name; empty where it has none."""
    return {_REFERENCE: np.asarray(weights[_REFERENCE])} if _REFERENCE in weights else {}
