"""Covariance functions with learned parameters, over batches of tasks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

N_COMPONENTS = 4  # of the spectral mixture
START = -0.8  # log standard deviation
KERNELS = ("rbf", "spectral_mixture", "linear")


class Kernel(nn.Module):
    """Linear trend plus, but for ``"linear"``, a stationary part; each input has its own scale.

    ``k(z, z') = s_0^2 + sum_d s_d^2 z_d z'_d + sum_q a_q^2 exp(-|w_q (z - z')|^2 / 2) cos(m_q (z -
    z'))``, with one term q and ``m = 0`` for ``"rbf"``. By Bochner's theorem the sum over q is the
    covariance whose spectral density is a mixture of normals with means ``m_q``.

    Parameters
    ----------
    kind : {"rbf", "spectral_mixture", "linear"}
    n_columns : int
        The first inputs are columns of a table.
    n_features : int
        The other inputs are features of a network, of about unit variance.
    generator : torch.Generator

    References
    ----------
    A. G. Wilson, R. P. Adams (2013). Gaussian process kernels for pattern discovery and
    extrapolation.
    """

    def __init__(self, kind: str, n_columns: int, n_features: int, generator: torch.Generator):
        super().__init__()
        n = n_columns + n_features
        # Constant, columns, features and the stationary part each begin with a quarter of the
        # variance of targets of unit variance, a little less to leave some to the noise.
        scale = torch.full((1 + n,), START)
        scale[1 : 1 + n_columns] -= 0.5 * math.log(max(n_columns, 1))
        scale[1 + n_columns :] -= 0.5 * math.log(max(n_features, 1))
        self.log_scale = nn.Parameter(scale)
        n_terms = {"linear": 0, "rbf": 1, "spectral_mixture": N_COMPONENTS}[kind]
        self.log_amplitude = nn.Parameter(
            torch.full((n_terms,), START - 0.5 * math.log(n_terms or 1))
        )
        self.log_rate = nn.Parameter(torch.full((n_terms, n), -0.5 * math.log(n)))
        frequency = torch.randn(n_terms, n, generator=generator) / math.sqrt(n)
        self.frequency = nn.Parameter(frequency) if kind == "spectral_mixture" else None

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Covariances (T, n, m) of inputs (T, n, d) and (T, m, d)."""
        scale = self.log_scale.to(a.dtype).exp()
        total = (a * scale[1:]) @ (b * scale[1:]).transpose(-1, -2) + scale[0].square()
        for q, log_amplitude in enumerate(self.log_amplitude.to(a.dtype)):
            rate = self.log_rate[q].to(a.dtype).exp()
            term = (2 * log_amplitude - 0.5 * _squared_distance(a * rate, b * rate)).exp()
            if self.frequency is not None:
                frequency = self.frequency[q].to(a.dtype)
                term = term * torch.cos((a @ frequency)[..., None] - (b @ frequency)[..., None, :])
            total = total + term
        return total

    def variance(self, a: Tensor) -> Tensor:
        """Variances (T, n) at inputs (T, n, d): the diagonal of ``forward(a, a)``."""
        scale = self.log_scale.to(a.dtype).exp()
        trend = (a * scale[1:]).square().sum(-1) + scale[0].square()
        return trend + (2 * self.log_amplitude.to(a.dtype)).exp().sum()


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    squares = a.square().sum(-1)[..., None] + b.square().sum(-1)[..., None, :]
    return (squares - 2 * a @ b.transpose(-1, -2)).clamp_min(0)
