"""Mean and covariance of images that were only seen through operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners._linalg import cholesky
from sklearn_meta.learners.reconstruction._base import ImageTask
from sklearn_meta.learners.reconstruction._row_families import smooth_correlation
from sklearn_meta.operators._materialize import materialize

#: Steps of expectation maximisation; images that the smooth start counts for; its length in pixels.
STEPS, PRIOR_COUNT, LENGTH = 30, 2.0, 1.5

CHUNK = 2**23  # values at once

#: Noise where nothing says which, as a share of the measurements.
NOISE_SHARE = 0.02


def measured_moments(
    tasks: Sequence[ImageTask], sigma: float | None
) -> tuple[Tensor, Tensor, float]:
    """Fit a Gaussian to images by their measurements, by expectation maximisation.

    Parameters
    ----------
    tasks : sequence of ImageTask
        With measurements, and a linear operator that all images of the task share. NaN is missing.
    sigma : float or None
        Noise of the measurements.

    Returns
    -------
    mean : Tensor of shape (n,)
    covariance : Tensor of shape (n, n)
    sigma : float
        As given, or what was taken for it.

    References
    ----------
    A. P. Dempster, N. M. Laird, D. B. Rubin (1977), "Maximum likelihood from incomplete data via
    the EM algorithm", Journal of the Royal Statistical Society B.
    """
    seen = [_Seen.of(task) for task in tasks]
    count = sum(len(each.rows) for each in seen)
    energy = sum(float(each.rows.square().sum()) for each in seen)
    size = sum(int(each.known[each.group].sum()) for each in seen)
    gains = sum(float((each.known[each.group] @ each.matrix.square()).sum()) for each in seen)
    sigma = NOISE_SHARE * math.sqrt(energy / max(size, 1)) if sigma is None else sigma
    shape = tasks[0].operator.image_shape
    start = smooth_correlation(shape, LENGTH if min(shape[:2]) > 1 else 0.0)
    start = start * (energy / gains if gains and energy else 1.0)
    covariance, mean = start, start.new_zeros(len(start))
    for _ in range(STEPS):
        total, second = torch.zeros_like(mean), torch.zeros_like(covariance)
        for each in seen:
            found, left = each.posterior(mean, covariance, sigma)
            total = total + found.sum(0)
            second = second + found.T @ found + left
        mean = total / count
        scatter = second - count * torch.outer(mean, mean)
        covariance = (scatter + PRIOR_COUNT * start) / (count + PRIOR_COUNT)
        covariance = (covariance + covariance.T) / 2
    return mean, covariance, sigma


@dataclass(frozen=True, eq=False)
class _Seen:
    """Measurements of a task; images that miss the same ones share the algebra.

    Parameters
    ----------
    matrix : Tensor of shape (m, n)
    rows : Tensor of shape (N, m)
        0 where missing.
    known : Tensor of shape (p, m)
        1 where a measurement is there, for each pattern.
    group : Tensor of shape (N,)
        Pattern of each row.
    """

    matrix: Tensor
    rows: Tensor
    known: Tensor
    group: Tensor

    @classmethod
    def of(cls, task: ImageTask) -> _Seen:
        rows = torch.from_numpy(task.measurements).double().flatten(1)
        known, group = torch.unique(~rows.isnan(), dim=0, return_inverse=True)
        matrix = materialize(task.operator).matrix
        return cls(matrix, rows.nan_to_num(0.0), known.double(), group)

    def posterior(self, mean: Tensor, covariance: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Means (N, n), and the sum of the covariances (n, n)."""
        m, n = self.matrix.shape
        across = self.matrix @ covariance
        inner = across @ self.matrix.T
        noise = sigma**2 + 1e-9 * inner.diagonal().mean()
        away = self.rows - self.matrix @ mean
        found = mean.expand(len(away), n).clone()
        left = len(away) * covariance
        for part in torch.arange(len(self.known)).split(max(1, CHUNK // (m * (m + n)))):
            known = self.known[part]
            # A measurement that is missing is one of nothing, with noise.
            total = known[:, :, None] * inner * known[:, None] + torch.diag_embed(
                noise * known + (1 - known) * inner.diagonal().mean().clamp(min=1e-300)
            )
            seen = known[:, :, None] * across
            gain = torch.cholesky_solve(seen, cholesky(total))  # (p, m, n)
            counts = (self.group[:, None] == part).double().sum(0)
            left = left - torch.einsum("p,pmi,pmj->ij", counts, seen, gain)
            for k, pattern in enumerate(part.tolist()):
                own = self.group == pattern
                found[own] += away[own] @ gain[k]
        return found, left
