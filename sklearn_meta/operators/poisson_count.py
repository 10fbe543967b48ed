"""Photon counts: linear measurements with Poisson noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._pointwise import PointwiseLaw, check_positive


class PoissonCount(PointwiseLaw):
    """Photon counts divided by their peak: ``y ~ Poisson(peak * A x) / peak``, of mean ``A x``.

    The mean is linear, so `adjoint`, `gram_solver` and `norm` are those of A; what is particular
    is the noise, of variance ``A x / peak`` (`noise_gain`).

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C), or None where `operator` is given
    peak : float
        Mean count where ``A x`` is 1; positive.
    operator : Operator, default=None
        The linear A, with non-negative measurements; the image itself if None.

    Raises
    ------
    ValueError
        If `peak` is not positive.
    """

    is_linear = True

    def __init__(self, image_shape: Any, peak: float, *, operator: Operator | None = None) -> None:
        super().__init__(image_shape, operator)
        self.peak = check_positive(peak, "peak")
        self.noise_gain = 1.0 / self.peak

    def law(self, z: Tensor) -> Tensor:
        """Return z: the mean of the counts over their peak."""
        return z

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return ``y - slack`` and ``y + slack``."""
        return y - slack, y + slack

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint of A."""
        return self.inner.adjoint(y)

    def gram_solver(self, weight: Tensor | float = 1.0) -> Any:
        """Return the solver of A."""
        return self.inner.gram_solver(weight)

    def sample(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw counts of images, divided by the peak.

        Parameters
        ----------
        x : Tensor of shape ``(n, *image_shape)``
        generator : torch.Generator, default=None

        Returns
        -------
        Tensor of shape ``(n, *measurement_shape)``
        """
        mean = (self.peak * self.forward(x)).clamp(min=0)
        return torch.poisson(mean, generator) / self.peak
