"""A second view of a number: its logarithm, counted from the end that values crowd at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Distance of the logarithm's zero from the extreme value, in standard deviations.
OFFSET = 0.2
#: How far beyond the support a prediction may lie: in its range, and in standard deviations of
#: the logarithm.
BEYOND = 0.5
BEYOND_LOG = 1.0
SMALLEST_SCALE = 1e-9
SMALLEST_DEVIATION = 1e-3


@dataclass(frozen=True, eq=False, slots=True)
class Warp:
    """The logarithm of ``sign * y - start``, standardised; fields have the shape (B, 1).

    The sign is that of the skewness, so that a long tail on either side is drawn in.
    """

    sign: Tensor
    start: Tensor
    center: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    low_log: Tensor
    high_log: Tensor

    @classmethod
    def of(cls, y: Tensor) -> Warp:
        """Look at targets (B, n)."""
        middle = y.mean(-1, keepdim=True)
        deviation = (y - middle).square().mean(-1, keepdim=True).sqrt().clamp_min(SMALLEST_SCALE)
        sign = torch.where((y - middle).pow(3).mean(-1, keepdim=True) < 0, -1.0, 1.0).to(y.dtype)
        start = (sign * y).amin(-1, keepdim=True) - OFFSET * deviation
        log = (sign * y - start).log()
        center = log.mean(-1, keepdim=True)
        scale = (log - center).square().mean(-1, keepdim=True).sqrt().clamp_min(SMALLEST_SCALE)
        log = (log - center) / scale
        low, high = y.amin(-1, keepdim=True), y.amax(-1, keepdim=True)
        room = BEYOND * (high - low)
        ends = log.amin(-1, keepdim=True) - BEYOND_LOG, log.amax(-1, keepdim=True) + BEYOND_LOG
        return cls(sign, start, center, scale, low - room, high + room, *ends)

    def forward(self, y: Tensor) -> Tensor:
        """Standardised logarithms of targets (B, n) of the support."""
        return ((self.sign * y - self.start).log() - self.center) / self.scale

    def back(self, forecast: Tensor) -> Tensor:
        """Mean and log variance in units of the target, (B, V, rows, 2), of those of logarithms.

        The mean is Simpson's rule over one standard deviation to either side: that of the whole
        log-normal would be ruled by its far tail, which a few rows say nothing about.
        """
        mean, log_variance = forecast.unbind(-1)
        deviation = (log_variance / 2).exp()
        below, middle, above = (self._inverse(mean + step * deviation) for step in (-1.0, 0.0, 1.0))
        spread = (above - below).abs() / 2
        least = SMALLEST_DEVIATION * (self.high - self.low)[:, None] + SMALLEST_SCALE
        mean = (below + 4 * middle + above) / 6
        return torch.stack([mean, 2 * torch.maximum(spread, least).log()], -1)

    def _inverse(self, log: Tensor) -> Tensor:
        fields = (self.sign, self.start, self.center, self.scale, self.low, self.high)
        sign, start, center, scale, low, high = (field[:, None] for field in fields)
        log = torch.clamp(log, self.low_log[:, None], self.high_log[:, None])
        y = sign * ((log * scale + center).exp() + start)
        return torch.clamp(y, low, high)
