"""Similarity of rows, from weighted columns."""

from __future__ import annotations

import torch
from torch import Tensor

BIAS = 1.0  # variance of a constant, in units of that of the function


def linear(a: Tensor, b: Tensor) -> Tensor:
    """Products of rows (..., n, c) and (..., m, c), on average over the columns."""
    return a @ b.mT / a.shape[-1]


def radial(a: Tensor, b: Tensor, length: float) -> Tensor:
    """Radial basis function of the mean squared distance."""
    squares = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * a @ b.mT
    return length**2 * torch.exp(squares.clamp_min(0) / (-2 * length**2 * a.shape[-1]))


def laplace(a: Tensor, b: Tensor, length: float) -> Tensor:
    """Exponential of the mean absolute distance: what a forest of random trees tends to.

    L. Breiman (2000). Some infinity theory for predictor ensembles.
    """
    return length * torch.exp(torch.cdist(a, b, p=1.0) / (-length * a.shape[-1]))


def additive(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the columns' ranks of a Laplace kernel each: a sum of functions of one column.

    D. Duvenaud, H. Nickisch, C. E. Rasmussen (2011). Additive Gaussian processes.
    """
    a, b = (rows.chunk(2, -1)[1] for rows in (a, b))
    total = a.new_zeros(*a.shape[:-1], b.shape[-2])
    for j in range(a.shape[-1]):
        total += torch.exp(-(a[..., :, None, j] - b[..., None, :, j]).abs())
    return total / a.shape[-1]
