"""Exact Gaussian-process regression over batches of tasks, padded and masked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners._kernels import Kernel
from sklearn_meta.learners._linalg import cholesky
from sklearn_meta.tasks._episodes import Rows

MAX_ROWS = 2000  # of a support that are used: the work is their cube, the memory their square


@dataclass(frozen=True, eq=False, slots=True)
class Process:
    """Gaussian processes that have seen their supports.

    Axes: T tasks, n rows, d inputs, k targets, g noises; g is k, or 1 where all targets have the
    same noise.

    Attributes
    ----------
    z : Tensor of shape (T, n, d)
        Inputs of the kernel.
    mask : Tensor of shape (T, n)
    residual : Tensor of shape (T, n, k)
        Targets less their prior mean.
    chol : Tensor of shape (T, g, n, n)
        Lower Cholesky factor of the covariance of the support, noise included.
    solved : Tensor of shape (T, g, n, k / g)
        ``chol^-1 residual``.
    """

    z: Tensor
    mask: Tensor
    residual: Tensor
    chol: Tensor
    solved: Tensor

    def moments(self, kernel: Kernel, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means (T, q, k) and variances (T, q, g), without noise, at inputs (T, q, d)."""
        mixed = self._mixed(kernel, z)
        mean = mixed.transpose(-1, -2) @ self.solved.to(z.dtype)
        # Rounding may leave a tiny negative variance.
        variance = (kernel.variance(z)[:, None] - mixed.square().sum(-2)).clamp_min(0)
        return mean.movedim(1, 2).flatten(2), variance.movedim(1, 2)

    def covariance(self, kernel: Kernel, z: Tensor) -> Tensor:
        """Covariance (T, g, q, q), without noise, at inputs (T, q, d)."""
        mixed = self._mixed(kernel, z)
        return kernel(z, z)[:, None] - mixed.transpose(-1, -2) @ mixed

    def foreseen(self) -> tuple[Tensor, Tensor]:
        """Mean (T, n, k) and variance (T, n, g), with noise, of each row given those before it.

        They are what the Cholesky factor consists of.
        """
        root = self.chol.diagonal(dim1=-2, dim2=-1)
        surprise = (root[..., None] * self.solved).movedim(1, 2).flatten(2)
        return self.residual - surprise, root.square().movedim(1, 2)

    def log_likelihood(self) -> Tensor:
        """Log density (T, k) of the residuals of each target."""
        mean, variance = self.foreseen()
        misfit = (self.residual - mean).square() / variance
        log_prob = -0.5 * (misfit + variance.log() + math.log(2 * math.pi))
        return (log_prob * self.mask[..., None]).sum(1)

    def _mixed(self, kernel: Kernel, z: Tensor) -> Tensor:
        cross = kernel(self.z.to(z.dtype), z) * self.mask[..., None]
        return torch.linalg.solve_triangular(self.chol.to(z.dtype), cross[:, None], upper=False)


def condition(kernel: Kernel, z: Tensor, residual: Tensor, noise: Tensor, mask: Tensor) -> Process:
    """Condition processes on supports; padded rows get unit variance and no covariance.

    Parameters
    ----------
    kernel : Kernel
    z : Tensor of shape (T, n, d)
    residual : Tensor of shape (T, n, k)
    noise : Tensor of shape (T, g) or (1, g)
        Variances, with g either k or 1.
    mask : Tensor of shape (T, n)

    Raises
    ------
    torch.linalg.LinAlgError
        If a covariance is not positive definite.
    """
    rows = mask.to(z.dtype)
    residual = residual * rows[..., None]
    covariance = (kernel(z, z) * rows[:, :, None] * rows[:, None])[:, None]
    own = torch.where(mask[:, None], noise[..., None], 1.0)
    chol = cholesky(covariance + torch.diag_embed(own))
    columns = residual.unflatten(-1, (noise.shape[-1], -1)).movedim(2, 1)
    solved = torch.linalg.solve_triangular(chol, columns, upper=False)
    return Process(z, mask, residual, chol, solved)


def thinned(rows: Rows) -> Rows:
    """At most MAX_ROWS rows of each task, a sample that depends on nothing but their values.

    The rows with the smallest of pseudo-random keys are kept: as good as drawn at random, and rows
    that arrive in parts leave the same sample as all at once.
    """
    if rows.mask.shape[1] <= MAX_ROWS:
        return rows
    y = rows.y if rows.y.ndim == 3 else rows.y[..., None]
    values = torch.cat([rows.x, y.to(rows.x.dtype)], -1)
    direction = torch.arange(1, 1 + values.shape[-1], dtype=values.dtype, device=values.device)
    key = (1e4 * torch.sin(1e3 * (values @ direction.sqrt()))).frac().abs()
    key = key.masked_fill(~rows.mask, torch.inf)
    chosen = key.topk(MAX_ROWS, 1, largest=False).indices.sort(1).values  # in the order they came
    x = rows.x.take_along_dim(chosen[..., None], 1)
    y_index = chosen[..., None] if rows.y.ndim == 3 else chosen
    return Rows(x, rows.y.take_along_dim(y_index, 1), rows.mask.gather(1, chosen), rows.ways)
