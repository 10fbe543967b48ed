"""Rows of an unknown operator that see pixels in the order of the image: ``y = x[mask]``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._row_families import (
    LOG_2PI,
    KnownPixelRows,
    PixelRows,
    RowFamily,
)


class OrderedFamily(RowFamily):
    """Rows that see one pixel each, as it is, each a later one than the row before.

    All such choices of pixels are as likely; they are summed over by the recursions of hidden
    Markov models.

    Parameters
    ----------
    images : Tensor of shape (K, n), float64
    measurements : Tensor of shape (K, m), float64
        Fewer than pixels.

    References
    ----------
    L. R. Rabiner (1989), "A tutorial on hidden Markov models and selected applications in speech
    recognition", Proceedings of the IEEE.
    """

    def __init__(self, images: Tensor, measurements: Tensor):
        self._cross = measurements.T @ images  # (m, n)
        self._power, self._energy = images.square().sum(0), float(measurements.square().sum())
        self._count = measurements.numel()

    def log_evidence(self, variance: float) -> float:
        m, n = self._cross.shape
        constant = 0.5 * (self._count * (LOG_2PI + math.log(variance)) + self._energy / variance)
        paths = _forward(self._scores(variance))[-1].logsumexp(0)
        return float(paths) - constant - _log_choices(n, m)

    def rows(self, variance: float) -> PixelRows:
        scores = self._scores(variance)
        before, after = _forward(scores), _forward(scores.flip(0, 1)).flip(0, 1)
        share = (before + after - scores.nan_to_num(neginf=0.0)).softmax(1)
        return PixelRows(share, share)

    def _scores(self, variance: float) -> Tensor:
        """Logarithms of densities less a constant; row j sees neither the first j, nor the last."""
        scores = (self._cross - 0.5 * self._power) / variance
        m, n = scores.shape
        pixel, row = torch.arange(n), torch.arange(m)[:, None]
        return scores.masked_fill((pixel < row) | (pixel > row + n - m), -torch.inf)


class LikeliestOrderedFamily(RowFamily):
    """As `OrderedFamily`, with the likeliest pixels for sure: in memory of one byte a choice.

    Parameters
    ----------
    images : Tensor of shape (K, n), float64
    measurements : Tensor of shape (K, m), float64
    """

    def __init__(self, images: Tensor, measurements: Tensor):
        self._count, self._choices = (
            measurements.numel(),
            _log_choices(*_sizes(images, measurements)),
        )
        self._index = _likeliest(images, measurements)
        self._misfit = float((images[:, self._index] - measurements).square().sum())

    def log_evidence(self, variance: float) -> float:
        constant = 0.5 * (self._count * (LOG_2PI + math.log(variance)) + self._misfit / variance)
        return -constant - self._choices

    def rows(self, variance: float) -> KnownPixelRows:
        one = torch.ones(len(self._index), dtype=torch.float64)
        return KnownPixelRows(self._index, one, torch.zeros_like(one))


def _sizes(images: Tensor, measurements: Tensor) -> tuple[int, int]:
    return images.shape[1], measurements.shape[1]


def _log_choices(n: int, m: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1)


def _forward(scores: Tensor) -> Tensor:
    """Logarithm of the sum over choices of the rows up to j, of which j sees pixel i."""
    found = [scores[0]]
    for score in scores[1:]:
        earlier = found[-1].logcumsumexp(0).roll(1)
        found.append(score + earlier)  # what was rolled to the front is masked in the score
    return torch.stack(found)


def _likeliest(images: Tensor, measurements: Tensor) -> Tensor:
    """Pixels (m,) of the choice of least misfit, by the recursion of Viterbi."""
    n, m = _sizes(images, measurements)
    power, pixel = 0.5 * images.square().sum(0), torch.arange(n)
    best, is_new = None, []
    for j in range(m):
        score = measurements[:, j] @ images - power
        if best is not None:
            highest = best.cummax(0)
            is_new.append(highest.indices == pixel)
            score = score + highest.values.roll(1)
        best = score.masked_fill((pixel < j) | (pixel > j + n - m), -torch.inf)
    found = [int(best.argmax())]
    for new in reversed(is_new):
        found.append(int(new[: found[-1]].nonzero()[-1, 0]))
    return torch.tensor(found[::-1])
