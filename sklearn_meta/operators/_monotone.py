"""A law of each pixel that is known as a monotone function only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._pointwise import PointwiseLaw
from sklearn_meta.operators._reshaped import Reshaped
from sklearn_meta.operators.identity import Identity

_HALVINGS = 27  # to 2e-8, below which nothing is seen in an image
_STEP = 1e-7  # to either side of a jump


class Monotone(PointwiseLaw):
    """A function whose i-th value is a monotone function of the i-th pixel alone.

    Intervals are found by bisection, so that steps (rounding, with dither or not) and saturation
    are exact, and no derivative is needed.

    Parameters
    ----------
    function : callable
        ``(n, *image_shape) -> (n, *measurement_shape)``.
    image_shape, measurement_shape : tuple of int
    domain : (float, float)
        Range of pixels where the function is known to be monotone.
    signs : Tensor of shape measurement_shape
        1 where it increases, -1 where it decreases.
    is_smooth : bool
        Whether the derivative by autograd is of use. If not, that of `forward` is the slope from
        step to step.
    tolerance : float
        Relative error of a measurement.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        image_shape: Any,
        measurement_shape: Any,
        *,
        domain: tuple[float, float],
        signs: Tensor,
        is_smooth: bool,
        tolerance: float,
    ) -> None:
        super().__init__(None, Reshaped(Identity(image_shape), measurement_shape))
        self.function, self.domain, self.is_smooth = function, domain, is_smooth
        self.pixel_shape = self.image_shape
        self.signs = signs
        with torch.no_grad():
            ends = [self._rising(torch.full((1, *signs.shape), z).to(signs))[0] for z in domain]
        self._first, self._last = ends
        self.tolerance = tolerance * float((self._last - self._first).abs().max())

    def law(self, z: Tensor) -> Tensor:
        """Return the function's values."""
        if self.is_smooth or not (z.requires_grad and torch.is_grad_enabled()):
            return self._values(z)
        with torch.no_grad():
            values, slope = self._values(z), self._slope(z)
        return values + slope * (z - z.detach())

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the ends of the pixel values that give y, by bisection."""
        with torch.no_grad():
            low, high = self._bisect(y.double(), slack)
        return low.to(y), high.to(y)

    def _bisect(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        first, last = self._cast("_first", y), self._cast("_last", y)
        target = (y * self._cast("signs", y)).clamp(first, last)
        # a value inside of a jump means the nearer side
        edge = self._search(lambda value: value >= target - self.tolerance, y)
        below, above = self._rising(edge - _STEP), self._rising(edge + _STEP)
        nearer = torch.where(target - below < above - target, below, above)
        jumps = (above - below) > 2 * self.tolerance + 1e3 * _STEP * (last - first)
        found = torch.where(jumps, nearer, target)
        least, most = found - slack - self.tolerance, found + slack + self.tolerance
        is_same = isinstance(slack, float) and slack == 0 and self._close(found, target)
        low = edge if is_same else self._search(lambda value: value >= least, y)
        high = self._search(lambda value: value > most, y)
        low = torch.where(first >= least, -math.inf, low)
        return low, torch.where(last <= most, math.inf, high)

    def _close(self, a: Tensor, b: Tensor) -> bool:
        return bool((a - b).abs().max() <= self.tolerance)

    def _search(self, reached: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
        """Smallest pixel value at which a rising condition on the values holds."""
        low, high = (torch.full_like(like, z) for z in self.domain)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            holds = reached(self._rising(middle))
            low, high = torch.where(holds, low, middle), torch.where(holds, middle, high)
        return high

    def _slope(self, z: Tensor) -> Tensor:
        """Height over width of the step that z lies on; of the curve where there are no steps."""
        start, end = self.domain
        low, high = self._bisect(self._values(z.double()), 0.0)
        low, high = low.clamp(start, end), high.clamp(start, end)
        rise = self._values(high + _STEP) - self._values(low - _STEP)
        return (rise / (2 * (high - low) + 2 * _STEP)).to(z)

    def _values(self, z: Tensor) -> Tensor:
        return self.function(z.reshape(len(z), *self.pixel_shape))

    def _rising(self, z: Tensor) -> Tensor:
        z = z.clamp(*self.domain)
        return self._values(z) * self._cast("signs", z)
