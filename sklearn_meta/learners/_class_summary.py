"""What is remembered of a table of classes: their means in its named columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sklearn_meta.learners._column_summary import (
    CLIP,
    MAX_COLUMNS,
    SMALL_TABLE,
    SMALLEST_SCALE,
    keys_of,
)
from sklearn_meta.preprocessing._column_names import EncodedColumn


@dataclass(frozen=True, eq=False, slots=True)
class ClassSummary:
    """What is kept of a table with d named columns and C classes.

    Attributes
    ----------
    columns : ndarray of shape (d,), int64
        Positions among the names of the prior.
    log_sd : ndarray of shape (d,)
        Of the columns before they were scaled; 0 where that is not known.
    has_log_sd : ndarray of shape (d,), bool
    labels : ndarray of shape (C,), int64
        Positions among the labels of the prior.
    means : ndarray of shape (C, d), float32
        Of the classes, in standard deviations of the columns.
    within : ndarray of shape (d, d), float32
        Covariance within classes, in the same units.
    weight : float
        Of the table beside others.
    """

    columns: np.ndarray
    log_sd: np.ndarray
    has_log_sd: np.ndarray
    labels: np.ndarray
    means: np.ndarray
    within: np.ndarray
    weight: float


def summarise_classes(
    z: np.ndarray,
    y: np.ndarray,
    columns: Sequence[EncodedColumn],
    labels: Sequence[str] | None,
    names: dict[tuple[str, str], int],
    label_names: dict[str, int],
) -> ClassSummary:
    """Summarise a table.

    Parameters
    ----------
    z : ndarray of shape (n, d)
        Encoded rows.
    y : int64 ndarray of shape (n,)
        Codes of classes.
    columns : sequence of d EncodedColumn
    labels : sequence of str, or None
        What the codes stand for. Without them, or names of columns, the table has an empty summary.
    names : dict
        Positions of the names so far, by `keys_of`; new ones are added.
    label_names : dict
        The same of labels.
    """
    z, keys = np.asarray(z, dtype=np.float64), keys_of(columns)
    codes = np.unique(y)
    sd = z.std(0)
    named = np.array([key is not None for key in keys]) & (sd > SMALLEST_SCALE)
    if labels is None or len(codes) < 2:
        named[:] = False
    codes = codes if named.any() else codes[:0]
    scaled = np.clip((z - z.mean(0)) / np.where(named, sd, 1), -CLIP, CLIP) * named
    hot = (y[:, None] == codes).astype(np.float64)
    means = (hot.T @ scaled) / hot.sum(0)[:, None]
    between = (hot.mean(0)[:, None] * means**2).sum(0)
    chosen = np.flatnonzero(named)
    chosen = np.sort(chosen[np.argsort(-between[chosen], kind="stable")[:MAX_COLUMNS]])
    inside = (scaled - hot @ means)[:, chosen]
    log_sd = np.array([columns[j].log_sd for j in chosen]) + np.log(sd[chosen])
    has_log_sd = np.isfinite(log_sd)
    at = [names.setdefault(keys[j], len(names)) for j in chosen]
    at_labels = [label_names.setdefault(labels[c], len(label_names)) for c in codes]
    return ClassSummary(
        np.array(at, dtype=np.int64),
        np.where(has_log_sd, log_sd, 0.0),
        has_log_sd,
        np.array(at_labels, dtype=np.int64),
        means[:, chosen].astype(np.float32),
        (inside.T @ inside / len(y)).astype(np.float32),
        len(y) / (len(y) + SMALL_TABLE),
    )
