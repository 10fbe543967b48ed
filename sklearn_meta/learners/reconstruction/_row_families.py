"""Families of rows of an unknown operator: dense or smooth ones, and ones that see one pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.operators import Operator
from sklearn_meta.operators._dense import Dense
from sklearn_meta.operators._sparse import Selection

#: Scales of the prior variance that are tried, around the one that explains the measurements.
SCALES = torch.logspace(-2, 2, 17, dtype=torch.float64)

#: Shares of pixels that are seen, and gains of pixels (mean, deviation), that are tried.
SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
GAINS = ((0.0, 1.0), (1.0, 0.3), (1.0, 0.1), (1.0, 0.03))

LOG_2PI = math.log(2 * math.pi)


class Rows:
    """Posterior of the rows of an operator."""

    def operator(self, image_shape: tuple[int, ...]) -> Operator:
        """Return the operator of the mean rows; its measurements may be in any shape."""
        raise NotImplementedError

    def excess(self, second_moment: Tensor) -> Tensor:
        """Variance of each measurement that the uncertainty of its row adds, shape (m,).

        Parameters
        ----------
        second_moment : Tensor of shape (n, n)
            ``E[x x^T]`` of the images that are measured.
        """
        raise NotImplementedError


class RowFamily:
    """Rows of one kind, with what pairs say of them at any level of noise."""

    def log_evidence(self, variance: float) -> float:
        """Of all measurements of the pairs, with noise of this variance."""
        raise NotImplementedError

    def rows(self, variance: float) -> Rows:
        """Posterior of the rows."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class DenseRows(Rows):
    """Rows (m, n) with a covariance (n, n) that they share."""

    matrix: Tensor
    covariance: Tensor

    def operator(self, image_shape: tuple[int, ...]) -> Operator:
        return Dense(image_shape, self.matrix)

    def excess(self, second_moment: Tensor) -> Tensor:
        return (self.covariance * second_moment).sum().clamp(min=0.0).expand(len(self.matrix))


@dataclass(frozen=True, eq=False)
class PixelRows(Rows):
    """Rows that see one pixel, not known which: means (m, n) and second moments (m, n)."""

    matrix: Tensor
    moment: Tensor

    def operator(self, image_shape: tuple[int, ...]) -> Operator:
        return Dense(image_shape, self.matrix)

    def excess(self, second_moment: Tensor) -> Tensor:
        known = ((self.matrix @ second_moment) * self.matrix).sum(1)
        return (self.moment @ second_moment.diagonal() - known).clamp(min=0.0)


@dataclass(frozen=True, eq=False)
class KnownPixelRows(Rows):
    """Rows that see a known pixel (m,) each, with a gain of this mean (m,) and variance (m,)."""

    index: Tensor
    mean: Tensor
    variance: Tensor

    def operator(self, image_shape: tuple[int, ...]) -> Operator:
        return Selection(image_shape, self.index, self.mean)

    def excess(self, second_moment: Tensor) -> Tensor:
        return self.variance * second_moment.diagonal()[self.index]


class DenseFamily(RowFamily):
    """Rows that are independent and normal: white, or smooth over a length.

    Parameters
    ----------
    images : Tensor of shape (K, n), float64
    measurements : Tensor of shape (K, m), float64
    image_shape : tuple of int
    length : float, default=0.0
    is_near_identity : bool, default=False
        Whether the mean of row j is pixel j, not 0.
    """

    def __init__(
        self,
        images: Tensor,
        measurements: Tensor,
        image_shape: tuple[int, ...],
        length: float = 0.0,
        is_near_identity: bool = False,
    ):
        self._is_near_identity = is_near_identity
        self._measurements = measurements - images if is_near_identity else measurements
        self._prior = smooth_correlation(image_shape, length).to(images)
        self._seen = images @ self._prior  # (K, n)
        values, self._vectors = torch.linalg.eigh(self._seen @ images.T)
        self._values = values.clamp(min=0.0)
        self._energy = (self._vectors.T @ self._measurements).square().sum(1)
        own = float(self._energy.sum() / (self._m * self._values.sum()).clamp(min=1e-300))
        self._scales = SCALES.to(images) * own

    @property
    def _m(self) -> int:
        return self._measurements.shape[1]

    def log_evidence(self, variance: float) -> float:
        # That one of the scales is chosen is paid for: else the identity would always be beaten.
        return float(self._evidence(variance).max()) - math.log(len(SCALES))

    def rows(self, variance: float) -> DenseRows:
        scale = float(self._scales[self._evidence(variance).argmax()])
        inverse = 1 / (self._values + variance / max(scale, 1e-300))
        gain = (self._vectors * inverse) @ self._vectors.T @ self._seen  # (K, n)
        matrix = self._measurements.T @ gain
        if self._is_near_identity:
            matrix.diagonal().add_(1.0)
        return DenseRows(matrix, scale * (self._prior - self._seen.T @ gain))

    def _evidence(self, variance: float) -> Tensor:
        spread = self._scales[:, None] * self._values + variance
        return -0.5 * (self._m * (spread.log() + LOG_2PI) + self._energy / spread).sum(1)


