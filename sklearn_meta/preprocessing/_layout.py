"""What a fitted encoder computes with: plain arrays, and how they are learned and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_meta.preprocessing._columns import Table
from sklearn_meta.preprocessing._levels import CategoryMap, learn_categories
from sklearn_meta.preprocessing._numeric import DUMMY_FLOOR, learn_scaling, soft_clip
from sklearn_meta.preprocessing._state import Damaged, check_array, check_keys, frozen
from sklearn_meta.preprocessing._values import MISSING, Levels

_LENGTHS = {
    "number": ("number_columns", "number_center", "number_scale"),
    "level": ("level_center", "level_scale"),
    "missing": ("missing_columns", "missing_center", "missing_scale"),
    "output": ("usual_low", "usual_high"),
}


@dataclass(frozen=True, eq=False)
class Layout:
    """Encoded columns in this order: m numbers, w one-hot columns, q missing indicators.

    Where there is none of them (every input is constant), there is a single column of zeros.
    """

    number_columns: np.ndarray  # (m,) int64, input columns
    number_center: np.ndarray  # (m,)
    number_scale: np.ndarray  # (m,)
    categories: tuple[CategoryMap, ...]  # widths sum to w
    level_center: np.ndarray  # (w,)
    level_scale: np.ndarray  # (w,)
    missing_columns: np.ndarray  # (q,) int64, input columns
    missing_center: np.ndarray  # (q,)
    missing_scale: np.ndarray  # (q,)
    usual_low: np.ndarray  # (d,) encoded values from low to high are never novel
    usual_high: np.ndarray  # (d,)

    def __post_init__(self):
        # derived once, for speed; not part of the exported state
        tables, end = [], 0
        for category in self.categories:
            part = slice(end, end := end + category.width)
            tables.append(category.table(self.level_center[part], self.level_scale[part]))
        object.__setattr__(self, "tables", tables)

    @property
    def width(self) -> int:
        """Number of encoded columns, d."""
        return len(self.usual_low)

    def names(self, inputs: list[str]) -> list[str]:
        """Names of the encoded columns."""
        names = [inputs[j] for j in self.number_columns]
        for category in self.categories:
            names += category.names(inputs[category.column])
        names += [f"missingindicator_{inputs[j]}" for j in self.missing_columns]
        return names or ["constant"]

    def check_numbers(self, table: Table) -> None:
        """Raise ValueError if a column of numbers now holds text."""
        if table.matrix is not None:
            return
        for j in self.number_columns.tolist():
            levels = getattr(table.column(j), "levels", ())
            text = next((level for level in levels if isinstance(level, str)), None)
            if text is not None:
                raise ValueError(
                    f"{table.label(j)} of X held numbers in fit, but now "
                    f"holds text such as {text!r}; could not convert string to float."
                )

    def encode(self, table: Table, clip: float) -> np.ndarray:
        """Encode a table that passed `check_numbers`: (n_rows, d) float32."""
        out = np.zeros((table.n_rows, self.width), dtype=np.float32)
        m = len(self.number_columns)
        if m:
            raw = self._numbers(table)
            z = soft_clip((raw - self.number_center) / self.number_scale, clip)
            out[:, :m] = np.where(np.isnan(raw), 0.0, z)
        end = m
        for category, rows in zip(self.categories, self.tables, strict=True):
            codes = category.codes(table.column(category.column))
            out[:, end : (end := end + category.width)] = rows[codes]
        if len(self.missing_columns):
            missing = np.column_stack([is_missing(table, j) for j in self.missing_columns])
            out[:, end:] = (missing - self.missing_center) / self.missing_scale
        return out

    def _numbers(self, table: Table) -> np.ndarray:
        """Return the input columns that are numbers, float64 of shape (n_rows, m)."""
        if table.matrix is not None:
            return table.matrix[:, self.number_columns]
        raw = np.empty((table.n_rows, len(self.number_columns)))
        for k, j in enumerate(self.number_columns.tolist()):
            column = table.column(j)
            if isinstance(column, Levels):
                column = np.array([*column.levels, np.nan], dtype=np.float64)[column.codes]
            raw[:, k] = column
        return raw


def learn_layout(table: Table, max_levels: int, min_frequency: int | float | None) -> Layout:
    """Decide what becomes of every column, from the rows of all tasks in one table."""
    numbers, categories, missing = [], [], []
    level_scaling, usual = [], []
    for j in range(table.n_columns):
        column = table.column(j)
        share = is_missing(table, j).mean()
        if _is_frequent(min(share, 1 - share), table.n_rows, min_frequency):
            missing.append((j, share, _dummy_scale(share)))
        if not isinstance(column, Levels):
            scaling = learn_scaling(column)
            if scaling is not None:
                numbers.append((j, scaling.center, scaling.scale))
                ends = (np.array([scaling.low, scaling.high]) - scaling.center) / scaling.scale
                usual.append(ends if scaling.two_valued else np.zeros(2))
            continue
        _refuse_text(column, table.label(j), max_levels)
        category = learn_categories(column, j, max_levels, min_frequency)
        if category is not None:
            codes = category.codes(column)
            shares = np.bincount(codes[codes >= 0], minlength=category.n_codes)
            shares = shares[category.first :] / shares.sum()
            categories.append(category)
            level_scaling += [(share, _dummy_scale(share)) for share in shares]
    dummies = np.array(level_scaling + [one[1:] for one in missing]).reshape(-1, 2)
    usual += [np.array([0.0, 1.0]) / s - p / s for p, s in dummies]
    low, high = np.array(usual or [np.zeros(2)]).T
    number_columns, number_center, number_scale = _transpose(numbers, 3)
    level_center, level_scale = _transpose(level_scaling, 2)
    missing_columns, missing_center, missing_scale = _transpose(missing, 3)
    return Layout(
        number_columns=frozen(number_columns.astype(np.int64)),
        number_center=frozen(number_center),
        number_scale=frozen(number_scale),
        categories=tuple(categories),
        level_center=frozen(level_center),
        level_scale=frozen(level_scale),
        missing_columns=frozen(missing_columns.astype(np.int64)),
        missing_center=frozen(missing_center),
        missing_scale=frozen(missing_scale),
        usual_low=frozen(low),
        usual_high=frozen(high),
    )


def is_missing(table: Table, j: int) -> np.ndarray:
    """Which rows of column `j` are missing, bool of shape (n_rows,)."""
    column = table.column(j)
    return column.codes == MISSING if isinstance(column, Levels) else np.isnan(column)


def export_layout(layout: Layout) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return a JSON-able list of categories, and the arrays by name."""
    categories = [
        {"column": one.column, "levels": list(one.levels), "pooled": one.pooled}
        for one in layout.categories
    ]
    return categories, {name: getattr(layout, name).copy() for name in array_names()}


