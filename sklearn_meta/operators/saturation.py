"""A sensor that saturates: clipping of linear measurements."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._pointwise import PointwiseLaw, check_positive


class Saturation(PointwiseLaw):
    """Clipped measurements: ``y = clip(gain * A x, low, high)``.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C), or None where `operator` is given
    operator : Operator, default=None
        The linear A; the image itself if None.
    gain : float, default=1.0
        Positive: exposure.
    low, high : float, default=0.0 and 1.0
        Levels where the sensor saturates; -inf and inf where it does not.

    Raises
    ------
    ValueError
        If `gain` is not positive or `low` is not below `high`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_meta.operators import Saturation
    >>> sensor = Saturation((1, 3), gain=2.0)
    >>> sensor.forward(torch.tensor([[[0.0, 0.25, 0.75]]]))
    tensor([[[0.0000, 0.5000, 1.0000]]])
    >>> sensor.interval(torch.tensor([[[0.5, 1.0]]]))
    (tensor([[[0.2500, 0.5000]]]), tensor([[[0.2500,    inf]]]))
    """

    def __init__(
        self,
        image_shape: Any,
        operator: Operator | None = None,
        *,
        gain: float = 1.0,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        super().__init__(image_shape, operator)
        self.gain = check_positive(gain, "gain")
        self.low, self.high = float(low), float(high)
        if not self.low < self.high:
            raise ValueError(f"low must be below high; got {low} and {high}.")

    def law(self, z: Tensor) -> Tensor:
        """Return ``clip(gain * z, low, high)``; the derivative is zero where it is clipped."""
        return (self.gain * z).clamp(self.low, self.high)

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the point ``y / gain``, or a half line where y is saturated."""
        y = y.clamp(self.low, self.high)
        low, high = y - slack, y + slack
        return (
            torch.where(low <= self.low, -math.inf, low / self.gain),
            torch.where(high >= self.high, math.inf, high / self.gain),
        )
