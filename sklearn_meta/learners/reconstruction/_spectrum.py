"""The power spectrum of images of any size, smooth in frequency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._planes import to_planes

#: Bins: radii in cycles a pixel, a factor of about 1.4 apart, and directions in half a turn.
RADII, N_DIRECTIONS = np.geomspace(1 / 4096, math.sqrt(0.5), 24), 8

#: Periodogram values that the spectrum without directions counts for in each bin.
PRIOR_COUNT = 10.0

#: Radii above this do not tell how the spectrum goes on below the lowest that was seen.
LOW = 0.15

#: Steepest fall of power that is followed there; photographs fall about as ``f^-2`` or faster.
STEEPEST = -3.5

#: Smallest power, as a share of the mean.
FLOOR = 1e-5


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean, and density of power over frequency, of each plane of images.

    Parameters
    ----------
    mean : Tensor of shape (p,)
        Of the pixels of planes, see `to_planes`.
    mean_variance : Tensor of shape (p,)
        Of the means of images.
    log_power : Tensor of shape (p, len(RADII), N_DIRECTIONS)
        Logarithm of the variance that white noise would need to have that power.
    """

    mean: Tensor
    mean_variance: Tensor
    log_power: Tensor

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> Spectrum:
        """Make it from `arrays`."""
        names = cls.__dataclass_fields__
        return cls(*(torch.tensor(arrays[name]).to(device, torch.float64) for name in names))

    @classmethod
    def of(cls, groups: Iterable[np.ndarray]) -> Spectrum:
        """Pool the periodograms of images.

        Parameters
        ----------
        groups : iterable of ndarray of shape (n, H, W[, C])
            Shapes may differ between groups, numbers of channels may not.

        References
        ----------
        P. D. Welch (1967), "The use of fast Fourier transform for the estimation of power
        spectra", IEEE Transactions on Audio and Electroacoustics.
        """
        total, count, means, sizes = 0.0, 0.0, [], []
        for group in groups:
            for image in group:
                planes = to_planes(torch.from_numpy(np.array(image[None], np.float64)))[:, 0]
                own_total, own_count = _binned(planes)
                total, count = total + own_total, count + own_count
                means.append(planes.mean((1, 2)).numpy())
                sizes.append(planes[0].numel())
        means = np.stack(means)
        log_power = _filled(total, count)
        # One image more, of which the lowest power is known, so that a single one is enough.
        size = float(np.mean(sizes))
        lowest = np.searchsorted(RADII, 1 / math.sqrt(size))
        usual = np.exp(log_power[:, lowest].mean(-1)) / size
        away = np.square(means - means.mean(0)).sum(0)
        variance = (away + usual) / len(means)
        return cls(*map(torch.from_numpy, (means.mean(0), variance, log_power)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what `from_arrays` takes."""
        return {name: getattr(self, name).cpu().numpy() for name in self.__dataclass_fields__}

    def on_grid(self, height: int, width: int) -> Tensor:
        """Power at the frequencies of `rfft2`; shape (p, height, width // 2 + 1).

        It is the variance of each coefficient of the orthonormal Fourier transform: the
        eigenvalues of the covariance of images on a torus.
        """
        radius, direction = _polar(height, width, self.mean.device)
        step = math.log(RADII[1] / RADII[0])
        place = (radius.clamp_min(RADII[0]) / RADII[0]).log() / step
        i = place.long().clamp(0, len(RADII) - 2)
        j = direction.long() % N_DIRECTIONS
        after, s, t = (j + 1) % N_DIRECTIONS, (place - i).clamp(0, 1), direction - direction.long()
        table = self.log_power
        low = (1 - t) * table[:, i, j] + t * table[:, i, after]
        high = (1 - t) * table[:, i + 1, j] + t * table[:, i + 1, after]
        power = ((1 - s) * low + s * high).exp()
        if width % 2 == 0:  # the frequency is its own negative, and each direction another's mirror
            last = power[..., -1]
            power[..., -1] = (last + last.flip(1).roll(1, 1)) / 2
        power[:, 0, 0] = height * width * self.mean_variance
        return power.clamp_min(FLOOR * power.mean((1, 2), keepdim=True) + 1e-12)


def _polar(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Radius, and direction in bins from 0 to N_DIRECTIONS, of the frequencies of `rfft2`."""
    y = torch.fft.fftfreq(height, dtype=torch.float64, device=device)[:, None]
    x = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)[None]
    turn = torch.atan2(y, x).expand(height, width // 2 + 1) % math.pi
    return torch.hypot(y, x), turn * (N_DIRECTIONS / math.pi)


def _binned(planes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the periodogram of planes (p, H, W) in each bin, and number of values (1, r, d).

    A window keeps the jump from one border to the opposite one out. Means were taken away, and
    with the window's frequencies go those next to zero.
    """
    height, width = planes.shape[1:]
    window = _window(height)[:, None] * _window(width)
    away = (planes - planes.mean((1, 2), keepdim=True)) * window
    power = torch.fft.rfft2(away).abs().square() / window.square().sum()
    radius, direction = _polar(height, width, planes.device)
    ring = (radius.clamp_min(RADII[0]) / RADII[0]).log() / math.log(RADII[1] / RADII[0])
    place = ring.round().long() * N_DIRECTIONS + direction.round().long() % N_DIRECTIONS
    counts = torch.ones_like(radius)
    near = [slice(0, 2), slice(-1, None)]
    for rows in near:
        counts[rows, :2] = 0.0
    bins, flat = len(RADII) * N_DIRECTIONS, place.flatten()
    shape = (-1, len(RADII), N_DIRECTIONS)
    found = [torch.bincount(flat, (p * counts).flatten(), bins) for p in power]
    count = torch.bincount(flat, counts.flatten(), bins)
    return torch.stack(found).reshape(shape).numpy(), count.reshape(shape).numpy()


def _window(n: int) -> Tensor:
    return torch.sin(math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n).square()


def _filled(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Logarithm of power in every bin: towards that of the ring, and rings that none has seen."""
    seen = np.broadcast_to(count.sum(-1) > 0, total.shape[:2])[0]
    tiny = 1e-12 * max(float(total.sum() / count.sum()), 1e-12)
    place, log_radius = np.flatnonzero(seen), np.log(RADII)
    rings = np.log(total[:, seen].sum(-1) / count[:, seen].sum(-1) + tiny)
    every = []
    for ring in rings:
        low = RADII[place] < max(LOW, RADII[place[min(2, len(place) - 1)]] * 1.01)
        slope = 0.0
        if low.sum() > 1:
            slope = np.polyfit(log_radius[place][low], ring[low], 1)[0]
        below = np.clip(slope, STEEPEST, 0.0) * (log_radius - log_radius[place[0]])
        inside = np.interp(log_radius, log_radius[place], ring)
        every.append(np.where(log_radius < log_radius[place[0]], ring[0] + below, inside))
    ring = np.exp(np.stack(every))[..., None]
    return np.log((total + PRIOR_COUNT * ring) / (count + PRIOR_COUNT))
