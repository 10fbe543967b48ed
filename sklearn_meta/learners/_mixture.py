"""The experts on one table, and the mixture that a gate makes of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sklearn_meta.learners._gate import LOWEST_SCORE, Gate, facts_of
from sklearn_meta.learners.experts import EXPERTS, Table, log_score
from sklearn_meta.learners.experts._columns import Columns

#: Variants are dropped that together have less than this share.
DROPPED = 1e-3


@dataclass(frozen=True, eq=False)
class Panel:
    """All experts fitted to supports of one shape.

    Attributes
    ----------
    columns : Columns
    states : list
        One an expert; None where it has no variants.
    left_out : Tensor of shape (B, V, n)
        Log score of each row, foreseen from the others.
    facts : Tensor of shape (B, N_FACTS)
    relevance : Tensor of shape (B, c)
        Of the columns' values and ranks, see `relevance`.
    """

    columns: Columns
    states: list[Any]
    left_out: Tensor
    facts: Tensor
    relevance: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, n_classes: int | None) -> Panel:
        """Fit to rows (B, n, p) and numbers or codes of classes (B, n), at least one row."""
        table = Table.of(x, y, n_classes)
        states, scores = [], []
        kind = kind_of(n_classes)
        for expert in EXPERTS.values():
            if not expert.n_variants[kind]:
                states.append(None)
                continue
            forecast, state = expert.fit(table)
            states.append(state)
            scores.append(log_score(forecast, y))
        n, p = x.shape[1:]
        left_out = torch.cat(scores, 1).clamp_min(LOWEST_SCORE)
        total = left_out.sum(-1)
        skill = (total.amax(-1) - total[:, : EXPERTS["base_rate"].n_variants[kind]].amax(-1)) / n
        shares = None if n_classes is None else one_hot(y, n_classes).to(x.dtype).mean(1)
        return cls(table.columns, states, left_out, facts_of(n, p, shares, skill), table.relevance)

    def forecast(self, x: Tensor) -> Tensor:
        """Forecasts (B, V, rows, ...) of rows (B, rows, p) by all variants."""
        values = self.columns.values(x)
        return torch.cat(
            [
                expert.predict(state, values, slice(None))
                for expert, state in zip(EXPERTS.values(), self.states, strict=True)
                if state is not None
            ],
            1,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Mixture:
    """What is kept of a panel: the variants that matter, and their weights.

    Attributes
    ----------
    columns : Columns
    states : tuple
        Of the experts that are kept.
    names : tuple of str
        Of the same experts.
    kept : tuple of Tensor
        Positions of the variants of each that are kept.
    log_weight : Tensor of shape (B, V')
    relevance : Tensor of shape (B, c)
        Of the columns' values and ranks, see `relevance`.
    evidence : Tensor of shape (B,)
        Log score of all rows of the support, each foreseen from the others.
    """

    columns: Columns
    states: tuple[Any, ...]
    names: tuple[str, ...]
    kept: tuple[Tensor, ...]
    log_weight: Tensor
    relevance: Tensor
    evidence: Tensor

    @classmethod
    def of(cls, panel: Panel, gate: Gate) -> Mixture:
        """Let the gate weigh the experts of a panel."""
        precision = gate.trust.dtype
        scores, facts = panel.left_out.sum(-1).to(precision), panel.facts.to(precision)
        log_weight = gate(scores, facts).to(panel.left_out.dtype)
        evidence = (log_weight[..., None] + panel.left_out).logsumexp(1).sum(-1)
        share = log_weight.detach().exp().mean(0)
        order = share.argsort(descending=True)
        needed = 1 + int((share[order].cumsum(0) < 1 - DROPPED).sum())
        used = torch.zeros_like(share, dtype=torch.bool)
        used[order[:needed]] = True
        states, names, kept, start = [], [], [], 0
        for (name, expert), state in zip(EXPERTS.items(), panel.states, strict=True):
            stop = start + expert.n_variants[gate.kind]
            own = used[start:stop].nonzero()[:, 0]
            start = stop
            if len(own):
                states.append(state)
                names.append(name)
                kept.append(own)
        log_weight = log_weight[:, used].log_softmax(-1)
        return cls(
            panel.columns,
            tuple(states),
            tuple(names),
            tuple(kept),
            log_weight,
            panel.relevance,
            evidence,
        )

    def forecast(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Forecasts (B, V', rows, ...) of rows (B, rows, p), and log weights (B, V')."""
        values = self.columns.values(x)
        parts = zip(self.names, self.states, self.kept, strict=True)
        return torch.cat(
            [EXPERTS[n].predict(s, values, k) for n, s, k in parts], 1
        ), self.log_weight

    def embedding(self, x: Tensor) -> Tensor:
        """Values and ranks (rows, c) of rows (rows, p), weighted by their mean relevance."""
        first = Columns(*(getattr(self.columns, f.name)[:1] for f in dataclasses.fields(Columns)))
        return first.values(x[None])[0] * self.relevance.mean(0).sqrt()


def kind_of(n_classes: int | None) -> str:
    """Kind of target that experts and gates know."""
    return "regression" if n_classes is None else "classification"
