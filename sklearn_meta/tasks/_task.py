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
    X : array-like or DataFrame of shape (n_rows, n_columns), optional
        The rows; for reconstruction, the measurements, which may be left out.
    y : array-like of shape (n_rows,) or (n_rows, n_targets), optional
        One target a row; for reconstruction, the images.
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

    X: Any = None
    y: Any = None
    operator: Any = None
    name: str | None = None

    def __iter__(self) -> Iterator[Any]:
        yield self.X
        yield self.y

    def __repr__(self) -> str:
        parts = [] if self.name is None else [f"name={self.name!r}"]
        rows = self.y if self.X is None else self.X
        if rows is not None:
            parts += _sizes(rows)
        if self.X is None:
            parts.append("no X")
        if self.y is None:
            parts.append("no y")
        if self.operator is not None:
            parts.append(f"operator={type(self.operator).__name__}")
        return f"Task({', '.join(parts)})"


def _sizes(rows: Any) -> list[str]:
    """Numbers of rows and columns, in words."""
    shape = getattr(rows, "shape", None)
    if shape is None:
        n_columns = len(rows[0]) if len(rows) and hasattr(rows[0], "__len__") else None
        shape = (len(rows), n_columns)
    parts = [f"{shape[0]} row{'' if shape[0] == 1 else 's'}"]
    if len(shape) > 1 and shape[1] is not None:
        parts.append(f"{shape[1]} column{'' if shape[1] == 1 else 's'}")
    return parts
