"""What columns of one name look like in the classes of one label, across tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np

from sklearn_meta.learners._class_summary import ClassSummary, summarise_classes
from sklearn_meta.learners._column_summary import check_forms, keys_of
from sklearn_meta.preprocessing._column_names import EncodedColumn

#: Less is known of a table than that: the prior has nothing to say on it.
SMALLEST_KNOWN_SHARE = 0.5
_PARTS = {"columns": np.int64, "log_sd": np.float64, "has_log_sd": bool, "labels": np.int64}
_PARTS |= {"means": np.float32, "within": np.float32}
_FORMS = {name: (np.dtype(dtype).kind, 1) for name, dtype in _PARTS.items()}
_FORMS |= {"names": ("u", 1), "label_names": ("u", 1), "has_log_sd": ("u", 1)}
_FORMS |= {"n_columns": ("i", 1), "n_labels": ("i", 1), "weight": ("f", 1)}


@dataclass(frozen=True, eq=False, slots=True)
class ExpectedClasses:
    """What a prior expects of C classes in d of a table's columns, which it knows.

    Attributes
    ----------
    columns : ndarray of shape (d,), int64
        Their positions in the table.
    log_sd, n_tables : ndarray of shape (d,)
        As in `Expected`.
    means : ndarray of shape (C, d)
        In standard deviations of the columns, from the middle of the classes.
    within : ndarray of shape (d, d)
        Covariance within classes, and on its diagonal what tables disagree about the means.
    """

    columns: np.ndarray
    log_sd: np.ndarray
    n_tables: np.ndarray
    means: np.ndarray
    within: np.ndarray


@dataclass(frozen=True, eq=False)
class ClassPrior:
    """Means of named columns in labelled classes and covariances within, from many tables.

    Attributes
    ----------
    names : tuple of (kind, name)
    labels : tuple of str
    tables : tuple of ClassSummary
    """

    names: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ()
    tables: tuple[ClassSummary, ...] = ()

    @classmethod
    def learn(
        cls,
        tables: Iterable[
            tuple[np.ndarray, np.ndarray, Sequence[EncodedColumn], Sequence[str] | None]
        ],
    ) -> ClassPrior:
        """Learn from tables (z, y, columns, labels).

        They are encoded rows (n, d), codes (n,), d columns, and a label for each code; a table
        without labels only has its place.
        """
        names: dict[tuple[str, str], int] = {}
        labels: dict[str, int] = {}
        summaries = tuple(summarise_classes(*table, names, labels) for table in tables)
        return cls(tuple(names), tuple(labels), summaries)

    @property
    def is_empty(self) -> bool:
        """Whether no table had names."""
        return not self.names

    def without(self, t: int) -> ClassPrior:
        """Return what all tables but one tell."""
        return replace(self, tables=self.tables[:t] + self.tables[t + 1 :])

    def expect(
        self, columns: Sequence[EncodedColumn], labels: Sequence[str]
    ) -> ExpectedClasses | None:
        """What is to be expected of a table, from those that have all of its labels.

        None where they know less than half of its columns.
        """
        at = np.array([self._index.get(key, -1) for key in keys_of(columns)], dtype=np.int64)
        wanted = [self._label_index.get(label, -1) for label in labels]
        tables = [table for table in self.tables if np.isin(wanted, table.labels).all()]
        seen = np.concatenate([np.zeros(0, np.int64), *(table.columns for table in tables)])
        known = np.flatnonzero(np.isin(at, seen))
        if len(labels) < 2 or not len(known) or len(known) < SMALLEST_KNOWN_SHARE * len(at):
            return None
        position = np.full(len(self.names), -1)
        position[at[known]] = np.arange(len(known))
        d = len(known)
        within, together = np.zeros((2, d, d))
        total, squares = np.zeros((2, len(labels), d))
        count, log_sd, n_tables = np.zeros((3, d))
        for table in tables:
            shared = position[table.columns] >= 0
            here = position[table.columns][shared]
            means = table.means[np.argmax(table.labels == np.array(wanted)[:, None], axis=1)]
            means = (means - means.mean(0))[:, shared]
            block = np.ix_(here, here)
            within[block] += table.weight * table.within[np.ix_(shared, shared)]
            together[block] += table.weight
            total[:, here] += table.weight * means
            squares[:, here] += table.weight * means**2
            count[here] += table.weight
            log_sd[here] += table.log_sd[shared]
            n_tables[here] += table.has_log_sd[shared]
        means = total / count
        apart = np.maximum(squares / count - means**2, 0).mean(0)
        within = within / np.where(together > 0, together, 1) + np.diag(apart)
        return ExpectedClasses(
            known, log_sd / np.maximum(n_tables, 1), n_tables, means, _positive(within)
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Export as named arrays, all finite."""
        tables = self.tables
        arrays = {
            name: np.concatenate(
                [np.zeros(0, dtype), *(getattr(t, name).ravel() for t in tables)], dtype=dtype
            )
            for name, dtype in _PARTS.items()
        }
        return arrays | {
            "has_log_sd": arrays["has_log_sd"].astype(np.uint8),
            "names": _as_bytes(self.names),
            "label_names": _as_bytes(self.labels),
            "n_columns": np.array([len(t.columns) for t in tables], dtype=np.int64),
            "n_labels": np.array([len(t.labels) for t in tables], dtype=np.int64),
            "weight": np.array([t.weight for t in tables], dtype=np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ClassPrior:
        """Read back what `to_arrays` gave; the same bits.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        check_forms(arrays, _FORMS)
        try:
            names = tuple(map(tuple, _from_bytes(arrays["names"])))
            labels = tuple(_from_bytes(arrays["label_names"]))
        except (ValueError, TypeError) as error:
            raise ValueError(f"damaged names of columns: {error}") from error
        d, c = arrays["n_columns"], arrays["n_labels"]
        sizes = {"columns": d, "log_sd": d, "has_log_sd": d, "labels": c, "within": d * d}
        if (
            len({len(d), len(c), len(arrays["weight"])}) > 1
            or any(len(name) != 2 for name in names)
            or not all(isinstance(text, str) for text in (*labels, *chain(*names)))
            or (arrays["weight"] <= 0).any()
            or min(d.min(initial=0), c.min(initial=0)) < 0
            or any(arrays[name].size != size.sum() for name, size in sizes.items())
            or arrays["means"].size != (c * d).sum()
            or not _within(arrays["columns"], len(names))
            or not _within(arrays["labels"], len(labels))
        ):
            raise ValueError("damaged names of columns: the arrays do not fit each other.")
        if not len(d):
            return cls(names, labels)
        sizes["means"] = c * d
        parts = {
            name: np.split(arrays[name].astype(dtype), sizes[name].cumsum()[:-1])
            for name, dtype in _PARTS.items()
        }
        pairs = list(zip(c, d, strict=True))
        parts["means"] = [a.reshape(pair) for a, pair in zip(parts["means"], pairs, strict=True)]
        parts["within"] = [a.reshape(k, k) for a, k in zip(parts["within"], d, strict=True)]
        rows = zip(*(parts[name] for name in _PARTS), arrays["weight"].tolist(), strict=True)
        return cls(names, labels, tuple(ClassSummary(*row) for row in rows))

    @cached_property
    def _index(self) -> dict[tuple[str, str], int]:
        return {key: u for u, key in enumerate(self.names)}

    @cached_property
    def _label_index(self) -> dict[str, int]:
        return {label: u for u, label in enumerate(self.labels)}


def _positive(matrix: np.ndarray) -> np.ndarray:
    """Return a covariance near one of averages over different tables."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-4)) @ vectors.T


def _as_bytes(content: Sequence) -> np.ndarray:
    return np.frombuffer(json.dumps(content).encode(), dtype=np.uint8).copy()


def _from_bytes(array: np.ndarray) -> list:
    return json.loads(array.tobytes())


def _within(positions: np.ndarray, n: int) -> bool:
    return not positions.size or 0 <= positions.min() <= positions.max() < n
