"""Extreme singular values of a linear operator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator


def condition(operator: Operator, n_steps: int = 100) -> float:
    """Estimate the ratio of extreme singular values by bidiagonalisation of Golub and Kahan.

    Parameters
    ----------
    operator : Operator
        Linear.
    n_steps : int, default=100
        Products with A and with its adjoint; as many vectors of the size of an image and of a
        measurement are kept.

    Returns
    -------
    float
        Exact (to rounding) from as many steps as there are different singular values; with fewer
        it is a lower bound, because the smallest one is found last. Infinite for fewer
        measurements than pixels, and where the operator is singular.

    Raises
    ------
    TypeError
        If the operator is not linear.

    References
    ----------
    G. Golub, W. Kahan. "Calculating the singular values and pseudo-inverse of a matrix". SIAM
    Journal on Numerical Analysis, 1965.
    """
    if not operator.is_linear:
        raise TypeError(f"{type(operator).__name__} is not linear and has no condition number.")
    if operator.n_measurements < operator.n_pixels:
        return math.inf
    n_samples = operator.n_samples or 1
    generator = torch.Generator().manual_seed(0)
    shape = (n_samples, *operator.image_shape)
    right = torch.randn(shape, generator=generator, dtype=torch.float64).flatten()
    rights, lefts = [right / right.norm()], []
    diagonal, above = [], []
    largest = 0.0
    for _ in range(min(n_steps, len(right))):
        left = _orthogonal(operator.forward(rights[-1].reshape(shape)).flatten(), lefts)
        diagonal.append(float(left.norm()))
        largest = max(largest, diagonal[-1])
        if diagonal[-1] <= _rounding(len(right)) * largest:
            return math.inf
        lefts.append(left / diagonal[-1])
        back = operator.adjoint(lefts[-1].reshape(n_samples, *operator.measurement_shape))
        right = _orthogonal(back.flatten(), rights)
        above.append(float(right.norm()))
        if above[-1] <= _rounding(len(right)) * largest:
            break
        rights.append(right / above[-1])
    bands = (torch.tensor(band, dtype=torch.float64) for band in (diagonal, above[:-1]))
    matrix = sum(torch.diag(band, offset) for offset, band in enumerate(bands))
    values = torch.linalg.svdvals(matrix)
    if values[-1] <= _rounding(len(right)) * values[0]:
        return math.inf
    return float(values[0] / values[-1])


def _orthogonal(vector: Tensor, basis: list[Tensor]) -> Tensor:
    """Remove what lies in the basis; twice, as once leaves rounding errors."""
    if not basis:
        return vector
    matrix = torch.stack(basis)
    for _ in range(2):
        vector = vector - (matrix @ vector) @ matrix
    return vector


def _rounding(size: int) -> float:
    return size * torch.finfo(torch.float64).eps
