"""Bayesian logistic regression on learned features, with a meta-learned prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._ensemble import HeadLearner
from sklearn_meta.learners._heads import Heads
from sklearn_meta.learners._laplace import (
    LaplacePosterior,
    blended,
    laplace,
    link_of,
    one_hot_targets,
    predictive_log_probabilities,
    row_log_likelihood,
)
from sklearn_meta.learners._state import on_axis
from sklearn_meta.learners._starts import logistic_start
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows

STEPS_IN_TRAINING, STEPS = 4, 10


class BayesianLogisticModule(Heads):
    """Heads with one latent function a class.

    Parameters
    ----------
    n_classes : int
        Number of classes that the prior knows; 0 where labels mean nothing beyond a task.
    link : {"softmax", "sigmoid"}
        One class a row, or a set of labels.
    **heads
        As in `Heads`.
    """

    def __init__(self, n_classes: int, link: str, **heads: Any):
        super().__init__(**heads)
        self.n_classes, self.link = n_classes, link
        n_heads = self.n_heads
        self.log_class_scale = nn.Parameter(torch.zeros(n_heads, max(n_classes, 1)))
        if not n_classes:
            # A mean common to all classes has no effect, and no class is unlike the others.
            self.mean.requires_grad_(False)
            self.log_class_scale.requires_grad_(False)

    def latent(self, x: Tensor, known: bool, n_classes: int) -> tuple[Tensor, Tensor]:
        """Whitened rows (H, C, T, n, m) and prior means (H, C, T, n) of the latent functions."""
        features = self.features(x)
        n_heads, n_tasks, n, width = features.shape
        flat = features.reshape(n_heads, n_tasks * n, width)
        rows = (flat @ self.root()).view(n_heads, 1, n_tasks, n, -1)
        if not known:
            offset = rows.new_zeros(n_heads, n_classes, n_tasks, n)
            return rows.expand(-1, n_classes, -1, -1, -1), offset
        offset = (flat @ self.mean).view(n_heads, n_tasks, n, -1).movedim(-1, 1)
        return rows * self.log_class_scale.exp()[:, :, None, None, None], offset


@dataclass(frozen=True, eq=False, slots=True)
class LogisticState:
    """The support and the posterior that it gave.

    Attributes
    ----------
    support : Rows
        All rows so far: the posterior is no exact function of less.
    posterior : LaplacePosterior
    evidence : Tensor of shape (n_heads, T)
        Log marginal likelihood of the support; -inf for heads that do not know the classes.
    """

    support: Rows
    posterior: LaplacePosterior
    evidence: Tensor = on_axis(1)


class BayesianLogistic(HeadLearner):
    """Bayesian logistic regression with a meta-learned prior on learned features.

    The classifier among the learners made of heads, see `BayesianLinear`: one latent function a
    class on features ``[1, x, trees, network(x)]``, whose Gaussian prior is meta-learned.
    Adaptation is Laplace's approximation, a few Newton steps in the space of the support. Where
    labels mean the same in every task, each class has a prior mean of its own, and a support of
    one class, or none, already gives calibrated probabilities; else the prior is the same for all
    classes, and predictions do not depend on how they are numbered.

    Parameters
    ----------
    heads : tuple of str, default=("linear", "deep", "tree_linear", "tree_deep", "tree")
        Features of the heads.
    n_members : int, default=2
        Number of times that each head is trained, on different tasks.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams (2006). Gaussian processes for machine learning, ch. 3.

    L. Bertinetto, J. Henriques, P. Torr, A. Vedaldi (2019). Meta-learning with differentiable
    closed-form solvers.
    """

    kinds = ("classification", "multilabel")

    def make_module(self, signature: Signature, **heads: Any) -> BayesianLogisticModule:  # noqa: D102
        n_classes = signature.n_outputs if signature.shared_classes else 0
        return BayesianLogisticModule(n_classes, link_of(signature.kind), **heads)

    def start(  # noqa: D102
        self, store: TaskStore, signature: Signature, kinds: Sequence[str], n_trees: int
    ) -> np.ndarray:
        if signature.kind == "multilabel" or not signature.shared_classes:
            n_latents = signature.n_outputs if signature.shared_classes else 1
            return np.zeros((len(kinds), 1 + store.x.shape[1], n_latents), np.float32)
        return logistic_start(store, kinds, n_trees, signature.n_outputs)

    def adapt(self, module: nn.Module, support: Rows) -> LogisticState:  # noqa: D102
        known, n_classes = _classes(module, support)
        rows, offset = module.latent(support.x, known, n_classes)
        target = one_hot_targets(support.y, n_classes, module.link, rows)
        n_steps = STEPS_IN_TRAINING if module.training else STEPS
        posterior = laplace(rows, offset, target, support.mask, support.ways, n_steps, module.link)
        return LogisticState(support, posterior, posterior.evidence)

    def update(self, module: nn.Module, state: LogisticState, support: Rows) -> LogisticState:  # noqa: D102
        return self.adapt(module, state.support.extend(support))

    def predict(self, module: nn.Module, state: LogisticState, x: Tensor) -> Distribution:  # noqa: D102
        log_p = self._log_probabilities(module, state, x)
        return blended(log_p, module.blend(state.evidence), module.link)

    def log_prob_heads(  # noqa: D102
        self, module: nn.Module, state: LogisticState, query: Rows
    ) -> Tensor:
        log_p = self._log_probabilities(module, state, query.x)
        return row_log_likelihood(log_p, query.y, module.link)

    def embed(self, module: nn.Module, state: LogisticState, x: Tensor) -> Tensor:
        """Blended posterior means of the latent functions, centred: (T, n, C)."""
        known, n_classes = _classes(module, state.support)
        rows, offset = module.latent(x, known, n_classes)
        mean = offset + (rows @ state.posterior.weights[..., None])[..., 0]
        latent = (module.blend(state.evidence).exp()[:, None, :, None] * mean).sum(0)
        return (latent - latent.mean(0)).movedim(0, -1)

    def _log_probabilities(self, module: nn.Module, state: LogisticState, x: Tensor) -> Tensor:
        known, n_classes = _classes(module, state.support)
        rows, offset = module.latent(x, known, n_classes)
        return predictive_log_probabilities(
            state.posterior, rows, offset, state.support.ways, module.link
        )


def _classes(module: BayesianLogisticModule, support: Rows) -> tuple[bool, int]:
    """Whether codes are those of the classes that the prior knows, and how many there are."""
    if support.ways is None:
        return True, module.n_classes
    return False, int(support.ways.max())
