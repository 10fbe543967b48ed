"""Read a table of any make (pandas, polars, ndarray, lists) into columns of numbers or levels.

Data frames are recognised by what they can do, so neither pandas nor polars is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklearn_meta.preprocessing._values import (
    FLOAT32_MAX,
    Column,
    Levels,
    category_level,
    column_label,
    dates_error,
    infinity_error,
    read_values,
)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one table; numbers are float64 with NaN for missing.

    Exactly one of `matrix` (n_rows, n_columns) and `columns` is set: an array of numbers is kept
    whole, because a column at a time would cost more than the encoding itself.
    """

    names: tuple[str, ...] | None
    n_rows: int
    n_columns: int
    matrix: np.ndarray | None = None
    columns: tuple[Column, ...] | None = None

    def column(self, j: int) -> Column:
        """Column `j`."""
        return self.columns[j] if self.matrix is None else self.matrix[:, j]

    def label(self, j: int) -> str:
        """Column `j` as messages call it."""
        return column_label(self.names[j] if self.names else j)

    def ordered(self, names: tuple[str, ...]) -> Table:
        """Return the table with its columns in the order of `names` (the same set of names)."""
        if self.names == names:
            return self
        at = {name: j for j, name in enumerate(self.names)}
        columns = tuple(self.column(at[name]) for name in names)
        return Table(names, self.n_rows, self.n_columns, columns=columns)

    def declared(self) -> Table:
        """Return the table with all its columns of levels declared to be categories."""
        if self.matrix is not None:
            return self
        columns = tuple(
            column._replace(declared=True) if isinstance(column, Levels) else column
            for column in self.columns
        )
        return Table(self.names, self.n_rows, self.n_columns, columns=columns)

    def select(self, columns: np.ndarray) -> Table:
        """Return some of the columns, by their positions."""
        names = None if self.names is None else tuple(self.names[j] for j in columns)
        if self.matrix is not None:
            return Table(names, self.n_rows, len(columns), matrix=self.matrix[:, columns])
        kept = tuple(self.columns[j] for j in columns)
        return Table(names, self.n_rows, len(columns), columns=kept)

    def take(self, rows: np.ndarray) -> Table:
        """Return some of the rows."""
        n_rows = len(rows)
        if self.matrix is not None:
            return Table(self.names, n_rows, self.n_columns, matrix=self.matrix[rows])
        columns = tuple(
            column._replace(codes=column.codes[rows])
            if isinstance(column, Levels)
            else column[rows]
            for column in self.columns
        )
        return Table(self.names, n_rows, self.n_columns, columns=columns)


def read_table(X: Any) -> Table:
    """Read one table.

    Parameters
    ----------
    X : DataFrame (pandas or polars), ndarray or nested list of shape (n_rows, n_columns)
        Numbers, booleans, strings and categories; None, NaN and NA are missing. A `Table` is
        returned as it is.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If X is not two-dimensional, is empty, or holds infinity, dates or complex numbers.
    TypeError
        If X is sparse, lazy, or holds values that are neither numbers nor strings.
    """
    if isinstance(X, Table):
        return X
    if issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use X.toarray()."
        )
    if hasattr(type(X), "collect"):
        raise TypeError(
            f"X is a lazy table ({type(X).__name__}); a table in memory is expected. "
            "Use X.collect()."
        )
    return _read_frame(X) if hasattr(type(X), "columns") else _read_array(X)


def _read_frame(X: Any) -> Table:
    labels = list(X.columns)
    _check_shape((len(X), len(labels)))
    if len(set(labels)) < len(labels):
        twice = sorted({str(label) for label in labels if labels.count(label) > 1})
        raise ValueError(f"X has several columns of one name: {twice}; names must be unique.")
    if hasattr(X, "get_columns"):
        series = X.get_columns()
    else:
        series = [one for _, one in X.items()]
    columns = tuple(_read_series(s, label) for s, label in zip(series, labels, strict=True))
    return Table(_names(labels), len(X), len(labels), columns=columns)


def _names(labels: list) -> tuple[str, ...] | None:
    """Return the labels where all are strings, None where none is (as in scikit-learn)."""
    strings = [isinstance(label, str) for label in labels]
    if any(strings) and not all(strings):
        kinds = sorted({type(label).__name__ for label in labels})
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your "
            f"input has {kinds} as feature name / column name types. If you want feature names to "
            "be stored and validated, you must convert them all to strings, by using "
            "X.columns = X.columns.astype(str) for example."
        )
    return tuple(str(label) for label in labels) if all(strings) else None


def _read_series(series: Any, label: Any) -> Column:
    dtype = series.dtype
    categories = getattr(dtype, "categories", None)
    array = getattr(series, "array", None)
    if categories is not None and hasattr(array, "codes"):  # pandas: no detour over strings
        levels = [category_level(value) for value in array.categories]
        return Levels(np.asarray(array.codes, dtype=np.intp), levels, True)
    kind = getattr(dtype, "kind", "")
    if kind and kind in "mM":
        raise dates_error(label)
    if kind and kind in "biuf" and not isinstance(dtype, np.dtype):  # pandas: nullable
        return read_values(series.to_numpy(dtype=np.float64, na_value=np.nan), label)
    declared = categories is not None or type(dtype).__name__ == "Categorical"
    return read_values(series.to_numpy(), label, declared)


def _read_array(X: Any) -> Table:
    try:
        values = np.asarray(X)
        if values.dtype.kind in "US" and not isinstance(X, np.ndarray):
            # numpy turns the numbers of a mixed list into strings; objects keep them
            values = np.asarray(X, dtype=object)
    except ValueError as error:
        raise ValueError(f"X must be a table with rows of one length: {error}") from error
    if values.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {values.ndim}D array instead (shape={values.shape}). "
            "Reshape your data either using array.reshape(-1, 1) if your data has a single feature "
            "or array.reshape(1, -1) if it contains a single sample."
        )
    _check_shape(values.shape)
    n_rows, n_columns = values.shape
    if values.dtype.kind in "biuf":
        matrix = values.astype(np.float64, copy=False)
        too_large = np.abs(matrix) > FLOAT32_MAX
        if too_large.any():
            raise infinity_error(int(too_large.any(axis=0).argmax()))
        return Table(None, n_rows, n_columns, matrix=matrix)
    columns = tuple(read_values(values[:, j], j) for j in range(n_columns))
    return Table(None, n_rows, n_columns, columns=columns)


def _check_shape(shape: tuple[int, int]) -> None:
    for size, what in zip(shape, ("sample", "feature"), strict=True):
        if size == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required."
            )
