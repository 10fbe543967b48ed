"""Take an operator as users have it: a matrix, a linear operator, a torch function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_array, check_image_shape, check_measurement_shape
from sklearn_meta.operators._dense import Dense
from sklearn_meta.operators._door import COMPLEX, Sides, check_operator
from sklearn_meta.operators._from_numpy import FromNumpy
from sklearn_meta.operators._from_physics import FromPhysics
from sklearn_meta.operators._materialize import materialize
from sklearn_meta.operators._pointwise import PointwiseLaw
from sklearn_meta.operators._probe import probe
from sklearn_meta.operators._recognise import CirculantGram, DiagonalGram, find_convolution
from sklearn_meta.operators._reshaped import Reshaped
from sklearn_meta.operators._sparse import Selection, Sparse

# A linear operator without a known structure becomes a matrix up to this many entries, and this
# many products: its exact solver pays at once.
MOST_ENTRIES = 4_000_000
MOST_PRODUCTS = 1024


def as_operator(A: Any, image_shape: Any, measurement_shape: Any = None) -> Operator:
    """Return the operator that `A` stands for, checked.

    Parameters
    ----------
    A : object
        - an `Operator`;
        - a matrix of shape (m, n_pixels): array-like, Tensor, or scipy.sparse;
        - a `scipy.sparse.linalg.LinearOperator`, such as those of PyLops: anything with `shape`,
          ``matvec`` and ``rmatvec``;
        - a physics of deepinv: anything with ``A`` and perhaps ``A_adjoint`` of tensors
          (n, C, H, W);
        - a torch function or `torch.nn.Module` of images, linear or not: it is tried out.

        Matrices and linear operators see flattened images, in C order, channels last.
    image_shape : (H, W) or (H, W, C), or None
        None is enough where `A` is an `Operator`.
    measurement_shape : tuple of int, default=None
        Shape of a measurement; that which `A` gives by default, ``(m,)`` for matrices.

    Returns
    -------
    Operator
        A matrix or linear operator that selects pixels, or is a circular convolution, or one that
        keeps every s-th pixel, becomes an operator with an exact solver; so does one whose
        ``A^T A`` is diagonal, is a circular convolution, or has few eigenvalues.

    Raises
    ------
    TypeError
        If `A` is none of these.
    ValueError
        If `A` is complex or not finite, does not fit the images, or its adjoint is not the
        adjoint of its forward side. The message says which side is wrong.
    """
    if isinstance(A, Operator):
        return _reshape(_own(A, image_shape), measurement_shape)
    return _reshape(_convert(A, check_image_shape(image_shape)), measurement_shape)


def _convert(A: Any, shape: tuple[int, ...]) -> Operator:
    if isinstance(A, Tensor) and A.layout != torch.strided:
        raise TypeError("A is a sparse tensor; give a scipy.sparse matrix.")
    if sp.issparse(A):
        return _from_sparse(A, shape)
    if all(hasattr(A, name) for name in ("matvec", "shape")):
        return _from_linear(A, shape)
    # a layer that a network calls A is no method of a physics
    if callable(getattr(A, "A", None)) and not isinstance(A.A, torch.nn.Module):
        return _from_physics(A, shape)
    if callable(A):
        return _from_function(A, shape, getattr(A, "__name__", type(A).__name__))
    if isinstance(A, (np.ndarray, Tensor, list, tuple)) or hasattr(A, "__array__"):
        matrix = check_array(A, "the matrix A")
        _check_columns(tuple(matrix.shape), shape)
        return Dense(shape, matrix)
    raise TypeError(
        "A must be an Operator, a matrix (numpy or scipy.sparse), a linear operator of scipy or "
        f"PyLops, a deepinv physics, or a torch function; got {type(A).__name__}."
    )


def _own(A: Operator, image_shape: Any) -> Operator:
    if image_shape is not None and check_image_shape(image_shape) != A.image_shape:
        raise ValueError(
            f"the operator takes images of shape {A.image_shape}, but image_shape is "
            f"{tuple(image_shape)}."
        )
    _check_own(A)
    return A


def _check_own(A: Operator) -> None:
    """Check an operator that is not ours, also inside of one that is."""
    if not type(A).__module__.startswith(__package__):
        check_operator(A, Sides(type(A).__name__))
    for value in vars(A).values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Operator):
                _check_own(part)


def _reshape(operator: Operator, measurement_shape: Any) -> Operator:
    if measurement_shape is None:
        return operator
    shape = check_measurement_shape(measurement_shape)
    if shape == operator.measurement_shape:
        return operator
    # a law would lose its interval and its noise
    if not operator.is_linear or isinstance(operator, PointwiseLaw):
        raise ValueError(
            f"measurement_shape is {shape}, but the operator gives {operator.measurement_shape}."
        )
    return Reshaped(operator, shape)


def _check_columns(size: tuple[int, ...], image_shape: tuple[int, ...]) -> None:
    n_pixels = math.prod(image_shape)
    if len(size) != 2:
        raise ValueError(f"A must be a matrix of shape (m, {n_pixels}); got shape {size}.")
    if size[0] == 0:
        raise ValueError(f"A has no rows (shape {size}): nothing is measured.")
    if size[1] != n_pixels:
        hint = " Its transpose would fit: give A.T." if size[0] == n_pixels else ""
        raise ValueError(
            f"A has {size[1]} columns (shape {size}), but images of shape {image_shape} have "
            f"{n_pixels} pixels.{hint}"
        )


def _from_sparse(A: Any, shape: tuple[int, ...]) -> Operator:
    _check_columns(A.shape, shape)
    if A.dtype.kind == "c":
        raise ValueError(f"the sparse matrix A is complex: {COMPLEX}.")
    matrix = sp.csr_array(A).astype(np.float64)
    matrix.sum_duplicates()
    if not np.isfinite(matrix.data).all():
        raise ValueError("the sparse matrix A holds values that are not finite.")
    counts = np.diff(matrix.indptr)
    if counts.max(initial=0) <= 1:
        index, values = np.zeros(len(counts), np.int64), np.zeros(len(counts))
        index[counts == 1], values[counts == 1] = matrix.indices, matrix.data
        return Selection(shape, index, values)
    return _best(Sparse(shape, matrix))


def _from_linear(A: Any, shape: tuple[int, ...]) -> Operator:
    _check_columns(tuple(A.shape), shape)
    dtype = getattr(A, "dtype", None)
    if dtype is not None and np.dtype(dtype).kind == "c":
        raise ValueError(f"the linear operator A is complex (dtype {dtype}): {COMPLEX}.")
    if not hasattr(A, "rmatvec"):
        raise ValueError("the linear operator A has no rmatvec, its adjoint, which is needed.")
    operator = FromNumpy(shape, A)
    check_operator(operator, Sides("the linear operator A", "matvec", "rmatvec"))
    return _best(operator)


def _from_physics(A: Any, shape: tuple[int, ...]) -> Operator:
    operator = FromPhysics(shape, A)
    if not operator.is_linear:
        return _from_function(operator.forward, shape, f"A of {type(A).__name__}")
    return _best(check_operator(operator, Sides(type(A).__name__, "A", "A_adjoint")))


def _best(operator: Operator) -> Operator:
    """Return the same linear operator in the form that is solved best."""
    if isinstance(operator, Sparse) and operator.has_separate_rows:
        return operator
    convolution = find_convolution(operator)
    if convolution is not None:
        return Reshaped(convolution, operator.measurement_shape)
    m, n_pixels = operator.n_measurements, operator.n_pixels
    is_small = m * n_pixels <= MOST_ENTRIES and min(m, n_pixels) <= MOST_PRODUCTS
    if not is_small or isinstance(operator._structure(), DiagonalGram | CirculantGram):
        return operator
    return materialize(operator)


def _from_function(A: Callable[..., Any], shape: tuple[int, ...], name: str) -> Operator:
    return check_operator(probe(A, shape), Sides(name))
