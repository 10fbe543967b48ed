"""Neural processes: a network reads the support, another predicts from what it read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from sklearn_meta.learners._base import Learner, Signature
from sklearn_meta.learners._neural_process_module import NeuralProcessModule
from sklearn_meta.learners._starts import ridge_start
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows, TaskBatch

ROWS_AT_ONCE = 256  # bounds the memory that the evidence of a large support takes


@dataclass(frozen=True, eq=False, slots=True)
class Representation:
    """What was read of the supports.

    Attributes
    ----------
    total : Tensor of shape (T, W)
        Sum of the encoded rows.
    count : Tensor of shape (T,)
        Number of rows.
    evidence : Tensor of shape (T,)
        Log density of the targets, each row foreseen from the rows before it.
    keys, values : Tensor of shape (T, n, W), or None
        Of each row, with attention only: without, the state does not grow.
    mask : bool Tensor of shape (T, n), or None
    """

    total: Tensor
    count: Tensor
    evidence: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None
    mask: Tensor | None = None


class NeuralProcess(Learner):
    """Conditional neural process: rows are encoded one by one and averaged, and a network predicts.

    The encoder turns each support row and its target into a vector; the decoder predicts mean and
    standard deviation at a query row from the average of the vectors and their number. Predictions
    do not depend on the order of the support. With attention, a query row also looks for the
    support rows that are most like it. Adaptation is one pass through a network, whatever the
    tasks; what is said of new tasks is only as good as the tasks in meta-training are many.

    Parameters
    ----------
    attention : bool, default=False
        Without, the state of an adapted task is a sum and a count, which never grow.

    References
    ----------
    M. Garnelo, D. Rosenbaum, C. Maddison, et al. (2018). Conditional neural processes.
    https://arxiv.org/abs/1807.01613

    H. Kim, A. Mnih, J. Schwarz, et al. (2019). Attentive neural processes.
    https://arxiv.org/abs/1901.05761
    """

    kinds = ("regression",)

    def __init__(self, attention: bool = False):
        self.attention = attention

    def defaults(self, signature: Signature) -> dict[str, Any]:
        # Adaptation is learned, not derived: it takes many steps, and gains come haltingly.
        return {"max_iter": 20_000, "n_iter_no_change": 20}

    def prepare(
        self, store: TaskStore, signature: Signature, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Fit a pooled linear model: where the mean of the targets starts."""
        if not signature.is_plain:
            return {}
        return {"mean": ridge_start(store, ["linear"], 0)[0]}

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> nn.Module:
        module = NeuralProcessModule(signature, self.attention, generator)
        if "mean" in prepared:
            # The features come last and have no start of their own.
            start = torch.tensor(prepared["mean"])
            with torch.no_grad():
                module.mean[: len(start)] = start
        return module

    def adapt(self, module: nn.Module, support: Rows) -> Representation:
        return self.update(module, _empty(module, support), support)

    def update(self, module: nn.Module, state: Representation, support: Rows) -> Representation:
        # Meta-training by query rows needs no evidence.
        return _read(module, state, support, foresee=not module.training)

    def predict(self, module: nn.Module, state: Representation, x: Tensor) -> Distribution:
        z = module.inputs(x)
        return module.distribution(z, _embedded(module, state, z))

    def embed(self, module: nn.Module, state: Representation, x: Tensor) -> Tensor:
        """Last hidden layer of the decoder: (T, n, W)."""
        return _embedded(module, state, module.inputs(x))

    def evidence(self, module: nn.Module, state: Representation) -> Tensor:
        """Return the log density (T,) of the targets, each row foreseen from those before it.

        It is exact and additive over updates, and depends on the order of the rows.
        """
        return state.evidence

    def loss(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        """Return minus the log density a row and target.

        In training it is that of all rows of an episode, support and query, each foreseen from
        those before it: every number of shots counts.
        """
        if not module.training:
            return super().loss(module, episodes)
        rows = episodes.support.extend(episodes.query)
        evidence = _read(module, _empty(module, rows), rows, foresee=True).evidence
        return -evidence.sum() / (rows.mask.sum().clamp_min(1) * module.n_targets)


def _empty(module: NeuralProcessModule, like: Rows) -> Representation:
    total = like.x.new_zeros(like.n_tasks, module.width)
    state = Representation(total, total[:, 0], total[:, 0])
    if not module.attends:
        return state
    no_rows = total[:, None][:, :0]
    return dataclasses.replace(state, keys=no_rows, values=no_rows, mask=like.mask[:, :0])


def _embedded(module: NeuralProcessModule, state: Representation, z: Tensor) -> Tensor:
    count = state.count[:, None].expand(z.shape[:2])
    read = (state.total / state.count.clamp_min(1)[:, None])[:, None].expand(*z.shape[:2], -1)
    if module.attends:
        found = module.attend(z, state.keys, state.values, state.mask[:, None])
        read = torch.cat([read, found], -1)
    return module.decode(z, read, count)


def _read(
    module: NeuralProcessModule, state: Representation, support: Rows, foresee: bool
) -> Representation:
    """Read more rows; where asked to, foresee each from those before it."""
    z = module.inputs(support.x)
    residual = support.y - module.prior_mean(z)
    encoded = module.encoder(torch.cat([z, residual], -1)) * support.mask[..., None]
    changes = {
        "total": state.total + encoded.sum(1),
        "count": state.count + support.mask.sum(1),
    }
    if module.attends:
        more = {"keys": module.key(z), "values": encoded, "mask": support.mask}
        changes |= {k: torch.cat([getattr(state, k), new], 1) for k, new in more.items()}
    after = dataclasses.replace(state, **changes)
    if not foresee or not z.shape[1]:
        return after
    foreseen = _foreseen(module, state, after, z, encoded, support)
    return dataclasses.replace(after, evidence=state.evidence + foreseen)


def _foreseen(
    module: NeuralProcessModule,
    state: Representation,
    after: Representation,
    z: Tensor,
    encoded: Tensor,
    support: Rows,
) -> Tensor:
    """Log density (T,) of the rows between two states, each foreseen from those before it."""
    mask = support.mask.to(z.dtype)
    count = state.count[:, None] + mask.cumsum(1) - mask
    read = state.total[:, None] + encoded.cumsum(1) - encoded
    read = read / count.clamp_min(1)[..., None]
    if module.attends:
        n_old, n_all = state.mask.shape[1], after.mask.shape[1]
        key, row = torch.arange(n_all, device=z.device), torch.arange(z.shape[1], device=z.device)
        found = [
            module.attend(
                z[:, rows],
                after.keys,
                after.values,
                after.mask[:, None] & (key < n_old + rows[:, None]),
            )
            for rows in row.split(ROWS_AT_ONCE)
        ]
        read = torch.cat([read, torch.cat(found, 1)], -1)
    predicted = module.distribution(z, module.decode(z, read, count))
    return (predicted.log_prob(support.y).sum(-1) * mask).sum(-1)
