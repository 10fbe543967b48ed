"""Learners that adapt by a few steps of gradient descent from a meta-learned start."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from sklearn_meta.learners._base import Learner, Signature
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows, TaskBatch

from ._differentiation import has_second_derivative, with_gradient
from ._gradient_module import GradientModule
from ._inner_loop import Parameters, descend_safely, flatten
from ._prequential import prequential

NUMBERS_AT_ONCE = 2**27  # bounds the memory of an inner loop: tasks beyond come after one another


@dataclass(frozen=True, eq=False, slots=True)
class GradientState:
    """The support, and the parameters that descent on it led to.

    Attributes
    ----------
    support : Rows
        All rows so far: descent starts afresh when there are more.
    parameters : Tensor of shape (T, P)
        What a task adapts, flat.
    """

    support: Rows
    parameters: Tensor


class GradientLearner(Learner):
    """Base of the learners that adapt by gradient descent.

    A subclass has the parameters ``inner_steps`` and ``inner_learning_rate``, and says what it
    minimises: `total`.
    """

    #: Whether the outer gradient ever looks through the steps of the inner one.
    needs_second_order: bool = False
    head_only: bool = False
    learn_step_size: bool = False
    activation = "relu"

    def defaults(self, signature: Signature) -> dict[str, Any]:
        # Measured on panels and sinusoids: classifiers learn the training tasks by heart sooner.
        rate = 2e-3 if signature.kind == "regression" else 1e-3
        return {"learning_rate_init": rate, "alpha": 0.0, "max_iter": 20000}

    def prepare(
        self, store: TaskStore, signature: Signature, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        if signature.template is None or not self.needs_second_order:
            return {}
        network = signature.make_network(torch.Generator())
        twice = has_second_derivative(network, torch.from_numpy(store.x[:2]))
        if not twice:
            warnings.warn(
                f"{type(signature.template).__name__} has a layer without second derivatives: "
                f"{type(self).__name__} falls back to first order, as with first_order=True.",
                UserWarning,
                stacklevel=2,
            )
        return {"second_order": np.array(twice)}

    def build(
        self, signature: Signature, prepared: dict[str, np.ndarray], generator: torch.Generator
    ) -> GradientModule:
        rate = self.inner_learning_rate if self.learn_step_size else None
        module = GradientModule(signature, self.activation, self.head_only, rate, generator)
        module.second_order = self.needs_second_order and bool(prepared.get("second_order", True))
        return module

    def adapt(self, module: nn.Module, support: Rows) -> GradientState:
        # Of all tasks together: every head is as wide as that of the task of most ways.
        start, parts = module.start(support), []
        for part in _chunks(support.n_tasks, self.tasks_at_once(module, support)):
            own = {name: p[part] for name, p in start.items()}
            parts.append(flatten(self.descend_from(module, own, support.take(part))[-1]))
        return GradientState(support, torch.cat(parts))

    def update(self, module: nn.Module, state: GradientState, support: Rows) -> GradientState:
        return self.adapt(module, state.support.extend(support))

    def predict(self, module: nn.Module, state: GradientState, x: Tensor) -> Distribution:
        counts = state.support.mask.sum(1)
        return module.predict(module.adapted(state.parameters), x, counts)

    def embed(self, module: nn.Module, state: GradientState, x: Tensor) -> Tensor:
        """Adapted features (T, n, n_features)."""
        if self.head_only:
            return module.network(x)
        parameters = module.adapted(state.parameters)
        own = {name: p for name, p in parameters.items() if not name.startswith("head.")}
        return module.network.stacked(own, x)

    def evidence(self, module: nn.Module, state: GradientState) -> Tensor:
        """Return the log probability (T,) of the support, block by block: see `prequential`."""
        return prequential(self, module, state.support)

    def loss(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        """Return the mean of minus the log likelihood of the query rows.

        Where the tasks of a batch do not fit into memory at once, their gradients are taken part
        by part and added up.
        """
        n_rows = episodes.query.mask.sum().clamp_min(1)
        at_once = self.tasks_at_once(module, episodes.support)
        if at_once >= episodes.n_tasks:
            return self.total(module, episodes) / n_rows
        parameters = [p for p in module.parameters() if p.requires_grad]
        value, gradients = 0.0, [torch.zeros_like(p) for p in parameters]
        for part in episodes.chunk(at_once):
            total = self.total(module, part) / n_rows
            value = value + total.detach()
            if torch.is_grad_enabled():
                found = torch.autograd.grad(total, parameters, allow_unused=True)
                gradients = [
                    a if b is None else a + b for a, b in zip(gradients, found, strict=True)
                ]
        return with_gradient(value, parameters, gradients)

    def total(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        """Return the sum of minus the log likelihood of the query rows, as it is to be minimised.

        In ``module.eval()`` mode that of the adapted parameters.
        """
        raise NotImplementedError

    def descend(self, module: nn.Module, support: Rows, **options: Any) -> list[Parameters]:
        """Adapted parameters of every task, as `descend_safely` gives them."""
        return self.descend_from(module, module.start(support), support, **options)

    def descend_from(
        self, module: nn.Module, start: Parameters, support: Rows, **options: Any
    ) -> list[Parameters]:
        """The same, from parameters that are given."""
        part = module.adapted_part(start["head.bias"].shape[-1])
        rows = (module.rows(support.x), support.y, support.mask)
        return descend_safely(
            part,
            start,
            *rows,
            rates=module.rates(self.inner_learning_rate),
            n_steps=self.inner_steps,
            kind=module.kind,
            first_order=not module.second_order,
            **options,
        )

    def tasks_at_once(self, module: nn.Module, support: Rows) -> int:
        """Return how many tasks fit into memory together."""
        n_parameters = sum(p.numel() for p in module.common_start().values())
        # A row is kept by the way forward, the way back, and the derivative of that.
        a_step = 2 * n_parameters + 3 * support.x.shape[1] * module.numbers_a_row
        return max(1, NUMBERS_AT_ONCE // max(1, self.inner_steps * a_step))


def negative_log_likelihood(
    module: nn.Module, parameters: Parameters, episodes: TaskBatch
) -> Tensor:
    """Sum of minus the log likelihood of the query rows, the mean over targets or labels."""
    query, counts = episodes.query, episodes.support.mask.sum(1)
    predicted = module.predict(parameters, query.x, counts)
    log_prob = predicted.log_prob(query.y.to(query.x.dtype))
    if log_prob.ndim > 2:
        log_prob = log_prob.mean(-1)
    return -(log_prob * query.mask).sum()


def _chunks(n: int, at_once: int) -> list[slice]:
    return [slice(start, start + at_once) for start in range(0, n, at_once)]
