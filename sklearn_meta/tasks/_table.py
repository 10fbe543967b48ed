"""Split one long table into tasks."""

from __future__ import annotations

import numbers
from collections.abc import Hashable
from typing import Any

import numpy as np

from ._arrays import as_array, as_table, is_dataframe, is_missing
from ._task import Task


def tasks_from_table(X: Any, y: Any, groups: Any) -> dict[str, Task]:
    """Split one table into tasks, one for each value of ``groups``.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_rows, n_columns)
        The rows of all tasks, in any order.
    y : array-like of shape (n_rows,) or (n_rows, n_targets)
        One target a row.
    groups : array-like of shape (n_rows,), or str or int
        The task of each row, or the name or index of the column of ``X`` that holds it. That column
        is dropped from the tasks.

    Returns
    -------
    dict of str to Task
        In the order in which the tasks first appear; the rows of a task keep their order. A whole
        number names its task without a decimal point: 3 and 3.0 are the task ``"3"``.

    Raises
    ------
    ValueError
        If lengths disagree, a row has no group, the column is unknown, or two groups have the same
        name.

    Examples
    --------
    >>> from sklearn_meta.tasks import tasks_from_table
    >>> tasks_from_table([[1.0], [2.0], [3.0]], [0, 1, 0], groups=["b", "a", "b"])
    {'b': Task(name='b', 2 rows, 1 column), 'a': Task(name='a', 1 row, 1 column)}
    """
    X, y = as_table(X, "tasks_from_table"), as_array(y, "y")
    if isinstance(groups, (str, numbers.Integral)):
        X, groups = pop_column(X, groups)
    codes, names = group_codes(groups)
    n_rows = X.shape[0]
    if y.ndim == 0 or not len(y) == len(codes) == n_rows:
        n_targets = len(y) if y.ndim else "no"
        raise ValueError(
            f"tasks_from_table: X has {n_rows} rows, y has {n_targets} and groups has "
            f"{len(codes)}, expected the same number."
        )
    # Sorted once, every task is a slice: no search for each of many groups.
    order = np.argsort(codes, kind="stable")
    X, y = _take_rows(X, order), y[order]
    ends = np.cumsum(np.bincount(codes, minlength=len(names))).tolist()
    tasks, start = {}, 0
    rows_of = X.iloc if hasattr(X, "iloc") else X
    for name, end in zip(names, ends, strict=True):
        tasks[name] = Task(rows_of[start:end], y[start:end], name=name)
        start = end
    return tasks


def pop_column(X: Any, column: str | int) -> tuple[Any, np.ndarray]:
    """Take one column out of a DataFrame or 2-D array.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns)
        The table; it is left as it is.
    column : str or int
        Name of a column of a DataFrame, or index of a column.

    Returns
    -------
    rest : DataFrame or ndarray of shape (n_rows, n_columns - 1)
    values : ndarray of shape (n_rows,)

    Raises
    ------
    ValueError
        If there is no such column, or no other.
    """
    names = list(X.columns) if is_dataframe(X) else None
    if names is not None and column in names:
        index = names.index(column)
    elif isinstance(column, str):
        known = f"its columns are {names}" if names is not None else "it is an array: pass an index"
        raise ValueError(f"X has no column named {column!r}; {known}.")
    elif not -X.shape[1] <= column < X.shape[1]:
        raise ValueError(f"X has no column {column}: it has {X.shape[1]} columns.")
    else:
        index = int(column) % X.shape[1]
    if X.shape[1] == 1:
        raise ValueError(f"X has no columns beside {column!r}, expected at least one more.")
    keep = [i for i in range(X.shape[1]) if i != index]
    if hasattr(X, "iloc"):
        return X.iloc[:, keep], np.asarray(X.iloc[:, index])
    return X[:, keep], np.asarray(X[:, index])


def group_codes(groups: Any) -> tuple[np.ndarray, list[str]]:
    """Give each group a number, in the order in which they first appear.

    Parameters
    ----------
    groups : array-like of shape (n_rows,)
        Labels of any kind that can be hashed; missing ones are an error.

    Returns
    -------
    codes : ndarray of int64 of shape (n_rows,)
        The position in ``names`` of each row's group.
    names : list of str
        One name a group, no two alike.

    Raises
    ------
    ValueError
        If a group is missing, ``groups`` is not 1-D, or two groups have the same name.
    """
    labels = as_array(groups, "groups")
    if labels.ndim != 1:
        raise ValueError(f"groups has shape {labels.shape}, expected one label a row: (n_rows,).")
    if labels.dtype == object:
        numbered: dict[Hashable, int] = {}
        codes = np.fromiter(
            (numbered.setdefault(v, len(numbered)) for v in labels), np.int64, len(labels)
        )
        values = list(numbered)
    else:
        distinct, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        order = np.argsort(first)
        values = distinct[order].tolist()
        codes = np.argsort(order)[inverse]
    missing = [code for code, value in enumerate(values) if is_missing(value)]
    if missing:
        row = int(np.isin(codes, missing).argmax())
        raise ValueError(
            f"groups is missing in row {row}, expected a label for every row; leave these rows out."
        )
    names = [_name_of(value) for value in values]
    if len(set(names)) != len(names):
        clash = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(
            f"groups holds different labels that are all written {clash!r}; use labels of one type."
        )
    return codes, names


def _name_of(value: Any) -> str:
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _take_rows(X: Any, order: np.ndarray) -> Any:
    if np.array_equal(order, np.arange(len(order))):
        return X
    return X.iloc[order] if hasattr(X, "iloc") else X[order]
