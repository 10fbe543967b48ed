"""Reconstruction under non-linear operators, with a denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._alike import about
from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._nonlinear_noise import noise_of
from sklearn_meta.learners.reconstruction._nonlinear_plan import (
    Denoise,
    Plan,
    Plans,
    follow,
    plan,
)
from sklearn_meta.learners.reconstruction._nonlinear_step import NonlinearTerm
from sklearn_meta.learners.reconstruction._phase import (
    least_squares,
    misfit_of,
    retrieve_phase,
)
from sklearn_meta.operators import Operator

_N_PIXELS = 2**15  # of a simulation
_LEAST_NOISE = 1e-5  # of magnitudes: rounding
_LEVEL_STEP = 0.4  # of the logarithm of the noise that a plan is for, where each image has its own
_WORTH = 0.7  # of the error without a denoiser, that has to be left with it


def reconstruct_nonlinear(
    operator: Operator,
    y: Tensor,
    noise: Noise,
    denoise: Denoise,
    reference: Tensor,
    generator: torch.Generator,
    max_steps: int = 8,
    plans: Plans | None = None,
) -> Tensor:
    """Reconstruct images from measurements by an operator that is not linear.

    Parameters
    ----------
    operator : Operator
        Not linear.
    y : Tensor of shape ``(n, *measurement_shape)``
        NaN where missing.
    noise : Noise
        Estimated where its sigma is None.
    denoise : callable (x, level) -> z
        `x` of shape (m, *image_shape) for any m, `level` the standard deviation of its noise,
        which broadcasts to it.
    reference : Tensor of shape (r, *image_shape)
        Images of the kind, on which the steps are chosen.
    generator : torch.Generator
        Its seed is that of every simulation, so that none depends on what was drawn before.
    max_steps : int, default=8
    plans : Plans, default=None
        Steps that were chosen before, by noise; added to.

    Returns
    -------
    Tensor of shape ``(n, *image_shape)``
    """
    plans = Plans() if plans is None else plans
    if is_even(operator):
        return _from_magnitudes(operator, y, noise, denoise, reference, generator, max_steps, plans)
    noise = noise_of(operator, y) if noise.sigma is None else noise
    sigma = _broadcast(noise.sigma, y)
    level = about(float(sigma.median()))

    def find() -> Plan:
        seeded = _again(generator)
        truth, few = _some(reference.to(y), operator)
        simulated = simulate(few, truth, level, noise.gain, seeded)
        missing = torch.isnan(y)[torch.arange(len(truth)) % len(y)]
        simulated = simulated.masked_fill(missing, torch.nan)
        term = NonlinearTerm(few, simulated, torch.tensor(level).to(y), seeded)
        return plan(term, denoise, truth, max_steps)

    key = level, noise.gain, max_steps, torch.isnan(y[:1]).cpu().numpy().tobytes()
    found = plans.get(key, find)
    return follow(NonlinearTerm(operator, y, sigma, generator), denoise, found)


def is_even(operator: Operator) -> bool:
    """Whether an operator gives magnitudes of linear measurements."""
    return getattr(operator, "is_even", False) and hasattr(operator, "inner")


def _from_magnitudes(
    operator: Operator,
    y: Tensor,
    noise: Noise,
    denoise: Denoise,
    reference: Tensor,
    generator: torch.Generator,
    max_steps: int,
    plans: Plans,
) -> Tensor:
    """Find the phases without a prior; with them, measurements are linear."""
    x, misfit = retrieve_phase(operator, y)
    if noise.sigma is None:
        spare = 1 - operator.n_pixels / max(operator.n_measurements, operator.n_pixels + 1)
        sigma = misfit / max(spare, 0.1) ** 0.5
    else:
        sigma = torch.as_tensor(noise.sigma, dtype=y.dtype, device=y.device).expand(len(y))
    # An error of y is one of the modulus, by the slope of the law there.
    low, high = operator.interval(y, _broadcast(sigma, y))
    width = (high - low).masked_fill(~torch.isfinite(high), torch.nan)
    largest = low.clamp(min=0).flatten(1).amax(1)
    softness = torch.maximum(width.flatten(1).nanmedian(1).values / 2, _LEAST_NOISE * largest)
    inner = operator.inner
    z = operator.nearest(inner.forward(x), y)
    denoised = x.clone()
    levels = _coarse(softness)
    for level in levels.unique():

        def find(level: float = float(level)) -> Plan | None:
            seeded = _again(generator)
            truth, few = _some(reference.to(y), inner)
            simulated = simulate(few, truth, level, 0.0, seeded)
            term = NonlinearTerm(few, simulated, torch.tensor(level).to(y), seeded)
            found = plan(term, denoise, truth, max_steps)
            without = (least_squares(operator)(simulated) - truth).square().mean().sqrt()
            # Magnitudes with little noise tell more of an image than images of another kind do.
            return found if found.error <= _WORTH * float(without) else None

        found = plans.get((float(level), max_steps), find)
        if found is not None:
            rows = levels == level
            term = NonlinearTerm(inner, z[rows], _broadcast(softness[rows], z), _again(generator))
            denoised[rows] = follow(term, denoise, found)
    better = misfit_of(operator, denoised, y) <= torch.clamp(1.1 * misfit, min=1.05 * sigma)
    return torch.where(_broadcast(better, x) > 0, denoised, x)


def _again(generator: torch.Generator) -> torch.Generator:
    """Return a generator that begins where another one began."""
    return torch.Generator().manual_seed(generator.initial_seed())


def _coarse(levels: Tensor) -> Tensor:
    """Round levels of single images, which differ by chance, so that few plans serve all."""
    return torch.exp((levels.log() / _LEVEL_STEP).round() * _LEVEL_STEP)


def _some(reference: Tensor, operator: Operator) -> tuple[Tensor, Operator]:
    """Images to simulate with, and the operator for so many."""
    truth = reference[: max(1, _N_PIXELS // operator.n_pixels)]
    if operator.n_samples is None:
        return truth, operator
    return truth, operator.select(torch.arange(len(truth)) % operator.n_samples)


def simulate(
    operator: Operator, truth: Tensor, sigma: float, gain: float, generator: torch.Generator
) -> Tensor:
    """Measure images, with fresh noise of variance ``sigma^2 + gain * max(F(x), 0)``.

    Parameters
    ----------
    operator : Operator
    truth : Tensor of shape ``(n, *image_shape)``
    sigma, gain : float
    generator : torch.Generator
    """
    y = operator.forward(truth)
    if gain > 0:
        y = gain * torch.poisson(y.double().cpu().clamp(min=0) / gain, generator).to(y)
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return y + sigma * noise.to(y)


def _broadcast(sigma: object, y: Tensor) -> Tensor:
    sigma = torch.as_tensor(sigma, dtype=y.dtype, device=y.device)
    return sigma.reshape(-1, *[1] * (y.ndim - 1))
