"""Bayesian logistic regression on learned features, with a meta-learned prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._ensemble import HeadLearner
from sklearn_meta.learners._heads import Heads, times
from sklearn_meta.learners._laplace import (
    LaplacePosterior,
    blended,
    laplace,
    link_of,
    one_hot_targets,
    predictive_log_probabilities,
    row_log_likelihood,
)
from sklearn_meta.learners._starts import logistic_start
from sklearn_meta.learners._state import on_axis
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows

STEPS_IN_TRAINING, STEPS = 5, 10
ROWS_OF_A_TASK = 20


class BayesianLogisticModule(Heads):
    """Heads with one latent function a class, whose priors differ as much as the tasks ask for.

    Parameters
    ----------
    n_classes : int
        Number of classes or labels that the prior knows; 0 where they mean nothing beyond a task:
        then the prior is the same for all.
    link : {"softmax", "sigmoid"}
        One class a row, or a set of labels.
    **heads
        As in `Heads`.
    """

    rates = {
        "layers.": 0.6,
        "mean": 2.0,
        "log_intercept": 6.0,
        "log_moderation": 6.0,
        "": 1.0,
    }
    feature_axis = {**Heads.feature_axis, "scale_change": 2, "factor_change": 2}

    def __init__(self, n_classes: int, link: str, **heads: Any):
        super().__init__(**heads)
        self.n_classes, self.link = n_classes, link
        n_heads, n_features = self.mask.shape
        n_latents = max(n_classes, 1)
        self.log_intercept = nn.Parameter(torch.zeros(n_heads, n_latents))
        self.log_moderation = nn.Parameter(torch.full((n_heads,), math.log(0.2)))
        # Deviations of each class from the covariance that the classes share.
        own = n_classes > 2 or (link == "sigmoid" and n_classes > 1)
        self.scale_change = nn.Parameter(torch.zeros(n_heads, n_latents, n_features), own)
        self.factor_change = nn.Parameter(
            torch.zeros(n_heads, n_latents, n_features, self.factor.shape[2]), own
        )
        self.mean.requires_grad_(bool(n_classes))
        with torch.no_grad():
            self.factor /= math.sqrt(self.n_inputs)
            if not n_classes:
                # Nothing but their covariance tells classes apart that have no mean of their own.
                self.log_scale += 1.0
        # Where the parameters start; only meta-training needs it, so that no prior holds it.
        self.register_buffer("mean_start", self.mean.detach().clone(), persistent=False)
        self.register_buffer("scale_start", self.log_scale.detach().clone(), persistent=False)

    def latent(self, x: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
        """Whitened rows (H, C or 1, T, n, m) and prior means (H, C, T, n) of latent functions."""
        features = self.features(x)
        log_scale = self.log_scale[:, None] + self.scale_change
        log_scale = torch.cat([self.log_intercept[..., None], log_scale[..., 1:]], -1)
        factor = self.factor[:, None] + self.factor_change
        n_heads, n_roots, width, rank = factor.shape
        columns = times(features, factor.transpose(1, 2).reshape(n_heads, width, n_roots * rank))
        columns = columns.unflatten(-1, (n_roots, rank)).permute(0, 3, 1, 2, 4)
        scaled = features[:, None] * log_scale.exp()[:, :, None, None]
        rows = torch.cat([scaled, columns], -1)
        if not self.n_classes:
            return rows, rows.new_zeros(n_heads, n_classes, *x.shape[:2])
        return rows, times(features, self.mean).movedim(-1, 1)

    def penalty(self) -> Tensor:
        """Minus log density (n_heads,) of weak priors on the meta-parameters, a query row."""
        terms = (
            (self.mean - self.mean_start, 1.0),
            (self.log_scale - self.scale_start, 2.0),
            (self.factor, 0.5),
            (self.scale_change, 1.0),
            (self.factor_change, 0.25),
        )
        total = sum((term / scale).square().flatten(1).sum(1) for term, scale in terms)
        return total / (2 * ROWS_OF_A_TASK * self.n_tasks)

    def _start_scale(self) -> Tensor:
        """Functions that vary by about 0.4 (rows, trees, networks) to 1 (Fourier) beforehand."""
        scale = torch.full(self.mask.shape, -1.0)
        scale[:, 1 : 1 + self.n_inputs] -= 0.5 * math.log(self.n_inputs)
        scale[:, scale.shape[1] - self.n_learned :] = -1.5
        scale[self.fourier, scale.shape[1] - self.n_learned :] = 0.0
        return scale


@dataclass(frozen=True, eq=False, slots=True)
class LogisticState:
    """The support and the posterior that it gave.

    Attributes
    ----------
    support : Rows
        All rows so far: the posterior is no exact function of less.
    posterior : LaplacePosterior
    evidence : Tensor of shape (n_heads, T)
        Log marginal likelihood of the support.
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
    heads : tuple of str, default=("tree", "tree_linear", "tree_deep", "tree_fourier")
        Features of the heads that know the classes.
    anonymous_heads : tuple of str, default=("linear", "deep", "fourier")
        Features of the heads where labels mean nothing beyond a task.
    n_members : int, default=1
        Number of times that each head is trained, on different tasks.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams (2006). Gaussian processes for machine learning, ch. 3.

    L. Bertinetto, J. Henriques, P. Torr, A. Vedaldi (2019). Meta-learning with differentiable
    closed-form solvers.
    """

    kinds = ("classification", "multilabel")

    def __init__(
        self,
        heads: tuple[str, ...] = ("tree", "tree_linear", "tree_deep", "tree_fourier"),
        anonymous_heads: tuple[str, ...] = ("linear", "deep", "fourier"),
        n_members: int = 1,
    ):
        super().__init__(heads, n_members)
        self.anonymous_heads = anonymous_heads

    def defaults(self, signature: Signature) -> dict[str, Any]:
        if not signature.shared_classes:
            return {}
        # Measured on panels: under weak priors on the meta-parameters, training this long on all
        # tasks foresees new ones better than stopping by the few that could be held out.
        return {"early_stopping": False, "max_iter": 400}

    def make_module(self, signature: Signature, **heads: Any) -> BayesianLogisticModule:
        n_classes = signature.n_outputs if signature.shared_classes else 0
        return BayesianLogisticModule(n_classes, link_of(signature.kind), **heads)

    def kinds_of(self, signature: Signature) -> list[str]:
        return list(self.heads if signature.shared_classes else self.anonymous_heads)

    def start(
        self, store: TaskStore, signature: Signature, kinds: Sequence[str], n_trees: int
    ) -> np.ndarray:
        if signature.kind == "multilabel" or not signature.shared_classes:
            n_latents = signature.n_outputs if signature.shared_classes else 1
            return np.zeros((len(kinds), 1 + store.x.shape[1], n_latents), np.float32)
        return logistic_start(store, kinds, n_trees, signature.n_outputs)

    def adapt(self, module: nn.Module, support: Rows) -> LogisticState:
        n_classes = module.n_classes if support.ways is None else int(support.ways.max())
        rows, offset = module.latent(support.x, n_classes)
        target = one_hot_targets(support.y, n_classes, module.link, rows)
        n_steps = STEPS_IN_TRAINING if module.training else STEPS
        posterior = laplace(rows, offset, target, support.mask, support.ways, n_steps, module.link)
        return LogisticState(support, posterior, posterior.evidence)

    def update(self, module: nn.Module, state: LogisticState, support: Rows) -> LogisticState:
        return self.adapt(module, state.support.extend(support))

    def predict(self, module: nn.Module, state: LogisticState, x: Tensor) -> Distribution:
        log_p = self._log_probabilities(module, state, x)
        return blended(log_p, module.blend(state.evidence), module.link)

    def log_prob_heads(self, module: nn.Module, state: LogisticState, query: Rows) -> Tensor:
        log_p = self._log_probabilities(module, state, query.x)
        return row_log_likelihood(log_p, query.y, module.link)

    def embed(self, module: nn.Module, state: LogisticState, x: Tensor) -> Tensor:
        """Blended posterior means of the latent functions, centred: (T, n, C)."""
        rows, offset = module.latent(x, state.posterior.weights.shape[1])
        mean = offset + (rows @ state.posterior.weights[..., None])[..., 0]
        latent = (module.blend(state.evidence).exp()[:, None, :, None] * mean).sum(0)
        return (latent - latent.mean(0)).movedim(0, -1)

    def _log_probabilities(self, module: nn.Module, state: LogisticState, x: Tensor) -> Tensor:
        rows, offset = module.latent(x, state.posterior.weights.shape[1])
        return predictive_log_probabilities(
            state.posterior,
            rows,
            offset,
            state.support.ways,
            module.link,
            module.log_moderation.exp().clamp_max(8.0),
        )
