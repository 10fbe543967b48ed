"""The steps of `Unrolled`: with the truth known, to learn from; and on a schedule, to use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._evolution import Schedule, evolve, level_map
from sklearn_meta.learners.reconstruction._half_quadratic import (
    half_quadratic,
    roughness,
    smooth_start,
)
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.operators import Operator

_LEAST_GAIN = 0.02  # of the logarithm of an error, that twice the steps have to save
_SEEN = 1e-2  # of the largest weight of a pixel, that one which is measured has
_LEAST_ROUGH = 1e-8  # of images in [0, 1]: those of one grey have none
_LEAST_SIGMA = 1e-3  # of the norm of the operator: below it the data step is a projection


@dataclass(frozen=True)
class Scalars:
    """What adaptation multiplies the solver's numbers by.

    Parameters
    ----------
    level : float, default=1.0
        Noise level that the denoiser is told.
    weight : float, default=1.0
        Weight of the denoised image in the data step.
    """

    level: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Calibrated:
    """All that the steps need to know of an operator and a noise level.

    Parameters
    ----------
    schedule : Schedule
    share : float
        Of the last denoised image in the reconstruction; the rest is of the last data step.
    rough : float
        `roughness` of images.
    sigma : float
        Noise that the weights of the schedule are for.
    """

    schedule: Schedule
    share: float
    rough: float
    sigma: float


class Problem:
    """Measurements of a batch of images, and what the steps ask about them.

    Parameters
    ----------
    operator : Operator
        Linear.
    measurements : Tensor of shape ``(n, *measurement_shape)``
        NaN where one is missing.
    sigma : float
        Noise of the measurements; where they have weights, of those of weight 1.
    weights : Tensor of the shape of the measurements, default=None
        Relative precisions.
    """

    def __init__(
        self,
        operator: Operator,
        measurements: Tensor,
        sigma: float,
        weights: Tensor | None = None,
    ):
        self.term = DataTerm(operator, measurements, weights)
        self.sigma = max(float(sigma), _LEAST_SIGMA * operator.norm())
        self.diagonal = diagonal_of_misfit(self.term)
        seen = seen_pixels(self.diagonal)
        # Every pixel seen by itself: one denoising does it all.
        self.is_denoising = seen is not None and bool(seen.all())
        self.unseen = None if seen is None or self.is_denoising else (~seen).to(measurements.dtype)

    def start(self, rough: float) -> Tensor:
        """Return where the steps begin: the smooth image of least squares."""
        return smooth_start(self.term, self.sigma**2 / rough)

    def denoising(
        self, module: UnrolledModule, scalars: Scalars
    ) -> Callable[[Tensor, Tensor, int], Tensor]:
        """Return the denoising of a step: (x, level, k) -> z."""

        def denoise(x: Tensor, level: Tensor, k: int) -> Tensor:
            levels = level_map(scalars.level * level, self.sigma, self.diagonal)
            return module.denoise(x, levels.reshape(*levels.shape, *[1] * (x.ndim - levels.ndim)))

        return denoise

    def denoised(self, module: UnrolledModule, scalars: Scalars) -> Tensor:
        """Reconstruct where `is_denoising`."""
        x = self.term.back_projection / self.diagonal
        return module.denoise(x, scalars.level * self.sigma / self.diagonal.sqrt())


def learn_steps(
    module: UnrolledModule,
    problem: Problem,
    truth: Tensor,
    steps: int,
    scalars: Scalars,
) -> tuple[list[Tensor], Tensor, Calibrated | None]:
    """Run the steps on images whose truth is known.

    Returns
    -------
    denoised : list of Tensor of the shape of `truth`
        What each step's denoising gave.
    image : Tensor of the shape of `truth`
        The reconstruction.
    calibrated : Calibrated or None
        For images like these; None where one denoising does it all.
    """
    if problem.is_denoising:
        z = problem.denoised(module, scalars)
        return [z], z, None
    rough = max(float(roughness(truth).mean()), _LEAST_ROUGH)
    denoised, x, schedule = evolve(
        problem.term,
        problem.denoising(module, scalars),
        problem.start(rough),
        truth,
        problem.sigma,
        list((scalars.weight * module.factors(steps)).unbind()),
        problem.unseen,
        *module.relaxations(steps),
    )
    step, missing = (denoised[-1] - x).detach(), (truth - x).detach()
    share = float((step * missing).sum() / step.square().sum().clamp_min(1e-30))
    share = min(max(share, 0.0), 1.0)
    image = x + share * (denoised[-1] - x)
    return denoised, image, Calibrated(schedule, share, rough, problem.sigma)


def find_schedule(
    module: UnrolledModule,
    problem: Problem,
    truth: Tensor,
    steps: Sequence[int],
    scalars: Scalars,
) -> Calibrated | None:
    """Learn the schedule on images whose truth is known, and how many steps it has.

    Parameters
    ----------
    steps : sequence of int
        Numbers to try, rising; the last that clearly gains over the one before is taken.

    Returns
    -------
    Calibrated or None
        None where one denoising does it all.
    """
    best, least = None, math.inf
    for n_steps in steps:
        _, image, found = learn_steps(module, problem, truth, n_steps, scalars)
        error = float((image - truth).square().flatten(1).mean(1).clamp_min(1e-30).log().mean())
        if found is None or error > least - _LEAST_GAIN:
            break
        best, least = found, error
    return best


def run_steps(
    module: UnrolledModule, problem: Problem, calibrated: Calibrated | None, scalars: Scalars
) -> Tensor:
    """Reconstruct images of shape ``(n, *image_shape)``, on a schedule where steps are needed."""
    if problem.is_denoising:
        return problem.denoised(module, scalars)
    x, z = half_quadratic(
        problem.term,
        problem.denoising(module, scalars),
        problem.start(calibrated.rough),
        calibrated.schedule.levels,
        calibrated.schedule.weights * (problem.sigma / calibrated.sigma) ** 2,
        *module.relaxations(len(calibrated.schedule.levels)),
    )
    return x + calibrated.share * (z - x)


def diagonal_of_misfit(term: DataTerm) -> Tensor | None:
    """Return the diagonal of ``A^T w A`` where all else of it is 0, as of masks; else None.

    A random sign for each pixel shows the diagonal, and any other entry as a difference between
    two draws.

    Returns
    -------
    Tensor of shape ``(n, *image_shape)`` or None
    """
    like = term.back_projection
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (2, *like.shape[1:]), generator=generator) * 2.0 - 1.0
    first, second = (s * term.gram(s.expand_as(like)) for s in signs.to(like))
    size = float(first.abs().max())
    return first if torch.allclose(first, second, rtol=1e-4, atol=1e-4 * size) else None


def seen_pixels(diagonal: Tensor | None) -> Tensor | None:
    """Pixels that are measured, where `diagonal_of_misfit` found a diagonal."""
    return None if diagonal is None else diagonal > _SEEN * diagonal.max()


def sees_every_pixel(operator: Operator, measurements: Tensor) -> bool:
    """Whether each pixel of images is measured by itself, so that one denoising does it all."""
    seen = seen_pixels(diagonal_of_misfit(DataTerm(operator, measurements)))
    return seen is not None and bool(seen.all())


def simulated(
    operator: Operator,
    truth: Tensor,
    sigma: float,
    generator: torch.Generator,
    gain: float = 0.0,
    known: Tensor | None = None,
) -> Problem:
    """Measure images, with fresh noise.

    Parameters
    ----------
    operator : Operator
        Linear. One that differs from image to image is taken for as many as there are, in turn.
    truth : Tensor of shape ``(n, *image_shape)``
    sigma, gain : float
        Of the noise, see `Noise`.
    generator : torch.Generator
    known : Tensor of bool of shape (m, *measurement_shape), default=None
        Which measurements there are; the images take these patterns in turn.
    """
    if operator.n_samples is not None:
        operator = operator.select(torch.arange(len(truth)) % operator.n_samples)
    y = operator.forward(truth)
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float32).to(y)
    y = y + (sigma**2 + gain * y.clamp_min(0)).sqrt() * noise if gain else y + sigma * noise
    if known is not None:
        y = y.masked_fill(~known[torch.arange(len(y)) % len(known)].to(y.device), math.nan)
    return problem_of(operator, y, sigma, gain)


def problem_of(operator: Operator, measurements: Tensor, sigma: float, gain: float) -> Problem:
    """Return the problem of measurements whose noise is ``sigma**2 + gain * max(A x, 0)``."""
    if not gain:
        return Problem(operator, measurements, sigma)
    known = measurements.nan_to_num().clamp_min(0)
    variance = sigma**2 + gain * (known + 0.1 * known.mean())  # a count of 0 is not exact
    mean = float(variance.mean())
    return Problem(operator, measurements, mean**0.5, mean / variance)
