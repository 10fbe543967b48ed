"""The covariance of stationary images: that of a torus that they are part of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from sklearn_meta.learners.reconstruction._planes import from_planes, to_planes
from sklearn_meta.learners.reconstruction._spectrum import RADII, Spectrum
from sklearn_meta.operators import Operator

_N_PROBES = 4


@dataclass(frozen=True, eq=False)
class Torus:
    """Covariance of planes (p, H, W) that are part of a torus.

    Parameters
    ----------
    image_shape : tuple of int
    grid : (int, int)
        Sides of the torus.
    power : Tensor of shape (p, height, width // 2 + 1)
    mean : Tensor of shape image_shape
    """

    image_shape: tuple[int, ...]
    grid: tuple[int, int]
    power: Tensor
    mean: Tensor
    deviation: float = field(init=False)

    def __post_init__(self):
        variance = torch.fft.irfft2(self.power, s=self.grid)[:, 0, 0]
        object.__setattr__(self, "deviation", float(variance.mean().sqrt()))

    @classmethod
    def of(
        cls, spectrum: Spectrum, image_shape: tuple[int, ...], border: float, like: Tensor
    ) -> Torus:
        grid = image_shape[:2]
        if border:
            grid = tuple(next_fast_len(n + math.ceil(border * n), real=True) for n in grid)
        power, n_channels = spectrum.on_grid(*grid).to(like), math.prod(image_shape[2:])
        mean = spectrum.mean.to(like)
        if len(mean) == n_channels:
            mean = mean.reshape(-1, 1, 1, 1).expand(-1, 1, *image_shape[:2])
            mean = from_planes(mean, image_shape)[0]
        else:  # grey images: every channel is one, and turning the channels changes nothing
            power, mean = power.expand(n_channels, *power.shape[1:]), mean.expand(image_shape)
        return cls(image_shape, grid, power, mean)

    def planes(self, x: Tensor) -> Tensor:
        """Images (n, H, W[, C]) as planes (n, p, height, width) of the torus, 0 beyond."""
        planes = to_planes(x)[:, 0].unflatten(0, (-1, len(self.power)))
        height, width = (a - b for a, b in zip(self.grid, self.image_shape[:2], strict=True))
        return torch.nn.functional.pad(planes, (0, width, 0, height))

    def images(self, planes: Tensor) -> Tensor:
        """The images (n, H, W[, C]) on planes of the torus."""
        height, width = self.image_shape[:2]
        return from_planes(planes[..., :height, :width].flatten(0, 1)[:, None], self.image_shape)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (n_pixels,) and covariance (n_pixels, n_pixels) of images."""
        height, width = self.image_shape[:2]
        lagged = torch.fft.irfft2(self.power, s=self.grid)
        i, j = (torch.arange(n)[None] - torch.arange(n)[:, None] for n in (height, width))
        own = lagged[:, i[:, None, :, None] % self.grid[0], j[None, :, None, :] % self.grid[1]]
        units = torch.eye(len(self.power)).to(own)
        if len(self.power) == 3:
            units = to_planes(units.reshape(3, 1, 1, 3)).reshape(3, 3)  # (channel, plane)
        covariance = torch.einsum("cp,phwij,dp->hwcijd", units, own, units)
        return self.mean.flatten(), covariance.reshape(self.mean.numel(), -1)


def response(torus: Torus, operator: Operator, like: Tensor) -> Tensor:
    """How much of each frequency ``A^T A`` keeps, about, by white noise: mean of each ring.

    References
    ----------
    T. F. Chan (1988), "An optimal circulant preconditioner for Toeplitz systems", SIAM Journal on
    Scientific and Statistical Computing.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (operator.n_samples or _N_PROBES, *operator.image_shape)
    white = torch.randn(shape, generator=generator, dtype=torch.float64).to(like)
    seen = torch.fft.rfft2(torus.planes(operator.adjoint(operator.forward(white))))
    sent = torch.fft.rfft2(torus.planes(white))
    kept = (sent.conj() * seen).real.mean((0, 1))
    y = torch.fft.fftfreq(torus.grid[0], dtype=torch.float64)[:, None]
    x = torch.fft.rfftfreq(torus.grid[1], dtype=torch.float64)[None]
    edges = torch.from_numpy(RADII)
    ring = torch.bucketize(torch.hypot(y, x), edges).to(like.device)
    flat, n_rings = ring.flatten(), len(RADII) + 1
    total = torch.bincount(flat, kept.flatten(), n_rings)
    size = torch.bincount(flat, sent.abs().square().mean((0, 1)).flatten(), n_rings)
    covered = math.prod(torus.image_shape[:2]) / math.prod(torus.grid)
    response = covered * (total / size.clamp_min(1e-30)).clamp_min(0)[ring]
    return response.to(like)
