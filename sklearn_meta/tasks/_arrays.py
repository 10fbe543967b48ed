"""Bring X and y of one task into one form; every message begins with the caller's ``where``."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable
from typing import Any

import numpy as np
from scipy import sparse


def is_dataframe(X: Any) -> bool:
    """Tell whether ``X`` is a pandas or polars DataFrame, without importing either."""
    if isinstance(X, np.ndarray):
        return False
    # Asked of the class: `columns` of a polars LazyFrame is a property that would run the query.
    return all(hasattr(type(X), attribute) for attribute in ("columns", "dtypes", "shape"))


def as_table(X: Any, where: str) -> Any:
    """Return ``X`` as it is if it is a DataFrame, else as a 2-D array."""
    if sparse.issparse(X):
        raise TypeError(
            f"{where}: X is sparse, expected a dense array or DataFrame; pass X.toarray()."
        )
    if is_dataframe(X):
        if len(set(X.columns)) != X.shape[1]:
            repeated = next(c for i, c in enumerate(X.columns) if c in list(X.columns)[:i])
            raise ValueError(
                f"{where}: X has more than one column named {repeated!r}; rename them."
            )
        return X
    X = as_array(X, f"{where}: X")
    if X.ndim != 2:
        raise ValueError(
            f"{where}: X has {X.ndim} dimension{'' if X.ndim == 1 else 's'} (shape {X.shape}), "
            "expected 2: (rows, columns). Use X.reshape(-1, 1) for one column, "
            "X.reshape(len(X), -1) for images."
        )
    kind = X.dtype.kind
    if kind in "US":
        return X.astype(object)
    if kind not in "biufO":
        raise ValueError(f"{where}: X has dtype {X.dtype}, expected numbers, booleans or strings.")
    if kind == "f" and X.dtype not in (np.float32, np.float64):
        return X.astype(np.float32 if X.dtype.itemsize < 4 else np.float64)
    return X


def as_array(values: Any, what: str) -> np.ndarray:
    """Return an array; strings beside other values stay objects, so that None stays None."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US" and not hasattr(values, "dtype"):
            # numpy made strings of all that stood beside the strings in a list.
            array = np.asarray(values, dtype=object)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what} cannot be read as an array ({error}); pass an array or a DataFrame."
        ) from error
    return array


def as_target(y: Any, where: str, numeric: bool) -> np.ndarray:
    """Return ``y`` as a 1-D array, or a 2-D one of at least two columns; nothing is missing."""
    if sparse.issparse(y):
        raise TypeError(f"{where}: y is sparse, expected a dense array; pass y.toarray().")
    y = as_array(y, f"{where}: y")
    if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] == 0):
        raise ValueError(f"{where}: y has shape {y.shape}, expected (rows,) or (rows, targets).")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype == object:
        if any(is_missing(value) for value in y.flat):
            raise ValueError(
                f"{where}: y has missing values, expected one target a row; leave these rows out."
            )
        if all(isinstance(value, (numbers.Real, np.bool_)) for value in y.flat):
            y = np.array(y.tolist()).reshape(y.shape)
    kind = y.dtype.kind
    if kind not in ("biuf" if numeric else "biufUSO"):
        found = repr(y.flat[0]) if kind in "USO" and y.size else f"dtype {y.dtype}"
        expected = "numbers" if numeric else "numbers, booleans or strings"
        raise ValueError(f"{where}: y holds {found}, expected {expected}.")
    if kind == "f" and not np.isfinite(y).all():
        found = "missing values (NaN)" if np.isnan(y).any() else "infinity"
        raise ValueError(f"{where}: y has {found}, expected finite numbers; leave these rows out.")
    return y


def is_missing(value: Any) -> bool:
    """Tell whether a single value stands for a missing one."""
    # pandas.NA and NaT are known by name, for pandas is not imported.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def infinite_column(X: Any) -> Hashable | None:
    """Return the name or index of the first column that holds infinity, if any."""
    names, values = range(X.shape[1]), X
    if is_dataframe(X):
        dtypes = zip(X.columns, X.dtypes, strict=True)
        names = [name for name, dtype in dtypes if _may_hold_infinity(dtype)]
        if not names:
            return None
        # One conversion of all these columns is much faster than one a column.
        values = np.asarray(X if len(names) == X.shape[1] else X[names])
    infinite = _is_infinite(values)
    return names[int(infinite.any(axis=0).argmax())] if infinite.any() else None


def _may_hold_infinity(dtype: Any) -> bool:
    if isinstance(dtype, np.dtype):
        return dtype.kind in "fO"
    if hasattr(dtype, "is_float"):  # polars
        return dtype.is_float()
    return getattr(dtype, "kind", "") == "f"  # pandas' own floats


def _is_infinite(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        found = (isinstance(v, (float, np.floating)) and math.isinf(v) for v in values.flat)
        return np.fromiter(found, dtype=bool, count=values.size).reshape(values.shape)
    return np.isinf(values) if values.dtype.kind == "f" else np.zeros((1, 1), dtype=bool)
