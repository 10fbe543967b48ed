"""Steps of denoising and data in turn, chosen by simulation: for operators of any kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def plan(term: NonlinearTerm, denoise: Denoise, truth: Tensor, max_steps: int = 8) -> Plan:
    """Choose the steps on images whose truth is known.

    What is denoised, at which level, and the weight of each data step are those with the least
    error in a simulation, one step after the other. To reflect, or to leave the last denoised
    image out, takes out of an estimate what the denoiser put in already, as message passing does;
    where errors are not Gaussian its formulas fail, and trial does not.

    Parameters
    ----------
    term : NonlinearTerm
        Of simulated measurements of `truth`.
    denoise : callable (x, level) -> z
    truth : Tensor of shape ``(n, *image_shape)``
    max_steps : int, default=8

    References
    ----------
    P. Schniter, S. Rangan, A. K. Fletcher (2016), "Vector approximate message passing for the
    generalized linear model", Asilomar.
    """
    mean, rough = float(truth.mean()), max(float(roughness(truth).mean()), 1e-8)
    measured = term.measured(truth)
    variance = _mean_square(measured - term.measured(torch.full_like(truth, mean)))
    x = z = term.start(mean, rough, variance)
    steps: list[Step] = []
    least = torch.inf
    for _ in range(max_steps):
        best = (torch.inf,)
        for reflection, keep in _MOVES if steps else _MOVES[:1]:
            noisy, shape = _noisy(term, x, z, steps[-1:], reflection, keep)
            error = _mean_square(noisy - truth) ** 0.5
            for level in (caution * error / _mean_square(shape) ** 0.5 for caution in _CAUTIONS):
                clean = denoise(noisy, level * shape)
                variances = (
                    _mean_square(clean - truth),
                    _mean_square(term.measured(clean) - measured),
                )
                for trust in _TRUSTS:
                    step = Step(reflection, keep, level, *(trust * v for v in variances))
                    new, _ = term.posterior(clean, step.image_variance, step.variance)
                    reached = _mean_square(new - truth) ** 0.5
                    if reached < best[0]:
                        best = reached, step, new, clean
        if best[0] > _ENOUGH * least:
            break
        least, step, x, z = best
        steps.append(step)
    return Plan(mean, rough, variance, tuple(steps), least)


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
