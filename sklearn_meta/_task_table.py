"""One long table whose column says to which task each row belongs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_meta._learn_prior import learn_prior
from sklearn_meta._learning import new_table_encoder
from sklearn_meta.tasks import Task
from sklearn_meta.tasks._arrays import as_table, is_dataframe
from sklearn_meta.tasks._table import group_codes, pop_column

if TYPE_CHECKING:
    from sklearn_meta._estimator import MetaEstimator


@dataclass(frozen=True)
class TaskTable:
    """A table without its task column, and the rows of each task.

    Attributes
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns - 1)
    rows : dict of str to ndarray of int
        Positions of the rows of each task, in order of first appearance.
    n_features : int
        Number of columns with the task column.
    feature_names : ndarray of str objects or None
        Their names.
    """

    X: Any
    rows: dict[str, np.ndarray]
    n_features: int
    feature_names: np.ndarray | None

    def tasks(self, y: np.ndarray) -> list[Task]:
        """Return the tasks of the table."""
        take = self.X.iloc if hasattr(self.X, "iloc") else self.X
        return [Task(take[rows], y[rows], name=name) for name, rows in self.rows.items()]


@dataclass(frozen=True)
class TableModels:
    """One fitted estimator for each task of a table.

    Attributes
    ----------
    column : str or int
        That says to which task a row belongs.
    estimators : dict of str to MetaEstimator
    """

    column: str | int
    estimators: dict[str, MetaEstimator]

    def apply(
        self, owner: MetaEstimator, X: Any, call: Callable[[MetaEstimator, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Apply `call` to the encoded rows of X, each with the estimator of its task.

        Rows of unknown tasks are left to `owner`, or refused where it says so.

        Raises
        ------
        ValueError
            If a task is unknown and ``handle_unknown_task="error"``.
        """
        table = split_table(X, self.column, type(owner).__name__, owner.n_features_in_)
        unknown = [name for name in table.rows if name not in self.estimators]
        if unknown:
            self._report(owner, unknown)
        z = owner._encode(owner._adapted.model, table.X)
        out: np.ndarray | None = None
        for name, rows in table.rows.items():
            part = call(self.estimators.get(name, owner), z[rows])
            if out is None:
                out = np.empty((len(z), *part.shape[1:]), dtype=part.dtype)
            out[rows] = part
        return out

    def _report(self, owner: MetaEstimator, names: list[str]) -> None:
        shown = ", ".join(map(repr, names[:5])) + (" ..." if len(names) > 5 else "")
        message = f"Column {self.column!r} names {len(names)} task(s) not seen in fit: {shown}"
        if owner.handle_unknown_task == "error":
            raise ValueError(f"{message}; fit with rows of each, or handle_unknown_task='prior'.")
        warnings.warn(f"{message}. They are predicted from the prior.", UserWarning, stacklevel=5)


def fit_table(estimator: MetaEstimator, X: Any, y: Any) -> dict[str, Any]:
    """Adapt to every task of one table, after meta-training on them where there is no prior.

    Parameters
    ----------
    estimator : MetaEstimator
        With ``task_column``; it is left as it is.
    X : DataFrame or array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,) or (n_rows, n_outputs)

    Returns
    -------
    dict
        Fitted attributes.
    """
    if estimator.handle_unknown_task not in ("prior", "error"):
        raise ValueError(
            f"handle_unknown_task is {estimator.handle_unknown_task!r}, expected 'prior' or "
            "'error'."
        )
    y = estimator._check_rows(X, y)
    table = split_table(X, estimator.task_column, type(estimator).__name__, None)
    tasks, extra = table.tasks(y), {}
    prior = estimator._prior_or_none()
    if prior is None:
        prior, extra["history_"] = learn_prior(estimator, tasks)
    base = estimator._copy(prior)
    base.task_column = None
    classes = base._classes_of_table(y)
    model = base._model_of(prior)
    if model.is_open:
        # All tasks have the columns of one table: what they are is learned from all its rows.
        encoder = new_table_encoder(base.preprocessor, prior).fit([table.X])
        model = base._open(model, encoder, y, classes)
    estimators = base._adapt_many(tasks, classes, model)
    # Rows of a task that is not there are foretold without any support.
    nothing = np.zeros((0, model.signature.n_inputs), np.float32)
    fitted = base._fit_encoded(prior, model, nothing, y[:0], classes)
    fitted |= extra | {
        "_tasks": TableModels(estimator.task_column, estimators),
        "n_features_in_": table.n_features,
        "prior_weight_": float(np.mean([one.prior_weight_ for one in estimators.values()])),
        "novelty_": max(one.novelty_ for one in estimators.values()),
    }
    if table.feature_names is not None:
        fitted["feature_names_in_"] = table.feature_names
    return fitted


def split_table(X: Any, task_column: str | int, owner: str, n_features: int | None) -> TaskTable:
    """Split a table by one of its columns.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_rows, n_columns)
    task_column : str or int
        Name or index of the column.
    owner : str
        Whom messages name.
    n_features : int or None
        Number of columns that X must have.

    Raises
    ------
    ValueError
        If there is no such column, a row has no task, or the number of columns is another.
    """
    X = as_table(X, owner)
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, but {owner} is expecting {n_features} features as input."
        )
    names = None
    if is_dataframe(X) and all(isinstance(name, str) for name in X.columns):
        names = np.array(list(X.columns), dtype=object)
    rest, ids = pop_column(X, task_column)
    codes, labels = group_codes(ids)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes, minlength=len(labels)))[:-1])
    return TaskTable(rest, dict(zip(labels, parts, strict=True)), X.shape[1], names)
