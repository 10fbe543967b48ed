"""Plug-and-play: any denoiser, any linear operator, no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._alike import check_measured, same_missing
from sklearn_meta.learners.reconstruction._base import (
    ImageTask,
    Learned,
    Noise,
    ReconstructionLearner,
    Training,
)
from sklearn_meta.learners.reconstruction._calibration import some_of
from sklearn_meta.learners.reconstruction._half_quadratic import check_steps
from sklearn_meta.learners.reconstruction._nonlinear import is_even, reconstruct_nonlinear
from sklearn_meta.learners.reconstruction._nonlinear_noise import noise_of
from sklearn_meta.learners.reconstruction._plug_and_play_model import (
    PlugAndPlayModel,
    PlugAndPlayState,
    denoiser_weights,
    reference_weights,
)
from sklearn_meta.learners.reconstruction._plug_and_play_steps import Scalars, Solver
from sklearn_meta.learners.reconstruction._unrolled_module import denoiser_of_weights
from sklearn_meta.learners.reconstruction._unrolled_steps import sees_every_pixel
from sklearn_meta.operators import Operator

_NONLINEAR_STEPS = 8
_FACTORS = (0.4, 1.0, 2.5)
_GAIN = 0.01  # of the squared error, that other scalars have to save
_FEWEST_PAIRS, _DOUBTS = 4, 2.0  # that can tell it, beyond so many standard errors
_MOST_PAIRS, _MOST_PIXELS = 8, 2**17  # that other scalars are tried on
_ALIKE = 1.3  # noise levels of images that are taken for one
_LEAST_RANGE = 1e-12


class PlugAndPlay(ReconstructionLearner):
    """Half-quadratic splitting with a denoiser that knows nothing of the operator.

    From the smooth image of least squares on, each step denoises, moves towards the measurements,
    and goes past them, so that the next error is more like noise. Nothing is learned: the denoiser
    of the bundled prior, or one of the user's own, serves any operator, any size of images and,
    where the operator is linear, any range of values. Under operators that are not linear the steps
    are chosen by simulation on images of the tasks, or of the bundled prior.

    Parameters
    ----------
    denoiser : callable (x, sigma) -> z, default=None
        The user's own: x is a Tensor of shape (1, C, H, W), about in [0, 1], sigma a float.
        By default the bundled one.
    steps : int, default="auto"
        Number of denoisings; "auto" is 16, or 24 where each measurement mixes all of the image, and
        at most 8 under operators that are not linear. Fewer are faster.

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
        """Return the weights of the bundled denoiser, and some of the images of the tasks.

        Raises
        ------
        ValueError
            If there is neither a denoiser of the user's own nor the bundled one.
        """
        start = {} if training.start is None else training.start.weights
        weights = {} if self.denoiser is not None else denoiser_weights(start)
        if self.denoiser is None and not weights:
            raise ValueError("PlugAndPlay needs a denoiser: there is no bundled one to take.")
        images = [task.images for task in tasks if task.images is not None]
        if not images:
            return Learned(weights | reference_weights(start), {})
        scale = max(_LEAST_RANGE, *(float(np.abs(x).max()) for x in images))
        return Learned(
            weights | {"calibration": some_of([x / scale for x in images])}, {"scale": scale}
        )

    def load(
        self, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], device: torch.device
    ) -> PlugAndPlayModel:
        """Return the denoiser, and images of the kind.

        Raises
        ------
        ValueError
            If the weights are not those of a denoiser.
        """
        denoise = self.denoiser
        if denoise is None:
            try:
                denoise = denoiser_of_weights(denoiser_weights(weights))
            except (KeyError, RuntimeError) as error:
                raise ValueError(f"the weights do not fit PlugAndPlay: {error}") from error
            denoise = denoise.to(device, memory_format=torch.channels_last).requires_grad_(False)
        images = reference_weights(weights).get("calibration")
        return PlugAndPlayModel(denoise, images, facts.get("scale", 1.0))

    def adapt(
        self,
        model: PlugAndPlayModel,
        operator: Operator,
        noise: Noise,
        measurements: Tensor | None,
        images: Tensor | None,
    ) -> PlugAndPlayState:
        """Adapt to an operator; see `ReconstructionLearner.adapt`.

        Pairs tell the noise, and under linear operators how far to trust the denoiser;
        measurements alone the noise.
        """
        check_steps(self.steps)
        if measurements is None:
            return PlugAndPlayState(operator, noise)
        check_measured(measurements)
        with torch.no_grad():
            if noise.sigma is None:
                noise = _noise_at_hand(operator, noise, measurements, images)
            state = PlugAndPlayState(operator, noise)
            if images is None or not operator.is_linear:
                return state
            return self._fitted(model, state, measurements, images)

    def reconstruct(
        self,
        model: PlugAndPlayModel,
        state: PlugAndPlayState,
        measurements: Tensor,
        return_std: bool = False,
    ) -> tuple[Tensor, None]:
        """Reconstruct images; see `ReconstructionLearner.reconstruct`.

        Raises
        ------
        ValueError
            If `return_std` is asked for, all measurements of an image are missing, or the operator
            is not linear and there are no images to choose the steps on.
        """
        if return_std:
            raise ValueError("PlugAndPlay has no standard deviation of its reconstructions.")
        check_measured(measurements)
        with torch.no_grad():
            if not state.operator.is_linear:
                y = measurements.to(torch.float32)
                x = reconstruct_nonlinear(
                    state.operator,
                    y,
                    state.noise,
                    model.denoise_as_is,
                    model.reference(state.operator, y),
                    torch.Generator().manual_seed(0),
                    _NONLINEAR_STEPS if self.steps == "auto" else self.steps,
                    state.plans,
                )
                return x.to(torch.float64), None
            return self._by_linear(model, state, measurements), None

    def _by_linear(
        self, model: PlugAndPlayModel, state: PlugAndPlayState, measurements: Tensor
    ) -> Tensor:
        # Data steps are in double precision: where conjugate gradients stop must not depend on how
        # products of a whole batch are rounded.
        y, sigma = measurements.to(torch.float64), state.noise.sigma
        if sigma is not None:
            sigma = torch.as_tensor(np.asarray(sigma), dtype=y.dtype).to(y.device).expand(len(y))
        steps = None if self.steps == "auto" else self.steps
        out = y.new_empty((len(y), *state.operator.image_shape))
        # Whether pixels are missing, or noise, decides on the steps: nothing of another image may.
        exact = [False] * len(y) if sigma is None else (sigma == 0).tolist()
        for rows in same_missing(y, exact):
            level = None if sigma is None else sigma[rows]
            solver = Solver(state.operator.select(rows), y[rows], level, state.noise.gain)
            out[rows] = solver.run(model.denoise, model.is_own, state.scalars, steps, steps or 1)
        return out

    def _fitted(
        self,
        model: PlugAndPlayModel,
        state: PlugAndPlayState,
        measurements: Tensor,
        images: Tensor,
    ) -> PlugAndPlayState:
        """Choose the scalars by pairs, one after the other; those that clearly help.

        Large images, and very few, leave them as they are.
        """
        most = max(1, min(_MOST_PAIRS, _MOST_PIXELS // state.operator.n_pixels))
        index = torch.arange(min(len(images), most))
        if len(index) < _FEWEST_PAIRS:
            return state
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
                doubt = float(gain.std()) / len(gain) ** 0.5
                if float(gain.mean()) - _DOUBTS * doubt > _GAIN:
                    best, scalars = new, other
        return replace(state, scalars=scalars)


def _noise_at_hand(
    operator: Operator, noise: Noise, measurements: Tensor, images: Tensor | None
) -> Noise:
    """Noise as pairs or measurements tell it; its sigma is None where each image has its own."""
    y = measurements.to(torch.float64)
    if images is not None:
        misfit = operator.forward(images) - measurements
        return replace(noise, sigma=float(misfit.square().nanmean().sqrt()))
    if not operator.is_linear:
        return noise if is_even(operator) else noise_of(operator, y)
    if len(y) < 3 or len(same_missing(y, [0] * len(y))) > 1 or sees_every_pixel(operator, y):
        return noise
    found = Solver(operator, y, None)
    if bool(found.looks_again.any()) or float(found.sigma.max() / found.sigma.min()) > _ALIKE:
        return noise
    return replace(noise, sigma=float(found.sigma.median()))
