"""The matrix of a small linear operator."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._dense import Dense

# Pixels up to which a gram solver may turn an operator into a matrix and find its eigenvectors.
SMALL = 1200
_ENTRIES = 2**22  # of unit vectors at a time


@torch.inference_mode(False)  # the matrix has to be of use to autograd
def materialize(operator: Operator, use_adjoint: bool = True) -> Dense:
    """Return a small linear operator as a dense one: one product for each pixel or measurement.

    Parameters
    ----------
    operator : Operator
        Linear.
    use_adjoint : bool, default=True
        Whether it has an adjoint, which takes fewer products where measurements are few.

    Returns
    -------
    Dense
        With the same shapes.
    """
    by_rows = use_adjoint and operator.n_measurements < operator.n_pixels
    if by_rows:
        matrix = _images_of_units(operator.adjoint, operator.measurement_shape)
    else:
        matrix = _images_of_units(operator.forward, operator.image_shape).T
    return Dense(operator.image_shape, matrix, operator.measurement_shape)


def _images_of_units(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """What a function makes of each unit vector, in rows; some at a time, to save memory."""
    size = math.prod(shape)
    step = max(_ENTRIES // size, 1)
    rows = []
    with torch.no_grad():
        for start in range(0, size, step):
            count = min(step, size - start)
            units = torch.zeros((count, size), dtype=torch.float64)
            units[range(count), range(start, start + count)] = 1.0
            rows.append(function(units.reshape(count, *shape)).flatten(1))
    return torch.cat(rows)
