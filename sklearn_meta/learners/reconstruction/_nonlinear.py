"""Reconstruction under non-linear operators and signal-dependent noise, with a denoiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._alike import about
from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._nonlinear_noise import noise_of
from sklearn_meta.learners.reconstruction._nonlinear_plan import Denoise, Plan, follow, plan
from sklearn_meta.learners.reconstruction._nonlinear_step import NonlinearTerm
from sklearn_meta.learners.reconstruction._phase import least_squares, misfit_of, retrieve_phase
from sklearn_meta.operators import Operator

_N_PIXELS = 2**15  # of a simulation
_LEAST_NOISE = 1e-5  # of magnitudes: rounding
_WORTH = 0.7  # of the error without a denoiser, that has to be left with it


def reconstruct_nonlinear(
    operator: Operator,
    y: Tensor,
    noise: Noise,
    denoise: Denoise,
    reference: Tensor,
    generator: torch.Generator,
    max_steps: int = 8,
    plans: dict[Any, Plan] | None = None,
) -> Tensor:
    """Reconstruct images from measurements by a non-linear operator, or with Poisson noise.

    Parameters
    ----------
    operator : Operator
        Any; linear ones where the noise depends on the signal.
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
    max_steps : int, default=8
    plans : dict, default=None
        Of steps that were chosen before, by noise; added to.

    Returns
    -------
    Tensor of shape ``(n, *image_shape)``
    """
    plans = {} if plans is None else plans
    if is_even(operator):
        return _from_magnitudes(operator, y, noise, denoise, reference, generator, max_steps, plans)
    noise = noise_of(operator, y) if noise.sigma is None else noise
    sigma = _broadcast(noise.sigma, y)
    level = about(float(sigma.median()))
    key = level, noise.gain, max_steps, torch.isnan(y[:1]).cpu().numpy().tobytes()
    if key not in plans:
        truth, few = _some(reference.to(y), operator)
        simulated = simulate(few, truth, level, noise.gain, generator)
        missing = torch.isnan(y)[torch.arange(len(truth)) % len(y)]
        simulated = simulated.masked_fill(missing, torch.nan)
        term = NonlinearTerm(few, simulated, torch.tensor(level).to(y), noise.gain, generator)
        plans[key] = plan(term, denoise, truth, max_steps)
    return follow(NonlinearTerm(operator, y, sigma, noise.gain, generator), denoise, plans[key])


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
    plans: dict[Any, Plan],
) -> Tensor:
    """Find the phases without a prior; with them, measurements are linear."""
    x, misfit = retrieve_phase(operator, y, generator)
    if noise.sigma is None:
        spare = 1 - operator.n_pixels / max(operator.n_measurements, operator.n_pixels + 1)
        sigma = float(misfit.median()) / max(spare, 0.1) ** 0.5
    else:
        sigma = float(_broadcast(noise.sigma, y).median())
    # An error of y is one of the modulus, by the slope of the law there.
    low, high = operator.interval(y, sigma)
    spread = float((high - low)[torch.isfinite(high)].median()) / 2
    softness = torch.tensor(about(max(spread, _LEAST_NOISE * float(low.clamp(min=0).max())))).to(y)
    inner = operator.inner
    truth, few = _some(reference.to(y), inner)
    simulated = simulate(few, truth, float(softness), 0.0, generator)
    key = float(softness), max_steps
    if key not in plans:
        term = NonlinearTerm(few, simulated, softness, 0.0, generator)
        plans[key] = plan(term, denoise, truth, max_steps)
    without = (least_squares(operator)(simulated) - truth).square().mean().sqrt()
    # Magnitudes that leave little noise tell more of an image than images of another kind do.
    if plans[key].error > _WORTH * float(without):
        return x
    z = operator.nearest(inner.forward(x), y)
    denoised = follow(NonlinearTerm(inner, z, softness, 0.0, generator), denoise, plans[key])
    better = misfit_of(operator, denoised, y) <= torch.clamp(1.1 * misfit, min=1.05 * sigma)
    return torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), denoised, x)


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
