"""Do labels mean the same in every task? Asked of tasks left out, not of the labels' values."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MAX_ROWS = 4000
N_FOLDS = 3
STANDARD_ERRORS = 2.0


def classes_are_shared(
    x: np.ndarray, y: np.ndarray, task: np.ndarray, rng: np.random.Generator
) -> bool:
    """Tell whether models of other tasks foresee the labels of a task.

    Each task is predicted by pooled models of other tasks, restricted to the labels that it has
    (to all, where it has one).
    If labels meant nothing beyond a task, no such model could do better than chance among them.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_columns)
    y : int ndarray of shape (n_rows,)
        Codes of the labels by value.
    task : int ndarray of shape (n_rows,)
    rng : numpy.random.Generator

    Returns
    -------
    bool
        Whether the mean gain in log likelihood over chance is more than two standard errors
        (over tasks) above 0.
    """
    pairs = np.unique(np.stack([task, y]), axis=1)
    if np.bincount(pairs[1]).max() < 2:  # no label is in two tasks: none can be foreseen
        return False
    if len(y) > MAX_ROWS:
        rows = np.sort(rng.choice(len(y), MAX_ROWS, replace=False))
        x, y, task = x[rows], y[rows], task[rows]
    n_tasks = len(np.unique(task))
    n_classes = int(y.max()) + 1
    if n_tasks < 2:
        return False
    gains = []
    seed = int(rng.integers(2**31))
    for train, held in GroupKFold(min(N_FOLDS, n_tasks)).split(x, groups=task):
        if len(np.unique(y[train])) < 2:
            continue
        models = (
            ExtraTreesClassifier(50, min_samples_leaf=3, random_state=seed),
            make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, tol=1e-3)),
        )
        p = np.mean([_predict(m.fit(x[train], y[train]), x[held], n_classes) for m in models], 0)
        for t in np.unique(task[held]):
            own = task[held] == t
            labels = np.unique(y[held][own])
            # A task of one label says something too: how likely that label is among all.
            labels = labels if len(labels) > 1 else np.arange(n_classes)
            among = p[own][:, labels]
            chosen = p[own, y[held][own]] / among.sum(axis=1)
            gains.append(np.log(chosen).mean() + np.log(len(labels)))
    if len(gains) < 2:
        return False
    return bool(np.mean(gains) > STANDARD_ERRORS * np.std(gains, ddof=1) / np.sqrt(len(gains)))


def _predict(model, x: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities of all classes; none is impossible."""
    p = np.full((len(x), n_classes), 1e-3)
    p[:, model.classes_] += model.predict_proba(x)
    return p / p.sum(axis=1, keepdims=True)
