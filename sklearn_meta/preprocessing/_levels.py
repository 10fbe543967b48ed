"""Categorical columns: union of levels over tasks, one-hot columns, pooled and unknown levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import OneHotEncoder

from sklearn_meta.preprocessing._values import MISSING, Column, Levels, number_level

UNKNOWN = -2


@dataclass(frozen=True, slots=True)
class CategoryMap:
    """The one-hot columns of one input column.

    Level k of `levels` has code k; with `pooled`, every other level has code len(levels). With
    two codes in all, the first has no column of its own (as OneHotEncoder(drop="if_binary")).
    """

    column: int
    levels: tuple
    pooled: bool

    @property
    def n_codes(self) -> int:
        """Number of levels, the pool counted as one."""
        return len(self.levels) + self.pooled

    @property
    def first(self) -> int:
        """The first code that has a column."""
        return int(self.n_codes == 2)

    @property
    def width(self) -> int:
        """Number of one-hot columns."""
        return self.n_codes - self.first

    def names(self, name: str) -> list[str]:
        """Names of the one-hot columns of the input column `name`."""
        levels = [*map(str, self.levels), *(["infrequent"] if self.pooled else [])]
        return [f"{name}_{level}" for level in levels[self.first :]]

    def codes(self, column: Column) -> np.ndarray:
        """Code of every row, int of shape (n_rows,): MISSING or UNKNOWN where it has none."""
        codes, levels, _ = as_levels(column)
        index = {level: code for code, level in enumerate(self.levels)}
        other = len(self.levels) if self.pooled else UNKNOWN
        # the last entry is what code MISSING = -1 picks
        return np.array([*(index.get(level, other) for level in levels), MISSING])[codes]

    def table(self, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Tabulate encoded rows by code, shape (n_codes + 2, width).

        The last two rows, which UNKNOWN = -2 and MISSING = -1 pick, are zero: the average row.
        """
        hot = np.eye(self.n_codes)[:, self.first :]
        return np.vstack([(hot - center) / scale, np.zeros((2, self.width))])


def learn_categories(
    column: Levels, j: int, max_levels: int, min_frequency: int | float | None
) -> CategoryMap | None:
    """Choose the levels of input column `j` that get a one-hot column; None if it is constant."""
    seen = column.codes[column.codes != MISSING]
    used = sorted(np.unique(seen).tolist(), key=lambda code: _order(column.levels[code]))
    if len(used) < 2:
        return None
    rank = np.empty(len(column.levels), dtype=np.intp)
    rank[used] = np.arange(len(used))
    encoder = OneHotEncoder(
        max_categories=max_levels,
        min_frequency=min_frequency,
        handle_unknown="infrequent_if_exist",
    ).fit(rank[seen][:, None])
    rare = encoder.infrequent_categories_[0]
    rare = set() if rare is None else set(rare.tolist())
    levels = tuple(column.levels[code] for k, code in enumerate(used) if k not in rare)
    return CategoryMap(j, levels, bool(rare)) if levels else None


def as_levels(column: Column) -> Levels:
    """Turn a column of numbers into levels; leave a column of levels unchanged."""
    if isinstance(column, Levels):
        return column
    missing = np.isnan(column)
    values, seen = np.unique(column[~missing], return_inverse=True)
    codes = np.full(len(column), MISSING, dtype=np.intp)
    codes[~missing] = seen
    return Levels(codes, [number_level(value) for value in values.tolist()], False)


def concatenate_columns(columns: list[Column]) -> Column:
    """One column over all tasks; levels if it has levels in any task."""
    if not any(isinstance(column, Levels) for column in columns):
        return np.concatenate(columns)
    index: dict = {}
    codes = []
    for column in map(as_levels, columns):
        merged = [index.setdefault(level, len(index)) for level in column.levels]
        codes.append(np.array([*merged, MISSING], dtype=np.intp)[column.codes])
    declared = any(isinstance(column, Levels) and column.declared for column in columns)
    return Levels(np.concatenate(codes), list(index), declared)


def _order(level: bool | int | float | str) -> tuple:
    return isinstance(level, str), level
