"""Naive Bayes with shrunken means and a temperature for the dependence of columns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sklearn_meta.learners.experts._expert import Expert, Table

#: Rows at the mean of all that every class has beforehand.
PSEUDO_ROWS = (1.0, 4.0, 16.0)
#: Share of the columns that count as independent.
INDEPENDENCE = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False, slots=True)
class BayesState:
    """Sums and numbers of the rows of each class."""

    sums: Tensor  # (B, C, c)
    counts: Tensor  # (B, C)


class NaiveBayes(Expert):
    """Normal classes of one variance, whose means are shrunken towards that of all.

    R. Tibshirani, T. Hastie, B. Narasimhan, G. Chu (2002). Diagnosis of multiple cancer types by
    shrunken centroids of gene expression.

    Parameters
    ----------
    ranks : bool
        Whether it sees the ranks of the columns, else their values.
    """

    def __init__(self, ranks: bool):
        self.ranks = ranks
        self.n_variants = {
            "regression": 0,
            "classification": len(PSEUDO_ROWS) * len(INDEPENDENCE),
        }

    def fit(self, table: Table) -> tuple[Tensor, BayesState]:
        values = self._half(table.values)
        hot = one_hot(table.codes, table.targets.shape[-1]).to(values.dtype)
        sums, counts = hot.mT @ values, hot.sum(1)
        # Without the row itself: only the class that it belongs to has another mean.
        sums_left = sums[:, None] - hot[..., None] * values[:, :, None]
        counts_left = counts[:, None] - hot
        return _forecast(values, sums_left, counts_left), BayesState(sums, counts)

    def predict(self, state: BayesState, values: Tensor, kept: Tensor) -> Tensor:
        values = self._half(values)
        return _forecast(values, state.sums[:, None], state.counts[:, None])[:, kept]

    def _half(self, values: Tensor) -> Tensor:
        return values.chunk(2, -1)[int(self.ranks)]


def _forecast(values: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
    """Log probabilities (B, V, n, C); sums (B, n or 1, C, c) and counts (B, n or 1, C)."""
    # |x - s / N|^2 without a tensor of rows, classes and columns where sums are those of all rows
    products = (sums @ values[..., None])[..., 0] if sums.shape[1] > 1 else values @ sums[:, 0].mT
    squares = sums.square().sum(-1)
    own = values.square().sum(-1)[..., None]
    prior = (counts + 1).log()
    out = []
    for pseudo in PSEUDO_ROWS:
        total = counts + pseudo
        distance = own - 2 * products / total + squares / total.square()
        for share in INDEPENDENCE:
            out.append((prior - share / 2 * distance).log_softmax(-1))
    return torch.stack(out, 1)
