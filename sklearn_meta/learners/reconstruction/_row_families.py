"""Families of unknown operators, each with the posterior of its rows given pairs, and evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: Scales of the prior variance that are tried, around the one that explains the measurements.
SCALES = torch.logspace(-2, 2, 17, dtype=torch.float64)

#: Correlation lengths of smooth rows, and widths of kernels, in pixels.
LENGTHS, WIDTHS = (0.0, 1.0, 2.0), (0.7, 1.5, 3.0)

#: Largest kernel side; rows over which the uncertainty of a kernel is averaged.
SIDE, SOME_ROWS = 9, 32

_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class RowPosterior:
    """Posterior of the rows of an operator, of which the second moments are kept.

    Parameters
    ----------
    log_evidence : float
        Of all measurements of the pairs.
    matrix : Tensor of shape (m, n)
        Means.
    covariance : Tensor
        (n, n) of every row; or (p, p) of the kernel that rows share, where `index` is given; or
        (m, n), second moments of rows that see one unknown pixel, where `is_pixel`.
    index : Tensor of shape (m, p), int64, or None
        Pixels under the kernel; n stands for a zero beyond the border.
    is_pixel : bool
    """

    log_evidence: float
    matrix: Tensor
    covariance: Tensor
    index: Tensor | None = None
    is_pixel: bool = False

    def excess(self, second_moment: Tensor) -> Tensor:
        """Variance of measurements of images with this second moment (n, n), from the rows'."""
        m = len(self.matrix)
        if self.is_pixel:
            known = ((self.matrix @ second_moment) * self.matrix).sum(1)
            return (self.covariance @ second_moment.diagonal() - known).clamp(min=0.0)
        if self.index is None:
            return (self.covariance * second_moment).sum().clamp(min=0.0).expand(m)
        some = self.index[torch.linspace(0, m - 1, min(m, SOME_ROWS)).long()]
        outside = second_moment.new_zeros(len(second_moment), 1)
        seen = torch.cat([second_moment, outside], 1)
        seen = torch.cat([seen, seen.new_zeros(1, seen.shape[1])])
        seen = seen[some[:, :, None], some[:, None, :]].mean(0)
        return (self.covariance * seen).sum().clamp(min=0.0).expand(m)


def families(
    images: Tensor, measurements: Tensor, image_shape: tuple[int, ...], variance: float
) -> Iterator[RowPosterior]:
    """Posteriors of all families.

    Parameters
    ----------
    images : Tensor of shape (K, n), float64
    measurements : Tensor of shape (K, m), float64
    image_shape : tuple of int
    variance : float
        Of the noise.
    """
    for length in LENGTHS:
        yield dense_rows(images, measurements, image_shape, variance, length)
    yield pixel_rows(images, measurements, variance)
    for index in kernel_places(image_shape, measurements.shape[1]):
        yield kernel_rows(images, measurements, index, variance)


def dense_rows(
    images: Tensor,
    measurements: Tensor,
    image_shape: tuple[int, ...],
    variance: float,
    length: float = 0.0,
) -> RowPosterior:
    """Rows that are independent and normal: white for ``length=0``, else smooth over `length`."""
    n, m = images.shape[1], measurements.shape[1]
    prior = smooth_correlation(image_shape, length).to(images)
    seen = images @ prior  # (K, n)
    values, vectors = torch.linalg.eigh(seen @ images.T)
    values = values.clamp(min=0.0)
    energy = (vectors.T @ measurements).square().sum(1)
    scales = SCALES.to(images) * float(energy.sum() / (m * values.sum()).clamp(min=1e-300))
    spread = scales[:, None] * values + variance
    evidence = -0.5 * (m * (spread.log() + _LOG_2PI) + energy / spread).sum(1)
    best = int(evidence.argmax())
    scale = float(scales[best])
    gain = (vectors / (values + variance / max(scale, 1e-300))) @ vectors.T @ seen  # (K, n)
    covariance = scale * (prior - seen.T @ gain)
    return RowPosterior(float(evidence[best]), measurements.T @ gain, covariance.reshape(n, n))


def pixel_rows(images: Tensor, measurements: Tensor, variance: float) -> RowPosterior:
    """Rows that see one pixel each, any one, as it is or times an unknown gain."""
    n_pairs, n = images.shape
    cross = measurements.T @ images  # (m, n)
    power, energy = images.square().sum(0), measurements.square().sum(0)[:, None]
    constant = -0.5 * n_pairs * (_LOG_2PI + math.log(variance)) - 0.5 * energy / variance
    found = []
    for is_free in (False, True):
        precision = power / variance + 1.0
        if is_free:
            mean, spread = cross / variance / precision, (1 / precision).expand_as(cross)
            log = constant + 0.5 * mean.square() * precision - 0.5 * precision.log()
        else:
            mean, spread = torch.ones_like(cross), torch.zeros_like(cross)
            log = constant + (cross - 0.5 * power) / variance
        evidence = float((log.logsumexp(1) - math.log(n)).sum())
        share = log.softmax(1)
        moment = share * (mean.square() + spread)
        found.append(RowPosterior(evidence, share * mean, moment, is_pixel=True))
    return max(found, key=lambda posterior: posterior.log_evidence)


