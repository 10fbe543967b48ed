"""Where prior means start: pooled linear models over the rows of all tasks."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV

from sklearn_meta.learners._heads import FEATURE_SETS
from sklearn_meta.tasks import TaskStore

ALPHAS = np.logspace(-2, 4, 13)
MAX_ROWS = 20_000


def ridge_start(store: TaskStore, kinds: tuple[str, ...], n_trees: int) -> np.ndarray:
    """Coefficients (n_kinds, 1 + n_columns, k) of pooled ridge regressions.

    Parameters
    ----------
    store : TaskStore
        Its last `n_trees` columns are the out-of-fold predictions of the trees.
    kinds : tuple of str
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


def logistic_start(store: TaskStore, kinds: tuple[str, ...], n_trees: int, n_classes: int):
    """Coefficients (n_kinds, 1 + n_columns, n_classes) of pooled logistic regressions, centred.

    Parameters
    ----------
    store, kinds, n_trees
        As in `ridge_start`.
    n_classes : int
    """
    rows, n_columns = _some_rows(store), store.x.shape[1]
    start = np.zeros((len(kinds), 1 + n_columns, n_classes), np.float32)
    for coef, kind in zip(start, kinds, strict=True):
        row, tree, network = FEATURE_SETS[kind]
        columns = np.arange(n_columns if tree else n_columns - n_trees)
        if network:
            continue
        if not row:
            coef[1 + n_columns - n_trees :] = np.eye(n_trees, n_classes)
            continue
        model = LogisticRegression(C=0.05, max_iter=300).fit(
            store.x[rows][:, columns], store.y[rows]
        )
        weights = np.concatenate([model.intercept_[:, None], model.coef_], 1)
        if len(model.classes_) == 2:
            weights = np.concatenate([-weights / 2, weights / 2])
        coef[np.ix_(np.r_[0, 1 + columns], model.classes_)] = weights.T
    return start - start.mean(2, keepdims=True)


def _some_rows(store: TaskStore) -> slice:
    return slice(None, None, max(1, len(store.x) // MAX_ROWS))
