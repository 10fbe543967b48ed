"""Bring the user's tasks into one form; name every fault by its task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from ._arrays import as_table, as_target, infinite_column, is_dataframe
from ._task import Task

_SPLIT_HINT = "To split one long table into tasks, use tasks_from_table(X, y, groups)."


def check_tasks(
    tasks: Any,
    *,
    argument: str = "tasks",
    min_tasks: int = 2,
    y_numeric: bool = False,
    same_columns: bool = False,
    same_form: bool = True,
) -> list[Task]:
    """Check tasks in whatever form they came and return them as a list of `Task`.

    Parameters
    ----------
    tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
        A sequence is read by index, one item at a time, so it may load its items lazily.
    argument : str, default="tasks"
        What the caller named this argument, for messages.
    min_tasks : int, default=2
        Fewer tasks than this are an error.
    y_numeric : bool, default=False
        Whether every ``y`` must hold numbers.
    same_columns : bool, default=False
        Whether every task must have the same columns: the same names in any order for DataFrames,
        the same number for arrays.
    same_form : bool, default=True
        Whether ``X`` must be a DataFrame in every task or in none, and every task must have the
        same number of targets.

    Returns
    -------
    list of Task
        In the order given. ``X`` is still a DataFrame or is an array of shape (n_rows, n_columns)
        of float32, float64, integers, booleans or objects; ``y`` is an array of shape (n_rows,),
        or (n_rows, n_targets) with at least two targets; ``name`` is a string that no other task
        has. Data in one of these forms already is not copied.

    Raises
    ------
    TypeError
        If the container, a task or an ``X`` is of a kind that cannot be used.
    ValueError
        If what a task holds is at fault, or tasks do not fit together.
    """
    checked: list[Task] = []
    positions: dict[str, int] = {}
    for position, (name, item) in enumerate(named_items(tasks, argument)):
        if name in positions:
            raise ValueError(
                f"{argument}: the tasks at positions {positions[name]} and {position} are both "
                f"named {name!r}; give each its own name (without one, its position is its name)."
            )
        positions[name] = position
        checked.append(_check_item(item, name, f"{argument}: task {name!r}", y_numeric))
    if len(checked) < min_tasks:
        raise ValueError(
            f"{argument} holds {len(checked)} task{'' if len(checked) == 1 else 's'}, "
            f"expected at least {min_tasks}. {_SPLIT_HINT}"
        )
    if checked and same_form:
        check_alike(checked, argument, same_columns)
    return checked


def have_same_columns(tasks: list[Task]) -> bool:
    """Tell whether checked tasks have the same columns, in any order where these have names."""
    return len({_columns_of(task.X) for task in tasks}) == 1


def _columns_of(X: Any) -> frozenset | int:
    return frozenset(X.columns) if is_dataframe(X) else X.shape[1]


def named_items(tasks: Any, argument: str) -> Iterator[tuple[str, Any]]:
    """Yield the name of each task, its position where it has none, and the task as it came."""
    expected = "expected a list of Task or (X, y), or a dict of name to (X, y)"
    if isinstance(tasks, Mapping):
        for key, item in tasks.items():
            yield str(key), item
        return
    if isinstance(tasks, Task) or is_dataframe(tasks) or sparse.issparse(tasks):
        raise TypeError(f"{argument} is one {type(tasks).__name__}, {expected}. {_SPLIT_HINT}")
    if isinstance(tasks, np.ndarray) and (tasks.ndim != 1 or tasks.dtype != object):
        raise TypeError(f"{argument} is an array of shape {tasks.shape}, {expected}. {_SPLIT_HINT}")
    is_sequence = hasattr(tasks, "__len__") and hasattr(tasks, "__getitem__")
    if not is_sequence or isinstance(tasks, (str, bytes)):
        raise TypeError(f"{argument} is of type {type(tasks).__name__}, {expected}.")
    if isinstance(tasks, (tuple, list)) and _is_one_pair(tasks):
        raise ValueError(f"{argument} is one pair (X, y), {expected}: [(X, y), ...]. {_SPLIT_HINT}")
    for position in range(len(tasks)):
        item = tasks[position]
        given = item.name if isinstance(item, Task) else None
        yield str(position if given is None else given), item


def _is_one_pair(tasks: tuple | list) -> bool:
    """Tell whether (X, y) was passed where a list of them was due."""
    if len(tasks) != 2:
        return False
    try:
        shape_x, shape_y = (getattr(t, "shape", None) or np.shape(t) for t in tasks)
    except (TypeError, ValueError):  # ragged, as a pair (X, y) inside a list is
        return False
    return len(shape_x) == 2 and len(shape_y) in (1, 2) and shape_x[0] == shape_y[0]


def _check_item(item: Any, name: str, where: str, y_numeric: bool) -> Task:
    operator = None
    if isinstance(item, Task):
        X, y, operator = item.X, item.y, item.operator
        if X is None:
            raise ValueError(f"{where} has no X, expected its rows: Task(X, y).")
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        X, y = item
    else:
        size = f" of {len(item)} items" if isinstance(item, (tuple, list)) else ""
        raise TypeError(
            f"{where} is a {type(item).__name__}{size}, expected a Task or a pair (X, y)."
        )
    if y is None:
        raise ValueError(f"{where} has no y, expected one target a row: Task(X, y) or (X, y).")
    X, y = as_table(X, where), as_target(y, where, y_numeric)
    n_rows, n_columns = X.shape
    if n_rows != len(y):
        raise ValueError(
            f"{where}: X has {n_rows} rows and y has {len(y)}, expected one target a row."
        )
    if n_rows == 0:
        raise ValueError(f"{where}: X has 0 rows, expected at least 1; leave this task out.")
    if n_columns == 0:
        raise ValueError(f"{where}: X has 0 columns, expected at least 1.")
    column = infinite_column(X)
    if column is not None:
        raise ValueError(
            f"{where}: X holds infinity in column {column!r}, expected finite numbers; "
            "NaN is accepted and means missing."
        )
    return Task(X, y, operator, name)


def check_alike(tasks: list[Task], argument: str, same_columns: bool) -> None:
    """Raise where two tasks cannot belong to one family.

    Parameters
    ----------
    tasks : list of Task
        Checked one by one.
    argument, same_columns
        As in `check_tasks`.

    Raises
    ------
    ValueError
        If two tasks are of another form, or have other columns; the message names them.
    """
    first = tasks[0]
    framed = is_dataframe(first.X)
    columns = frozenset(first.X.columns) if framed else frozenset()

    def refuse(task: Task, here: object, there: object, advice: str) -> None:
        raise ValueError(
            f"{argument}: task {task.name!r} has {here}, but task {first.name!r} has {there}; "
            f"{advice}"
        )

    for task in tasks[1:]:
        if is_dataframe(task.X) != framed:
            kinds = ("an array", "a DataFrame") if framed else ("a DataFrame", "an array")
            refuse(task, *kinds, "pass X of all tasks in the same form (InContext takes both).")
        if task.y.shape[1:] != first.y.shape[1:]:
            here, there = (f"{math.prod(t.y.shape[1:])} target(s) a row" for t in (task, first))
            refuse(task, here, there, "expected the same number.")
        if not same_columns:
            continue
        advice = "expected the same columns in every task (the learner InContext takes others)."
        if task.X.shape[1] != first.X.shape[1]:
            refuse(task, f"{task.X.shape[1]} columns", first.X.shape[1], advice)
        if framed and columns != frozenset(task.X.columns):
            here, there = set(task.X.columns) - columns, columns - set(task.X.columns)
            refuse(task, f"columns {_listed(here)}", f"columns {_listed(there)} instead", advice)


def _listed(names: set) -> str:
    shown = sorted(map(repr, names))
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
