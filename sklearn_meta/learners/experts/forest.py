"""A forest, which foresees every row by the trees that have not seen it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from torch import Tensor

from sklearn_meta.learners.experts._expert import Expert, Table, noise_of

MIN_ROWS = 128
N_TREES = 40
MIN_LEAF = 2
MAX_SAMPLES = 2000  # rows of a tree
FEATURES = {"regression": 0.4, "classification": "sqrt"}
#: Weight of the even distribution that is mixed into the votes.
SMOOTHING = (0.02, 0.1)


@dataclass(frozen=True, eq=False, slots=True)
class ForestState:
    """Fitted forests, one a task of the batch."""

    forests: tuple[Any, ...]
    order: tuple[Tensor, ...]  # of the columns
    n_classes: int
    noise: Tensor | None  # (B, 1)


class Forest(Expert):
    """Scikit-learn's random forests, where there are rows enough for them to matter.

    L. Breiman (2001). Random forests. Rows and columns are put in an order of their own first, so
    that the forest does not depend on the order in which they came.
    """

    def __init__(self) -> None:
        self.n_variants = {"regression": 1, "classification": len(SMOOTHING)}

    def serves(self, n_rows: int) -> bool:
        return n_rows > MIN_ROWS

    def fit(self, table: Table) -> tuple[Tensor, ForestState]:
        kind = "regression" if table.codes is None else "classification"
        forests, orders, left_out = [], [], []
        y = table.targets[..., 0] if table.codes is None else table.codes
        tables = zip(table.values, y, table.relevance, table.order, strict=True)
        for rows, target, relevance, order in tables:
            rows, order = rows.chunk(2, -1)[0].cpu().numpy(), order.cpu().numpy()
            columns = np.argsort(relevance.cpu().numpy()[: rows.shape[1]], kind="stable")
            make = RandomForestRegressor if kind == "regression" else RandomForestClassifier
            forest = make(
                N_TREES,
                min_samples_leaf=MIN_LEAF,
                max_features=FEATURES[kind],
                max_samples=min(MAX_SAMPLES, len(rows)),
                oob_score=True,
                random_state=0,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a row that every tree has seen
                forest.fit(rows[np.ix_(order, columns)], target.cpu().numpy()[order])
            seen = np.empty_like(order)
            seen[order] = np.arange(len(order))
            forests.append(forest)
            orders.append(torch.from_numpy(columns))
            left_out.append(
                _all_classes(forest, _out_of_bag(forest), table.targets.shape[-1])[seen]
            )
        foreseen = torch.from_numpy(np.stack(left_out)).to(table.values)
        noise = None
        if kind == "regression":
            errors = (table.targets[..., 0] - foreseen).square()
            noise = noise_of(errors, table.targets)[:, None]
        state = ForestState(tuple(forests), tuple(orders), table.targets.shape[-1], noise)
        return _forecast(foreseen, noise, table.targets.shape[-1]), state

    def predict(self, state: ForestState, values: Tensor, kept: Tensor) -> Tensor:
        found = []
        for forest, order, rows in zip(state.forests, state.order, values, strict=True):
            rows = rows.chunk(2, -1)[0][:, order].cpu().numpy()
            predict = forest.predict if state.noise is not None else forest.predict_proba
            found.append(_all_classes(forest, predict(rows), state.n_classes))
        foreseen = torch.from_numpy(np.stack(found)).to(values)
        return _forecast(foreseen, state.noise, foreseen.shape[-1])[:, kept]


def _out_of_bag(forest: Any) -> np.ndarray:
    """Predictions of the trees that have not seen a row; for want of one, of the mean."""
    if hasattr(forest, "oob_prediction_"):
        return forest.oob_prediction_
    votes = forest.oob_decision_function_
    known = votes.sum(1, keepdims=True) > 0
    return np.where(known, votes, votes[known[:, 0]].mean(0))


def _all_classes(forest: Any, votes: np.ndarray, n_classes: int) -> np.ndarray:
    """Votes for all classes, of which the forest may have seen but some."""
    if votes.ndim == 1:
        return votes
    full = np.zeros((len(votes), n_classes))
    full[:, forest.classes_] = votes
    return full


def _forecast(foreseen: Tensor, noise: Tensor | None, n_classes: int) -> Tensor:
    if noise is not None:
        return torch.stack([foreseen, noise.log().expand_as(foreseen)], -1)[:, None]
    even = torch.tensor(SMOOTHING, dtype=foreseen.dtype, device=foreseen.device)[:, None, None]
    return ((1 - even) * foreseen[:, None] + even / n_classes).log()
