"""Recognise the modulus of a linear function, real or complex: phase retrieval."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._dense import Dense
from sklearn_meta.operators._function_operators import NonlinearFunction
from sklearn_meta.operators._reshaped import Reshaped
from sklearn_meta.operators._torch_function import TorchFunction, is_differentiable
from sklearn_meta.operators.fourier import Fourier
from sklearn_meta.operators.phase_retrieval import PhaseRetrieval

_LARGEST = 2**22  # entries of a matrix that is worth finding
_ROWS = 256  # of the derivative at a time


def find_modulus(function: TorchFunction) -> Operator | None:
    """Return the phase retrieval that a function computes, or None.

    Recognised are magnitudes ``|A x|`` and intensities ``|A x|**2``. A is found if it is a Fourier
    transform of the image in a frame of zeros, or small; else the function stays as it is, marked
    as even.
    """
    x = function.directions(2)
    y = function(torch.cat([x, -x, 2 * x, 0 * x[:1]]))
    if (y < 0).any() or not function.agree(y[2:4], y[:2]) or y[6:].abs().max() > 0:
        return None
    power = 1 if function.agree(y[4:6], 2 * y[:2]) else 2
    if power == 2 and not function.agree(y[4:6], 4 * y[:2]):
        return None
    found = _find_fourier(function, power) or _find_matrix(function, power)
    if found is not None:
        return found
    if not is_differentiable(function, x):
        return None
    return NonlinearFunction(function, function.image_shape, function.measurement_shape, True)


def _is(function: TorchFunction, candidate: Operator) -> bool:
    x = torch.cat([function.images(2, seed=1), function.directions(2, seed=2)])
    return function.agree(candidate.forward(x), function(x))


def _find_fourier(function: TorchFunction, power: int) -> Operator | None:
    """Fourier magnitudes of images in a frame of zeros, of any usual scale."""
    shape = function.image_shape
    ratio = math.prod(function.measurement_shape) / math.prod(shape)
    oversampling = math.isqrt(max(round(ratio), 1))
    if len(shape) not in (2, 3) or oversampling**2 != ratio:
        return None
    for norm in ("ortho", "backward", "forward"):
        fourier = Fourier(shape, oversampling=oversampling, norm=norm)
        inner = Reshaped(fourier, (2, *function.measurement_shape))
        candidate = PhaseRetrieval(None, inner, is_complex=True, power=power)
        if _is(function, candidate):
            return candidate
    return None


def _find_matrix(function: TorchFunction, power: int) -> Operator | None:
    """Rows of A up to a phase, from the derivative at two images.

    The derivative of ``|a x|**2 / 2`` is ``Q x`` with Q of rank two, ``Q = r r^T + s s^T`` for the
    real and imaginary parts of a, so that ``Q x`` at two images gives Q back (Nystrom's formula);
    rank one tells real rows.
    """
    n_rows, n_pixels = math.prod(function.measurement_shape), math.prod(function.image_shape)
    if n_rows * n_pixels > _LARGEST:
        return None
    x = function.directions(2, seed=3)
    if not is_differentiable(function, x):
        return None
    size = function(x).flatten(1) ** (1 / power)
    products = []
    for image, value in zip(x, size, strict=True):
        rows = _derivative(function, image, n_rows)
        products.append(rows * value[:, None] if power == 1 else rows / 2)
    first = products[0] / size[0].clamp(min=torch.finfo(x.dtype).tiny)[:, None]
    overlap = first @ x[1].flatten()
    shape = function.measurement_shape
    candidate = PhaseRetrieval(None, Dense(function.image_shape, first, shape), power=power)
    if _is(function, candidate):
        return candidate
    rest = size[1].square() - overlap.square()
    negligible = function.tolerance**1.5 * first.square().sum(1) * x[1].square().sum()
    second = (products[1] - overlap[:, None] * first) / rest.clamp(min=0).sqrt()[:, None]
    second = torch.where((rest > negligible)[:, None], second, 0.0)
    inner = Dense(function.image_shape, torch.cat([first, second]), (2, *shape))
    candidate = PhaseRetrieval(None, inner, is_complex=True, power=power)
    return candidate if _is(function, candidate) else None


def _derivative(function: TorchFunction, image: Tensor, n_rows: int) -> Tensor:
    """Jacobian (n_rows, n_pixels) at one image, some rows at a time."""
    rows = []
    for start in range(0, n_rows, _ROWS):
        count = min(_ROWS, n_rows - start)
        unit = torch.zeros((count, n_rows), dtype=image.dtype)
        unit[range(count), range(start, start + count)] = 1.0
        with torch.enable_grad():
            copies = image.expand(count, *image.shape).detach().requires_grad_()
            y = function(copies).flatten(1)
            (gradient,) = torch.autograd.grad(y, copies, unit)
        rows.append(gradient.flatten(1))
    return torch.cat(rows)
