"""InContext: closed-form experts on one table, weighed by a gate that is learned across tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, MixtureSameFamily, Normal

from sklearn_meta.learners._base import IMPOSSIBLE, Learner, Signature
from sklearn_meta.learners._class_prior import ClassPrior
from sklearn_meta.learners._column_prior import ColumnPrior
from sklearn_meta.learners._gate import NAMES
from sklearn_meta.learners._gate_episodes import gate_episodes
from sklearn_meta.learners._in_context_module import InContextModule, impossible_beyond, padded
from sklearn_meta.learners._mixture import Mixture
from sklearn_meta.preprocessing._column_names import EncodedColumn
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows, TaskBatch
from sklearn_meta.tasks._table_task import TableTask

COLUMNS = "columns."  # before the names of the arrays of a `ColumnPrior` or `ClassPrior`


@dataclass(frozen=True, eq=False, slots=True)
class InContextState:
    """Experts fitted to the supports of some tasks.

    Attributes
    ----------
    support : Rows
        All rows so far.
    mixtures : tuple of Mixture or None
        One a task; None for a support without rows.
    evidence : Tensor of shape (T,)
    """

    support: Rows
    mixtures: tuple[Mixture | None, ...]
    evidence: Tensor


class InContext(Learner):
    """Closed-form experts on the rows of one table, and a gate that weighs them.

    Ridge regressions with linear, radial and Laplace kernels, with and without the columns'
    relevance to the target, logistic regression, naive Bayes and nearest neighbours are each solved
    in closed form for many regularisations. Every variant foresees each row of the support from the
    others; a small network, the gate, turns these left-out scores and the shape of the table into
    the weights of a mixture. The gate is what is meta-learned, by the gradient of the log score of
    other rows, across tables whose columns, classes and units differ. Predictions do not depend on
    the order of rows, columns and labels.

    Parameters
    ----------
    anchor : float, default=0.02
        How strongly meta-training draws the gate to the weights that it starts with, those of the
        bundled prior: half of it times the squared distance is added to the loss.

    References
    ----------
    D. H. Wolpert (1992). Stacked generalization.
    S. Mueller, N. Hollmann, S. Pineda Arango, J. Grabocka, F. Hutter (2022). Transformers can do
    Bayesian inference.
    """

    takes_networks = False
    heterogeneous = True

    def __init__(self, anchor: float = 0.02):
        self.anchor = anchor

    def defaults(self, signature: Signature) -> dict[str, Any]:
        return {
            "shots": (0, 0),  # an episode is one row, which no other row is adapted on
            "n_query": 16,
            "batch_size": 8,
            "max_iter": 600,
            "learning_rate_init": 3e-3,
            "alpha": 0.0,  # weights are drawn to those at the start instead
            "validation_fraction": 0.25,
        }

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> nn.Module:
        columns = {
            name.removeprefix(COLUMNS): array
            for name, array in prepared.items()
            if name.startswith(COLUMNS)
        }
        return InContextModule(signature, columns, generator)

    def restore(self, signature: Signature, weights: dict[str, np.ndarray]) -> nn.Module:
        module = super().restore(signature, weights)
        module.gate.start_here()
        return module

    def learn_columns(
        self, tables: Sequence[TableTask], weights: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Weights with what the names of the columns promise, across tables."""
        if tables[0].y.dtype.kind == "f":
            prior = ColumnPrior.learn(table.whole() for table in tables)
        else:
            prior = ClassPrior.learn((*table.whole(), table.labels) for table in tables)
            if prior.is_empty:
                return weights
            # The bundled gate has never seen a name.
            weights = weights | {"gate.names": np.array(NAMES["classification"], np.float32)}
        arrays = prior.to_arrays()
        return weights | {COLUMNS + name: array for name, array in arrays.items()}

    def open(self, module: nn.Module, columns: Sequence[EncodedColumn], **facts: Any) -> None:
        """Let a module serve one table; see `InContextModule.open`."""
        module.open(columns, **facts)

    def episodes(
        self,
        module: nn.Module,
        tables: Sequence[TableTask],
        rng: np.random.Generator,
        max_time: float,
        learned_from: bool = True,
    ) -> TaskStore:
        """Draw the episodes that the gate is trained on; see `gate_episodes`.

        Where columns were `learned_from` these very tables, each is asked about the others only.
        """
        prior, priors = module.column_prior, None
        if prior is not None:
            every = range(len(tables))
            priors = [prior.without(t) if learned_from else prior for t in every]
        return gate_episodes(tables, rng, max_time, priors=priors)

    def on_episodes(self) -> InContext:
        """Return this learner as meta-training takes it: its rows are those of `episodes`."""
        return _OnEpisodes(self.anchor)

    def adapt(self, module: nn.Module, support: Rows) -> InContextState:
        mixtures, evidence = [], []
        for x, y, mask, ways in zip(
            support.x, support.y, support.mask, _ways(module, support), strict=True
        ):
            mixture, foreseen = None, support.x.new_zeros(())
            if mask.any():
                panel = module.panel(x[mask], y[mask], ways)
                mixture = Mixture.of(panel, module.gate)
                foreseen = mixture.evidence.sum().to(support.x.dtype)
            mixtures.append(mixture)
            evidence.append(foreseen)
        return InContextState(support, tuple(mixtures), torch.stack(evidence))

    def update(self, module: nn.Module, state: InContextState, support: Rows) -> InContextState:
        return self.adapt(module, state.support.extend(support))

    def predict(self, module: nn.Module, state: InContextState, x: Tensor) -> Distribution:
        tasks = zip(state.mixtures, x, strict=True)
        if module.kind == "regression":
            parts, log_weights = zip(*(module.components(*task) for task in tasks), strict=True)
            width = max(w.shape[-1] for w in log_weights)
            log_weight = padded(log_weights, width, IMPOSSIBLE).to(x.dtype)
            mean, log_variance = (
                padded([part[..., i] for part in parts], width, 0.0).to(x.dtype) for i in (0, 1)
            )
            components = Normal(mean, (log_variance / 2).exp())
            return MixtureSameFamily(Categorical(logits=log_weight), components)
        ways = _ways(module, state.support)
        log_p = [module.log_probabilities(*task, n) for task, n in zip(tasks, ways, strict=True)]
        if module.kind == "multilabel":
            log_p = torch.stack(log_p).to(x.dtype)
            return Bernoulli(logits=log_p[..., 1] - log_p[..., 0])
        n_classes = max(ways, default=0)
        return Categorical(logits=impossible_beyond(log_p, n_classes).to(x.dtype))

    def sample(
        self,
        module: nn.Module,
        state: InContextState,
        x: Tensor,
        n_samples: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Draw targets (n_samples, T, n, k) from the mixtures, each row by itself."""
        mixture = self.predict(module, state, x)
        shares, parts = mixture.mixture_distribution.probs, mixture.component_distribution
        which = torch.multinomial(
            shares.flatten(0, -2), n_samples, replacement=True, generator=generator
        )
        which = which.T.unflatten(1, shares.shape[:-1])[..., None]
        mean, sd = (
            part.expand(n_samples, *part.shape).gather(-1, which)[..., 0]
            for part in (parts.mean, parts.stddev)
        )
        noise = torch.randn(mean.shape, generator=generator, dtype=x.dtype, device=x.device)
        return mean + sd * noise

    def embed(self, module: nn.Module, state: InContextState, x: Tensor) -> Tensor:
        """Standardised columns and their ranks, weighted by their relevance to the target."""
        tasks = zip(state.mixtures, x, strict=True)
        return torch.stack([_embedding(mixture, rows) for mixture, rows in tasks])

    def evidence(self, module: nn.Module, state: InContextState) -> Tensor:
        """Log score of all rows of each support, each foreseen from the others."""
        return state.evidence


def _ways(module: nn.Module, rows: Rows) -> list[int]:
    """Number of classes of each task."""
    return [module.n_outputs] * rows.n_tasks if rows.ways is None else rows.ways.tolist()


def _embedding(mixture: Mixture | None, x: Tensor) -> Tensor:
    if mixture is None:
        return torch.cat([x, torch.zeros_like(x)], -1)
    return mixture.embedding(x.double()).to(x.dtype)


class _OnEpisodes(InContext):
    """Trains the gate on what the experts, which learn nothing, foresaw beforehand."""

    def loss(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        per_episode = module.gate_loss(episodes.query.x)
        mask = episodes.query.mask
        loss = (per_episode * mask).sum() / mask.sum().clamp_min(1)
        return loss + self.anchor / 2 * module.gate.distance() if module.training else loss

    def finish(self, module: nn.Module, held_out: Sequence[TaskBatch]) -> nn.Module:
        """Keep as much of what was learned as tables that were held out are better for."""
        module.accept(held_out)
        return module
