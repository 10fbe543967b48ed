"""Gradient boosting, where rows are many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from torch import Tensor

from sklearn_meta.learners.experts._expert import Expert, Table, noise_of

MIN_ROWS = 1000
N_FOLDS = 3
N_ROUNDS = 60
MAX_LEAVES = 15
#: Weight of the even distribution that is mixed into the probabilities.
SMOOTHING = (0.01, 0.05)


@dataclass(frozen=True, eq=False, slots=True)
class BoostingState:
    """Fitted ensembles: for each task of the batch, one that misses each fold."""

    ensembles: tuple[tuple[Any, ...], ...]
    n_classes: int
    noise: Tensor | None  # (B, 1)


class Boosting(Expert):
    """Scikit-learn's histogram gradient boosting, cross-fitted; a new row gets the mean.

    G. Ke et al. (2017). LightGBM: a highly efficient gradient boosting decision tree.
    """

    def __init__(self) -> None:
        self.n_variants = {"regression": 1, "classification": len(SMOOTHING)}

    def serves(self, n_rows: int) -> bool:
        return n_rows > MIN_ROWS

    def fit(self, table: Table) -> tuple[Tensor, BoostingState]:
        classes = table.codes is not None
        n_classes = table.targets.shape[-1]
        y = table.codes if classes else table.targets[..., 0]
        make = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        ensembles, left_out = [], []
        for values, target, order in zip(table.values, y, table.order, strict=True):
            order = order.cpu().numpy()
            rows, target = _plain(values)[order], target.cpu().numpy()[order]
            fold = np.arange(len(rows)) % N_FOLDS
            foreseen = np.zeros((len(rows), n_classes))
            mine = []
            for f in range(N_FOLDS):
                model = make(
                    max_iter=N_ROUNDS,
                    max_leaf_nodes=MAX_LEAVES,
                    early_stopping=False,
                    random_state=0,  # else NumPy's global generator would be drawn from
                ).fit(rows[fold != f], target[fold != f])
                mine.append(model)
                foreseen[fold == f] = _predict(model, rows[fold == f], n_classes)
            ensembles.append(tuple(mine))
            left_out.append(foreseen[order.argsort()])
        foreseen = torch.from_numpy(np.stack(left_out)).to(table.values)
        noise = None
        if not classes:
            errors = (table.targets - foreseen)[..., 0].square()
            noise = noise_of(errors, table.targets)[:, None]
        return _forecast(foreseen, noise), BoostingState(tuple(ensembles), n_classes, noise)

    def predict(self, state: BoostingState, values: Tensor, kept: Tensor) -> Tensor:
        found = [
            np.mean([_predict(one, _plain(rows), state.n_classes) for one in mine], axis=0)
            for mine, rows in zip(state.ensembles, values, strict=True)
        ]
        return _forecast(torch.from_numpy(np.stack(found)).to(values), state.noise)[:, kept]


def _plain(values: Tensor) -> np.ndarray:
    """Standardised columns without their ranks, which tell a tree no more."""
    return values.chunk(2, -1)[0].cpu().numpy()


def _predict(model: Any, rows: np.ndarray, n_classes: int) -> np.ndarray:
    """Numbers (n, 1), or probabilities (n, C) of all classes."""
    if n_classes == 1 and not hasattr(model, "classes_"):
        return model.predict(rows)[:, None]
    full = np.zeros((len(rows), n_classes))
    # Of a single class there are two columns, the second being for none.
    full[:, model.classes_] = model.predict_proba(rows)[:, : len(model.classes_)]
    return full


def _forecast(foreseen: Tensor, noise: Tensor | None) -> Tensor:
    if noise is not None:
        mean = foreseen[..., 0]
        return torch.stack([mean, noise.log().expand_as(mean)], -1)[:, None]
    even = torch.tensor(SMOOTHING, dtype=foreseen.dtype, device=foreseen.device)[:, None, None]
    return ((1 - even) * foreseen[:, None] + even / foreseen.shape[-1]).log()
