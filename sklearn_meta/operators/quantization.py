"""Measurements of few bits, with or without dither."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_array
from sklearn_meta.operators._pointwise import PointwiseLaw, check_positive
from sklearn_meta.operators.gamma import GammaCurve

_ROUNDING = 1e-6  # of a level: y went through single precision, or through a text file


class Quantization(PointwiseLaw):
    """Measurements rounded to few levels: ``y = round(q u + dither) / q``.

    Here ``u = clip(A x, 0, 1) ** (1 / gamma)``, ``q = 2**bits - 1``, and y is clipped to [0, 1].

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C), or None where `operator` is given
    bits : int
        From 1 to 16.
    operator : Operator, default=None
        The linear A; the image itself if None.
    gamma : float, default=1.0
        Curve before rounding (see `Gamma`).
    dither : array that broadcasts to `measurement_shape`, default=None
        Known offset in units of one level; uniform in [-0.5, 0.5] makes the rounding error
        independent of the image (Roberts, Picture coding using pseudo-random noise, 1962).

    Raises
    ------
    ValueError
        If `bits` is out of range, or `dither` has another shape or values that are not finite.

    Notes
    -----
    The derivative of `forward` is that of ``u``: rounding itself has none of use. `interval`
    holds the exact bins.
    """

    def __init__(
        self,
        image_shape: Any,
        bits: int,
        *,
        operator: Operator | None = None,
        gamma: float = 1.0,
        dither: Any = None,
    ) -> None:
        super().__init__(image_shape, operator)
        if isinstance(bits, bool) or bits not in range(1, 17):
            raise ValueError(f"bits must be an int from 1 to 16; got {bits!r}.")
        self.bits = int(bits)
        self.n_steps = 2**self.bits - 1
        self.curve = GammaCurve(check_positive(gamma, "gamma"))
        offset = check_array(0.0 if dither is None else dither, "dither")
        try:
            self.dither = offset.expand(self.measurement_shape)
        except RuntimeError:
            raise ValueError(
                f"dither of shape {tuple(offset.shape)} does not fit measurements of shape "
                f"{self.measurement_shape}."
            ) from None

    def law(self, z: Tensor) -> Tensor:
        """Return the levels; their derivative is that of the curve before rounding."""
        curve = self.curve(z.clamp(0, 1))
        level = torch.round(curve * self.n_steps + self._cast("dither", z))
        rounded = level.clamp(0, self.n_steps) / self.n_steps
        return curve + (rounded - curve).detach()

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the ends of the bin of y, or of all bins whose level is within the slack."""
        q = self.n_steps
        y, reach = y.clamp(0, 1) * q, slack * q + _ROUNDING
        nearest = torch.round(y)
        first = torch.minimum(torch.ceil(y - reach), nearest).clamp(min=0)
        last = torch.maximum(torch.floor(y + reach), nearest).clamp(max=q)
        dither = self._cast("dither", y)
        low, high = (first - 0.5 - dither) / q, (last + 0.5 - dither) / q
        # Dither may put an end outside of the curve's range: clipping holds there.
        unbounded_low, unbounded_high = (first <= 0) | (low <= 0), (last >= q) | (high >= 1)
        return (
            torch.where(unbounded_low, -math.inf, self.curve.inverse(low.clamp(0, 1))),
            torch.where(unbounded_high, math.inf, self.curve.inverse(high.clamp(0, 1))),
        )
