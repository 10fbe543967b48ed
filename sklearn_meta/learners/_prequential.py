"""How well a learner foresees a support, block of rows by block of rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sklearn_meta.learners._base import Learner
from sklearn_meta.tasks._episodes import Rows


def prequential(learner: Learner, module: nn.Module, support: Rows) -> Tensor:
    """Log probability of each support, its rows foreseen from those before them.

    Rows come in blocks of doubling size, 1 | 1 | 2 | 4 | 8 | ..., each of which is foreseen by the
    adaptation to all rows before it: log2(n) adaptations instead of n, at once as so many tasks.

    Parameters
    ----------
    learner : Learner
        Its ``adapt`` and ``predict`` are asked.
    module : nn.Module
    support : Rows

    Returns
    -------
    Tensor of shape (T,)
        0 where there are no rows; the sum over targets or labels where there are several.

    References
    ----------
    A. P. Dawid (1984). Statistical theory: the prequential approach.
    """
    n_tasks, n = support.mask.shape
    if not n:
        return support.x.new_zeros(n_tasks)
    starts = [0, *(2**i for i in range((n - 1).bit_length()))]
    stops = [*starts[1:], n]
    device = support.mask.device
    first, last = (torch.tensor(s, device=device)[:, None, None] for s in (starts, stops))
    position = support.mask.cumsum(1) - 1  # padding may lie between rows
    before = (support.mask & (position < first)).flatten(0, 1)
    block = (support.mask & (first <= position) & (position < last)).flatten(0, 1)

    def repeat(rows: Tensor) -> Tensor:
        return rows.repeat(len(starts), *[1] * (rows.ndim - 1))

    x, y = repeat(support.x), repeat(support.y)
    ways = None if support.ways is None else repeat(support.ways)
    seen = before.view(before.shape + (1,) * (x.ndim - 2))
    state = learner.adapt(module, Rows(x * seen, y, before, ways))
    log_prob = learner.predict(module, state, x).log_prob(y.to(x.dtype))
    if log_prob.ndim > 2:
        log_prob = log_prob.sum(-1)
    return (log_prob * block).view(len(starts), n_tasks, n).sum((0, 2))
