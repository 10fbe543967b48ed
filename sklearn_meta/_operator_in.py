"""The operator of the user -> `Operator`, examined once."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from scipy import sparse

from sklearn_meta.operators import Operator, as_operator
from sklearn_meta.operators._from_physics import FromPhysics
from sklearn_meta.operators._torch_function import TorchFunction

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
        If it is none, does not measure images of this shape, or nothing of them, or they have no
        known shape.
    """
    if isinstance(operator, Operator):
        if image_shape is not None and operator.image_shape != tuple(image_shape):
            raise ValueError(
                f"{name} measures images of shape {operator.image_shape}, but image_shape is "
                f"{tuple(image_shape)}."
            )
        _check_measures(operator, name)
        return operator
    if image_shape is None:
        raise ValueError(
            f"{name} is of type {type(operator).__name__}, which does not say of which shape the "
            "images are: pass image_shape=(H, W) or (H, W, C) to the estimator."
        )
    identity = _identity(operator, image_shape)
    key = (identity, image_shape)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key][1]
    try:
        made = as_operator(operator, image_shape)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be used: {error}") from error
    _check_measures(made, name)
    if identity is None:
        return made
    with _lock:
        _kept[key] = (operator, made)  # the object is held, so that its id is not given anew
        while len(_kept) > OPERATORS_KEPT:
            _kept.popitem(last=False)
    return made


def _check_measures(operator: Operator, name: str) -> None:
    """Raise ValueError where a linear operator gives 0 for any image: nothing is measured."""
    if not operator.is_linear:
        return
    generator = torch.Generator().manual_seed(0)
    shape = (operator.n_samples or 1, *operator.image_shape)
    with torch.no_grad():
        measured = operator.forward(torch.randn(shape, generator=generator, dtype=torch.float64))
    is_blind = ~(measured != 0).flatten(1).any(1)
    if is_blind.any():
        of = "" if operator.n_samples is None else f" of image {int(is_blind.nonzero()[0, 0])}"
        raise ValueError(
            f"{name} measures nothing{of}: it gives 0 for any image, so that there is nothing to "
            "reconstruct from. See that its matrix, mask or kernel is not all 0."
        )


def _identity(operator: Any, image_shape: Shape) -> Any:
    """What tells operators apart: their numbers, which may be changed in place.

    Code is told apart by what it gives for some images. None where there are no numbers: as good
    as any, what is wrong is said by `as_operator`.
    """
    owner = None
    try:
        if sparse.issparse(operator):
            table = operator.tocoo()
            arrays = [table.data, *table.coords, np.array(table.shape)]
        elif hasattr(operator, "matvec") or callable(operator) or _is_physics(operator):
            owner, arrays = id(operator), [_answer(operator, image_shape)]
        else:
            is_tensor = isinstance(operator, torch.Tensor)
            arrays = [np.asarray(operator.detach().cpu() if is_tensor else operator)]
    except Exception:  # whatever the user's code raises
        return None
    if any(array.dtype.kind not in "biuf" for array in arrays):
        return None
    digest = hashlib.blake2b(repr([(a.shape, a.dtype.str) for a in arrays]).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return owner, digest.digest()


def _answer(operator: Any, image_shape: Shape) -> np.ndarray:
    """Measurement of an image by a linear operator, a physics or a function as the user has it."""
    x = np.random.default_rng(0).random(math.prod(image_shape))
    if hasattr(operator, "matvec"):
        return np.asarray(operator.matvec(x))
    # Brighter, too: laws that are not linear may change beyond 1 alone.
    images = torch.from_numpy(np.stack([x, 100 * x])).reshape(-1, *image_shape)
    if _is_physics(operator):
        measured = FromPhysics(image_shape, operator).forward(images)
    else:
        measured = TorchFunction(operator, image_shape)(images)
    return measured.detach().cpu().numpy()


def _is_physics(operator: Any) -> bool:
    """Whether it measures by a method ``A``; a layer of that name is none."""
    measures = getattr(operator, "A", None)
    return callable(measures) and not isinstance(measures, torch.nn.Module)
