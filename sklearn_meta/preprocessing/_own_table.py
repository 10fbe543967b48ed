"""Encoder of one table by itself, for learners whose tasks differ in their columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sklearn_meta.preprocessing._column_names import EncodedColumn, normalised
from sklearn_meta.preprocessing._columns import Table
from sklearn_meta.preprocessing._encoder import TableEncoder
from sklearn_meta.preprocessing._layout import Layout, learn_layout
from sklearn_meta.preprocessing._state import check_array, check_keys, frozen
from sklearn_meta.preprocessing._values import Levels

#: Rows from which on a column with a new level in every other row is refused as text: of fewer the
#: towns of houses, say, look no different.
ROWS_THAT_TELL_TEXT = 100


class OwnTableEncoder(TableEncoder):
    """Turn one table into a finite float32 array, by what its own rows say.

    As :class:`TableEncoder`, but for tasks whose columns differ: each is encoded by itself, fitted
    on its support alone. Numbers that are never negative become logarithms of 1 + their ratio to
    the mean, in which skewed columns are closer to linear and units are gone.

    Parameters
    ----------
    max_levels : int, default=20
        Most one-hot columns of a categorical column, the pool of rare levels included.
    min_frequency : int, float or None, default=0.01
        Levels in fewer rows (int) or in a smaller share of the rows (float) are pooled. Missing
        values rarer than that get no indicator column.
    clip : float, default=5.0
        Scaled numbers beyond +-clip grow only logarithmically.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the input columns; only for data frames whose names are all strings.
    n_features_out_ : int
        Number of encoded columns, d.
    """

    def novelty(self, Z: np.ndarray) -> np.ndarray:
        """Say that nothing is novel: there are no other tasks to compare with.

        Parameters
        ----------
        Z : ndarray of shape (..., n_rows, d)
            Encoded rows.

        Returns
        -------
        ndarray of shape (..., d), float64
            Ones.
        """
        self._check_fitted()
        return np.ones((*np.shape(Z)[:-2], self.n_features_out_))

    def columns(self) -> list[EncodedColumn]:
        """Name, kind and scale of the encoded columns, by which other tables may know them.

        Returns
        -------
        list of EncodedColumn
            One for each encoded column.
        """
        self._check_fitted()
        layout, (names, n_columns) = self._layout, self._reference()
        names = [normalised(name) or None for name in names] if names else [None] * n_columns
        encoded = [
            EncodedColumn(
                names[j], "number", float(np.log(scale)) if mean > 0 else np.nan, float(self.clip)
            )
            for j, scale, mean in zip(
                layout.number_columns, layout.number_scale, layout.number_mean, strict=True
            )
        ]
        scales = iter(np.log(layout.level_scale).tolist())
        for category in layout.categories:
            # which levels are rare is the table's own affair
            levels = [normalised(str(level)) for level in category.levels]
            levels += [""] if category.pooled else []
            for level in levels[category.first :]:
                name = _joined(names[category.column], level)
                encoded.append(EncodedColumn(name, "level", next(scales)))
        for j, scale in zip(layout.missing_columns, layout.missing_scale, strict=True):
            name = _joined(names[j], "missing")
            encoded.append(EncodedColumn(name, "missing", float(np.log(scale))))
        return encoded or [EncodedColumn(None, "number", np.nan)]

    def to_dict(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Export as a JSON-able dict and named arrays."""
        config, arrays = super().to_dict()
        return config, arrays | {"number_mean": self._layout.number_mean.copy()}

    @classmethod
    def from_dict(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> OwnTableEncoder:
        """Read back what `to_dict` gave; the same bits.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        owner = cls.__name__
        others = {name: array for name, array in arrays.items() if name != "number_mean"}
        encoder = super().from_dict(config, others)
        check_keys(owner, arrays, [*others, "number_mean"], "the set of arrays")
        shape = encoder._layout.number_columns.shape
        mean = check_array(owner, "number_mean", arrays["number_mean"], shape, np.float64)
        encoder._layout = RatioLayout.of(encoder._layout, mean)
        return encoder

    def _learn_layout(self, table: Table) -> Layout:
        means = np.array([_mean(table.column(j)) for j in range(table.n_columns)])
        logged = tuple(
            column if isinstance(column, Levels) else _log_ratio(column[:, None], means[j])[:, 0]
            for j, column in enumerate(map(table.column, range(table.n_columns)))
        )
        logged = Table(table.names, table.n_rows, table.n_columns, columns=logged)
        if table.n_rows < ROWS_THAT_TELL_TEXT:
            logged = logged.declared()
        layout = learn_layout(logged, self.max_levels, self.min_frequency)
        return RatioLayout.of(layout, frozen(means[layout.number_columns]))


@dataclass(frozen=True, eq=False)
class RatioLayout(Layout):
    """A layout whose numbers are logarithms of ratios where `number_mean` is positive."""

    number_mean: np.ndarray  # (m,), 0 where numbers stay as they are

    @classmethod
    def of(cls, layout: Layout, number_mean: np.ndarray) -> RatioLayout:
        """Add means to a layout."""
        parts = {field.name: getattr(layout, field.name) for field in fields(Layout)}
        return cls(**parts, number_mean=number_mean)

    def _numbers(self, table: Table) -> np.ndarray:
        return _log_ratio(super()._numbers(table), self.number_mean)


def _mean(column: np.ndarray | Levels) -> float:
    """Mean of a column that is never negative and not always zero, else 0."""
    if isinstance(column, Levels):
        return 0.0
    seen = column[~np.isnan(column)]
    return float(seen.mean()) if seen.size and seen.min() >= 0 else 0.0


def _log_ratio(values: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    """Logarithms of 1 + ratios of columns (n, m) to their means (m,); below zero a line."""
    positive = np.asarray(mean) > 0
    ratio = values / np.where(positive, mean, 1.0)
    logged = np.log1p(np.maximum(ratio, 0.0)) + np.minimum(ratio, 0.0)
    return np.where(positive, logged, values)


def _joined(name: str | None, level: str) -> str | None:
    return f"{name} {level}" if name and level else None
