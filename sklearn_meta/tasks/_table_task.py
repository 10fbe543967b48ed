"""One table of meta-training whose columns and units are its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone

from sklearn_meta.preprocessing._column_names import EncodedColumn
from sklearn_meta.preprocessing._columns import Table
from sklearn_meta.preprocessing._encoder import TableEncoder
from sklearn_meta.preprocessing._target import TargetScaler

MAX_ROWS = 1500  # that what names promise is learned from


@dataclass(frozen=True, eq=False)
class TableTask:
    """A table with one target.

    Whatever is learned of its columns and units is learned from the support of an episode, as it
    is when an estimator is adapted to a support.

    Attributes
    ----------
    name : str
    X : Table
        As read; `Table.take` returns some of its rows.
    y : ndarray of shape (n_rows,)
        Codes 0, 1, ... of classes (int64), or numbers in the task's own units (float64).
    encoder : TableEncoder
        Not fitted; each episode fits a copy.
    labels : tuple of str, optional
        What the classes are called, in the order of their codes, where that may mean the same in
        other tables.
    """

    name: str
    X: Table
    y: np.ndarray
    encoder: TableEncoder
    labels: tuple[str, ...] | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    def part(self, rng: np.random.Generator) -> TableTask:
        """Draw a table of some of the columns and, of many classes, some of the classes."""
        width = self.X.n_columns
        columns = np.sort(rng.choice(width, rng.integers((width + 1) // 2, width + 1), False))
        rows, y = np.arange(self.n_rows), self.y
        if y.dtype.kind != "f":
            classes = np.unique(y)
            ways = rng.integers(min(2, len(classes)), len(classes) + 1)
            rows = np.flatnonzero(np.isin(y, rng.choice(classes, ways, False)))
            y = y[rows]
        return replace(self, X=self.X.take(rows).select(columns), y=y)

    def encode(
        self, support: np.ndarray, query: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, TableEncoder]:
        """Encode two sets of rows by what the first says of the columns.

        Parameters
        ----------
        support : int ndarray of shape (n,), n >= 1
            Positions of rows.
        query : int ndarray of shape (m,), m >= 1

        Returns
        -------
        support : ndarray of shape (n, d), float32
        query : ndarray of shape (m, d), float32
        encoder : TableEncoder
            Fitted on the support; it knows what the d columns are called.
        """
        seen = self.X.take(support)
        encoder = clone(self.encoder).fit([seen])
        return encoder.transform(seen), encoder.transform(self.X.take(query)), encoder

    def scaler(self, support: np.ndarray) -> TargetScaler:
        """Scaling of numbers that the support tells."""
        return TargetScaler().fit([self.y[support]])

    def targets(self, support: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets (n,) and (m,) of two sets of rows; numbers are scaled by the first."""
        if self.y.dtype.kind != "f":
            return self.y[support], self.y[query]
        scaler = self.scaler(support)
        return scaler.transform(self.y[support]), scaler.transform(self.y[query])

    def whole(self) -> tuple[np.ndarray, np.ndarray, list[EncodedColumn]]:
        """Encoded rows (n, d), targets (n,) in the task's own units, and the d columns."""
        rows = np.linspace(0, self.n_rows - 1, min(self.n_rows, MAX_ROWS)).astype(int)
        seen = self.X.take(rows)
        encoder = clone(self.encoder).fit([seen])
        return encoder.transform(seen), self.y[rows], encoder.columns()
