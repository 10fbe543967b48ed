"""The matrix of a small linear operator."""

from __future__ import annotations

import torch

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._dense import Dense

# Pixels up to which a gram solver may turn an operator into a matrix and find its eigenvectors.
SMALL = 1200


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
    m, n_pixels = operator.n_measurements, operator.n_pixels
    with torch.no_grad():
        if m < n_pixels and use_adjoint:
            units = torch.eye(m, dtype=torch.float64).reshape(m, *operator.measurement_shape)
            matrix = operator.adjoint(units).flatten(1)
        else:
            units = torch.eye(n_pixels, dtype=torch.float64)
            columns = operator.forward(units.reshape(n_pixels, *operator.image_shape))
            matrix = columns.flatten(1).T
    return Dense(operator.image_shape, matrix, operator.measurement_shape)
