"""Half-quadratic splitting, its denoiser meta-trained through the steps across operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._adaptation import LARGE, N_PIXELS, Adaptation
from sklearn_meta.learners.reconstruction._alike import alike, check_measured
from sklearn_meta.learners.reconstruction._base import (
    ImageTask,
    Learned,
    Noise,
    ReconstructionLearner,
    Training,
)
from sklearn_meta.learners.reconstruction._calibration import some_of
from sklearn_meta.learners.reconstruction._data_step import onto_measurements
from sklearn_meta.learners.reconstruction._fit_losses import Setting, steps_loss
from sklearn_meta.learners.reconstruction._half_quadratic import check_steps
from sklearn_meta.learners.reconstruction._inversion import Inversion
from sklearn_meta.learners.reconstruction._noise import is_local
from sklearn_meta.learners.reconstruction._unrolled_model import (
    UnrolledModel,
    UnrolledState,
    ready,
)
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import (
    Problem,
    Scalars,
    learn_steps,
)
from sklearn_meta.learners.reconstruction._unrolled_training import common_noise, store_of
from sklearn_meta.networks.denoiser import Denoiser
from sklearn_meta.operators import Operator
from sklearn_meta.tasks._image_store import ImageBatch

#: Ways to adapt to measurements without images.
ADAPTATIONS = ("splitting", "sure", "equivariance", "none")

#: Steps of meta-training where they are "auto".
TRAINED_STEPS = 6
#: Numbers of steps that "auto" tries under an operator, by whether a measurement is about few
#: pixels. Where each mixes all of the image, errors of the start are larger, and last longer.
LOCAL_STEPS, MIXED_STEPS = (6, 12), (24,)

_LEAST_RANGE = 1e-12
_SHARES = (0.5, 0.75, 1.0)  # of the way from the start to what was learned
_TIE = 0.003  # of the logarithm of an error: 0.03 dB


class Unrolled(ReconstructionLearner):
    """Steps of half-quadratic splitting with one denoiser, learned end to end across operators.

    From the smooth image of least squares on, each step denoises and then moves towards the
    measurements, exactly or by conjugate gradients. How far each step is from the truth is found
    by simulation on a few images, for the operator and the noise level at hand; it is what the
    denoiser is told and what the two halves of a step are weighed by. So the same weights serve
    operators, noise levels and image sizes that meta-training never saw. Operators have to be
    linear.

    Parameters
    ----------
    steps : int, default="auto"
        "auto" is 6 in meta-training; then 24 under an operator each measurement of which mixes all
        of the image, and under others 12 where simulation on images of the kind clearly gains.
    adaptation : {"splitting", "sure", "equivariance", "none"}, default="splitting"
        By what measurements without images are adapted to: some foretell those that are hidden,
        Stein's unbiased estimate of risk, or equivariance to turns. An adaptation is kept only
        where hidden measurements are clearly foretold better. By "none", and where images have more
        than 32,768 pixels, measurements tell the noise alone.

    References
    ----------
    K. Zhang, L. Van Gool, R. Timofte (2020), "Deep unfolding network for image super-resolution",
    CVPR.

    H. K. Aggarwal, M. P. Mani, M. Jacob (2019), "MoDL: model-based deep learning architecture for
    inverse problems", IEEE Transactions on Medical Imaging.
    """

    serves_any_shape = True
    cross_fitted = False  # the loop of meta-training holds tasks out

    def __init__(self, steps: int | str = "auto", adaptation: str = "splitting"):
        self.steps = steps
        self.adaptation = adaptation

    # ------------------------------------------------------------------ meta-training

    def learn(
        self,
        tasks: Sequence[ImageTask],
        validation_tasks: Sequence[ImageTask] | None,
        training: Training,
    ) -> Learned:
        """Meta-train end to end across the operators of the tasks, and others drawn at random.

        Begins at ``training.start``, the bundled prior, where there is one; what it is trained to
        is kept only as far as held-out tasks gain.

        Raises
        ------
        ValueError
            If no task has images, or an operator is not linear.
        """
        check_steps(self.steps)
        known = [task for task in tasks if task.images is not None]
        if not known:
            raise ValueError("Unrolled learns from images, and no task has any.")
        largest = max(float(np.abs(task.images).max()) for task in known)
        scale = max(largest, _LEAST_RANGE)
        store = store_of(known, training, scale)
        judged = None
        if validation_tasks is not None:
            with_images = [task for task in validation_tasks if task.images is not None]
            judged = store_of(with_images, training, scale) if with_images else None
        module = self._first_module(training)
        module, history = training.meta_train(
            self,
            module,
            store,
            config=training.config,
            rng=training.rng,
            validation_store=judged,
            device=training.device,
            verbose=training.verbose,
            checkpoint=training.checkpoint,
        )
        weights = {name: t.detach().cpu().numpy() for name, t in module.state_dict().items()}
        weights["calibration"] = some_of(store.images)
        facts = {"scale": scale, "sigma": common_noise(known, training)}
        return Learned(weights, facts, history)

    def loss(self, module: UnrolledModule, batch: ImageBatch) -> Tensor:
        """Loss of a batch of meta-training; in eval mode of the reconstructions alone."""
        losses = []
        for one in batch.sets:
            problem = Problem(one.operator, one.measurements, one.sigma)
            denoised, image, _ = learn_steps(
                module, problem, one.images, self._trained_steps, Scalars()
            )
            losses.append(steps_loss(denoised if module.training else [], image, one.images))
        return torch.stack(losses).mean()

    def finish(self, module: UnrolledModule, held_out: Sequence[ImageBatch]) -> UnrolledModule:
        """Go back towards the start, as far as tasks that were held out lose nothing by it.

        On the way back is what the start knew of operators that no task has.

        References
        ----------
        M. Wortsman, G. Ilharco, J. W. Kim, M. Li, S. Kornblith, et al. (2022), "Robust fine-tuning
        of zero-shot models", CVPR.
        """
        if module.start is None or not held_out:
            return module
        parts = [module.between(share) for share in _SHARES]
        losses = [
            float(torch.stack([self.loss(part, batch) for batch in held_out]).mean())
            for part in parts
        ]
        enough = min(losses) + _TIE
        return next(part for part, loss in zip(parts, losses, strict=True) if loss <= enough)

    def _first_module(self, training: Training) -> UnrolledModule:
        if training.start is not None:
            return UnrolledModule.of_weights(training.start.weights).mark_start()
        seed = int(training.rng.integers(2**63))
        return UnrolledModule(Denoiser(generator=torch.Generator().manual_seed(seed)))

    # ------------------------------------------------------------------ adaptation

    def load(
        self, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], device: torch.device
    ) -> UnrolledModel:
        """Return the model of weights."""
        module = ready(UnrolledModule.of_weights(weights), device)
        images = np.asarray(weights["calibration"])
        return UnrolledModel(module, images, facts.get("scale", 1.0), facts.get("sigma"))

    def adapt(
        self,
        model: UnrolledModel,
        operator: Operator,
        noise: Noise,
        measurements: Tensor | None,
        images: Tensor | None,
    ) -> UnrolledState:
        """Adapt to an operator; see `ReconstructionLearner.adapt`.

        Raises
        ------
        ValueError
            If the operator is not linear, or `adaptation` is none of those.
        """
        if self.adaptation not in ADAPTATIONS:
            raise ValueError(f"adaptation is {self.adaptation!r}, expected one of {ADAPTATIONS}.")
        check_steps(self.steps)
        if not operator.is_linear:
            raise ValueError(
                f"Unrolled serves linear operators, and {type(operator).__name__} is none; "
                "learner='plug_and_play' serves it."
            )
        if measurements is not None:
            check_measured(measurements)
        if noise.sigma is None and measurements is not None:
            if images is None:
                sigma = float(model.noise_of(operator, measurements).median())
            else:
                sigma = float((operator.forward(images) - measurements).square().nanmean().sqrt())
            noise = replace(noise, sigma=sigma)
        state = UnrolledState(operator, noise)
        if measurements is None or not isinstance(noise.sigma, float):
            return state
        if images is None and (self.adaptation == "none" or operator.n_pixels > LARGE):
            return state
        scale = float(model.scale_of(operator, measurements).median())
        setting = Setting(
            operator, noise.sigma / scale, noise.gain / scale, self._trained_steps, Scalars()
        )
        generator = torch.Generator().manual_seed(0)
        known = model.known_images(operator, N_PIXELS)
        steps = self._steps_under(operator)
        adaptation = Adaptation(setting, known, generator, steps, self.adaptation)
        y = measurements.to(torch.float32) / scale
        if images is None:
            fitted = adaptation.from_measurements(model.module, y)
        else:
            fitted = adaptation.from_pairs(model.module, y, images.to(torch.float32) / scale)
        weights = None
        if fitted.module is not model.module:
            weights = {n: t.cpu().numpy() for n, t in fitted.module.state_dict().items()}
        return replace(state, scalars=fitted.scalars, weights=weights)

    # ------------------------------------------------------------------ reconstruction

    def reconstruct(
        self,
        model: UnrolledModel,
        state: UnrolledState,
        measurements: Tensor,
        return_std: bool = False,
    ) -> tuple[Tensor, None]:
        """Reconstruct images; see `ReconstructionLearner.reconstruct`."""
        if return_std:
            raise ValueError("Unrolled has no standard deviation of its reconstructions.")
        check_measured(measurements)
        operator, sigma = state.operator, state.noise.sigma
        scale = model.scale_of(operator, measurements)
        if sigma is None:
            sigma = model.noise_of(operator, measurements)
        sigma = torch.as_tensor(sigma).to(scale).expand(len(scale)) / scale
        by_image = scale.reshape(-1, *[1] * (measurements.ndim - 1))
        y = measurements / by_image
        out = y.new_empty((len(y), *operator.image_shape))
        gain, steps = state.noise.gain / scale, self._steps_under(operator)
        for level, known, rows in alike(y, sigma.cpu().numpy(), each_alone=state.noise.gain > 0):
            part = replace(state, operator=operator.select(rows))
            inversion = Inversion(model, part, level, float(gain[rows[0]]))
            with torch.no_grad():
                x = inversion.images(y[rows], steps, known)
                exact = level == 0 and state.noise.gain == 0
                out[rows] = onto_measurements(part.operator, y[rows], x) if exact else x
        return out * scale.reshape(-1, *[1] * (out.ndim - 1)), None

    @property
    def _trained_steps(self) -> int:
        return TRAINED_STEPS if self.steps == "auto" else self.steps

    def _steps_under(self, operator: Operator) -> tuple[int, ...]:
        """Numbers of steps to try."""
        if self.steps != "auto":
            return (self.steps,)
        return LOCAL_STEPS if is_local(operator) else MIXED_STEPS