def array_names() -> list[str]:
    """Names of the exported arrays."""
    return [field.name for field in fields(Layout) if field.name != "categories"]


def import_layout(
    owner: str, n_columns: int, categories: Any, arrays: Mapping[str, np.ndarray]
) -> Layout:
    """Read back what `export_layout` gave; `Damaged` if it cannot be right."""
    maps = _import_categories(owner, n_columns, categories)
    sizes = {"level": sum(one.width for one in maps)}
    for kind in ("number", "missing"):
        name = f"{kind}_columns"
        columns = arrays[name]
        sizes[kind] = columns.size if isinstance(columns, np.ndarray) else 0
        columns = check_array(owner, name, columns, (sizes[kind],), np.int64)
        if columns.size and not (
            columns[0] >= 0 and columns[-1] < n_columns and (np.diff(columns) > 0).all()
        ):
            raise Damaged(owner, f"{name} must rise within 0..{n_columns - 1}, got {columns}")
    taken = {one.column for one in maps}
    if taken & set(arrays["number_columns"].tolist()):
        raise Damaged(owner, "a column is both a number and a category")
    sizes["output"] = max(1, sum(sizes.values()))
    checked = {
        name: check_array(
            owner,
            name,
            arrays[name],
            (sizes[kind],),
            np.int64 if name.endswith("_columns") else np.float64,
            positive=name.endswith("_scale"),
        )
        for kind, names in _LENGTHS.items()
        for name in names
    }
    return Layout(categories=maps, **checked)


def _import_categories(owner: str, n_columns: int, given: Any) -> tuple[CategoryMap, ...]:
    if not isinstance(given, list):
        raise Damaged(owner, f"categories must be a list, got {type(given).__name__}")
    maps = []
    for one in given:
        check_keys(owner, one, ["column", "levels", "pooled"], "a category")
        column, levels, pooled = one["column"], one["levels"], one["pooled"]
        if type(column) is not int or not 0 <= column < n_columns:
            raise Damaged(owner, f"a category's column must be in 0..{n_columns - 1}")
        if maps and column <= maps[-1].column:
            raise Damaged(owner, "categories must be in the order of their columns")
        if not isinstance(levels, list) or not all(
            isinstance(level, (bool, int, float, str)) and level == level for level in levels
        ):
            raise Damaged(owner, "a category's levels must be a list of strings and numbers")
        if type(pooled) is not bool or len(set(levels)) < len(levels):
            raise Damaged(owner, "a category has repeated levels or no valid 'pooled'")
        if len(levels) + pooled < 2:
            raise Damaged(owner, "a category must have two levels or more")
        maps.append(CategoryMap(column, tuple(levels), pooled))
    return tuple(maps)


def _transpose(rows: list[tuple], n: int) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, n).T


def _dummy_scale(share: float) -> float:
    return max(float(np.sqrt(share * (1 - share))), DUMMY_FLOOR)


def _is_frequent(share: float, n_rows: int, min_frequency: int | float | None) -> bool:
    """Whether a share of the rows is enough to learn from, by the rule for levels."""
    if min_frequency is None:
        return share > 0
    count = min_frequency if isinstance(min_frequency, Integral) else min_frequency * n_rows
    return share > 0 and share * n_rows >= count


def _refuse_text(column: Levels, label: str, max_levels: int) -> None:
    seen = column.codes[column.codes != MISSING]
    n_levels, n_seen = len(np.unique(seen)), len(seen)
    if not column.declared and n_levels > max(max_levels, n_seen / 2):
        raise ValueError(
            f"{label} of X holds free text or identifiers: {n_levels} different values in "
            f"{n_seen} rows, such as {column.levels[0]!r}. Drop the column, turn it into numbers "
            "(e.g. by skrub.StringEncoder), or give it the dtype 'category' if it is categorical."
        )
