"""One long table whose column says to which task each row belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_meta.tasks import Task
from sklearn_meta.tasks._arrays import as_table, is_dataframe
from sklearn_meta.tasks._table import group_codes, pop_column


@dataclass(frozen=True)
class TaskTable:
    """A table without its task column, and the rows of each task.

    Attributes
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns - 1)
    rows : dict of str to ndarray of int
        Positions of the rows of each task, in order of first appearance.
    n_features : int
        Number of columns with the task column.
    feature_names : ndarray of str objects or None
        Their names.
    """

    X: Any
    rows: dict[str, np.ndarray]
    n_features: int
    feature_names: np.ndarray | None

    def tasks(self, y: np.ndarray) -> list[Task]:
        """Return the tasks of the table."""
        take = self.X.iloc if hasattr(self.X, "iloc") else self.X
        return [Task(take[rows], y[rows], name=name) for name, rows in self.rows.items()]


def split_table(X: Any, task_column: str | int, owner: str, n_features: int | None) -> TaskTable:
    """Split a table by one of its columns.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_rows, n_columns)
    task_column : str or int
        Name or index of the column.
    owner : str
        Whom messages name.
    n_features : int or None
        Number of columns that X must have.

    Raises
    ------
    ValueError
        If there is no such column, a row has no task, or the number of columns is another.
    """
    X = as_table(X, owner)
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, but {owner} is expecting {n_features} features as input."
        )
    names = None
    if is_dataframe(X) and all(isinstance(name, str) for name in X.columns):
        names = np.array(list(X.columns), dtype=object)
    rest, ids = pop_column(X, task_column)
    codes, labels = group_codes(ids)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes, minlength=len(labels)))[:-1])
    return TaskTable(rest, dict(zip(labels, parts, strict=True)), X.shape[1], names)
