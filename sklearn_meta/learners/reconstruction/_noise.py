"""Estimate the noise of measurements that come without its level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._half_quadratic import roughness, smooth_start
from sklearn_meta.operators import Operator

_STIFFNESS = (1e-2, 1e-3)  # of the squared norm of the operator
_N_PROBES = 2
_LARGE = 2**14  # pixels of which one probe tells enough
_MAX_ITER = 20  # more change nothing
_RUN, _CALM = 16, 0.2
_SURE, _SURE_MIXED = 0.25, 0.1  # share of a residual that images may explain; if not local
_LOCAL, _LOCAL_SHARE = 200.0, 0.25  # most pixels that a measurement is a sum of, for it to be local
_PATCH, _LEAST_SIDE = 7, 24


@dataclass(frozen=True, eq=False)
class NoiseEstimate:
    """Noise of measurements as far as they tell.

    Attributes
    ----------
    sigma : Tensor of shape (n,)
        Standard deviation; where it is not sure, no more than that.
    is_sure : Tensor of bool of shape (n,)
        Whether directions that images hardly reach show the noise by itself.
    is_local : bool
        See `is_local`.
    """

    sigma: Tensor
    is_sure: Tensor
    is_local: bool


def estimate_noise(operator: Operator, measurements: Tensor) -> NoiseEstimate:
    """Estimate the noise of each image's measurements, under any linear operator.

    What no smooth image explains is noise, and edges and textures. White noise that goes the same
    way says how much of the noise is left; random images as rough as the smooth one, how much of
    an image. Of all measurements, and the calm ones among them, those with less noise count.

    Parameters
    ----------
    operator : Operator
        Linear.
    measurements : Tensor of shape ``(n, *measurement_shape)``
        NaN where one is missing.

    Returns
    -------
    NoiseEstimate
    """
    if operator.n_samples is None:
        sigma, share = _estimate(operator, operator, measurements)
    else:
        n_probes = 2 * _n_probes(operator)
        each = [
            _estimate(operator.select([i] * n_probes), operator.select([i]), y[None])
            for i, y in enumerate(measurements)
        ]
        sigma, share = (torch.cat(parts) for parts in zip(*each, strict=True))
    local = is_local(operator)
    return NoiseEstimate(sigma, share < (_SURE if local else _SURE_MIXED), local)


def is_local(operator: Operator) -> bool:
    """Whether a measurement is about few pixels."""
    most = min(_LOCAL, _LOCAL_SHARE * operator.n_pixels)
    return _pixels_of_measurement(operator) < most


def _estimate(probed: Operator, operator: Operator, measurements: Tensor) -> tuple[Tensor, Tensor]:
    """Noise by one operator, and the share of it that images explain; `probed` is for probes."""
    generator = torch.Generator().manual_seed(0)
    n_probes = _n_probes(operator)
    shape = (n_probes, *measurements.shape[1:])
    white = torch.randn(shape, generator=generator, dtype=torch.float64).to(measurements)
    images = _random_images((n_probes, *operator.image_shape), generator).to(measurements)
    norm = max(operator.norm(), 1e-30)
    found = torch.full((len(measurements),), torch.inf).to(measurements)
    share = torch.ones_like(found)
    missing = torch.isnan(measurements)
    # Where measurements are missing, probes miss the same ones: each image has its own.
    patterns = missing.unique(dim=0) if missing.any() else missing[:1]
    for pattern in patterns:
        rows = (missing == pattern).flatten(1).all(1)
        probes = torch.cat([white, probed.forward(images)]).masked_fill(pattern, torch.nan)
        term = DataTerm(operator.select(rows.nonzero()[:, 0]), measurements[rows])
        probe = DataTerm(probed, probes)
        known = ~pattern
        for stiffness in _STIFFNESS:
            smooth = smooth_start(term, stiffness * norm**2, _MAX_ITER)
            left = _sizes(term.misfit(smooth)[:, known])
            of_probe = probe.misfit(smooth_start(probe, stiffness * norm**2, _MAX_ITER))
            of_probes = _sizes(of_probe[:, known])
            of_noise, of_images = of_probes[:n_probes].mean(0), of_probes[n_probes:, 0].mean()
            sigma = (left / of_noise.clamp_min(1e-30)).amin(1)
            edges = of_images / of_noise[0].clamp_min(1e-30) * roughness(smooth).sqrt()
            better = sigma < found[rows]
            found[rows] = torch.where(better, sigma, found[rows])
            share[rows] = torch.where(better, edges / sigma.clamp_min(1e-30), share[rows])
    return found, share


def noise_left(misfit: Tensor) -> Tensor:
    """Return the size of what an image leaves of measurements; shape (n,).

    That of all of them, or of the calm ones, in units of the standard deviation of white noise.
    """
    generator = torch.Generator().manual_seed(0)
    white = torch.randn((_N_PROBES, misfit[0].numel()), generator=generator).to(misfit)
    return (_sizes(misfit.flatten(1)) / _sizes(white).mean(0)).amin(1)


def noise_of_images(x: Tensor) -> Tensor:
    """Estimate white noise of images from the covariance of their patches.

    Patches of clean images lie near a subspace; the eigenvalues of the others are noise, and
    symmetric about their mean.

    Parameters
    ----------
    x : Tensor of shape (n, H, W[, C])

    Returns
    -------
    Tensor of shape (n,)

    References
    ----------
    G. Chen, F. Zhu, P. A. Heng (2015), "An efficient statistical method for image noise level
    estimation", ICCV.
    """
    planes = x[:, None] if x.ndim == 3 else x.movedim(-1, 1)
    side = min(_PATCH, *planes.shape[-2:])
    patches = planes.unfold(2, side, 1).unfold(3, side, 1).flatten(4).flatten(1, 3)
    patches = (patches - patches.mean(1, keepdim=True)).double()
    values = torch.linalg.eigvalsh(patches.mT @ patches / patches.shape[1]).clamp_min(0)
    n_values = values.shape[1]
    means = values.cumsum(1) / torch.arange(1, n_values + 1).to(values)
    count = torch.arange(1, n_values + 1).to(values)
    above = (values[:, None] > means[:, :, None]) & _lower_triangle(n_values, values)
    below = (values[:, None] < means[:, :, None]) & _lower_triangle(n_values, values)
    balanced = (above.sum(2) - below.sum(2)).abs() <= 1
    # The largest set that is symmetric; the smallest eigenvalue where there is none.
    place = torch.where(balanced, count, 1.0).argmax(1)
    return means.gather(1, place[:, None])[:, 0].sqrt().to(x.dtype)


def is_large(image_shape: tuple[int, ...]) -> bool:
    """Whether images have patches enough for `noise_of_images`."""
    return min(image_shape[:2]) >= _LEAST_SIDE


def _lower_triangle(n: int, like: Tensor) -> Tensor:
    return torch.ones((n, n), device=like.device).tril().bool()


def _sizes(residual: Tensor) -> Tensor:
    """Root mean squares of residuals (n, m): of all, and of calm runs; shape (n, 2)."""
    size = residual.square().mean(1).sqrt()
    n_runs = residual.shape[1] // _RUN
    if n_runs < 2:
        return torch.stack([size, size], 1)
    runs = residual[:, : n_runs * _RUN].unflatten(1, (n_runs, _RUN)).square().mean(2).sqrt()
    some = runs[:, :: max(1, n_runs // 2**16)]
    return torch.stack([size, some.quantile(_CALM, 1)], 1)


def _n_probes(operator: Operator) -> int:
    return 1 if operator.n_pixels >= _LARGE else _N_PROBES


def _random_images(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Images (n, H, W[, C]) whose spectrum falls as that of photographs, of roughness 1."""
    height, width = shape[1:3]
    white = torch.randn(shape, generator=generator, dtype=torch.float64)
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) for n in (height, width))
    frequency = (rows[:, None].square() + columns.square()).sqrt()
    frequency = frequency.clamp_min(1.0 / max(height, width))
    frequency = frequency.reshape(height, width, *[1] * (len(shape) - 3))
    x = torch.fft.ifft2(torch.fft.fft2(white, dim=(1, 2)) / frequency, dim=(1, 2)).real
    size = roughness(x).clamp_min(1e-30).sqrt()
    return x / size.reshape(-1, *[1] * (len(shape) - 1))


def _pixels_of_measurement(operator: Operator) -> float:
    """Effective number of pixels in a measurement: its participation ratio, over a few of them."""
    generator = torch.Generator().manual_seed(0)
    if operator.n_samples is not None:
        operator = operator.select([0] * 4)
    index = torch.randint(operator.n_measurements, (4,), generator=generator)
    y = torch.zeros((4, operator.n_measurements), dtype=torch.float64)
    y[range(4), index] = 1.0
    row = operator.adjoint(y.reshape(4, *operator.measurement_shape)).flatten(1).square()
    return float((row.sum(1).square() / row.square().sum(1).clamp_min(1e-30)).median())
