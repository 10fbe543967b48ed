"""The steps of `PlugAndPlay`: noise, start, schedule, iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import DataTerm, onto_measurements
from sklearn_meta.learners.reconstruction._half_quadratic import half_quadratic, smooth_start
from sklearn_meta.learners.reconstruction._image_denoiser import N_TURNS, ImageDenoiser, ranges
from sklearn_meta.learners.reconstruction._noise import (
    estimate_noise,
    is_large,
    is_local,
    noise_left,
    noise_of_images,
)
from sklearn_meta.learners.reconstruction._unrolled_steps import diagonal_of_misfit, seen_pixels
from sklearn_meta.operators import Operator

# Tuned on generated images and on photographs under inpainting, blur, super-resolution, compressive
# sensing, tomography and magnetic resonance imaging; one rule for all.
_STIFFNESS = 0.01  # of the squared norm of the operator
# Where each measurement mixes all of the image, errors of the start are larger, and last longer.
_LOCAL_STEPS, _MIXED_STEPS = 16, 24
_LOCAL_LEVEL, _MIXED_LEVEL = 0.1, 0.3  # of the first denoising, of the range of the image
_LEAST_SIGMA = 0.004  # of the range of the image, at the norm of the operator
_WEIGHT = 0.5
_REFLECTION, _MOMENTUM = 1.8, 0.3
_FEWER = 0.9  # measurements than pixels
_PILOT = 3  # steps before noise that is not sure is looked at again
_LOOKS, _LOW = 2, 0.05  # at noise below this share of the range
_COUNT_TURNS = 8  # of counts of pixels: they take several looks anyway
_DARK, _LEAST_SIGNAL = 0.1, 1e-12  # of the mean signal, the least that is expected anywhere
_LEFT = 0.7  # share of what a first image leaves that is noise


@dataclass(frozen=True)
class Scalars:
    """What adaptation multiplies the solver's numbers by.

    Parameters
    ----------
    first, level : float, default=1.0
        Noise levels of the first and of the last denoising.
    weight : float, default=1.0
        Of the denoised image in the data step.
    """

    first: float = 1.0
    level: float = 1.0
    weight: float = 1.0


class Solver:
    """Measurements of a batch of images under a linear operator, to be reconstructed.

    All images miss the same measurements, and either all have noise or none.

    Parameters
    ----------
    operator : Operator
    measurements : Tensor of shape ``(n, *measurement_shape)``
        NaN where one is missing.
    sigma : Tensor of shape (n,), or None
        Standard deviation of the noise; None to estimate it.
    gain : float, default=0.0
        Variance of the noise per unit of signal, see `Noise`.
    """

    def __init__(
        self, operator: Operator, measurements: Tensor, sigma: Tensor | None, gain: float = 0.0
    ):
        self.operator, self.norm = operator, max(operator.norm(), 1e-30)
        self.measurements = measurements
        self.term = DataTerm(operator, measurements, max_iter=30, tol=1e-4)
        self.start = smooth_start(self.term, _STIFFNESS * self.norm**2, max_iter=20)
        self.range = ranges(self.start)
        self.is_local = is_local(operator)
        self.steps = _LOCAL_STEPS if self.is_local else _MIXED_STEPS
        self.least = _LEAST_SIGMA * self.range * self.norm
        self.is_exact = sigma is not None and gain == 0 and not bool(sigma.any())
        self.diagonal = diagonal_of_misfit(self.term)
        self.seen = seen_pixels(self.diagonal)
        self.is_denoising = self.seen is not None and bool(self.seen.all())
        self.looks_again = torch.zeros_like(self.range, dtype=torch.bool)
        self.is_estimated = sigma is None
        self.sigma = self._noise(measurements) if sigma is None else sigma
        self.gain, self.ground = gain, self.sigma
        if gain > 0:
            self.sigma = self._variance(self.start).flatten(1).mean(1).sqrt()

    def run(
        self,
        denoise: Callable[..., Tensor],
        own: bool,
        scalars: Scalars,
        steps: int | None = None,
        turns: int = 1,
    ) -> Tensor:
        """Reconstruct images.

        Parameters
        ----------
        denoise : callable
            See `ImageDenoiser`.
        own : bool
        scalars : Scalars
        steps : int, default=None
            16 by default, and 24 where each measurement mixes all of the image.
        turns : int, default=1
            Averaged where one denoising does it all.

        Returns
        -------
        Tensor of shape ``(n, *image_shape)``
        """
        steps = self.steps if steps is None else steps
        level = _LOCAL_LEVEL if self.is_local else _MIXED_LEVEL
        if self.gain == 0:
            return self._run(denoise, own, scalars, steps, level, turns)
        # What an image is like tells the noise of its counts: a quick look, and a better one.
        z = self._run(denoise, own, scalars, max(1, steps // 4), level, 1)
        for n_steps in (max(1, steps // 2), steps):
            self._weigh(self._variance(z))
            z = self._run(denoise, own, scalars, n_steps, _MIXED_LEVEL, max(turns, _COUNT_TURNS))
        return z

    def _run(
        self,
        denoise: Callable[..., Tensor],
        own: bool,
        scalars: Scalars,
        steps: int,
        first_level: float,
        turns: int,
    ) -> Tensor:
        if self.is_denoising:
            x = self.term.back_projection / self.diagonal
            if self.is_exact:
                return x
            clean = ImageDenoiser(denoise, x, own)
            sigma = self._refined(clean, x) if self.is_estimated and not self.gain else self.sigma
            level = scalars.level * self._like_images(sigma) / self.diagonal.sqrt()
            return clean.averaged(x, level, turns)
        clean = ImageDenoiser(denoise, self.start, own)
        x, z = self._iterate(clean, steps, first_level * self.range, scalars)
        return onto_measurements(self.operator, self.measurements, x) if self.is_exact else z

    def _iterate(
        self, clean: ImageDenoiser, steps: int, first_level: Tensor, scalars: Scalars
    ) -> tuple[Tensor, Tensor]:
        sigma = torch.maximum(self.sigma, self.least)
        overshoot = _REFLECTION / (1 + scalars.weight * _WEIGHT)

        def level(k: int) -> Tensor:
            last = scalars.level * sigma / self.norm
            first = torch.maximum(scalars.first * first_level, last)
            return first * (last / first) ** (k / max(steps - 1, 1))

        def denoised(x: Tensor, level: Tensor, k: int) -> Tensor:
            nonlocal sigma
            z = clean(x, self._told(level, overshoot * sigma), k % N_TURNS)
            if k == _PILOT - 1 and self.looks_again.any():
                left = torch.minimum(sigma, _LEFT * noise_left(self.term.misfit(z)))
                sigma = torch.where(self.looks_again, torch.maximum(left, self.least), sigma)
            return z

        # Generators, since a noise level that is not sure is looked at again on the way.
        levels = (level(k) for k in range(steps))
        weights = (scalars.weight * _WEIGHT * (sigma / level(k)) ** 2 for k in range(steps))
        return half_quadratic(
            self.term, denoised, self.start, levels, weights, _REFLECTION, _MOMENTUM
        )

    def _told(self, level: Tensor, noise: Tensor) -> Tensor:
        """Noise level of each pixel; no less than the noise of those that are measured."""
        level = self._like_images(level)
        if self.seen is None:
            return level
        noise = self._like_images(noise) / self.diagonal.clamp_min(1e-30).sqrt()
        return torch.where(self.seen, torch.maximum(level, noise), level)

    def _noise(self, measurements: Tensor) -> Tensor:
        found = estimate_noise(self.operator, measurements)
        if self.is_denoising and is_large(self.operator.image_shape):
            x = self.term.back_projection / self.diagonal
            of_patches = noise_of_images(x) * self.diagonal.flatten(1).mean(1).sqrt()
            return torch.minimum(of_patches, found.sigma)  # textures are taken for noise by both
        if found.is_local:
            n_known = (~torch.isnan(measurements)).flatten(1).sum(1)
            # As many measurements as pixels: a first image would fit the noise as well.
            self.looks_again = ~found.is_sure & (n_known < _FEWER * self.operator.n_pixels)
            return found.sigma
        # Each measurement mixes all of the image, which hides noise unless there is a lot.
        return torch.where(found.is_sure, found.sigma, torch.minimum(found.sigma, self.least))

    def _refined(self, clean: ImageDenoiser, x: Tensor) -> Tensor:
        """Estimate noise once more, where there is little of it: textures were taken for it.

        What a denoiser removes is compared with what it removes of the denoised image and noise of
        the level that it is told.
        """
        sigma, is_low = self.sigma, self.sigma < _LOW * self.norm * self.range
        generator = torch.Generator().manual_seed(0)
        white = torch.randn(x.shape[1:], generator=generator, dtype=torch.float64).to(x)
        for _ in range(_LOOKS if is_low.any() else 0):
            level = self._like_images(sigma) / self.diagonal.sqrt()
            z = clean(x, level)
            again = z + level * white
            expected = noise_left(self.operator.forward(clean(again, level) - again))
            ratio = noise_left(self.term.misfit(z)) / expected.clamp_min(1e-30)
            sigma = torch.where(is_low, sigma * ratio.clamp(max=1.0), sigma)
        return sigma

    def _variance(self, x: Tensor) -> Tensor:
        """Variance of the noise of counts of images; nothing is wholly dark."""
        signal = self.operator.forward(x).clamp_min(0)
        like = -1, *[1] * (signal.ndim - 1)
        mean = signal.flatten(1).mean(1).clamp_min(_LEAST_SIGNAL).reshape(like)
        return self.ground.reshape(like) ** 2 + self.gain * torch.maximum(signal, _DARK * mean)

    def _weigh(self, variance: Tensor) -> None:
        """Weigh measurements by a variance of their noise; `sigma` is that of weight 1."""
        mean = variance.flatten(1).mean(1)
        weights = mean.reshape(-1, *[1] * (variance.ndim - 1)) / variance
        self.term = DataTerm(self.operator, self.measurements, weights, max_iter=30, tol=1e-4)
        self.sigma = mean.sqrt()
        if self.diagonal is not None:
            self.diagonal = diagonal_of_misfit(self.term)

    def _like_images(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *[1] * len(self.operator.image_shape))
