"""Arrays, lists and data frames as the user has them -> measurements and images, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_meta.tasks._arrays import is_dataframe

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """One measurement or image a row.

    Attributes
    ----------
    values : ndarray of shape (n, ...), float64
        NaN where one is missing.
    is_flat : bool
        Whether a row came as one vector, so that results are due as vectors too.
    dtype : dtype
        Float, of results.
    """

    values: np.ndarray
    is_flat: bool
    dtype: np.dtype

    @property
    def n_values(self) -> int:
        """Number of values of a row."""
        return math.prod(self.values.shape[1:])


def read_rows(owner: Any, X: Any, *, reset: bool, name: str = "X", names: bool = True) -> Rows:
    """Read measurements; NaN is missing.

    Parameters
    ----------
    owner : BaseEstimator
        Has, or with `reset` is given, ``n_features_in_`` and ``feature_names_in_``.
    X : array-like of shape (n, ...) or DataFrame
    reset : bool
        Whether `X` is that of ``fit``.
    name : str, default="X"
        Of the argument, for messages.
    names : bool, default=True
        Whether its number and names of columns are those of ``fit``.

    Raises
    ------
    TypeError, ValueError
        As scikit-learn words it.
    """
    _refuse_complex(X, name, axis=1)
    rules = {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}
    if _is_table(X):
        if names:
            array = validate_data(owner, X, reset=reset, **rules)
        else:
            array = check_array(X, input_name=name, estimator=owner, **rules)
        return Rows(np.array(array, dtype=np.float64), True, array.dtype)
    array = check_array(X, allow_nd=True, input_name=name, estimator=owner, **rules)
    rows = Rows(np.array(array, dtype=np.float64), False, array.dtype)
    if names and reset:
        owner.n_features_in_ = rows.n_values
    elif names and rows.n_values != owner.n_features_in_:
        raise ValueError(
            f"X has {rows.n_values} features, but {type(owner).__name__} is expecting "
            f"{owner.n_features_in_} features as input (shape {array.shape}: one measurement, "
            "with all its axes, for each image)."
        )
    return rows


def read_images(y: Any, image_shape: Shape, name: str = "y") -> np.ndarray:
    """Read images, float64 of shape ``(n, *image_shape)``.

    Parameters
    ----------
    y : array-like of shape ``(n, *image_shape)`` or (n, n_pixels)
    image_shape : tuple of int
    name : str, default="y"
        Of the argument, for messages.

    Raises
    ------
    ValueError
        If they are not finite, real numbers or of another shape.
    """
    _refuse_complex(y, name, axis=-1)
    array = check_array(y, allow_nd=True, dtype=np.float64, input_name=name)
    return shaped(array, image_shape, name, "image").copy()


def shaped(values: np.ndarray, shape: Shape, name: str, kind: str) -> np.ndarray:
    """Give rows their shape.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
    shape : tuple of int
        Wanted of a row.
    name, kind : str
        Of the argument, and of what a row is, for messages.

    Raises
    ------
    ValueError
        If a row is neither flat nor of this shape.
    """
    size, given = math.prod(shape), values.shape[1:]
    may = len(given) == 1 or len(shape) == 1 or _squeezed(given) == _squeezed(shape)
    if may and math.prod(given) == size:
        return values.reshape(len(values), *shape)
    message = (
        f"{name} has shape {values.shape}, expected (n, {', '.join(map(str, shape))}) or "
        f"(n, {size}): one {kind} a row."
    )
    if values.shape == shape:
        message += f" For one {kind}, pass {name}[None]."
    elif math.prod(given) == size:
        message += f" The axes of {name} are in another order: np.moveaxis puts them right."
    raise ValueError(message)


def is_image_of(y: Any, image_shape: Shape | None, may_be_labels: bool = True) -> bool:
    """Whether `y` may be images, by its trailing shape.

    Parameters
    ----------
    y : array-like
    image_shape : tuple of int or None
        None where it is not known: then images have two axes each, or three.
    may_be_labels : bool, default=True
        Whether one number a row is a label, and no flat image of one pixel.
    """
    given = trailing_shape(y)
    if image_shape is None:
        return len(given) in (2, 3)
    is_flat = given == (math.prod(image_shape),) and (given[0] > 1 or not may_be_labels)
    return is_flat or _squeezed(given) == _squeezed(image_shape)


def trailing_shape(values: Any) -> Shape:
    """Shape of a row; () where rows are no arrays."""
    if hasattr(values, "shape"):
        return tuple(int(n) for n in values.shape[1:])
    try:
        return np.asarray(values).shape[1:]
    except ValueError:  # rows of different lengths
        return ()


def unknown_shape(y: Any) -> ValueError:
    """Error of flat images of which nothing says how high and wide they are."""
    return ValueError(
        f"y has rows of shape {trailing_shape(y)}, which does not say of which shape the images "
        "are: pass image_shape=(H, W) or (H, W, C) to the estimator, or y as (n, H, W)."
    )


def like_input(images: np.ndarray, rows: Rows) -> np.ndarray:
    """Results of the rank and dtype of the input: flat for flat rows."""
    images = images.reshape(len(images), -1) if rows.is_flat else images
    return images.astype(rows.dtype, copy=False)


def pixel_names(image_shape: Shape) -> np.ndarray:
    """Names of the pixels of an image, in the order of a flat one."""
    names = ["_".join(map(str, ("pixel", *index))) for index in np.ndindex(*image_shape)]
    return np.array(names, dtype=object)


def _refuse_complex(values: Any, name: str, axis: int) -> None:
    """Raise ValueError where values are complex; scikit-learn would print all of them."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "c":
        raise ValueError(
            f"Complex data not supported: {name} is complex, expected real numbers; stack both "
            f"parts, as in np.stack([{name}.real, {name}.imag], axis={axis})."
        )


def _is_table(X: Any) -> bool:
    if is_dataframe(X):
        return True
    if hasattr(X, "shape"):
        return len(X.shape) <= 2
    try:
        return np.asarray(X).ndim <= 2
    except ValueError:  # rows of different lengths: scikit-learn words it
        return True


def _squeezed(shape: Shape) -> Shape:
    """Without a last axis of one channel."""
    return shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
