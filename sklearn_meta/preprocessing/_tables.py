"""The tables of many tasks: read, matched to one order of columns, and put end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sklearn_meta.preprocessing._columns import Table, read_table
from sklearn_meta.preprocessing._levels import concatenate_columns

Reference = tuple[tuple[str, ...] | None, int]
"""Names (None for arrays) and number of the columns that a table must have."""


def read_tables(
    Xs: Sequence[Any],
    names: Sequence[str] | None,
    reference: Reference | None,
    owner: str,
    check: Callable[[Table], None] | None = None,
) -> list[Table]:
    """Read one table a task and match each to `reference`, or to the first one where it is None.

    `check` looks at every table once it is matched.

    Raises
    ------
    ValueError, TypeError
        With the task's name in front where `names` are given.
    """
    if hasattr(type(Xs), "columns") or getattr(Xs, "ndim", 1) == 2:
        raise ValueError("Xs must be a sequence of tables, one a task; for one table give [X].")
    tables: list[Table] = []
    for t, X in enumerate(Xs):
        try:
            table = read_table(X)
            if reference is None:
                reference = (table.names, table.n_columns)
            elif not tables or (table.names is None) == (tables[0].names is None):
                table = match(table, reference, owner)
            else:
                raise ValueError(
                    "some tables have column names and some have none; give data frames for all "
                    "tasks, or arrays for all."
                )
            if check is not None:
                check(table)
        except (ValueError, TypeError) as error:
            if names is None:
                raise
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"task {names[t]!r}: {error}") from error
        tables.append(table)
    if not tables:
        raise ValueError("Xs must hold at least one table, got none.")
    return tables


def match(table: Table, reference: Reference, owner: str) -> Table:
    """Put the columns in the order of `reference`, or raise in scikit-learn's words."""
    names, n_columns = reference
    if names is not None and table.names is not None and names != table.names:
        unseen, absent = set(table.names) - set(names), set(names) - set(table.names)
        if unseen or absent:
            raise ValueError(
                "The feature names should match those that were passed during fit.\n"
                + _listed("Feature names unseen at fit time:", unseen)
                + _listed("Feature names seen at fit time, yet now missing:", absent)
            )
        return table.ordered(names)
    if table.n_columns != n_columns:
        raise ValueError(
            f"X has {table.n_columns} features, but {owner} is expecting {n_columns} features as "
            "input"
        )
    return table


def concatenate(tables: list[Table]) -> tuple[Table, np.ndarray]:
    """All rows in one table, and offsets of shape (n_tables + 1,), int64."""
    counts = [table.n_rows for table in tables]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    first, n_rows = tables[0], int(offsets[-1])
    if all(table.matrix is not None for table in tables):
        matrix = np.concatenate([table.matrix for table in tables])
        return Table(first.names, n_rows, first.n_columns, matrix=matrix), offsets
    columns = tuple(
        concatenate_columns([table.column(j) for table in tables]) for j in range(first.n_columns)
    )
    return Table(first.names, n_rows, first.n_columns, columns=columns), offsets


def _listed(title: str, names: set[str]) -> str:
    if not names:
        return ""
    shown = sorted(names)[:5] + (["..."] if len(names) > 5 else [])
    return title + "\n" + "".join(f"- {name}\n" for name in shown)
