"""Half-quadratic splitting: a smooth start, then denoising and data steps in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import DataTerm, conjugate_gradients

_LEAST_SEEN = 1e-4  # of what is measured of random signs, that a grey image has to be seen by


def half_quadratic(
    term: DataTerm,
    denoise: Callable[[Tensor, Tensor, int], Tensor],
    start: Tensor,
    levels: Iterable[Tensor],
    weights: Iterable[Tensor],
    reflection: Tensor | float = 1.0,
    momentum: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Minimise a misfit plus the energy that a denoiser stands for.

    Step k denoises at ``levels[k]``, then takes the image that minimises the misfit plus
    ``weights[k] || x - z ||^2`` for the denoised z. Everything is differentiable in the weights
    of the denoiser, the levels and the weights.

    Parameters
    ----------
    term : DataTerm
    denoise : callable (x, level, k) -> z
        `level` is ``levels[k]``; images of shape ``(n, *image_shape)``.
    start : Tensor of shape ``(n, *image_shape)``
    levels, weights : iterables of Tensor of shape (n,) or ()
        One a step.
    reflection : float or Tensor of shape (steps,), default=1.0
        How far to go from z past x: beyond 1 it takes out of x part of what the denoiser put in,
        so that errors are more like noise, and fewer steps are needed.
    momentum : float or Tensor of shape (steps,), default=0.0
        Of the change of x, what is added once more.

    Returns
    -------
    x, z : Tensor of the shape of `start`
        What the last data step and the last denoising gave.

    References
    ----------
    D. Geman, C. Yang (1995), "Nonlinear image recovery with half-quadratic regularization", IEEE
    Transactions on Image Processing.

    K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte (2021), "Plug-and-play image
    restoration with deep denoiser prior", IEEE PAMI.

    P. Schniter, S. Rangan, A. K. Fletcher (2016), "Vector approximate message passing for the
    generalized linear model", Asilomar.
    """
    x = z = noisy = start
    for k, (level, weight) in enumerate(zip(levels, weights, strict=True)):
        z = denoise(noisy, level, k)
        before, x = x, term.prox(z, weight)
        noisy = relaxed(z, x, before, of_step(reflection, k), of_step(momentum, k))
    return x, z


def relaxed(
    z: Tensor, x: Tensor, before: Tensor, reflection: Tensor | float, momentum: Tensor | float
) -> Tensor:
    """Return what is denoised after a data step that took z to x, and was at `before` before."""
    return z + reflection * (x - z) + momentum * (x - before)


def of_step(values: Tensor | float, k: int) -> Tensor | float:
    """Return the number of step k: one of a tensor, or the number of every step."""
    return values[k] if isinstance(values, Tensor) and values.ndim else values


def smooth_start(term: DataTerm, stiffness: Tensor | float, max_iter: int = 40) -> Tensor:
    """Return the minimiser of the misfit plus ``stiffness`` times the energy of the gradient.

    Parameters
    ----------
    term : DataTerm
    stiffness : float or Tensor of shape (n,)
        Noise variance over the mean square of differences of neighbouring pixels.
    max_iter : int, default=40

    Returns
    -------
    Tensor of shape ``(n, *image_shape)``
        The least-squares image in the Sobolev space H1.
    """
    b = term.back_projection
    stiffness = torch.as_tensor(stiffness, dtype=b.dtype, device=b.device).expand(len(b))
    stiffness = stiffness.reshape(-1, *[1] * (b.ndim - 1))
    # Pixels that no measurement sees are far from it: the grey that fits best is near everywhere.
    signs = torch.randint(0, 2, b.shape[1:], generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    signs, ones = signs.to(b).expand_as(b), torch.ones_like(b)
    of_signs = (signs * term.gram(signs)).flatten(1).mean(1)
    of_grey = term.gram(ones).flatten(1).mean(1)
    grey = torch.where(of_grey > _LEAST_SEEN * of_signs, b.flatten(1).mean(1) / of_grey, 0.0)
    first = grey.reshape(stiffness.shape).expand_as(b)
    return conjugate_gradients(
        lambda x: term.gram(x) + stiffness * laplacian(x), b, first, max_iter, tol=1e-4
    )


def check_steps(steps: int | str) -> None:
    """Raise ValueError where a number of steps is none, and not "auto"."""
    if steps == "auto":
        return
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is {steps!r}, expected 'auto' or an int of at least 1.")


def laplacian(x: Tensor) -> Tensor:
    """Return minus the Laplacian of images (n, H, W[, C]), free at the borders."""
    out = torch.zeros_like(x)
    for axis in (1, 2):
        step = torch.diff(x, dim=axis)
        first, last = [0] * (2 * x.ndim), [0] * (2 * x.ndim)
        first[2 * (x.ndim - 1 - axis)], last[2 * (x.ndim - 1 - axis) + 1] = 1, 1
        pad = torch.nn.functional.pad
        out = out + pad(step, first) - pad(step, last)
    return out


def roughness(x: Tensor) -> Tensor:
    """Mean square difference of neighbouring pixels of images (n, H, W[, C]); shape (n,)."""
    steps = [torch.diff(x, dim=axis).flatten(1) for axis in (1, 2)]
    return sum(step.square().sum(1) / max(step.shape[1], 1) for step in steps) / 2
