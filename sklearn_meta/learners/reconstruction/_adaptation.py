"""Adapt `Unrolled` to one operator so that it gains, or stays as it is.

Each stage frees more: the solver's scalars, a factor a channel, all weights. A stage is accepted
only where what it was not fitted to agrees: images that are known, and measurements that were
hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction import _fit_losses as fit
from sklearn_meta.learners.reconstruction._fine_tune import fine_tune
from sklearn_meta.learners.reconstruction._held_out_rows import hide_rows, misfit_of_rows
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import (
    Calibrated,
    Scalars,
    find_schedule,
    problem_of,
    run_steps,
    simulated,
)
from sklearn_meta.operators import Operator

#: Pixels of known images that are fitted to and judged by.
N_PIXELS = 2**16

#: Pixels of an image that is too large for measurements alone to be adapted to within seconds.
LARGE = 2**15

#: Scalars that are tried.
LEVELS, WEIGHTS = (0.8, 1.0, 1.25), (0.3, 1.0, 3.0)

_FEWEST_ITERATIONS = 8
_JUDGED = 3  # one in so many of the known images
_WORK = 2**20  # most pixels times steps times iterations of a stage: seconds
_IMAGES = 4  # in an iteration, half of them where measurements without images are fitted to too
_CHANNELS = {"n_iter": 8, "learning_rate": 2e-2, "scales_only": True}
_WEIGHTS = {"n_iter": 18, "learning_rate": 1.5e-4, "anchor": 1.0}
# Pixels of known images that a schedule is found on; fewer where it has more steps.
_CALIBRATED, _CALIBRATED_STEPS = 2**15, 12
_MEASURED = 2**14  # pixels of the user's images that are judged by
_DOUBTS = 2.0  # standard errors
_LEAST_GAIN = 0.01  # of the logarithm of an error: 0.04 dB

_SELF_SUPERVISED: dict[str, Callable[..., fit.Loss]] = {
    "splitting": fit.splitting_loss,
    "sure": fit.sure_loss,
    "equivariance": fit.equivariance_loss,
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A module and scalars, and the schedule of them for the operator at hand."""

    module: UnrolledModule
    scalars: Scalars
    calibrated: Calibrated | None


