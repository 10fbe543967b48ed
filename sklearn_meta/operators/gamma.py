"""The gamma curve of cameras and displays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._pointwise import PointwiseLaw, check_positive

TOE = 1e-4


class GammaCurve:
    """Power law ``z ** (1 / gamma)``, straight below `TOE` so that its derivative stays finite."""

    def __init__(self, gamma: float) -> None:
        self.exponent = 1.0 / check_positive(gamma, "gamma")
        self.slope = TOE ** (self.exponent - 1)

    def __call__(self, z: Tensor) -> Tensor:
        """Return the curve at z; negative values follow the straight part."""
        return torch.where(z < TOE, self.slope * z, z.clamp(min=TOE) ** self.exponent)

    def inverse(self, u: Tensor) -> Tensor:
        """Return z of ``curve(z) == u``."""
        end = TOE**self.exponent
        return torch.where(u < end, u / self.slope, u.clamp(min=end) ** (1 / self.exponent))


class Gamma(PointwiseLaw):
    """Gamma curve of linear measurements: ``y = (A x) ** (1 / gamma)``.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C), or None where `operator` is given
    gamma : float, default=2.2
        Positive; above 1 it brightens dark values.
    operator : Operator, default=None
        The linear A; the image itself if None.

    Raises
    ------
    ValueError
        If `gamma` is not positive.

    Notes
    -----
    Below 1e-4 the curve is a straight line through the origin, as the toe of sRGB is: negative
    values stay negative, and the derivative is finite.
    """

    def __init__(
        self, image_shape: Any, gamma: float = 2.2, *, operator: Operator | None = None
    ) -> None:
        super().__init__(image_shape, operator)
        self.curve = GammaCurve(gamma)

    def law(self, z: Tensor) -> Tensor:
        """Return the curve at z."""
        return self.curve(z)

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the inverse of the curve at ``y - slack`` and ``y + slack``."""
        return self.curve.inverse(y - slack), self.curve.inverse(y + slack)
