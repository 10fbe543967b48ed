"""The experts on one table, and the mixture that a gate makes of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sklearn_meta.learners._gate import LOWEST_SCORE, Gate, facts_of
from sklearn_meta.learners._named_classes import NamedClasses, NamedClassesFit
from sklearn_meta.learners._named_table import NamedFit, NamedTable
from sklearn_meta.learners.experts import EXPERTS, SLOTS, Slot, Table, Warp, log_score
from sklearn_meta.learners.experts._columns import Columns

#: Variants are dropped that together have less than this share.
DROPPED = 1e-3
SMALLEST_SHARE = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """An expert fitted to one view of the target; `state` is None where it does not serve."""

    slot: Slot
    state: Any
    warp: Warp | None

    def forecast(self, values: Tensor, kept: Any) -> Tensor:
        """Forecasts (B, V', rows, ...) of rows (B, rows, c), in units of the target."""
        forecast = EXPERTS[self.slot.expert].predict(self.state, values, kept)
        return forecast if self.warp is None else self.warp.back(forecast)


@dataclass(frozen=True, eq=False, slots=True)
class Panel:
    """All experts fitted to supports of one shape.

    Attributes
    ----------
    columns : Columns
    fits : tuple of Fit
        One a slot.
    left_out : Tensor of shape (B, V, n)
        Log score of each row, foreseen from the others; -inf where an expert does not serve.
    facts : Tensor of shape (B, N_FACTS)
    relevance : Tensor of shape (B, c)
        Of the columns' values and ranks, see `relevance`.
    named : NamedFit, NamedClassesFit or None
        The expert of the columns' names, for B = 1.
    named_left_out : Tensor of shape (B, V'', n)
        Log scores of its variants; V'' is 0 where there is none.
    """

    columns: Columns
    fits: tuple[Fit, ...]
    left_out: Tensor
    facts: Tensor
    relevance: Tensor
    named: NamedFit | NamedClassesFit | None
    named_left_out: Tensor

    @classmethod
    def of(
        cls,
        x: Tensor,
        y: Tensor,
        n_classes: int | None,
        names: NamedTable | NamedClasses | None = None,
    ) -> Panel:
        """Fit to rows (B, n, p) and numbers or codes of classes (B, n), at least one row.

        With `names` the batch is of one.
        """
        n, p = x.shape[1:]
        plain = Table.of(x, y, n_classes)
        warped = warp = None
        if n_classes is None:
            warp = Warp.of(y)
            warped = Table.of(x, warp.forward(y), None)
        fits, scores = [], []
        for slot in SLOTS[kind_of(n_classes)]:
            expert = EXPERTS[slot.expert]
            if not expert.serves(n):
                fits.append(Fit(slot, None, None))
                scores.append(x.new_full((len(x), slot.n_variants, n), -torch.inf))
                continue
            forecast, state = expert.fit(warped if slot.warped else plain)
            fits.append(Fit(slot, state, warp if slot.warped else None))
            if slot.warped:
                forecast = warp.back(forecast)
            scores.append(log_score(forecast, y).clamp_min(LOWEST_SCORE))
        left_out = torch.cat(scores, 1)
        total = left_out.sum(-1)
        skill = (total.amax(-1) - total[:, : fits[0].slot.n_variants].amax(-1)) / n
        shares = None if n_classes is None else one_hot(y, n_classes).to(x.dtype).mean(1)
        facts = facts_of(n, p, shares, skill)
        named, named_left_out = None, left_out[:, :0]
        if names is not None:
            forecast, named = names.fit(x[0], y[0])
            named_left_out = log_score(forecast, y).clamp_min(LOWEST_SCORE)
        relevance = plain.relevance
        return cls(plain.columns, tuple(fits), left_out, facts, relevance, named, named_left_out)


@dataclass(frozen=True, eq=False, slots=True)
class Mixture:
    """What is kept of a panel: the variants that matter, and their weights.

    Attributes
    ----------
    columns : Columns
    fits : tuple of Fit
        Of which some variants are kept.
    kept : tuple of Tensor
        Positions of the variants of each that are kept.
    named : NamedFit, NamedClassesFit or None
        The expert of the columns' names, whose variants come last.
    log_weight : Tensor of shape (B, V')
    relevance : Tensor of shape (B, c)
        Of the columns' values and ranks, see `relevance`.
    evidence : Tensor of shape (B,)
        Log score of all rows of the support, each foreseen by the experts of one table from the
        others.
    """

    columns: Columns
    fits: tuple[Fit, ...]
    kept: tuple[Tensor, ...]
    named: NamedFit | NamedClassesFit | None
    log_weight: Tensor
    relevance: Tensor
    evidence: Tensor

    @classmethod
    def of(cls, panel: Panel, gate: Gate) -> Mixture:
        """Let the gate weigh the experts of a panel."""
        precision = gate.trust.dtype
        scores, facts = panel.left_out.sum(-1).to(precision), panel.facts.to(precision)
        log_weight = gate(scores, facts).to(panel.left_out.dtype)
        named = panel.named_left_out.sum(-1)
        log_named = gate.log_share_of_names(log_weight, scores, named, facts)
        evidence = (log_weight[..., None] + panel.left_out).logsumexp(1).sum(-1)
        share = log_weight.detach().exp().mean(0)
        order = share.argsort(descending=True)
        needed = 1 + int((share[order].cumsum(0) < 1 - DROPPED).sum())
        used = torch.zeros_like(share, dtype=torch.bool)
        used[order[:needed]] = True
        own = [part.nonzero()[:, 0] for part in used.split([f.slot.n_variants for f in panel.fits])]
        fits = tuple(fit for fit, kept in zip(panel.fits, own, strict=True) if len(kept))
        kept = tuple(kept for kept in own if len(kept))
        log_weight = log_weight[:, used].log_softmax(-1)
        if panel.named is not None:
            others = torch.log1p(-log_named.exp().clamp_max(1 - SMALLEST_SHARE))
            own = log_named[:, None] + named.log_softmax(-1)
            log_weight = torch.cat([log_weight + others[:, None], own], -1)
        return cls(panel.columns, fits, kept, panel.named, log_weight, panel.relevance, evidence)

    @classmethod
    def of_all(cls, panel: Panel) -> Mixture:
        """Keep every variant that serves; those that do not are left out of the forecasts."""
        serving = tuple(fit for fit in panel.fits if fit.state is not None)
        kept = tuple(torch.arange(fit.slot.n_variants) for fit in serving)
        log_weight = panel.left_out.new_zeros(len(panel.left_out), sum(map(len, kept)))
        nothing = log_weight[:, 0]
        return cls(panel.columns, serving, kept, None, log_weight, panel.relevance, nothing)

    def forecast(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Forecasts (B, V', rows, ...) of rows (B, rows, p), and log weights (B, V')."""
        values = self.columns.values(x)
        parts = zip(self.fits, self.kept, strict=True)
        forecasts = [fit.forecast(values, kept) for fit, kept in parts]
        if self.named is not None:
            forecasts.append(self.named.forecast(x[0]))
        return torch.cat(forecasts, 1), self.log_weight

    def embedding(self, x: Tensor) -> Tensor:
        """Values and ranks (rows, c) of rows (rows, p), weighted by their mean relevance."""
        first = Columns(*(getattr(self.columns, f.name)[:1] for f in dataclasses.fields(Columns)))
        return first.values(x[None])[0] * self.relevance.mean(0).sqrt()


def kind_of(n_classes: int | None) -> str:
    """Kind of target that experts and gates know."""
    return "regression" if n_classes is None else "classification"
