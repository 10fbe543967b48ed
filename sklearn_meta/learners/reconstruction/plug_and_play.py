"""Plug-and-play: any denoiser, any linear operator, no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import (
    ImageTask,
    Learned,
    Noise,
    ReconstructionLearner,
    Training,
)
from sklearn_meta.learners.reconstruction._image_denoiser import is_network
from sklearn_meta.learners.reconstruction._plug_and_play_steps import Scalars, Solver
from sklearn_meta.learners.reconstruction._unrolled_module import denoiser_of_weights
from sklearn_meta.operators import Operator

_STEPS = 10
_PREFIX = "denoiser."  # of the denoiser's weights in a prior that is more than it
_FACTORS = (0.4, 1.0, 2.5)
_GAIN = 0.01  # of the squared error, that other scalars have to save
_MOST_PAIRS = 8
_ALIKE = 1.3  # noise levels of images that are taken for one


@dataclass(frozen=True, eq=False)
class PlugAndPlayState:
    """What `PlugAndPlay.adapt` found.

    Attributes
    ----------
    operator : Operator
    noise : Noise
        Its sigma is None where each image's is estimated by itself.
    scalars : Scalars
    """

    operator: Operator
    noise: Noise
    scalars: Scalars


class PlugAndPlay(ReconstructionLearner):
    """Half-quadratic splitting with a denoiser that knows nothing of the operator.

    From the smooth image of least squares on, each step denoises, moves towards the measurements,
    and goes past them, so that the next error is more like noise. Nothing is learned: the denoiser
    of the bundled prior, or one of the user's own, serves any linear operator, any size of images
    and any range of values.

    Parameters
    ----------
    denoiser : callable (x, sigma) -> z, default=None
        The user's own: x is a Tensor of shape (1, C, H, W), about in [0, 1], sigma a float.
        By default the bundled one.
    steps : int, default="auto"
        Number of denoisings; "auto" is 10. Fewer are faster.

    References
    ----------
    S. V. Venkatakrishnan, C. A. Bouman, B. Wohlberg (2013), "Plug-and-play priors for model based
    reconstruction", IEEE GlobalSIP.

    K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte (2021), "Plug-and-play image
    restoration with deep denoiser prior", IEEE PAMI.
    """

    serves_any_shape = True

    def __init__(self, denoiser: Callable[..., Tensor] | None = None, steps: int | str = "auto"):
        self.denoiser = denoiser
        self.steps = steps

    def learn(
        self,
        tasks: Sequence[ImageTask],
        validation_tasks: Sequence[ImageTask] | None,
        training: Training,
    ) -> Learned:
        """Return the weights of the bundled denoiser: there is nothing to learn.

        Raises
        ------
        ValueError
            If there is neither a denoiser of the user's own nor the bundled one.
        """
        if self.denoiser is not None:
            return Learned({}, {})
        if training.start is None:
            raise ValueError("PlugAndPlay needs a denoiser: there is no bundled one to take.")
        return Learned(_denoiser_weights(training.start.weights), {})

    def load(
        self, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], device: torch.device
    ) -> Callable[..., Tensor]:
        """Return the denoiser.

        Raises
        ------
        ValueError
            If the weights are not those of a denoiser.
        """
        if self.denoiser is not None:
            return self.denoiser
        try:
            network = denoiser_of_weights(_denoiser_weights(weights))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the weights do not fit PlugAndPlay: {error}") from error
        return network.to(device).requires_grad_(False)

    def adapt(
        self,
        model: Callable[..., Tensor],
        operator: Operator,
        noise: Noise,
        measurements: Tensor | None,
        images: Tensor | None,
    ) -> PlugAndPlayState:
        """Adapt to an operator; see `ReconstructionLearner.adapt`.

        Pairs tell the noise, and how far to trust the denoiser; measurements alone the noise.

        Raises
        ------
        ValueError
            If the operator is not linear.
        """
        if not operator.is_linear:
            raise ValueError(
                f"PlugAndPlay serves linear operators, and {type(operator).__name__} is none."
            )
        self._n_steps()
        state = PlugAndPlayState(operator, noise, Scalars())
        if measurements is None:
            return state
        with torch.no_grad():
            if images is None:
                return replace(state, noise=_common_noise(operator, noise, measurements))
            if noise.sigma is None:
                misfit = operator.forward(images) - measurements
                noise = replace(noise, sigma=float(misfit.square().nanmean().sqrt()))
                state = replace(state, noise=noise)
            return self._fitted(model, state, measurements, images)

    def reconstruct(
        self,
        model: Callable[..., Tensor],
        state: PlugAndPlayState,
        measurements: Tensor,
        return_std: bool = False,
    ) -> tuple[Tensor, None]:
        """Reconstruct images; see `ReconstructionLearner.reconstruct`."""
        if return_std:
            raise ValueError("PlugAndPlay has no standard deviation of its reconstructions.")
        sigma = state.noise.sigma
        if sigma is not None:
            sigma = torch.as_tensor(np.asarray(sigma), dtype=torch.float32)
            sigma = sigma.to(measurements.device).expand(len(measurements))
        own = not is_network(model)
        with torch.no_grad():
            solver = Solver(state.operator, measurements.to(torch.float32), sigma, state.noise.gain)
            x = solver.run(model, own, self._n_steps(), state.scalars)
        return x.to(torch.float64), None

    def _fitted(
        self,
        model: Callable[..., Tensor],
        state: PlugAndPlayState,
        measurements: Tensor,
        images: Tensor,
    ) -> PlugAndPlayState:
        """Choose the scalars by pairs, one after the other; those that clearly help."""
        index = torch.arange(min(len(images), _MOST_PAIRS))
        few, truth = measurements[: len(index)], images[: len(index)]
        one = replace(state, operator=state.operator.select(index))
        if isinstance(state.noise.sigma, np.ndarray):
            one = replace(one, noise=replace(state.noise, sigma=state.noise.sigma[: len(index)]))

        def errors(scalars: Scalars) -> Tensor:
            found, _ = self.reconstruct(model, replace(one, scalars=scalars), few)
            return (found - truth).square().flatten(1).mean(1).clamp_min(1e-30).log()

        best, scalars = errors(state.scalars), state.scalars
        for name in ("weight", "level", "first"):
            for factor in _FACTORS[::2]:
                other = replace(scalars, **{name: factor})
                new = errors(other)
                gain = best - new
                # Most of the pairs have to agree, not one of them alone.
                if float(gain.mean()) > _GAIN and float(gain.median()) > 0:
                    best, scalars = new, other
        return replace(state, scalars=scalars)

    def _n_steps(self) -> int:
        if self.steps == "auto":
            return _STEPS
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps is {self.steps!r}, expected 'auto' or an int of at least 1.")
        return self.steps


def _denoiser_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of the denoiser alone, named as in its `state_dict`."""
    own = {n[len(_PREFIX) :]: w for n, w in weights.items() if n.startswith(_PREFIX)}
    return own or dict(weights)


def _common_noise(operator: Operator, noise: Noise, measurements: Tensor) -> Noise:
    """Noise of all images where their estimates agree; else each has its own."""
    if noise.sigma is not None or len(measurements) < 3:
        return noise
    found = Solver(operator, measurements.to(torch.float32), None, noise.gain)
    if bool(found.looks_again.any()) or float(found.sigma.max() / found.sigma.min()) > _ALIKE:
        return noise
    return replace(noise, sigma=float(found.sigma.median()))