class Adaptation:
    """Adaptation to an operator.

    Parameters
    ----------
    setting : fit.Setting
        With the scalars of the prior.
    known : Tensor of shape ``(n, *image_shape)``
        Images of the kind of those of meta-training; some are fitted to, some are judged by.
    generator : torch.Generator
    steps : tuple of int
        Numbers of steps to try.
    loss : {"splitting", "sure", "equivariance"}
        By which measurements without images are fitted to.
    """

    def __init__(
        self,
        setting: fit.Setting,
        known: Tensor,
        generator: torch.Generator,
        steps: tuple[int, ...],
        loss: str = "splitting",
    ):
        self.setting, self.known, self.generator = setting, known, generator
        self.steps = steps
        self.self_supervised = _SELF_SUPERVISED[loss]

    def calibrate(self, module: UnrolledModule, scalars: Scalars) -> Fitted:
        """Find the schedule of a module on the known images; always under the same noise."""
        setting, noise = self.setting, torch.Generator().manual_seed(0)
        work = setting.operator.n_pixels * max(_CALIBRATED_STEPS, *self.steps)
        known = self.known[: max(1, _CALIBRATED * _CALIBRATED_STEPS // work)]
        with torch.no_grad():
            problem = simulated(setting.operator, known, setting.sigma, noise, setting.gain)
            found = find_schedule(module, problem, known, self.steps, scalars)
        return Fitted(module, scalars, found)

    def from_pairs(self, module: UnrolledModule, y: Tensor, truth: Tensor) -> Fitted:
        """Adapt to measurements whose images are known.

        Parameters
        ----------
        module : UnrolledModule
        y : Tensor of shape ``(n, *measurement_shape)``
        truth : Tensor of shape ``(n, *image_shape)``
        """
        n_fit = len(truth) // 2
        to_fit = torch.cat([self._to_fit, truth[:n_fit]])
        judged = torch.arange(n_fit, len(truth))[: self._most]
        y, truth, operator = y[judged], truth[judged], self.setting.operator.select(judged)

        def errors(fitted: Fitted) -> Tensor:
            return _error(self._reconstruct(operator, fitted, y), truth)

        return self._climb(module, to_fit, None, errors)

    def from_measurements(self, module: UnrolledModule, y: Tensor) -> Fitted:
        """Adapt to measurements whose images are unknown.

        Where every pixel is measured by itself there is nothing to foretell it from that the
        prior did not learn from.
        """
        some = torch.arange(len(y))[: self._most]
        y, operator = y[some], self.setting.operator.select(some)
        if problem_of(operator, y, self.setting.sigma, self.setting.gain).is_denoising:
            return Fitted(module, Scalars(), None)
        kept, hidden = hide_rows(y, torch.Generator().manual_seed(1))

        def errors(fitted: Fitted) -> Tensor:
            return misfit_of_rows(operator, self._reconstruct(operator, fitted, kept), y, hidden)

        return self._climb(module, self._to_fit, kept, errors)

    @property
    def _most(self) -> int:
        return max(1, _MEASURED // self.setting.operator.n_pixels)

    def _climb(
        self,
        module: UnrolledModule,
        truth: Tensor,
        measurements: Tensor | None,
        errors: Callable[[Fitted], Tensor],
    ) -> Fitted:
        best = self.calibrate(module, Scalars())
        if best.calibrated is not None:  # all that follows has as many steps
            n_steps = len(best.calibrated.schedule.levels)
            self.steps, self.setting = (n_steps,), replace(self.setting, steps=n_steps)
        kinds = [errors, self._errors_of_known] if len(self._to_judge) else [errors]
        judged = [kind(best) for kind in kinds]
        for stage in (self._scalars, self._channels, self._weights):
            is_vain = stage != self._scalars
            for candidate in stage(best, truth, measurements):
                found: list[Tensor] = []
                for kind, before in zip(kinds, judged, strict=True):
                    found.append(kind(candidate))
                    if _mean_gain(before, found[-1]) <= 0:
                        break
                is_vain = is_vain and _mean_gain(judged[0], found[0]) < _LEAST_GAIN
                of_rows = measurements is None or _is_clear(judged[:1], found[:1])
                if len(found) == len(kinds) and of_rows and _is_clear(judged, found):
                    best, judged = candidate, found
            if is_vain:  # what few numbers do not gain, many would not
                return best
        return best

    def _scalars(self, best: Fitted, truth: Tensor, measurements: Tensor | None) -> list[Fitted]:
        tried = [replace(best.scalars, level=value * best.scalars.level) for value in LEVELS]
        tried += [replace(best.scalars, weight=value * best.scalars.weight) for value in WEIGHTS]
        return [self.calibrate(best.module, s) for s in tried if s != best.scalars]

    def _channels(self, best: Fitted, truth: Tensor, measurements: Tensor | None) -> list[Fitted]:
        return self._fit(best, truth, measurements, **_CHANNELS)

    def _weights(self, best: Fitted, truth: Tensor, measurements: Tensor | None) -> list[Fitted]:
        return self._fit(best, truth, measurements, **_WEIGHTS)

    def _fit(
        self,
        best: Fitted,
        truth: Tensor,
        measurements: Tensor | None,
        n_iter: int,
        **how: Any,
    ) -> list[Fitted]:
        """Fit to images and measurements; nothing where images are too large to do it quickly."""
        setting = replace(self.setting, scalars=best.scalars)
        n = _IMAGES if measurements is None else _IMAGES // 2
        losses = [fit.supervised_loss(setting, truth, n, self.generator)]
        if measurements is not None:
            losses.append(
                self.self_supervised(setting, best.calibrated, measurements, n, self.generator)
            )
        n_iter = min(n_iter, _WORK // (setting.operator.n_pixels * _IMAGES * setting.steps))
        if n_iter < _FEWEST_ITERATIONS:
            return []
        return [self.calibrate(fine_tune(best.module, losses, n_iter, **how), best.scalars)]

    @property
    def _to_fit(self) -> Tensor:
        return self.known[len(self.known) // _JUDGED :]

    @property
    def _to_judge(self) -> Tensor:
        return self.known[: len(self.known) // _JUDGED]

    def _errors_of_known(self, fitted: Fitted) -> Tensor:
        """Errors of images that nothing is fitted to, under the same noise always."""
        truth, noise = self._to_judge, torch.Generator().manual_seed(2)
        setting = self.setting
        with torch.no_grad():
            problem = simulated(setting.operator, truth, setting.sigma, noise, setting.gain)
            image = run_steps(fitted.module, problem, fitted.calibrated, fitted.scalars)
        return _error(image, truth)

    def _reconstruct(self, operator: Operator, fitted: Fitted, y: Tensor) -> Tensor:
        with torch.no_grad():
            problem = problem_of(operator, y, self.setting.sigma, self.setting.gain)
            return run_steps(fitted.module, problem, fitted.calibrated, fitted.scalars)


def _error(image: Tensor, truth: Tensor) -> Tensor:
    return (image - truth).square().flatten(1).mean(1)


def _mean_gain(before: Tensor, after: Tensor) -> float:
    return float((before / after).log().mean())


def _is_clear(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    """Whether errors of all kinds together get clearly smaller."""
    gains = torch.cat([(b / a).log() for b, a in zip(before, after, strict=True)])
    doubt = float(gains.std()) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    return float(gains.mean()) - _DOUBTS * doubt > _LEAST_GAIN