def kernel_rows(
    images: Tensor, measurements: Tensor, index: Tensor, variance: float
) -> RowPosterior:
    """Rows that are one unknown kernel, moved: a convolution, every pixel or every few.

    Parameters
    ----------
    images : Tensor of shape (K, n)
    measurements : Tensor of shape (K, m)
    index : Tensor of shape (m, p), int64
        Pixels under the kernel, row by row; n stands for a zero beyond the border.
    variance : float
    """
    n, (m, size) = images.shape[1], index.shape
    images = torch.cat([images, images.new_zeros(len(images), 1)], 1)
    gram = images.new_zeros(size, size)
    cross = images.new_zeros(size)
    for image, row in zip(images, measurements, strict=True):
        seen = image[index]
        gram, cross = gram + seen.T @ seen, cross + seen.T @ row
    total, count = float(measurements.square().sum()), measurements.numel()
    best = None
    for width in WIDTHS:
        shape = _bump(size, width).to(images)
        values, vectors = torch.linalg.eigh(shape[:, None] * gram * shape)
        values = values.clamp(min=0.0) / variance
        along = (vectors.T @ (shape * cross)) / variance
        scales = SCALES.to(images)[:, None]
        precision = values + 1 / scales
        fit = (along.square() / precision).sum(1)
        evidence = 0.5 * (fit - total / variance - (scales * precision).log().sum(1))
        evidence = evidence - 0.5 * count * (_LOG_2PI + math.log(variance))
        k = int(evidence.argmax())
        if best is None or float(evidence[k]) > best[0]:
            root = shape[:, None] * vectors
            best = float(evidence[k]), root @ (along / precision[k]), (root / precision[k]) @ root.T
    matrix = images.new_zeros(m, n + 1).scatter_add(1, index, best[1].expand(m, size))
    return RowPosterior(best[0], matrix[:, :n], best[2], index=index)


def kernel_places(image_shape: tuple[int, ...], m: int) -> Iterator[Tensor]:
    """Pixels under a kernel at each measurement, for every grid with m places.

    Grids take every pixel, or every second, third or fourth along both axes, with borders that go
    round, are mirrored, or end in zeros; or only the places where the kernel is inside.

    Parameters
    ----------
    image_shape : tuple of int
        There are none for images with channels.
    m : int

    Yields
    ------
    index : Tensor of shape (m, p), int64
    """
    if len(image_shape) != 2:
        return
    height, width = image_shape
    sides = [min(SIDE, size - 1 + size % 2) for size in image_shape]
    for step in range(1, 5):
        if -(-height // step) * -(-width // step) == m and m > 1:
            at = torch.arange(0, height, step), torch.arange(0, width, step)
            for border in ("circular", "reflect", "zero"):
                yield _index(image_shape, at, sides, border)
    for side in range(3, SIDE + 1, 2):
        if (height - side + 1) * (width - side + 1) == m and min(image_shape) > side:
            at = [torch.arange(side // 2, size - side // 2) for size in image_shape]
            yield _index(image_shape, at, (side, side), "valid")


def _index(image_shape: tuple[int, ...], at: tuple, sides: tuple, border: str) -> Tensor:
    lines, inside = [], []
    for size, centres, side in zip(image_shape, at, sides, strict=True):
        line = centres[:, None] + torch.arange(side) - side // 2
        inside.append((line >= 0) & (line < size))
        mirrored = torch.minimum(line % (2 * size), 2 * size - 1 - line % (2 * size))
        lines.append(line % size if border == "circular" else mirrored)
    flat = lines[0][:, None, :, None] * image_shape[1] + lines[1][None, :, None, :]
    if border == "zero":
        known = inside[0][:, None, :, None] & inside[1][None, :, None, :]
        flat = flat.masked_fill(~known, image_shape[0] * image_shape[1])
    return flat.reshape(len(at[0]) * len(at[1]), -1)


def _bump(size: int, width: float) -> Tensor:
    """Prior deviations of the weights of a square kernel, most in the middle; mean square 1/p."""
    side = math.isqrt(size)
    if side * side != size:
        return torch.full((size,), 1 / math.sqrt(size), dtype=torch.float64)
    line = torch.arange(side, dtype=torch.float64) - side // 2
    variance = torch.exp(-0.5 * (line[:, None].square() + line.square()) / width**2).flatten()
    return (variance / variance.sum()).sqrt()


def smooth_correlation(image_shape: tuple[int, ...], length: float) -> Tensor:
    """Correlation of pixels of a row, Gaussian in their distance."""
    total = torch.ones(1, 1, dtype=torch.float64)
    for axis, size in enumerate(image_shape):
        place = torch.arange(size, dtype=torch.float64)
        away = (place[:, None] - place).square()
        own = torch.eye(size, dtype=torch.float64)
        is_space = length > 0 and axis < 2
        total = torch.kron(total, torch.exp(-0.5 * away / length**2) if is_space else own)
    return total
