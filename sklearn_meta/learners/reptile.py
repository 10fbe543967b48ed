"""Reptile: a start that lies close to where the descents of all tasks lead."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sklearn_meta.tasks._episodes import TaskBatch

from ._differentiation import with_gradient
from ._gradient import GradientLearner, negative_log_likelihood


class Reptile(GradientLearner):
    """Move the start towards the parameters to which each task's own descent leads.

    Adaptation is that of `MAML`. The start is not trained by a gradient of a query loss but by the
    way that descent on all rows of an episode goes, per step and unit of step size: no derivative
    is ever taken through a step. What the descent does not change (noise, temperature and
    pseudo-count of the prototypes) follows the gradient of the query loss.

    Parameters
    ----------
    inner_steps : int, default=10
        Gradient steps of an adaptation.
    inner_learning_rate : float, default=0.1
        Their size; targets have about unit variance.

    References
    ----------
    A. Nichol, J. Achiam, J. Schulman (2018). On first-order meta-learning algorithms.
    https://arxiv.org/abs/1803.02999
    """

    def __init__(self, inner_steps: int = 10, inner_learning_rate: float = 0.1):
        self.inner_steps = inner_steps
        self.inner_learning_rate = inner_learning_rate

    def total(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        support, query = episodes.support, episodes.query
        start = module.start(support)
        fixed = {name: p.detach() for name, p in start.items()}
        with torch.no_grad():
            (adapted,) = self.descend_from(module, fixed, support)
        parameters = {name: adapted[name] + (start[name] - fixed[name]) for name in start}
        loss = negative_log_likelihood(module, parameters, episodes)
        if not (module.training and loss.requires_grad):
            return loss
        scales = [p for name, p in module.named_parameters() if name.startswith("log_")]
        gradients = list(torch.autograd.grad(loss, scales)) if scales else []
        with torch.no_grad():
            (reached,) = self.descend_from(module, fixed, support.extend(query))
            weight = query.mask.sum(1) / (self.inner_steps * self.inner_learning_rate)
            common = module.common_start()
            for name in common:
                way = fixed[name] - reached[name]
                gradients.append(torch.tensordot(weight.to(way.dtype), way, 1))
        return with_gradient(loss.detach(), [*scales, *common.values()], gradients)
