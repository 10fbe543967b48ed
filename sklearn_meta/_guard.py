"""The guard: how far to trust a prior on a new task, against a model of the support alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sklearn_meta.learners._base import Learner
from sklearn_meta.learners._state import take
from sklearn_meta.tasks._episodes import Rows

# Log odds of the prior against the support alone, added to the gain in evidence. High: a few rows
# with heavy tails must not speak against a prior that is right.
PRIOR_LOG_ODDS = 7.0
# From so many rows on there are enough to ask, with little trust beforehand, which of the two
# foresees some rows from the others: a wrong prior that the rows have put right may still be the
# worse one. More trust costs where the prior is wrong, less costs where it is right.
MIN_ROWS_TO_JUDGE = 20
LOG_ODDS_WHEN_JUDGED = 1.0
MAX_ROWS_TO_JUDGE = 60
N_FOLDS = 5
SMALLEST_ERROR = 1e-8  # mean squared, of the scaled target


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two that foresee a task: the prior, or the support alone.

    Attributes
    ----------
    learner : Learner
    module : nn.Module
    kind : {"regression", "classification", "multilabel"}
    """

    learner: Learner
    module: nn.Module
    kind: str

    def adapt(self, support: Rows) -> tuple[Any, Tensor | None]:
        """Adapt to supports; with it, `foreseen` of them, or None if none is to be judged.

        Small supports and their folds are one batch, which costs little more than the supports.
        """
        if not to_judge(support).any():
            return self.learner.adapt(self.module, support), None
        if support.x.shape[1] > MAX_ROWS_TO_JUDGE:
            return self.learner.adapt(self.module, support), self.foreseen(support)
        seen, held = _folds_to_judge(support)
        states = self.learner.adapt(self.module, _stacked(support, seen))
        n = support.n_tasks
        foreseen = self._score(take(states, slice(n, None)), held)
        return take(states, slice(n)), foreseen

    def foreseen(self, support: Rows) -> Tensor:
        """Log likelihood of the folds of every support `to_judge`, each from its other folds.

        For regression that of the mean prediction with the noise that suits it best: the prior has
        learned the noise from all tasks, which is no reason to follow its mean.
        """
        seen, held = _folds_to_judge(support)
        return self._score(self.learner.adapt(self.module, seen), held)

    def _score(self, state: Any, held: Rows) -> Tensor:
        predicted = self.learner.predict(self.module, state, held.x)
        if self.kind != "regression":
            log_prob = predicted.log_prob(held.y.to(held.x.dtype))
            if log_prob.ndim > held.mask.ndim:
                log_prob = log_prob.sum(-1)
            return (log_prob * held.mask).sum(1).view(N_FOLDS, -1).sum(0)
        error = (predicted.mean - held.y).square() * held.mask[..., None]
        error = error.sum(1).view(N_FOLDS, -1, error.shape[-1]).sum(0)
        count = held.mask.sum(1).view(N_FOLDS, -1).sum(0)[:, None]
        return -(count / 2 * (error / count + SMALLEST_ERROR).log()).sum(-1)


@dataclasses.dataclass(frozen=True)
class Guard:
    """Weighs a prior against a model of the support alone.

    By their evidence; where there are rows enough, by how well either foresees some of them from
    the others.
    """

    prior: Side
    alone: Side

    def adapt(self, inputs: Rows, support: Rows) -> tuple[Any, Any, Tensor]:
        """Adapt both; return their states and the weight (T,) of the prior.

        Parameters
        ----------
        inputs, support : Rows
            The same rows as the learner of the prior and as `SupportOnly` take them.
        """
        state, foreseen = self.prior.adapt(inputs)
        alone, foreseen_alone = self.alone.adapt(support)
        gain = None if foreseen is None else foreseen - foreseen_alone
        return state, alone, self._weight(state, alone, gain, support)

    def weight(self, state: Any, alone: Any, inputs: Rows, support: Rows) -> Tensor:
        """Weight (T,) of the prior, given both states and all rows so far."""
        gain = None
        if to_judge(support).any():
            gain = self.prior.foreseen(inputs) - self.alone.foreseen(support)
        return self._weight(state, alone, gain, support)

    def _weight(self, state: Any, alone: Any, gain: Tensor | None, support: Rows) -> Tensor:
        evidence = self.prior.learner.evidence(self.prior.module, state)
        against = self.alone.learner.evidence(self.alone.module, alone)
        log_odds = PRIOR_LOG_ODDS + evidence - against
        if gain is not None:
            log_odds[to_judge(support)] = (LOG_ODDS_WHEN_JUDGED + gain).to(log_odds.dtype)
        return torch.sigmoid(log_odds).cpu()


