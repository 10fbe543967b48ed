"""One encoder for the tables of all tasks, fitted once over the meta-training tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_meta.preprocessing._column_names import EncodedColumn
from sklearn_meta.preprocessing._columns import Table, read_table
from sklearn_meta.preprocessing._columns_in import ColumnsIn
from sklearn_meta.preprocessing._layout import (
    Layout,
    array_names,
    export_layout,
    import_layout,
    learn_layout,
)
from sklearn_meta.preprocessing._novelty import column_novelty, task_statistics
from sklearn_meta.preprocessing._parameters import check_parameters
from sklearn_meta.preprocessing._state import Damaged, check_array, check_keys
from sklearn_meta.preprocessing._tables import concatenate, match, read_tables

_TASK_ARRAYS = ("task_center", "task_center_scale", "task_within_scale")


class TableEncoder(ColumnsIn, BaseEstimator):
    """Turn tables of numbers, booleans, strings and categories into finite float32 arrays.

    Numbers are centred and scaled robustly over the rows of all tasks and softly clipped; missing
    values become the mean, with an indicator column where they are frequent in the meta-training
    tasks.
    Categories become centred and scaled one-hot columns, rare levels are pooled, and a level never
    seen joins the pool or, where there is none, becomes the average row. Columns that are constant
    over all tasks are dropped. The fitted state is a few plain arrays.

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
    task_center_ : ndarray of shape (d,)
        Mean over tasks of the tasks' mean encoded value.
    task_center_scale_ : ndarray of shape (d,)
        Standard deviation of that between tasks, without the noise of finite tasks.
    task_within_scale_ : ndarray of shape (d,)
        Standard deviation within a task.
    """

    _fitted_attribute = "_layout"

    def __init__(
        self,
        max_levels: int = 20,
        min_frequency: int | float | None = 0.01,
        clip: float = 5.0,
    ):
        self.max_levels = max_levels
        self.min_frequency = min_frequency
        self.clip = clip

    def fit(self, Xs: Sequence[Any], *, names: Sequence[str] | None = None) -> TableEncoder:
        """Learn columns, levels and scales over all tasks.

        Parameters
        ----------
        Xs : sequence of DataFrame, ndarray or nested list of shape (n_rows, n_columns)
            One table a task. Data frames may order their columns differently.
        names : sequence of str, default=None
            Names of the tasks, for error messages.

        Returns
        -------
        TableEncoder
            self.

        Raises
        ------
        ValueError
            If a parameter is out of range, a table is malformed, tables have different columns,
            or a column holds free text, dates or infinity.
        TypeError
            If a table is sparse or lazy, or holds values that are neither numbers nor strings.
        """
        check_parameters(**self.get_params())
        tables = read_tables(Xs, names, None, type(self).__name__)
        table, offsets = concatenate(tables)
        self._remember_columns(table.n_columns, table.names)
        self._layout = self._learn_layout(table)
        Z = self._layout.encode(table, self.clip)
        for name, array in zip(_TASK_ARRAYS, task_statistics(Z, offsets), strict=True):
            setattr(self, f"{name}_", array)
        return self

    def transform(self, X: Any, *, estimator_name: str = "TableEncoder") -> np.ndarray:
        """Encode one table.

        Parameters
        ----------
        X : DataFrame, ndarray or nested list of shape (n_rows, `n_features_in_`)
            Columns of a data frame are matched by name, else by position.
        estimator_name : str, default="TableEncoder"
            Whom the message names if X has the wrong number of columns.

        Returns
        -------
        ndarray of shape (n_rows, d), float32
            Finite.

        Raises
        ------
        ValueError
            If columns differ from those seen in fit, or X holds infinity or text for numbers.
        TypeError
            If X is sparse or lazy, or holds values that are neither numbers nor strings.
        """
        self._check_fitted()
        table = match(read_table(X), self._reference(), estimator_name)
        self._layout.check_numbers(table)
        return self._layout.encode(table, self.clip)

    def transform_many(
        self,
        Xs: Sequence[Any],
        *,
        names: Sequence[str] | None = None,
        estimator_name: str = "TableEncoder",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode many tables at once: the numbers of `transform`, at a fraction of its time.

        Parameters
        ----------
        Xs, names
            As in `fit`.
        estimator_name
            As in `transform`.

        Returns
        -------
        Z : ndarray of shape (n_rows of all tables, d), float32
        offsets : ndarray of shape (n_tables + 1,), int64
            Table t is `Z[offsets[t]:offsets[t + 1]]`.

        Raises
        ------
        ValueError, TypeError
            As in `transform`, with the task's name.
        """
        self._check_fitted()
        layout = self._layout
        tables = read_tables(Xs, names, self._reference(), estimator_name, layout.check_numbers)
        table, offsets = concatenate(tables)
        return layout.encode(table, self.clip), offsets

    def columns(self) -> list[EncodedColumn]:
        """Encoded columns as other tables may know them: here, where all share one set, not."""
        self._check_fitted()
        return [EncodedColumn(None, "number", math.nan)] * self.n_features_out_

    def novelty(self, Z: np.ndarray) -> np.ndarray:
        """How far the columns of one task lie from those of the meta-training tasks.

        Parameters
        ----------
        Z : ndarray of shape (..., n_rows, d)
            Encoded rows of one task, or of many tasks of one size.

        Returns
        -------
        ndarray of shape (..., d), float64
            Distance of the median row from the typical task, over the distance that a task with
            as many rows has typically. Values of about 1 are usual; values far above that say
            that the column is in other units. One-hot columns, indicators and other columns of
            two values are 0 as long as the median is between these values.
        """
        self._check_fitted()
        layout = self._layout
        tasks = [getattr(self, f"{name}_") for name in _TASK_ARRAYS]
        return column_novelty(Z, layout.usual_low, layout.usual_high, *tasks)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the encoded columns.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn's interface.

        Returns
        -------
        ndarray of str objects, shape (d,)
        """
        self._check_fitted()
        names, n_columns = self._reference()
        inputs = list(names) if names else [f"x{j}" for j in range(n_columns)]
        return np.array(self._layout.names(inputs), dtype=object)

    def to_dict(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Export as a JSON-able dict and named arrays."""
        self._check_fitted()
        names, n_columns = self._reference()
        categories, arrays = export_layout(self._layout)
        config = {
            **{name: _plain(value) for name, value in self.get_params().items()},
            "n_features_in": n_columns,
            "feature_names_in": list(names) if names else None,
            "categories": categories,
        }
        arrays |= {name: getattr(self, f"{name}_").copy() for name in _TASK_ARRAYS}
        return config, arrays

    @classmethod
    def from_dict(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> TableEncoder:
        """Read back what `to_dict` gave; the same bits.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        owner, encoder = cls.__name__, cls()
        parameters = list(encoder.get_params())
        keys = [*parameters, "n_features_in", "feature_names_in", "categories"]
        check_keys(owner, config, keys, "the configuration")
        check_keys(owner, arrays, [*array_names(), *_TASK_ARRAYS], "the set of arrays")
        encoder.set_params(**{name: config[name] for name in parameters})
        try:
            check_parameters(**encoder.get_params())
        except ValueError as error:
            raise Damaged(owner, str(error)) from error
        n_columns = config["n_features_in"]
        if type(n_columns) is not int or n_columns < 1:
            raise Damaged(owner, f"n_features_in must be a positive int, got {n_columns!r}")
        encoder._restore_columns(n_columns, config["feature_names_in"])
        encoder._layout = import_layout(owner, n_columns, config["categories"], arrays)
        for name in _TASK_ARRAYS:
            shape = (encoder.n_features_out_,)
            array = check_array(owner, name, arrays[name], shape, np.float64)
            setattr(encoder, f"{name}_", array)
        return encoder

    def _learn_layout(self, table: Table) -> Layout:
        return learn_layout(table, self.max_levels, self.min_frequency)

    @property
    def n_features_out_(self) -> int:
        """Number of encoded columns."""
        return self._layout.width


def _plain(value: Any) -> Any:
    """Turn a numpy number into Python's, for JSON."""
    return value.item() if isinstance(value, np.generic) else value
