"""Steps of denoising and data in turn, chosen by simulation: for operators of any kind."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._half_quadratic import roughness
from sklearn_meta.learners.reconstruction._nonlinear_step import NonlinearTerm

Denoise = Callable[[Tensor, Tensor], Tensor]

# What to denoise after the first step: the posterior, moved away from the last denoised image by
# so many of its own moves, or the posterior in which that image has a share of its weight only.
_MOVES = ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.0, 0.3), (0.0, 0.1), (0.0, 0.01), (0.0, 0.001))
_CAUTIONS = (0.5, 1.0)
_TRUSTS = (0.02, 0.2, 0.5, 1.0, 2.0)
_SCREEN = 4  # of that many images one tries all candidates
_FINALISTS = 2  # that are tried on all images; more only while none gains
_MOST_FINALISTS = 4
_N_TRUSTS = 2  # of each of them
_ENOUGH = 0.998  # of the error: a step that gains less is the last
_LARGEST_LEVEL = 0.5  # that denoisers are trained for


@dataclass(frozen=True)
class Step:
    """One step of the iteration.

    Attributes
    ----------
    reflection : float
        How far to go past the last posterior, away from the last denoised image.
    keep : float
        Share of its weight that the last denoised image has in what is denoised now.
    level : float
        Noise level that the denoiser is told, over what the map of it says.
    image_variance, variance : float
        Of the errors of the denoised image, and of its measurements before their law.
    """

    reflection: float
    keep: float
    level: float
    image_variance: float
    variance: float


@dataclass(frozen=True)
class Plan:
    """Start and steps of an operator at a noise level.

    Attributes
    ----------
    mean, rough, variance : float
        Of images of the kind: mean, mean square difference of neighbouring pixels, and variance
        of their measurements before the law.
    steps : tuple of Step
    error : float
        Root mean square error that the simulation reached.
    """

    mean: float
    rough: float
    variance: float
    steps: tuple[Step, ...]
    error: float


class Plans:
    """Plans found so far, by what they depend on; threads that ask for the same one wait for it.

    Pickles and copies without its lock.
    """

    def __init__(self) -> None:
        self._found: dict[Any, Plan | None] = {}
        # A denoiser of the user's may reconstruct something itself.
        self._lock = threading.RLock()

    def get(self, key: Any, find: Callable[[], Plan | None]) -> Plan | None:
        """Return the plan of a key, by `find` where there is none yet."""
        with self._lock:
            if key not in self._found:
                self._found[key] = find()
            return self._found[key]

    def __len__(self) -> int:
        return len(self._found)

    def __getstate__(self) -> dict[str, Any]:
        return {"_found": dict(self._found)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()
        self._found = state["_found"]


def plan(term: NonlinearTerm, denoise: Denoise, truth: Tensor, max_steps: int = 8) -> Plan:
    """Choose the steps on images whose truth is known.

    What is denoised, at which level, and the weight of each data step are those with the least
    error in a simulation, one step after the other: all candidates are tried on some of the images,
    the best of them on all. To reflect, or to leave the last denoised image out, takes out of an
    estimate what the denoiser put in already, as message passing does; where errors are not
    Gaussian its formulas fail, and trial does not.

    Parameters
    ----------
    term : NonlinearTerm
        Of simulated measurements of `truth`.
    denoise : callable (x, level) -> z
    truth : Tensor of shape ``(n, *image_shape)``
    max_steps : int, default=8

    Raises
    ------
    ValueError
        If no candidate gives finite images.

    References
    ----------
    P. Schniter, S. Rangan, A. K. Fletcher (2016), "Vector approximate message passing for the
    generalized linear model", Asilomar.
    """
    mean, rough = float(truth.mean()), max(float(roughness(truth).mean()), 1e-8)
    measured = term.measured(truth)
    variance = _mean_square(measured - term.measured(torch.full_like(truth, mean)))
    x = z = term.start(mean, rough, variance)
    n_few = -(-len(truth) // _SCREEN)
    few = term.screen(n_few) if n_few < len(truth) else term
    steps: list[Step] = []
    least = torch.inf
    for _ in range(max_steps):
        every = x, z, truth, measured
        screen = _Trial(few, denoise, *(t[:n_few] for t in every), steps[-1:])
        outcomes = screen.run_all(_MOVES if steps else _MOVES[:1])
        if few is not term:
            whole = _Trial(term, denoise, *every, steps[-1:])
            outcomes = whole.run_best(outcomes, _ENOUGH * least)
        best = min(outcomes, key=_error)
        if not best.error < _ENOUGH * least:
            break
        least, x, z = best.error, best.x, best.z
        steps.append(best.step)
    if not steps:
        raise ValueError(
            "no step of the reconstruction gave finite images in a simulation: the denoiser, or "
            "the operator or its derivative, returns NaN or infinity."
        )
    return Plan(mean, rough, variance, tuple(steps), least)


@dataclass(frozen=True)
class _Choice:
    """A candidate for the next step: what is denoised, how cautiously, and the data's weight."""

    reflection: float
    keep: float
    caution: float
    trust: float


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What a step leads to: its error, and the images after and before the data step."""

    choice: _Choice
    error: float
    step: Step
    x: Tensor
    z: Tensor


def _error(outcome: _Outcome) -> float:
    return outcome.error


@dataclass(frozen=True, eq=False)
class _Trial:
    """Candidates for the next step, tried on images whose truth is known."""

    term: NonlinearTerm
    denoise: Denoise
    x: Tensor
    z: Tensor
    truth: Tensor
    measured: Tensor
    before: list[Step]

    def run_all(self, moves: Iterable[tuple[float, float]]) -> list[_Outcome]:
        """Try all moves, cautions and trusts."""
        return [
            outcome
            for move in moves
            for caution in _CAUTIONS
            for outcome in self._run(*move, caution, _TRUSTS)
        ]

    def run_best(self, screened: list[_Outcome], enough: float) -> list[_Outcome]:
        """Try the best of other outcomes, and more of them until an error is small enough."""
        trusts: dict[tuple[float, float, float], list[float]] = {}
        for outcome in sorted(screened, key=_error):
            choice = outcome.choice
            denoised = choice.reflection, choice.keep, choice.caution
            trusts.setdefault(denoised, []).append(choice.trust)
        outcomes: list[_Outcome] = []
        for k, denoised in enumerate(list(trusts)[:_MOST_FINALISTS]):
            if k >= _FINALISTS and min(map(_error, outcomes)) < enough:
                break
            outcomes += self._run(*denoised, trusts[denoised][:_N_TRUSTS])
        return outcomes

    def _run(
        self, reflection: float, keep: float, caution: float, trusts: Iterable[float]
    ) -> list[_Outcome]:
        noisy, shape = _noisy(self.term, self.x, self.z, self.before, reflection, keep)
        level = caution * (_mean_square(noisy - self.truth) / _mean_square(shape)) ** 0.5
        z = self.denoise(noisy, level * shape)
        variances = (
            _mean_square(z - self.truth),
            _mean_square(self.term.measured(z) - self.measured),
        )
        outcomes = []
        for trust in trusts:
            step = Step(reflection, keep, level, *(trust * v for v in variances))
            x, _ = self.term.posterior(z, step.image_variance, step.variance)
            error = _mean_square(x - self.truth) ** 0.5
            error = error if math.isfinite(error) else math.inf
            outcomes.append(_Outcome(_Choice(reflection, keep, caution, trust), error, step, x, z))
        return outcomes


def follow(term: NonlinearTerm, denoise: Denoise, given: Plan) -> Tensor:
    """Reconstruct images by the steps of a plan.

    Parameters
    ----------
    term : NonlinearTerm
    denoise : callable (x, level) -> z
    given : Plan

    Returns
    -------
    Tensor of shape ``(n, *image_shape)``
    """
    x = z = term.start(given.mean, given.rough, given.variance)
    for k, step in enumerate(given.steps):
        before = given.steps[max(k - 1, 0) : k]
        noisy, shape = _noisy(term, x, z, before, step.reflection, step.keep)
        z = denoise(noisy, step.level * shape)
        x, _ = term.posterior(z, step.image_variance, step.variance)
    return x


def _noisy(
    term: NonlinearTerm,
    x: Tensor,
    z: Tensor,
    before: list[Step] | tuple[Step, ...],
    reflection: float,
    keep: float,
) -> tuple[Tensor, Tensor]:
    """What is denoised next, and a map that its noise level is proportional to."""
    if keep < 1 and before:
        noisy, left = term.posterior(z, before[0].image_variance, before[0].variance, keep)
        if left is not None:
            return noisy, left.sqrt().clamp(max=_LARGEST_LEVEL)
    else:
        noisy = x + reflection * (x - z)
    return noisy, x.new_ones((len(x),) + (1,) * (x.ndim - 1))


def _mean_square(error: Tensor) -> float:
    return float(error.square().mean())
