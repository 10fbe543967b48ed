"""Exact solvers of ``(w A^T A + rho I) x = b`` for operators of known structure.

`w` and `rho` are numbers or tensors of shape (n, 1, 1, ...): one for each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

GramSolver = Callable[[Tensor, Any], Tensor]


def per_sample(value: Any, like: Tensor) -> Any:
    """Shape one number for each sample (n, 1, ...) so that it broadcasts against `like`."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    return value.reshape(len(value), *[1] * (like.ndim - 1)).to(like)


def diagonal(gram: Tensor, weight: Any) -> GramSolver:
    """``A^T A`` multiplies each pixel by `gram`, a tensor that broadcasts to the images."""

    def solve(b: Tensor, rho: Any) -> Tensor:
        return b / (per_sample(weight, b) * gram.to(b) + per_sample(rho, b))

    return solve


def circulant(transfer: Callable[[Tensor], Tensor], weight: Any) -> GramSolver:
    """``A^T A`` is a circular convolution over the axes 1 and 2 of the images.

    Parameters
    ----------
    transfer : callable
        b -> eigenvalues over the grid of `rfft2`, (H, W // 2 + 1) or (H, W // 2 + 1, C), in the
        precision and on the device of b.
    """

    def solve(b: Tensor, rho: Any) -> Tensor:
        eigenvalues = per_sample(weight, b) * transfer(b) + per_sample(rho, b)
        return fft_inverse(fft(b) / eigenvalues, b.shape)

    return solve


def woodbury(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    divide: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor],
    weight: Any,
) -> GramSolver:
    """Solve through ``A A^T``, whose spectrum is known, on the side of the measurements.

    Parameters
    ----------
    divide : callable
        (z, f) -> ``f(A A^T) z`` for a function f of the eigenvalues.
    """

    def solve(b: Tensor, rho: Any) -> Tensor:
        measured = forward(b)
        w, r = per_sample(weight, measured), per_sample(rho, measured)
        correction = adjoint(divide(measured, lambda value: w / (r + w * value)))
        return (b - correction) / per_sample(rho, b)

    return solve


def few_eigenvalues(
    gram: Callable[[Tensor], Tensor], eigenvalues: Sequence[float], weight: Any
) -> GramSolver:
    """``A^T A`` has these eigenvalues only: its inverse is a polynomial (Newton's interpolation).

    The divided differences of ``1 / (w x + rho)`` are ``(-w)^k / prod_i (w x_i + rho)``.
    """

    def solve(b: Tensor, rho: Any) -> Tensor:
        w, r = per_sample(weight, b), per_sample(rho, b)
        term = b / (w * eigenvalues[0] + r)
        total = term
        for previous, value in zip(eigenvalues, eigenvalues[1:], strict=False):
            term = -w * (gram(term) - previous * term) / (w * value + r)
            total = total + term
        return total

    return solve


def fft(x: Tensor) -> Tensor:
    """Half spectrum over axes 1 and 2 of (n, H, W[, C])."""
    return torch.fft.rfftn(x.movedim((1, 2), (-2, -1)), dim=(-2, -1)).movedim((-2, -1), (1, 2))


def fft_inverse(spectrum: Tensor, shape: Sequence[int]) -> Tensor:
    """Images (n, H, W[, C]) of a half spectrum over axes 1 and 2."""
    moved = spectrum.movedim((1, 2), (-2, -1))
    size = (shape[1], shape[2])
    return torch.fft.irfftn(moved, s=size, dim=(-2, -1)).movedim((-2, -1), (1, 2))
