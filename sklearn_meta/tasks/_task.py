"""One task: a small data set that is related to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Task:
    """One data set of a family of related ones.

    A task unpacks like the pair that it stands for: ``X, y = task``, ``meta.adapt(*task)``.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_rows, n_columns)
        The rows; for reconstruction, the measurements.
    y : array-like of shape (n_rows,) or (n_rows, n_targets), optional
        One target a row.
    operator : object, optional
        The forward model of a reconstruction task.
    name : str, optional
        Shown in every message about this task; its position in the list where none is given.

    Examples
    --------
    >>> from sklearn_meta.tasks import Task
    >>> Task([[0.0, 1.0], [2.0, 3.0]], [0, 1], name="school_3")
    Task(name='school_3', 2 rows, 2 columns)
    """

    X: Any
    y: Any = None
    operator: Any = None
    name: str | None = None

    def __iter__(self) -> Iterator[Any]:
        yield self.X
        yield self.y

    def __repr__(self) -> str:
        parts = [] if self.name is None else [f"name={self.name!r}"]
        shape = getattr(self.X, "shape", None)
        if shape is None:
            n_columns = len(self.X[0]) if len(self.X) and hasattr(self.X[0], "__len__") else None
            shape = (len(self.X), n_columns)
        parts.append(f"{shape[0]} row{'' if shape[0] == 1 else 's'}")
        if len(shape) > 1 and shape[1] is not None:
            parts.append(f"{shape[1]} column{'' if shape[1] == 1 else 's'}")
        if self.y is None:
            parts.append("no y")
        if self.operator is not None:
            parts.append(f"operator={type(self.operator).__name__}")
        return f"Task({', '.join(parts)})"
