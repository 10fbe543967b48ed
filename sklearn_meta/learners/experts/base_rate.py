"""What is known without looking at any column."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sklearn_meta.learners.experts._expert import Expert, Table, noise_of

#: Rows of each class, or at the prior mean of a number, that there are beforehand.
PSEUDO_ROWS = (0.1, 1.0)


@dataclass(frozen=True, eq=False, slots=True)
class BaseState:
    """One forecast for all rows."""

    forecast: Tensor  # (B, V, 1, C) or (B, V, 1, 2)


class BaseRate(Expert):
    """Shares of the classes, or mean and variance of the numbers."""

    def __init__(self) -> None:
        self.n_variants = dict.fromkeys(("regression", "classification"), len(PSEUDO_ROWS))

    def fit(self, table: Table) -> tuple[Tensor, BaseState]:
        pseudo = torch.tensor(PSEUDO_ROWS, dtype=table.values.dtype, device=table.values.device)
        pseudo = pseudo[:, None, None]
        n = table.values.shape[1]
        if table.codes is not None:
            hot = one_hot(table.codes, table.targets.shape[-1]).to(pseudo.dtype)[:, None]
            counts = hot.sum(2, keepdim=True)
            left_out = (counts - hot + pseudo).log()
            overall = (counts + pseudo).log()
            return left_out.log_softmax(-1), BaseState(overall.log_softmax(-1))
        y = table.targets[..., 0][:, None]
        total = y.sum(-1, keepdim=True)
        means = (total - y) / (n - 1 + pseudo[..., 0]), total / (n + pseudo[..., 0])
        log_variance = noise_of((y - means[0]).square(), table.targets)[..., None].log()
        left_out, overall = (torch.stack([m, log_variance.expand_as(m)], -1) for m in means)
        return left_out, BaseState(overall)

    def predict(self, state: BaseState, values: Tensor, kept: Tensor) -> Tensor:
        return state.forecast[:, kept].expand(-1, -1, values.shape[1], -1)
