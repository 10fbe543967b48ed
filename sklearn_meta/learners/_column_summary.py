"""What is remembered of a table: how its named columns vary with the target and each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sklearn_meta.preprocessing._column_names import EncodedColumn

CLIP = 4.0  # standard deviations
SMALLEST_SCALE = 1e-9
#: Named columns that are kept of a table: those with the highest correlations.
MAX_COLUMNS = 128
#: A table counts in full that has many more rows than this.
SMALL_TABLE = 10


@dataclass(frozen=True, eq=False, slots=True)
class TableSummary:
    """What is kept of a table with d named columns.

    Attributes
    ----------
    columns : ndarray of shape (d,), int64
        Positions among the names of the prior.
    log_sd : ndarray of shape (d,)
        Of the columns before they were scaled; 0 where that is not known.
    has_log_sd : ndarray of shape (d,), bool
    products : ndarray of shape (d + 1, d + 1), float32
        Correlations; the target comes first.
    facts : ndarray of shape (4,)
        Weight; mean correlation of its numbers with the target, and with each other, named or not;
        logarithm of the standard deviation of the target.
    known : ndarray of shape (4,), bool
        Which of the facts there are; the others are 0.
    """

    columns: np.ndarray
    log_sd: np.ndarray
    has_log_sd: np.ndarray
    products: np.ndarray
    facts: np.ndarray
    known: np.ndarray


def summarise(
    z: np.ndarray, y: np.ndarray, columns: Sequence[EncodedColumn], index: dict
) -> TableSummary:
    """Summarise a table.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        Encoded rows.
    y : ndarray of shape (n,)
        Numbers to predict.
    columns : sequence of d EncodedColumn
    index : dict
        Positions of the names so far, by `keys_of`; new ones are added.
    """
    z, y = np.asarray(z, dtype=np.float64), np.asarray(y, dtype=np.float64)
    sd, target_sd = z.std(0), y.std()
    kept = sd > SMALLEST_SCALE
    varies = len(y) > 1 and target_sd > SMALLEST_SCALE
    kept &= varies  # a table that says nothing still has its place
    scaled = np.clip((z - z.mean(0)) / np.where(kept, sd, 1), -CLIP, CLIP) * kept
    standard = np.column_stack([(y - y.mean()) / (target_sd if varies else 1), scaled])
    products = standard.T @ standard / len(y)
    number = np.r_[False, kept & [column.kind == "number" for column in columns]]
    n = number.sum()
    facts = np.zeros(4)
    facts[0] = len(y) / (len(y) + SMALL_TABLE)
    if n:
        facts[1] = products[0, number].mean()
    if n > 1:
        among = products[np.ix_(number, number)]
        facts[2] = (among.sum() - among.trace()) / (n * (n - 1))
    if varies:
        facts[3] = np.log(target_sd)
    known = np.array([True, n > 0, n > 1, varies])
    keys = keys_of(columns)
    named = np.flatnonzero([key is not None and k for key, k in zip(keys, kept, strict=True)])
    strongest = np.argsort(-np.abs(products[0, named + 1]), kind="stable")[:MAX_COLUMNS]
    named = np.sort(named[strongest])
    at = [index.setdefault(keys[j], len(index)) for j in named]
    log_sd = np.array([columns[j].log_sd for j in named]) + np.log(sd[named])
    has_log_sd = np.isfinite(log_sd)
    rows = np.r_[0, named + 1]
    return TableSummary(
        np.array(at, dtype=np.int64),
        np.where(has_log_sd, log_sd, 0.0),
        has_log_sd,
        products[np.ix_(rows, rows)].astype(np.float32),
        facts,
        known,
    )


def check_forms(arrays: Mapping[str, np.ndarray], forms: Mapping[str, tuple[str, int]]) -> None:
    """Raise ValueError unless these are the arrays, each of its kind of dtype and axes."""
    if set(arrays) != set(forms):
        raise ValueError(f"damaged names of columns: expected the arrays {sorted(forms)}.")
    if any((arrays[n].dtype.kind, arrays[n].ndim) != form for n, form in forms.items()):
        raise ValueError("damaged names of columns: an array is of another dtype or shape.")


def keys_of(columns: Sequence[EncodedColumn]) -> list[tuple[str, str] | None]:
    """Kind and name; None where there is no name, or two columns share it."""
    keys = [(column.kind, column.name) for column in columns]
    times = Counter(keys)
    return [key if key[1] is not None and times[key] == 1 else None for key in keys]
