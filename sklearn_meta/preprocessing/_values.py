"""One column of values as numbers or as levels that JSON can hold."""

from __future__ import annotations

from numbers import Integral, Number
from typing import Any, NamedTuple

import numpy as np

MISSING = -1
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Levels(NamedTuple):
    """A column of levels: `levels[codes[i]]` is row i, code -1 is missing."""

    codes: np.ndarray
    levels: list
    declared: bool
    """True where the data frame itself says that the column is categorical."""


Column = np.ndarray | Levels


def read_values(values: np.ndarray, label: Any, declared: bool = False) -> Column:
    """Read any dtype as float64 (NaN is missing) or as levels; `label` is for messages."""
    kind = values.dtype.kind
    if kind in "biuf":
        numbers = values.astype(np.float64, copy=False)
        if (np.abs(numbers) > FLOAT32_MAX).any():
            raise infinity_error(label)
        return numbers
    if kind in "mM":
        raise dates_error(label)
    if kind == "c":
        raise complex_error(label)
    codes, levels = _factorise(values.tolist(), label)
    if declared or any(isinstance(level, str) for level in levels):
        return Levels(codes, levels, declared)
    return read_values(np.array([*levels, np.nan], dtype=np.float64)[codes], label)


def _factorise(values: list, label: Any) -> tuple[np.ndarray, list]:
    """Codes and levels of Python values, in the order in which they come."""
    index: dict[Any, int] = {}
    known: dict[Any, int] = {}
    codes = np.empty(len(values), dtype=np.intp)
    for i, value in enumerate(values):
        try:
            code = known.get(value)
        except TypeError:  # unhashable: a list, a dict, an array
            raise value_error(value, label) from None
        if code is None:
            if _is_missing(value):
                code = MISSING
            else:
                code = index.setdefault(_level(value, label), len(index))
            known[value] = code
        codes[i] = code
    return codes, list(index)


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    same = value == value  # not True for NaN and NaT; neither True nor False for pandas.NA
    return not (isinstance(same, (bool, np.bool_)) and same)


def _level(value: Any, label: Any) -> bool | int | float | str:
    """Turn a value into a plain level that JSON can hold; 1, 1.0 and True are one level."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, complex):
        raise complex_error(label)
    if not isinstance(value, Number):
        raise value_error(value, label)
    if not abs(value) <= FLOAT32_MAX:
        raise infinity_error(label)
    return number_level(value)


def number_level(value: Any) -> int | float:
    """Turn a finite number into a level: whole numbers are int, whatever type they came in."""
    if isinstance(value, Integral):
        return int(value)
    value = float(value)
    return int(value) if value.is_integer() else value


def category_level(value: Any) -> bool | int | float | str:
    """Turn a category into a level: intervals, dates and the like are known by their text."""
    is_level = isinstance(value, (str, bytes, Number, np.bool_))
    return _level(value, "of categories") if is_level else str(value)


def column_label(label: Any) -> str:
    """Name a column as messages call it."""
    return f"column {label!r}"


def infinity_error(label: Any) -> ValueError:
    """Make the error for a number that float32 cannot hold."""
    return ValueError(
        "Input X contains infinity or a value too large for dtype('float32') in "
        f"{column_label(label)}. Use NaN for missing values."
    )


def complex_error(label: Any) -> ValueError:
    """Make the error for complex numbers."""
    return ValueError(f"Complex data not supported: {column_label(label)} of X is complex.")


def dates_error(label: Any) -> ValueError:
    """Make the error for a column of dates."""
    return ValueError(
        f"{column_label(label)} of X holds dates or times; numbers, booleans, strings or "
        "categories are expected. Turn it into numbers, such as the year, the month, or the days "
        "since a start."
    )


def value_error(value: Any, label: Any) -> TypeError:
    """Make the error for a value that is neither a string nor a number."""
    return TypeError(
        f"{column_label(label)} of X holds a value of type {type(value).__name__}: "
        "argument must be a string or a number."
    )
