"""The operator of the user -> `Operator`, examined once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_meta.operators import Operator, as_operator

Shape = tuple[int, ...]

#: Examined operators that are remembered, so that a loop over `adapt` examines its operator once.
OPERATORS_KEPT = 4

_kept: OrderedDict[tuple[Any, Shape | None], tuple[Any, Operator]] = OrderedDict()
_lock = threading.Lock()


def read_operator(operator: Any, image_shape: Shape | None, name: str = "operator") -> Operator:
    """Operator that a matrix, a linear operator or a function stands for.

    Parameters
    ----------
    operator : ndarray, sparse matrix, LinearOperator, torch callable, Physics or Operator
    image_shape : (H, W), (H, W, C) or None
        Of the images that it measures.
    name : str, default="operator"
        Of the argument, for messages.

    Raises
    ------
    TypeError, ValueError
        If it is none, does not measure images of this shape, or they have no known shape.
    """
    if isinstance(operator, Operator):
        if image_shape is not None and operator.image_shape != tuple(image_shape):
            raise ValueError(
                f"{name} measures images of shape {operator.image_shape}, but image_shape is "
                f"{tuple(image_shape)}."
            )
        return operator
    if image_shape is None:
        raise ValueError(
            f"{name} is of type {type(operator).__name__}, which does not say of which shape the "
            "images are: pass image_shape=(H, W) or (H, W, C) to the estimator."
        )
    key = (_identity(operator), image_shape)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key][1]
    made = as_operator(operator, image_shape)
    with _lock:
        _kept[key] = (operator, made)  # the object is held, so that its id is not given anew
        while len(_kept) > OPERATORS_KEPT:
            _kept.popitem(last=False)
    return made


def _identity(operator: Any) -> Any:
    """What tells operators apart: content of matrices, which may be changed in place."""
    if sparse.issparse(operator):
        table = operator.tocoo()
        arrays = [table.data, *table.coords]
    elif isinstance(operator, np.ndarray) and operator.dtype != object:
        arrays = [operator]
    else:
        return id(operator)
    digest = hashlib.blake2b(repr([operator.shape, *(a.dtype.str for a in arrays)]).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.digest()
