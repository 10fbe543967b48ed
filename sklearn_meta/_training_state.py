"""What meta-training keeps: how it went, where it stands, and its weights as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_meta._training_config import TrainingConfig


@dataclass
class History:
    """How meta-training went.

    Attributes
    ----------
    iteration : list of int
        When it was evaluated.
    loss : list of float
        Mean loss of the training episodes since the evaluation before.
    validation_loss : list of float
        Loss of the held-out episodes, the mean over members; empty where nothing was held out.
    best_iteration : int or None
        When the weights that were kept last were taken; 0 if training did not better the start,
        None where nothing was held out.
    best_score : float or None
        Held-out loss of the weights that were kept, the mean over members.
    validation : {"tasks", "folds", "classes", "rows", "given"} or None
        What was held out: whole tasks; a fold of the tasks by each member; classes; nothing but
        the draw of the rows, where there are too few tasks; the tasks given for it; or nothing.
    stopped : {"converged", "max_iter", "max_time", "interrupted"} or None
        Why it ended; None while it runs.
    seconds : float
        How long it took.
    """

    iteration: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_iteration: int | None = None
    best_score: float | None = None
    validation: str | None = None
    stopped: str | None = None
    seconds: float = 0.0

    def __repr__(self) -> str:
        n_iter = self.iteration[-1] if self.iteration else 0
        best = ""
        if self.best_score is not None:
            best = f", best_score={self.best_score:.4g} at {self.best_iteration}"
        return (
            f"History({n_iter} iterations in {self.seconds:.1f} s, stopped={self.stopped!r}, "
            f"validation={self.validation!r}{best})"
        )


@dataclass
class Progress:
    """Where a run stands: with weights and sampler, all that the rest of it depends on.

    Attributes
    ----------
    seeds : list of int
        From which everything random of the run is drawn.
    best : list of float
        Held-out loss of each member's best weights.
    mark : float
        The same, the mean over members, when it last improved by more than ``tol``.
    """

    seeds: list[int]
    best: list[float]
    mark: float = math.inf
    iteration: int = 0
    evaluations_without_change: int = 0
    decay_start: int | None = None
    decay_length: int = 0
    decay_reason: str | None = None
    slowdown: float = 1.0
    bad: int = 0
    bad_in_row: int = 0
    loss_sum: float = 0.0
    n_losses: int = 0

    def schedule(self, config: TrainingConfig, seconds: float) -> str | None:
        """Begin the decay when it is time to; return why to stop, or None.

        Parameters
        ----------
        config : TrainingConfig
        seconds : float
            How long the run has taken.
        """
        if self.decay_start is None:
            self._begin_decay(config, seconds)
        if self.decay_start is not None and self.iteration >= self.decay_start + self.decay_length:
            return self.decay_reason
        return "max_time" if seconds >= config.max_time else None

    def _begin_decay(self, config: TrainingConfig, seconds: float) -> None:
        length = min(config.decay_iterations, self.iteration // 2 + 100)
        per_iteration = seconds / max(self.iteration, 1)
        # The first iterations are slow and foretell the rest badly, so half the time is theirs.
        reserve = min(length * per_iteration, config.max_time / 2)
        if seconds + reserve >= config.max_time:
            self.decay_reason = "max_time"
            length = min(length, int((config.max_time - seconds) / per_iteration))
        elif self.evaluations_without_change >= config.n_iter_no_change:
            self.decay_reason = "converged"
        elif self.iteration + length >= config.max_iter:
            self.decay_reason = "max_iter"
        if self.decay_reason is not None:
            self.decay_start = self.iteration
            self.decay_length = min(length, config.max_iter - self.iteration)

    def learning_rate_factor(self) -> float:
        """Return what the step size is multiplied by: 1, then half a cosine down to 0."""
        if self.decay_start is None:
            return self.slowdown
        done = (self.iteration - self.decay_start) / self.decay_length
        return self.slowdown * 0.5 * (1.0 + math.cos(math.pi * done))

    def judge(self, scores: Sequence[float], tol: float) -> list[bool]:
        """Take the held-out loss of each member; return which members never did better."""
        better = [score < best for score, best in zip(scores, self.best, strict=True)]
        self.evaluations_without_change += 1
        self.best = [min(pair) for pair in zip(scores, self.best, strict=True)]
        mean = sum(self.best) / len(self.best)
        if mean < self.mark - tol:
            self.mark, self.evaluations_without_change = mean, 0
        return better


class Weights:
    """The trainable parameters of a module as one vector, each element owned by one member.

    While this object is in use the parameters and their gradients are views into two vectors, so
    that clipping, averaging and restoring are single operations however many parameters there are.

    Parameters
    ----------
    module : nn.Module
        Where it has ``members``, a dict from the name of each trainable parameter to the member
        (int64, one a leading slice) that owns each slice of it, members are told apart; else there
        is one member, which owns everything.

    Attributes
    ----------
    vector, gradient : tensor of shape (n_weights,)
        The weights and ``vector.grad``, so that an optimizer can take them for one parameter.
    average : tensor of shape (n_weights,)
        Exponential moving average of ``vector``.
    best : tensor of shape (n_weights,)
        What `keep` kept; at first the weights that the module came with.

    Raises
    ------
    ValueError
        If there is nothing to train, or ``members`` does not fit the parameters.
    """

    def __init__(self, module: nn.Module) -> None:
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not named:
            raise ValueError(f"{type(module).__name__} has no trainable parameters, expected some.")
        self._parameters = list(named.values())
        owner = _owner_of_elements(named, getattr(module, "members", None))
        self.n_members = 1 if owner is None else int(owner.max()) + 1
        self.vector = torch.cat([p.detach().flatten() for p in self._parameters])
        self.gradient = self.vector.grad = torch.zeros_like(self.vector)
        self.average = self.vector.clone()
        self.best = self.vector.clone()
        self._elements: list[Any] = [slice(None)]
        if owner is not None:
            owner = owner.to(self.vector.device)
            self._elements = [(owner == m).nonzero().squeeze(1) for m in range(self.n_members)]
        sizes = [p.numel() for p in self._parameters]
        values, gradients = self.vector.split(sizes), self.gradient.split(sizes)
        for p, value, gradient in zip(self._parameters, values, gradients, strict=True):
            p.data, p.grad = value.view_as(p), gradient.view_as(p)

    def gradient_norms(self) -> Tensor:
        """Return the norm of each member's gradient, of shape (n_members,)."""
        return torch.stack([self.gradient[e].norm() for e in self._elements])

    def clip(self, norms: Sequence[float], largest: float) -> None:
        """Shrink the gradient of every member whose norm is above ``largest`` to that norm."""
        for elements, norm in zip(self._elements, norms, strict=True):
            if norm > largest:
                self.gradient[elements] *= largest / norm

    def follow(self, decay: float) -> None:
        """Move the average towards the present weights."""
        self.average.lerp_(self.vector, 1.0 - decay)

    def keep(self, members: Sequence[bool]) -> None:
        """Take the average weights of these members for their best."""
        self._copy(self.average, self.best, members)

    def go_back(self, members: Sequence[bool]) -> None:
        """Set the present and the average weights of these members to their best."""
        self._copy(self.best, self.vector, members)
        self._copy(self.best, self.average, members)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the average weights into the module for a while."""
        present = self.vector.clone()
        self.vector.copy_(self.average)
        try:
            yield
        finally:
            self.vector.copy_(present)

    def release(self) -> None:
        """Leave the module with the best weights, its parameters independent again."""
        self.vector.copy_(self.best)
        for p in self._parameters:
            p.data, p.grad = p.data.clone(), None

    def _copy(self, source: Tensor, target: Tensor, members: Sequence[bool]) -> None:
        for elements, concerned in zip(self._elements, members, strict=True):
            if concerned:
                target[elements] = source[elements]


def _owner_of_elements(
    parameters: dict[str, nn.Parameter], members: dict[str, Tensor] | None
) -> Tensor | None:
    """Spread the owner of each leading slice over its elements: shape (n_weights,)."""
    if members is None:
        return None
    if set(members) != set(parameters):
        wrong = sorted(set(members) ^ set(parameters))
        raise ValueError(f"members must name every trainable parameter and no other; see {wrong}.")
    owners = []
    for name, p in parameters.items():
        index = members[name].cpu()
        if index.ndim != 1 or p.ndim == 0 or len(index) != len(p):
            raise ValueError(
                f"members[{name!r}] has shape {tuple(index.shape)}, expected one member for each "
                f"leading slice of the parameter, which has shape {tuple(p.shape)}."
            )
        owners.append(index.repeat_interleave(p[0].numel()))
    return torch.cat(owners)
