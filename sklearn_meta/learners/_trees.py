"""Pooled boosting over all tasks as row features: fitted by scikit-learn, evaluated by us."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import log_softmax, logsumexp
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.model_selection import GroupKFold
from torch import Tensor, nn

from sklearn_meta.tasks import TaskStore

N_FOLDS = 3
LOWEST_LOG_P = -6.0
MAX_DEPTH = 4
MAX_ROWS = 6000  # a fold's ensemble sees at most so many rows: more change little and cost seconds
UNSEEN = -6.0  # log-odds of a class that no task of an ensemble had
_ROWS_AT_ONCE = 256  # rows x splits stay in the cache


def out_of_fold_boosting(
    store: TaskStore, n_classes: int, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Fit boosted trees over the rows of all tasks, with whole tasks left out in turn.

    Each of the ensembles misses a fold of the tasks. A row of a meta-training task gets the
    prediction of the one that did not see its task; a row of a new task gets the mean of all. The
    number of rounds is the one that predicts the tasks left out best.

    Parameters
    ----------
    store : TaskStore
        At least two tasks.
    n_classes : int
        0 for regression.
    rng : numpy.random.Generator

    Returns
    -------
    features : float32 ndarray of shape (n_rows, n_features)
        Out-of-fold predictions, one column a target or the centred log-odds of each class,
        in units of their spread.
    trees : dict of str to ndarray
        Weights of a `TreeFeatures` module.
    """
    tasks = store.task_of_row
    targets = [store.y] if n_classes else list(store.y.T)
    folds = list(GroupKFold(min(N_FOLDS, store.n_tasks)).split(store.x, groups=tasks))
    columns, exported = [], []
    for y in targets:
        column, trees = _cross_fit(store.x, y, folds, n_classes, rng)
        columns.append(column)
        exported.append(trees)
    arrays = {key: np.concatenate([trees[key] for trees in exported]) for key in exported[0]}
    # Ensembles of several targets: each has its own column.
    arrays["column"] += np.repeat(np.arange(len(exported)), [len(t["column"]) for t in exported])
    features = np.concatenate(columns, axis=1)
    if n_classes:
        features = _centred_log_p(features)
        arrays["spread"] = features.std(keepdims=True)[0] + 1e-3
        features /= arrays["spread"]
    else:
        arrays["spread"] = np.ones(1)
    return features.astype(np.float32), arrays


