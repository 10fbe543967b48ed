"""Find the structure of a linear operator that is known by its two products only.

A few products tell whether ``A^T A`` is diagonal, is a circular convolution, or has few
eigenvalues; whether A is a circular convolution itself, or one that keeps every s-th pixel. All is
verified on random images, drawn from a generator of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator

MOST_EIGENVALUES = 5
# Relative; structures hold to rounding errors, and operators may compute in single precision.
_TOLERANCE = 1e-6
# The polynomial of few eigenvalues has to solve even systems that are this badly conditioned.
_SMALL_RHO, _EXACT = 1e-4, 1e-8


@dataclass(frozen=True)
class DiagonalGram:
    """``A^T A`` multiplies each pixel by these values."""

    values: Tensor

    def solver(self, operator: Operator, weight: Any) -> _solvers.GramSolver:
        """Return the solver for `operator`."""
        return _solvers.diagonal(self.values, weight)


@dataclass(frozen=True)
class CirculantGram:
    """``A^T A`` is a circular convolution with these eigenvalues over the grid of `rfft2`."""

    eigenvalues: Tensor

    def solver(self, operator: Operator, weight: Any) -> _solvers.GramSolver:
        """Return the solver for `operator`."""
        return _solvers.circulant(lambda b: self.eigenvalues.to(b), weight)


@dataclass(frozen=True)
class FewEigenvalues:
    """``A^T A`` has these eigenvalues only."""

    values: tuple[float, ...]

    def solver(self, operator: Operator, weight: Any) -> _solvers.GramSolver:
        """Return the solver for `operator`."""

        def gram(x: Tensor) -> Tensor:
            return operator.adjoint(operator.forward(x))

        return _solvers.few_eigenvalues(gram, self.values, weight)


Gram = DiagonalGram | CirculantGram | FewEigenvalues


def find_gram(operator: Operator) -> Gram | None:
    """Return the structure of ``A^T A`` of a linear operator, or None where none is found.

    Costs up to twelve products with A and as many with its adjoint.
    """
    if operator.n_samples is not None:
        return None
    return _spatial_gram(operator) or _few_eigenvalues(operator)


def find_convolution(operator: Operator) -> Operator | None:
    """Return the `Blur` or `Downsample` that a linear operator computes, or None.

    Measurements are taken to lie in the order of the image, channels last. Costs up to two
    products with A, and one with its adjoint.
    """
    if len(operator.image_shape) not in (2, 3) or operator.n_samples is not None:
        return None
    if operator.n_measurements == operator.n_pixels:
        return _as_blur(operator)
    return _as_downsample(operator)


def _deltas(image_shape: tuple[int, ...]) -> Tensor:
    """Images that are one at the first pixel, one for each channel."""
    channels = math.prod(image_shape[2:])
    deltas = torch.zeros(channels, math.prod(image_shape), dtype=torch.float64)
    deltas[range(channels), range(channels)] = 1.0
    return deltas.reshape(channels, *image_shape)


def _own_channels(responses: Tensor) -> Tensor:
    """Image whose channels are what each channel's delta gave in its own channel."""
    if responses.ndim == 3:
        return responses[0]
    return torch.stack([responses[c, ..., c] for c in range(len(responses))], -1)


def _random(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _agree(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= _TOLERANCE * b.norm())


def _spatial_gram(operator: Operator) -> DiagonalGram | CirculantGram | None:
    shape = operator.image_shape
    has_grid = len(shape) in (2, 3)
    ones = torch.ones(1, *shape, dtype=torch.float64)
    deltas = _deltas(shape) if has_grid else ones[:0]
    x = _random((1, *shape))
    results = operator.adjoint(operator.forward(torch.cat([ones, x, deltas])))
    if _agree(x * results[:1], results[1:2]):
        return DiagonalGram(results[0].clamp(min=0.0))
    if has_grid:
        eigenvalues = _solvers.fft(_own_channels(results[2:])[None])[0].real.clamp(min=0.0)
        expected = _solvers.fft_inverse(_solvers.fft(x) * eigenvalues, x.shape)
        if _agree(expected, results[1:2]):
            return CirculantGram(eigenvalues)
    return None


def _few_eigenvalues(operator: Operator) -> FewEigenvalues | None:
    """Run Lanczos until nothing is left of a random image, which is soon or never."""

    def gram(x: Tensor) -> Tensor:
        return operator.adjoint(operator.forward(x.reshape(1, *operator.image_shape))).flatten()

    x = _random((2, operator.n_pixels))
    basis = [x[0] / x[0].norm()]
    projected = torch.zeros(MOST_EIGENVALUES, MOST_EIGENVALUES, dtype=torch.float64)
    for k in range(MOST_EIGENVALUES):
        image = gram(basis[-1])
        rest = image
        for _ in range(2):  # twice is enough for orthogonality
            for j, vector in enumerate(basis):
                overlap = vector @ rest
                projected[j, k] += overlap
                rest = rest - overlap * vector
        if rest.norm() <= _TOLERANCE * image.norm():
            break
        basis.append(rest / rest.norm())
    else:
        return None
    size = len(basis)
    values = torch.linalg.eigvalsh(projected[:size, :size], UPLO="U").clamp(min=0.0)
    found = FewEigenvalues(tuple(values.flip(0).tolist()))
    rho = _SMALL_RHO * found.values[0]
    if rho == 0:
        return None
    solution = found.solver(operator, 1.0)(x[1].reshape(1, *operator.image_shape), rho).flatten()
    residual = gram(solution) + rho * solution - x[1]
    return found if residual.norm() <= _EXACT * x[1].norm() else None


def _as_blur(operator: Operator) -> Operator | None:
    from sklearn_meta.operators.blur import Blur

    shape = operator.image_shape
    probes = torch.cat([_deltas(shape), _random((1, *shape))])
    results = operator.forward(probes).reshape(probes.shape)
    centred = _own_channels(results[:-1]).roll((shape[0] // 2, shape[1] // 2), (0, 1))
    blur = Blur(shape, centred)
    return blur if _agree(blur.forward(probes[-1:]), results[-1:]) else None


def _as_downsample(operator: Operator) -> Operator | None:
    from sklearn_meta.operators.downsample import Downsample

    shape, channels = operator.image_shape, math.prod(operator.image_shape[2:])
    n_low = operator.n_measurements / channels
    factors = [
        s for s in range(2, min(shape[:2]) + 1) if math.prod(-(-n // s) for n in shape[:2]) == n_low
    ]
    if not factors:
        return None
    first = torch.zeros(channels, operator.n_measurements, dtype=torch.float64)
    first[range(channels), range(channels)] = 1.0
    rows = operator.adjoint(first.reshape(channels, *operator.measurement_shape))
    # the row of the first measurement is the kernel turned around
    kernel = _own_channels(rows).flip(0, 1).roll((1 + shape[0] // 2, 1 + shape[1] // 2), (0, 1))
    x = _random((1, *shape))
    measured = operator.forward(x).flatten()
    for factor in factors:
        candidate = Downsample(shape, factor, kernel)
        if _agree(candidate.forward(x).flatten(), measured):
            return candidate
    return None