class PixelFamily(RowFamily):
    """Rows that see one pixel each, any one, as it is or times an unknown gain.

    Parameters
    ----------
    images : Tensor of shape (K, n), float64
    measurements : Tensor of shape (K, m), float64
    """

    def __init__(self, images: Tensor, measurements: Tensor):
        self._n_pairs = len(images)
        self._cross = measurements.T @ images  # (m, n)
        self._power, self._energy = images.square().sum(0), measurements.square().sum(0)[:, None]

    def log_evidence(self, variance: float) -> float:
        return max(self._evidence(self._logs(variance, free)) for free in (False, True))

    def rows(self, variance: float) -> PixelRows:
        logs = [self._logs(variance, free) for free in (False, True)]
        is_free = self._evidence(logs[1]) > self._evidence(logs[0])
        share = logs[int(is_free)].softmax(1)
        if not is_free:
            return PixelRows(share, share)
        precision = self._power / variance + 1.0
        mean = self._cross / variance / precision
        return PixelRows(share * mean, share * (mean.square() + 1 / precision))

    def _logs(self, variance: float, is_free: bool) -> Tensor:
        """Logarithm of the density of each measurement, if its row sees each pixel."""
        log = -0.5 * (self._n_pairs * (LOG_2PI + math.log(variance)) + self._energy / variance)
        if not is_free:
            return log + (self._cross - 0.5 * self._power) / variance
        precision = self._power / variance + 1.0
        return log + 0.5 * (self._cross / variance).square() / precision - 0.5 * precision.log()

    def _evidence(self, logs: Tensor) -> float:
        return float((logs.logsumexp(1) - math.log(logs.shape[1])).sum())


class OwnPixelFamily(RowFamily):
    """Rows that see their own pixel: the identity, a mask that leaves zeros, or unknown gains.

    Parameters
    ----------
    images, measurements : Tensor of shape (K, n), float64
    """

    def __init__(self, images: Tensor, measurements: Tensor):
        self._n_pairs, self._n = images.shape
        self._cross = (images * measurements).sum(0)
        self._power, self._energy = images.square().sum(0), measurements.square().sum(0)

    def log_evidence(self, variance: float) -> float:
        masks, gains = self._masks(variance), self._gains(variance)
        return float(torch.cat([masks, gains]).max())

    def rows(self, variance: float) -> KnownPixelRows:
        index = torch.arange(self._n)
        masks, gains = self._masks(variance), self._gains(variance)
        if masks.max() >= gains.max():
            share = SHARES[int(masks.argmax())]
            if share == 1:
                seen = torch.ones_like(self._power)
            else:
                seen = (math.log(share / (1 - share)) + self._ratio(variance)).sigmoid()
            return KnownPixelRows(index, seen, seen * (1 - seen))
        centre, spread = GAINS[int(gains.argmax())]
        precision = self._power / variance + 1 / spread**2
        mean = (self._cross / variance + centre / spread**2) / precision
        return KnownPixelRows(index, mean, 1 / precision)

    def _hidden(self, variance: float) -> Tensor:
        """Logarithm of the density of measurements of nothing."""
        return -0.5 * (self._n_pairs * (LOG_2PI + math.log(variance)) + self._energy / variance)

    def _ratio(self, variance: float) -> Tensor:
        return (self._cross - 0.5 * self._power) / variance

    def _masks(self, variance: float) -> Tensor:
        ratio, found = self._ratio(variance), []
        for share in SHARES:
            log = math.log(share) + ratio
            if share < 1:
                log = torch.logaddexp(log, log.new_full((), math.log1p(-share)))
            found.append((self._hidden(variance) + log).sum())
        return torch.stack(found)

    def _gains(self, variance: float) -> Tensor:
        found = []
        for centre, spread in GAINS:
            prior = 1 / spread**2
            precision = self._power / variance + prior
            fit = (self._cross / variance + centre * prior).square() / precision
            log = 0.5 * (fit - centre**2 * prior + math.log(prior) - precision.log())
            found.append((self._hidden(variance) + log).sum())
        return torch.stack(found)


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