class TreeFeatures(nn.Module):
    """Sums of complete binary trees, one column an output.

    Parameters
    ----------
    arrays : dict of str to ndarray
        ``feature`` and ``threshold`` of shape (n_trees, n_splits), in heap order; ``value`` of
        shape (n_trees, n_splits + 1), one a leaf; ``column`` of shape (n_trees,), the output of
        each tree; ``offset`` of shape (n_columns,); ``spread`` of shape (1,). For classes the
        columns are those of one ensemble after the other.
    n_classes : int
        0 for regression, where the ensembles' trees are one sum. Else the outputs are mean log
        probabilities over the ensembles, centred over the classes, in units of their spread.
    """

    ARRAYS = ("feature", "threshold", "value", "column", "offset", "spread")

    def __init__(self, arrays: dict[str, np.ndarray], n_classes: int):
        super().__init__()
        self.n_classes = n_classes
        for name in ("feature", "column"):
            self.register_buffer(name, torch.tensor(arrays[name], dtype=torch.int64))
        for name in ("threshold", "value", "offset", "spread"):
            self.register_buffer(name, torch.tensor(arrays[name], dtype=torch.float32))
        # A product with zeros and ones sums the trees of each column faster than indices do.
        owner = torch.arange(len(self.offset))[:, None] == self.column
        self.register_buffer("owner", owner.to(torch.float32), persistent=False)

    @property
    def n_outputs(self) -> int:
        """Number of columns."""
        return self.n_classes or self.offset.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Predict rows (..., n_inputs) -> (..., n_outputs)."""
        rows = x.reshape(-1, x.shape[-1]).to(torch.float32)
        out = torch.cat([self._sum(part.T) for part in rows.split(_ROWS_AT_ONCE)], 1).T
        if self.n_classes:
            log_p = out.unflatten(1, (-1, self.n_classes)).log_softmax(-1).clamp_min(LOWEST_LOG_P)
            out = log_p.mean(1)
            out = (out - out.mean(-1, keepdim=True)) / self.spread
        return out.reshape(*x.shape[:-1], self.n_outputs).to(x.dtype)

    def _sum(self, x: Tensor) -> Tensor:
        """Outputs (n_outputs, n) of rows given as columns (n_inputs, n).

        All splits are decided, then subtrees are folded from the leaves up: more comparisons than
        a walk down the tree, but each is on contiguous memory, which is ten times faster.
        """
        n_splits = self.feature.shape[1]
        right = x.contiguous()[self.feature.flatten()] > self.threshold.flatten()[:, None]
        right = right.view(len(self.feature), n_splits, x.shape[1])
        value = self.value[..., None]
        while n_splits:
            first, n_splits = n_splits // 2, n_splits // 2
            level = right[:, first : 2 * first + 1]
            value = torch.where(level, value[:, 1::2], value[:, 0::2])
        return self.offset[:, None] + self.owner @ value[:, 0]


def _cross_fit(x, y, folds, n_classes, rng):
    """Fit one ensemble a fold; return out-of-fold outputs and the trees of their mean."""
    ensembles, staged = [], []
    for train, held in folds:
        if len(train) > MAX_ROWS:
            train = rng.choice(train, MAX_ROWS, replace=False)
        ensembles.append(_ensemble(len(train), n_classes, rng).fit(x[train], y[train]))
        staged.append(np.stack(list(_stages(ensembles[-1], x[held], n_classes))))
    losses = [_loss(out, y[held], n_classes) for out, (_, held) in zip(staged, folds, strict=True)]
    best = int(np.argmin(np.sum(losses, axis=0)))
    outputs = np.empty((len(x), staged[0].shape[2]))
    for out, (_, held) in zip(staged, folds, strict=True):
        outputs[held] = out[best]
    exported = [_export(ensemble, best + 1, n_classes, x[:1]) for ensemble in ensembles]
    trees = {key: np.concatenate([e[key] for e in exported]) for key in exported[0]}
    if n_classes:
        trees["column"] += n_classes * np.repeat(
            np.arange(len(exported)), [len(e["column"]) for e in exported]
        )
    else:
        trees["value"] /= len(exported)
        trees["offset"] = trees["offset"].reshape(len(exported), -1).mean(0)
    return outputs, trees


def _centred_log_p(log_odds: np.ndarray) -> np.ndarray:
    log_p = np.maximum(log_softmax(log_odds, axis=1), LOWEST_LOG_P)
    return log_p - log_p.mean(axis=1, keepdims=True)


def _ensemble(n_rows, n_classes, rng):
    """Boosting with weak trees: many rows can bear fewer columns a split and larger leaves."""
    common = {
        "max_depth": MAX_DEPTH,
        "subsample": 0.5,
        "min_samples_leaf": min(20, max(3, n_rows // 50)),
        "random_state": int(rng.integers(2**31)),
    }
    if n_classes:
        return GradientBoostingClassifier(
            n_estimators=80, learning_rate=0.1, max_features="sqrt", **common
        )
    return GradientBoostingRegressor(
        n_estimators=150, learning_rate=0.15, max_features=0.5, **common
    )


def _stages(ensemble, x, n_classes):
    """Outputs (n_rows, n_columns) after each round: predictions or log-odds of all classes."""
    if n_classes:
        for out in ensemble.staged_decision_function(x):
            yield _spread(out, ensemble.classes_, n_classes)
    else:
        yield from (out[:, None] for out in ensemble.staged_predict(x))


def _spread(out, classes, n_classes):
    """Log-odds of the classes that an ensemble saw -> of all classes; the others are unlikely."""
    if out.shape[1] == 1:
        out = np.concatenate([-out / 2, out / 2], 1)
    spread = np.full((len(out), n_classes), UNSEEN)
    spread[:, classes] = out
    return spread


def _loss(staged, y, n_classes):
    """Loss of each round (n_rounds,), summed over rows."""
    if not n_classes:
        return ((staged[..., 0] - y) ** 2).sum(1)
    return (logsumexp(staged, axis=2) - staged[:, np.arange(len(y)), y]).sum(1)


def _export(ensemble, n_rounds, n_classes, x):
    """Arrays of the first rounds of an ensemble, through the public `tree_` of its trees."""
    trees = ensemble.estimators_[:n_rounds]
    columns = ensemble.classes_ if n_classes else np.zeros(1, int)
    if trees.shape[1] < len(columns):  # two classes, one tree a round: minus and plus half of it
        trees, halves = np.repeat(trees, 2, axis=1), np.array([-0.5, 0.5])
    else:
        halves = np.ones(len(columns))
    heaps = [_to_heap(tree.tree_) for tree in trees.flat]
    rate = np.tile(ensemble.learning_rate * halves, n_rounds)[:, None]
    # What the trees do not explain of an output is the constant before the first round.
    first = next(_stages(ensemble, x, n_classes))[0]
    for column, tree, half in zip(columns, trees[0], halves, strict=True):
        first[column] -= ensemble.learning_rate * half * tree.predict(x)[0]
    return {
        "feature": np.stack([heap[0] for heap in heaps]),
        "threshold": np.stack([heap[1] for heap in heaps]),
        "value": np.stack([heap[2] for heap in heaps]) * rate,
        "column": np.tile(columns, n_rounds),
        "offset": first,
    }


def _to_heap(tree):
    """A tree as a complete one: feature and threshold of its splits, value of its leaves."""
    n_splits = 2**MAX_DEPTH - 1
    node = np.zeros(2 * n_splits + 1, dtype=np.int64)
    for i in range(n_splits):
        leaf = tree.children_left[node[i]] < 0
        # Below a leaf of the tree every path leads to its value.
        node[2 * i + 1] = node[i] if leaf else tree.children_left[node[i]]
        node[2 * i + 2] = node[i] if leaf else tree.children_right[node[i]]
    splits = node[:n_splits]
    is_split = tree.children_left[splits] >= 0
    threshold = tree.threshold[splits]
    # x <= t for float32 x and float64 t is x <= (t rounded down to float32).
    rounded = threshold.astype(np.float32)
    rounded = np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return (
        np.where(is_split, tree.feature[splits], 0),
        np.where(is_split, rounded, np.finfo(np.float32).max),
        tree.value[node[n_splits:], 0, 0],
    )
