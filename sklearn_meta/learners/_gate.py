"""The gate: how much to trust each variant of each expert on a table."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sklearn_meta.learners.experts import SLOTS
from sklearn_meta.networks import linear

N_FACTS = 7
HIDDEN = 16
#: Log odds of the expert of names beforehand, and how much left-out scores move them: a label may
#: be that of other things by accident, which a few rows tell.
NAMES = {"regression": (2.0, 1.0), "classification": (0.0, 2.0)}
#: Rows at which they move them half as much: of few numbers they are too hopeful to tell.
ROWS_AT_HALF = {"regression": 40.0, "classification": 0.0}
#: What each row takes off these log odds: names are a help while rows are few.
LOG_ODDS_A_ROW = {"regression": 0.05, "classification": 0.0}
LOWEST_SCORE = -8.0  # of a row: one outlier must not decide


class Gate(nn.Module):
    """Weights of a mixture, from how well each variant foresaw the rows left out.

    The log weight of a variant is its log score over the rows left out, times a trust that
    depends on the table and the expert, plus a bias that depends on the table and the variant.

    Parameters
    ----------
    kind : {"regression", "classification"}
    generator : torch.Generator
    """

    def __init__(self, kind: str, generator: torch.Generator):
        super().__init__()
        self.kind, sizes = kind, [slot.n_variants for slot in SLOTS[kind]]
        self.n_variants, self.n_experts = sum(sizes), len(sizes)
        self.register_buffer(
            "expert", torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        )
        n_inputs = N_FACTS + len(sizes)
        self.first = linear(n_inputs, HIDDEN, generator)
        self.second = linear(HIDDEN, self.n_variants + self.n_experts, generator)
        with torch.no_grad():
            self.second.weight.zero_()
            self.second.bias.zero_()
        self.bias = nn.Parameter(
            -torch.log(torch.tensor(sizes, dtype=torch.float32).clamp_min(1))[self.expert]
        )
        self.trust = nn.Parameter(torch.zeros(self.n_experts))
        self.names = nn.Parameter(torch.tensor(NAMES[kind]))

    def forward(self, scores: Tensor, facts: Tensor) -> Tensor:
        """Log weights (..., V).

        Parameters
        ----------
        scores : Tensor of shape (..., V)
            Log scores, summed over the rows left out; -inf for a variant that is not there.
        facts : Tensor of shape (..., N_FACTS)
            See `facts_of`; the first is the logarithm of the number of rows.
        """
        n_rows = facts[..., :1].exp()
        best = scores.amax(-1, keepdim=True)
        behind = (scores - best).clamp_min(-1e4)
        per_expert = behind.new_full((*behind.shape[:-1], self.n_experts), -1e4)
        index = self.expert.expand_as(behind)
        per_expert = per_expert.scatter_reduce(-1, index, behind, "amax")
        skill = (per_expert / n_rows).clamp_min(-2)
        out = self.second(torch.tanh(self.first(torch.cat([facts, skill], -1))))
        bias, trust = out.split([self.n_variants, self.n_experts], -1)
        trust = torch.nn.functional.softplus(trust + self.trust) / math.log(2)
        logits = self.bias + bias + trust[..., self.expert] * behind
        return logits.log_softmax(-1)

    def log_share_of_names(
        self, log_weight: Tensor, scores: Tensor, named: Tensor, facts: Tensor
    ) -> Tensor:
        """Logarithm (...) of the share of the expert of names against all others.

        Parameters
        ----------
        log_weight, scores : Tensor of shape (..., V)
            Log weights and log scores of the others.
        named : Tensor of shape (..., V'')
            Log scores of its variants, summed over the rows left out.
        facts : Tensor of shape (..., N_FACTS)
        """
        if not named.shape[-1]:
            return scores.new_full(scores.shape[:-1], -torch.inf)
        others = (log_weight + scores).logsumexp(-1)
        own = (named.log_softmax(-1) + named).logsumexp(-1)
        n_rows = facts[..., 0].exp()
        trust = self.names[1] * n_rows / (n_rows + ROWS_AT_HALF[self.kind])
        log_odds = self.names[0] - LOG_ODDS_A_ROW[self.kind] * n_rows + trust * (own - others)
        return torch.nn.functional.logsigmoid(log_odds)

    def start_here(self) -> None:
        """Let meta-training start, and be anchored, at the weights of now."""
        for i, parameter in enumerate(self.parameters()):
            self.register_buffer(f"start_{i}", parameter.detach().clone(), persistent=False)

    @property
    def start(self) -> list[Tensor]:
        """Weights at the start, in the order of the parameters."""
        return [getattr(self, f"start_{i}") for i, _ in enumerate(self.parameters())]

    def distance(self) -> Tensor:
        """Squared distance from the weights at the start."""
        pairs = zip(self.parameters(), self.start, strict=True)
        return sum((p - start).square().sum() for p, start in pairs)


def facts_of(n_rows: int, n_columns: int, shares: Tensor | None, skill: Tensor) -> Tensor:
    """What the gate is told of a table beside the scores: (B, N_FACTS).

    Parameters
    ----------
    n_rows, n_columns : int
    shares : Tensor of shape (B, C), or None
        Shares of the classes.
    skill : Tensor of shape (B,)
        Log score of the best variant above that of the base rate, a row.
    """
    n, p = math.log(max(n_rows, 1)), math.log(n_columns)
    entropy, ways = torch.zeros_like(skill), 0.0
    if shares is not None:
        entropy, ways = torch.special.entr(shares).sum(-1), math.log(shares.shape[-1])
    plain = [torch.full_like(skill, value) for value in (n, n**2 / 10, p, n - p, ways)]
    return torch.stack([*plain, entropy, skill.clamp(0, 3)], -1)
