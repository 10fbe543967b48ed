"""Where prior means start: pooled linear models over the rows of all tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV

from sklearn_meta.learners._heads import FEATURE_SETS
from sklearn_meta.tasks import TaskStore

ALPHAS = np.logspace(-2, 4, 13)
MAX_ROWS = 20_000


def ridge_start(store: TaskStore, kinds: Sequence[str], n_trees: int) -> np.ndarray:
    """Coefficients (n_kinds, 1 + n_columns, k) of pooled ridge regressions.

    Parameters
    ----------
    store : TaskStore
        Its last `n_trees` columns are the out-of-fold predictions of the trees.
    kinds : sequence of str
        From `FEATURE_SETS`. A head with a network starts at 0, which suits it better: its features
        are still to be learned. The tree head starts at the trees themselves.
    n_trees : int
    """
    rows, n_columns = _some_rows(store), store.x.shape[1]
    n_targets = store.y.shape[1]
    start = np.zeros((len(kinds), 1 + n_columns, n_targets), np.float32)
    for coef, kind in zip(start, kinds, strict=True):
        row, tree, network = FEATURE_SETS[kind]
        columns = np.arange(n_columns if tree else n_columns - n_trees)
        if network:
            continue
        if not row:
            coef[1 + n_columns - n_trees :] = np.eye(n_trees, n_targets)
            continue
        ridge = RidgeCV(ALPHAS).fit(store.x[rows][:, columns], store.y[rows])
        coef[0] = ridge.intercept_
        coef[1 + columns] = np.reshape(ridge.coef_, (n_targets, -1)).T
    return start


def logistic_start(
    store: TaskStore, kinds: Sequence[str], n_trees: int, n_classes: int
) -> np.ndarray:
    """Coefficients (n_kinds, 1 + n_columns, n_classes) of pooled logistic regressions, centred.

    Parameters
    ----------
    store, kinds, n_trees
        As in `ridge_start`; here heads with a network start at the pooled model of their columns.
    n_classes : int
    """
    rows, n_columns = _some_rows(store), store.x.shape[1]
    start = np.zeros((len(kinds), 1 + n_columns, n_classes), np.float32)
    fitted: dict[tuple[bool, bool], np.ndarray] = {}
    for coef, kind in zip(start, kinds, strict=True):
        row, tree, _ = FEATURE_SETS[kind]
        if (row, tree) not in fitted:
            columns = np.r_[
                np.arange(n_columns - n_trees if row else 0),
                np.arange(n_columns - n_trees, n_columns if tree else n_columns - n_trees),
            ].astype(int)
            fitted[row, tree] = _logistic(store.x[rows], store.y[rows], columns, n_classes)
        coef[:] = fitted[row, tree]
    return start


def _logistic(x: np.ndarray, y: np.ndarray, columns: np.ndarray, n_classes: int) -> np.ndarray:
    model = LogisticRegression(C=0.1, tol=1e-3, max_iter=300).fit(x[:, columns], y)
    weights = np.column_stack([model.intercept_, model.coef_])
    if len(model.classes_) == 2:
        weights = np.concatenate([-weights / 2, weights / 2])
    coef = np.zeros((1 + x.shape[1], n_classes))
    # A class that these rows lack is unlikely, not as likely as the average one.
    coef[0] = weights[:, 0].min() - 1
    coef[np.ix_(np.r_[0, 1 + columns], model.classes_)] = weights.T
    return coef - coef.mean(1, keepdims=True)


def _some_rows(store: TaskStore) -> slice:
    return slice(None, None, max(1, len(store.x) // MAX_ROWS))
