"""The matrix of a small linear operator."""

from __future__ import annotations

import torch

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._dense import Dense

# Pixels up to which a gram solver may turn an operator into a matrix and find its eigenvectors.
SMALL = 1200


def materialize(operator: Operator) -> Dense:
    """Return a small linear operator as a dense one, measured on every single pixel.

    Parameters
    ----------
    operator : Operator
        Linear.

    Returns
    -------
    Dense
        With the same shapes.
    """
    pixels = torch.eye(operator.n_pixels, dtype=torch.float64)
    with torch.no_grad():
        columns = operator.forward(pixels.reshape(-1, *operator.image_shape)).flatten(1)
    return Dense(operator.image_shape, columns.T, operator.measurement_shape)
