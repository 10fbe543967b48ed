"""What one call of fit or adapt was given: measurements, images, an operator, or some of these."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from sklearn_meta._images_in import (
    Rows,
    Shape,
    is_image_of,
    read_images,
    read_rows,
    shaped,
    trailing_shape,
    unknown_shape,
)
from sklearn_meta._operator_in import read_operator
from sklearn_meta.operators import Identity, Operator
from sklearn_meta.operators._checks import check_image_shape


@dataclass(frozen=True, eq=False)
class ImageSupport:
    """Checked support of one reconstruction task.

    Attributes
    ----------
    measurements : ndarray of shape ``(n, *measurement_shape)`` or None
        NaN where one is missing.
    images : ndarray of shape ``(n, *image_shape)`` or None
    operator : Operator or None
        None where it is unknown.
    image_shape : tuple of int
    adapt_to : {"measurements", "targets"} or None
        None without measurements.
    is_table : bool
        Whether rows are those of a table, of which nothing says that they are images.
    """

    measurements: np.ndarray | None
    images: np.ndarray | None
    operator: Operator | None
    image_shape: Shape
    adapt_to: str | None
    is_table: bool = False


def read_support(
    owner: Any,
    X: Any,
    y: Any,
    operator: Any,
    *,
    prior_shape: Shape | None,
    may_be_table: bool,
    may_ignore: bool,
) -> ImageSupport:
    """Check what fit or adapt was given.

    Parameters
    ----------
    owner : MetaReconstructor
        Of its parameters; given ``n_features_in_`` and ``feature_names_in_``.
    X : array-like of measurements, or None
    y : array-like or None
        Images, or labels that are ignored.
    operator : object or None
    prior_shape : tuple of int or None
        Of the images of meta-training, where there was one.
    may_be_table : bool
        Whether rows may be no images.
    may_ignore : bool
        Whether `y` may be something else than images.

    Raises
    ------
    TypeError, ValueError
        The message names what is wrong.
    """
    adapt_to = check_adapt_to(owner.adapt_to)
    check_random_state(owner.random_state)
    shape = None if owner.image_shape is None else check_image_shape(owner.image_shape)
    if X is None:
        if y is not None:
            raise ValueError("y holds images without their measurements: pass X too.")
        if operator is None:
            raise ValueError(
                "There is nothing to adapt to: pass X, X and y, or an operator, here or as a "
                "parameter of the estimator."
            )
        known = read_operator(operator, _shape_of(operator) or shape or prior_shape)
        check_shape_agrees(known, shape)
        owner.n_features_in_ = known.n_measurements
        return ImageSupport(None, None, known, known.image_shape, None)

    rows = read_rows(owner, X, reset=True)
    shape = shape or _shape_of(operator)
    is_target = _is_target(y, shape, prior_shape, adapt_to, may_ignore)
    if y is not None:
        check_consistent_length(rows.values, y)
    if is_target and shape is None:
        shape = _shape_of_targets(y, prior_shape)
    shape = shape or prior_shape
    is_table = False
    if operator is not None:
        known = read_operator(operator, shape)
        check_n_images(known, len(rows.values))
    elif is_target:
        _check_pairs_tell(rows, y)
        known = None
    else:
        is_table = shape is None and rows.is_flat and may_be_table
        known = Identity(_shape_of_noisy(rows, shape, is_table))
    shape = shape if known is None else known.image_shape
    measured = rows.values.shape[1:] if known is None else known.measurement_shape
    return ImageSupport(
        measurements=shaped(rows.values, measured, "X", "measurement"),
        images=read_images(y, shape) if is_target else None,
        operator=known,
        image_shape=shape,
        adapt_to="targets" if is_target else "measurements",
        is_table=is_table,
    )


def check_adapt_to(adapt_to: Any) -> str:
    """Return the parameter `adapt_to`, or raise ValueError."""
    if isinstance(adapt_to, str) and adapt_to in ("auto", "measurements", "targets"):
        return adapt_to
    raise ValueError(f"adapt_to is {adapt_to!r}, expected 'auto', 'measurements' or 'targets'.")


def check_random_state(random_state: Any) -> None:
    """Raise ValueError where no random numbers come from the parameter `random_state`."""
    if isinstance(random_state, np.random.RandomState):
        return
    try:
        np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"random_state is {random_state!r}, expected an int >= 0, a numpy.random.RandomState "
            "or None."
        ) from error


def check_n_images(operator: Operator, n_images: int) -> None:
    """Raise ValueError where an operator that differs from image to image is for others."""
    if operator.n_samples is not None and operator.n_samples != n_images:
        raise ValueError(
            f"operator holds {operator.n_samples} samples, one for each image, but there are "
            f"{n_images} rows. Where measurements are missing, NaN in X says so for each row."
        )


def check_shape_agrees(operator: Operator, image_shape: Shape | None) -> None:
    """Raise ValueError where an operator measures other images than the estimator is for."""
    if image_shape is not None and operator.image_shape != image_shape:
        raise ValueError(
            f"operator measures images of shape {operator.image_shape}, but image_shape is "
            f"{image_shape}."
        )


def holds_images(
    y: Any,
    shape: Shape | None,
    prior_shape: Shape | None,
    may_be_labels: bool,
    to_leave_out: str,
) -> bool:
    """Whether `y` holds images, by its shape, or labels.

    Parameters
    ----------
    y : array-like
    shape : tuple of int or None
        Of the images, where it is known.
    prior_shape : tuple of int or None
        Of the images of meta-training. Those of another shape are images all the same.
    may_be_labels : bool
        Whether labels, of one axis or two, are of use; arrays of more axes never are.
    to_leave_out : str
        What the user does whose `y` is neither, for the message.

    Raises
    ------
    ValueError
        If it holds neither images nor what may be labels.
    """
    found = is_image_of(y, shape, may_be_labels) or (
        shape is None and prior_shape is not None and is_image_of(y, prior_shape, may_be_labels)
    )
    given = trailing_shape(y)
    if not found and (not may_be_labels or len(given) > 1):
        rows = f"rows of shape {given}" if given else "one number or label a row"
        raise ValueError(
            f"y has {rows}, expected images of shape "
            f"{shape or prior_shape or '(H, W) or (H, W, C)'}, or flat ones with image_shape set. "
            f"{to_leave_out}"
        )
    return found


def _shape_of(operator: Any) -> Shape | None:
    return operator.image_shape if isinstance(operator, Operator) else None


def _is_target(
    y: Any, shape: Shape | None, prior_shape: Shape | None, adapt_to: str, may_ignore: bool
) -> bool:
    if adapt_to == "measurements" or (y is None and adapt_to == "auto"):
        return False
    if y is None:
        raise ValueError("adapt_to is 'targets', but there is no y; pass the images as y.")
    return holds_images(
        y,
        shape,
        prior_shape,
        may_be_labels=may_ignore and adapt_to == "auto",
        to_leave_out="To leave y unused, set adapt_to='measurements'.",
    )


def _check_pairs_tell(rows: Rows, y: Any) -> None:
    """Raise ValueError where pairs say of an unknown operator that it measures nothing."""
    for name, values in (("X", rows.values), ("y", np.asarray(y))):
        if not (values != 0).any():
            raise ValueError(
                f"{name} is 0 everywhere, so that no operator can be learned from the pairs: pass "
                "others, or operator=."
            )


def _shape_of_targets(y: Any, prior_shape: Shape | None) -> Shape:
    given = trailing_shape(y)
    if len(given) in (2, 3):
        return given
    if prior_shape is not None:
        return prior_shape
    raise unknown_shape(y)


def _shape_of_noisy(rows: Rows, shape: Shape | None, is_table: bool) -> Shape:
    """Shape of images that were measured pixel by pixel."""
    if is_table:
        return 1, rows.n_values
    given = rows.values.shape[1:]
    if shape is None and len(given) in (2, 3):
        return given
    if shape is None:
        raise ValueError(
            "operator and image_shape are not known: pass operator=, or image_shape=(H, W) where "
            "X holds noisy images."
        )
    if math.prod(shape) != rows.n_values:
        raise ValueError(
            f"X has {rows.n_values} values a row and images of shape {shape} have "
            f"{math.prod(shape)}, so that X cannot be the images with noise: pass the operator "
            "that measures them, or pairs (X, y) to learn it from."
        )
    return shape
