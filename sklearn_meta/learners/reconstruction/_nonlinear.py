"""Reconstruction under non-linear operators and signal-dependent noise, with a denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._nonlinear_noise import noise_of
from sklearn_meta.learners.reconstruction._nonlinear_plan import Denoise, follow, plan
from sklearn_meta.learners.reconstruction._nonlinear_step import NonlinearTerm
from sklearn_meta.learners.reconstruction._phase import least_squares, misfit_of, retrieve_phase
from sklearn_meta.operators import Operator

_N_PIXELS = 2**14  # of a simulation
_WORTH = 0.7  # of the error without a denoiser, that has to be left with it


def reconstruct_nonlinear(
    operator: Operator,
    y: Tensor,
    noise: Noise,
    denoise: Denoise,
    reference: Tensor,
    generator: torch.Generator,
    max_steps: int = 8,
) -> Tensor:
    """Reconstruct images from measurements by a non-linear operator, or with Poisson noise.

    Parameters
    ----------
    operator : Operator
        Any; linear ones where the noise depends on the signal.
    y : Tensor of shape (n, *measurement_shape)
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

    Returns
    -------
    Tensor of shape (n, *image_shape)
    """
    if getattr(operator, "is_even", False) and hasattr(operator, "inner"):
        return _from_magnitudes(operator, y, noise, denoise, reference, generator, max_steps)
    noise = noise_of(operator, y) if noise.sigma is None else noise
    sigma = _broadcast(noise.sigma, y)
    truth = reference[: max(1, _N_PIXELS // operator.n_pixels)].to(y)
    simulated = simulate(operator, truth, float(sigma.median()), noise.gain, generator)
    term = NonlinearTerm(operator, simulated, sigma.median(), noise.gain, generator)
    chosen = plan(term, denoise, truth, max_steps)
    return follow(NonlinearTerm(operator, y, sigma, noise.gain, generator), denoise, chosen)


def _from_magnitudes(
    operator: Operator,
    y: Tensor,
    noise: Noise,
    denoise: Denoise,
    reference: Tensor,
    generator: torch.Generator,
    max_steps: int,
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
    softness = (high - low)[torch.isfinite(high)].median() / 2
    truth = reference[: max(1, _N_PIXELS // operator.n_pixels)].to(y)
    inner = operator.inner
    simulated = simulate(inner, truth, float(softness), 0.0, generator)
    term = NonlinearTerm(inner, simulated, softness, 0.0, generator)
    chosen = plan(term, denoise, truth, max_steps)
    without = (least_squares(operator)(simulated) - truth).square().mean().sqrt()
    # Magnitudes that leave little noise tell more of an image than images of another kind do.
    if chosen.error > _WORTH * float(without):
        return x
    z = operator.nearest(inner.forward(x), y)
    denoised = follow(NonlinearTerm(inner, z, softness, 0.0, generator), denoise, chosen)
    better = misfit_of(operator, denoised, y) <= torch.clamp(1.1 * misfit, min=1.05 * sigma)
    return torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), denoised, x)


def simulate(
    operator: Operator, truth: Tensor, sigma: float, gain: float, generator: torch.Generator
) -> Tensor:
    """Measure images, with fresh noise of variance ``sigma^2 + gain * max(F(x), 0)``.

    Parameters
    ----------
    operator : Operator
    truth : Tensor of shape (n, *image_shape)
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