def to_judge(support: Rows) -> Tensor:
    """Which supports (T,) have rows enough."""
    return _with_company(support).sum(1) >= MIN_ROWS_TO_JUDGE


def _folds_to_judge(support: Rows) -> tuple[Rows, Rows]:
    """`_folds` of the supports to judge, without rows that no other could foresee."""
    judged = support.take(to_judge(support))
    some = _some(dataclasses.replace(judged, mask=_with_company(judged)))
    return _folds(dataclasses.replace(some, mask=_with_company(some)))


def _stacked(support: Rows, more: Rows) -> Rows:
    """Tasks of two batches as one, padded to the width of the first, which is no less."""
    width = support.x.shape[1] - more.x.shape[1]

    def both(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, torch.cat([b, b.new_zeros(len(b), width, *b.shape[2:])], 1)])

    ways = None if support.ways is None else torch.cat([support.ways, more.ways])
    pairs = ((getattr(support, name), getattr(more, name)) for name in ("x", "y", "mask"))
    return Rows(*(both(*pair) for pair in pairs), ways)


def _some(support: Rows) -> Rows:
    """At most MAX_ROWS_TO_JUDGE rows of each task, evenly spread over all; padding comes last."""
    count = support.mask.sum(1, keepdim=True)
    position = torch.arange(min(support.x.shape[1], MAX_ROWS_TO_JUDGE), device=count.device)
    every = count.clamp_min(MAX_ROWS_TO_JUDGE)
    index = position * every // MAX_ROWS_TO_JUDGE
    # Padding may lie between rows that came one after the other; of classes of its own, each is
    # to be in every fold, and in company.
    order = ~support.mask
    if support.ways is not None:
        index = position // 2 * every // MAX_ROWS_TO_JUDGE * 2 + position % 2
        order = support.y.masked_fill(~support.mask, int(support.ways.max()))
    index = index.clamp_max(support.x.shape[1] - 1)
    rows_first = order.int().argsort(dim=1, stable=True)
    index = rows_first.gather(1, index)
    x = support.x.take_along_dim(index[..., None], 1)
    y_index = index if support.y.ndim == 2 else index[..., None]
    return Rows(x, support.y.take_along_dim(y_index, 1), position < count, support.ways)


def _with_company(support: Rows) -> Tensor:
    """Which rows (T, n) others could foresee: a class of its own no other row can."""
    if support.ways is None:
        return support.mask
    member = one_hot(support.y, int(support.ways.max())) * support.mask[..., None]
    return (member * (member.sum(1, keepdim=True) > 1)).sum(-1) > 0


def _folds(support: Rows) -> tuple[Rows, Rows]:
    """All rows of each task but every N_FOLDS-th, and those: N_FOLDS * T tasks, fold by fold."""
    n_rows = support.x.shape[1]
    position = torch.arange(n_rows + -n_rows % N_FOLDS, device=support.x.device)
    fold = torch.arange(N_FOLDS, device=position.device)[:, None]
    own = position % N_FOLDS == fold
    ways = None if support.ways is None else support.ways.repeat(N_FOLDS)

    def gather(which: Tensor) -> Rows:
        index = position.expand(N_FOLDS, -1)[which].view(N_FOLDS, -1)
        inside = (index < n_rows)[:, None]
        index = index.clamp_max(n_rows - 1)
        x, y, mask = (t[:, index].transpose(0, 1) for t in (support.x, support.y, support.mask))
        mask = mask & inside
        return Rows(*(t.flatten(0, 1) for t in (x * mask[..., None], y, mask)), ways)

    return gather(~own), gather(own)
