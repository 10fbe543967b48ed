"""Losses that gradient learners descend, by what they share: the residual ``link(f) - y``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot, softplus


@dataclass(frozen=True)
class Link:
    """A loss whose gradient with respect to the outputs f is ``scale * (link(f) - y)``.

    Attributes
    ----------
    scale : float
    mean : callable
        The link: outputs (..., k) -> what is expected of y.
    tangent : callable
        Derivative of the link in a direction: (link(f), direction of f) -> direction of link(f).
    value : callable
        The loss of each row: (outputs (..., k), y (..., k)) -> (...).
    """

    scale: float
    mean: Callable[[Tensor], Tensor]
    tangent: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor, Tensor], Tensor]


def _softmax_tangent(p: Tensor, direction: Tensor) -> Tensor:
    moved = p * direction
    return moved - p * moved.sum(-1, keepdim=True)


#: The loss of each kind of task: squared errors summed over targets, cross-entropy, and
#: cross-entropies summed over labels.
LINKS = {
    "regression": Link(
        scale=2.0,
        mean=lambda f: f,
        tangent=lambda mean, direction: direction,
        value=lambda f, y: (f - y).square().sum(-1),
    ),
    "classification": Link(
        scale=1.0,
        mean=lambda f: f.softmax(-1),
        tangent=_softmax_tangent,
        value=lambda f, y: -(y * log_softmax(f, -1)).sum(-1),
    ),
    "multilabel": Link(
        scale=1.0,
        mean=torch.sigmoid,
        tangent=lambda p, direction: p * (1 - p) * direction,
        value=lambda f, y: (softplus(f) - y * f).sum(-1),
    ),
}


def as_targets(y: Tensor, kind: str, n_outputs: int, dtype: torch.dtype) -> Tensor:
    """Targets (T, n, n_outputs) of a kind of task: class codes become indicators."""
    return (one_hot(y, n_outputs) if kind == "classification" else y).to(dtype)
