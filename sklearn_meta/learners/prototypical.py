"""Prototypical networks: nearest class means in a meta-learned embedding."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from torch.nn.functional import one_hot

from sklearn_meta.learners._base import IMPOSSIBLE, Learner, Signature
from sklearn_meta.learners._class_metric import class_metric
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._class_index import class_index
from sklearn_meta.tasks._episodes import Rows, TaskBatch

NETWORK_SCALE = 0.1  # of the network's columns at the start, beside the linear ones
DISTANCE_AT_START = 10.0  # about, between rows, of features that vary by 1 each
NETWORK_SCALE_OF_IMAGES = 0.3  # the same of images, or with a network of the user's own
CLASSES_TO_LEAD = 100  # from so many on, the network of images needs no columns beside it
PRIOR_ROWS = 5.0  # rows that the frequencies of shared classes are worth at the start
MAX_SPLITS = 8  # of the rows of an episode of images
NUMBERS_AT_ONCE = 2**22  # bounds the memory that the evidence of a large support takes


class PrototypicalModule(nn.Module):
    """Embedding, and how prototypes vary from class to class and from task to task.

    Parameters
    ----------
    signature : Signature
    n_directions : int
        Width of the linear part of the embedding; the directions are fixed, their scales learned.
    n_linear : int
        The same; without directions the columns themselves are that part, or there is none.
    generator : torch.Generator
    """

    def __init__(
        self,
        signature: Signature,
        n_directions: int,
        n_linear: int,
        generator: torch.Generator,
    ):
        super().__init__()
        self.n_classes = signature.n_outputs if signature.shared_classes else 0
        network = signature.make_network(generator)
        n_priors, width = max(self.n_classes, 1), n_linear + network.n_features
        self.register_buffer("directions", torch.zeros(signature.n_inputs, n_directions))
        self.log_scale = nn.Parameter(torch.zeros(n_linear))
        self.network = network
        self.centres = nn.Parameter(torch.zeros(n_priors, width))
        self.log_class_spread = nn.Parameter(torch.zeros(width))
        self.log_task_spread = nn.Parameter(torch.zeros(width))
        self.log_pseudo_count = nn.Parameter(torch.zeros(n_priors))
        self.log_temperature = nn.Parameter(torch.zeros(1))
        self.count_weight = nn.Parameter(torch.ones(1))
        self.is_plain = signature.is_plain
        with torch.no_grad():
            if signature.is_plain:
                last = network.layers[-1]
                last.weight *= NETWORK_SCALE
                last.bias.zero_()
            else:
                self.log_temperature += math.log(DISTANCE_AT_START / network.n_features)
                if n_linear and not n_directions:  # all columns together count as the features
                    self.log_scale += 0.5 * math.log(network.n_features / n_linear)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Groups for the optimiser: only the network decays."""
        network = list(self.network.parameters())
        own = {id(p) for p in network}
        others = [p for p in self.parameters() if id(p) not in own]
        return [
            {"params": network, "lr": 0.2 * learning_rate, "weight_decay": weight_decay},
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]

    def embed(self, x: Tensor) -> Tensor:
        """Embed rows (..., n_inputs) -> (..., E): scaled directions, then the network's.

        Other rows than those of a table are embedded already, see `rows`.
        """
        if not self.is_plain:
            return x
        return torch.cat([x @ self.directions * self.log_scale.exp(), self.network(x)], -1)

    def rows(self, x: Tensor) -> Tensor:
        """Embed rows of images, or with a network of the user's own.

        Where there are linear columns they lead: of few classes a network learns little, and soon
        too much.
        """
        features = self.network(x)
        if not len(self.log_scale):
            return features
        columns = x @ self.directions if self.directions.shape[1] else x
        return torch.cat([columns * self.log_scale.exp(), NETWORK_SCALE_OF_IMAGES * features], -1)

    def prototypes(self, sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance, each (..., C, E), of the prototypes.

        An embedded row of class c is ``N(prototype_c, 1)``, a prototype is
        ``N(centre_c + shift, class_spread)``, and the shift of a task is ``N(0, task_spread)``:
        so a prototype is the class mean, shrunken towards the support's, the less the more rows.

        Parameters
        ----------
        sums : Tensor of shape (..., C, E)
        counts : Tensor of shape (..., C)
        """
        n = counts[..., None]
        spread = self.log_class_spread.exp()
        residual = sums - n * self.centres
        gain = 1 / (1 + n * spread)
        shift_var = 1 / ((n * gain).sum(-2, keepdim=True) + (-self.log_task_spread).exp())
        shift = shift_var * (gain * residual).sum(-2, keepdim=True)
        mean = self.centres + gain * (shift + spread * residual)
        return mean, gain * (spread + gain * shift_var)

    def logits(self, sums: Tensor, counts: Tensor, ways: Tensor | None, z: Tensor) -> Tensor:
        """Log-odds (..., n, C) of embedded rows (..., n, E), given sums and counts as above.

        Parameters
        ----------
        ways : Tensor of shape (...), optional
            Classes beyond these are impossible.
        """
        mean, var = self.prototypes(sums, counts)
        precision = 1 / (1 + var)
        # Around the middle the terms of the squared distance are small: so is their rounding.
        middle = mean.mean(-2, keepdim=True)
        z, mean = z - middle, mean - middle
        distance = (
            z.square() @ precision.transpose(-1, -2)
            - 2 * z @ (mean * precision).transpose(-1, -2)
            + (mean.square() * precision - precision.log()).sum(-1)[..., None, :]
        )
        frequency = torch.log(counts + self.log_pseudo_count.exp())[..., None, :]
        logits = self.count_weight * frequency - 0.5 * self.log_temperature.exp() * distance
        if ways is None:
            return logits
        impossible = torch.arange(counts.shape[-1], device=z.device) >= ways[..., None]
        return logits.masked_fill(impossible[..., None, :], IMPOSSIBLE)


@dataclass(frozen=True, eq=False, slots=True)
class Prototypes:
    """Sufficient statistics of a support: what adaptation keeps does not grow with its rows.

    Attributes
    ----------
    sums : Tensor of shape (T, C, E)
        Sum of the embedded rows of each class.
    counts : Tensor of shape (T, C)
        Number of rows of each class.
    evidence : Tensor of shape (T,)
        Log probability of the labels, each foreseen from the rows before it.
    ways : Tensor of shape (T,) or None
        Number of classes of each task, where they mean nothing beyond it.
    """

    sums: Tensor
    counts: Tensor
    evidence: Tensor
    ways: Tensor | None = None


class PrototypicalNetwork(Learner):
    """Prototypical network: a row belongs to the class whose mean is nearest in the embedding.

    The embedding is the encoded row in a metric, beside a network of the row. The metric starts as
    linear discriminants where classes mean the same in every task, else with every column weighed
    by how much of it differs between classes; pixels weigh alike then, and are left out where
    there are many classes to learn from. Prototypes are
    class means, shrunken by a meta-learned hierarchical normal model: towards the mean of the
    support and, where labels mean the same in every task, towards the prototype of the class among
    all tasks. A class of few rows is known less well than one of many, and probabilities say so;
    a support of one class, of one row or of none is a case like any other. How often a class
    occurs counts too, with a meta-learned weight. Adaptation and updates are exact and in closed
    form, by the sums and counts of the classes.

    Where labels mean nothing beyond a task, predictions do not depend on how they are numbered.

    References
    ----------
    J. Snell, K. Swersky, R. Zemel (2017). Prototypical networks for few-shot learning.
    https://arxiv.org/abs/1703.05175

    S. Ioffe (2006). Probabilistic linear discriminant analysis.
    """

    kinds = ("classification",)

    def defaults(self, signature: Signature) -> dict[str, Any]:
        if signature.image_shape is None or signature.shared_classes:
            return {}
        return {
            "shots": (1, 1),
            "n_query": 4,
            "n_ways": 60,
            "batch_size": 1,
            "learning_rate_init": 1e-2,
            "alpha": 1e-3,
            "max_iter": 100_000,
            "decay_iterations": 100_000,
        }

    def prepare(
        self, store: TaskStore, signature: Signature, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        n_classes = signature.n_outputs if signature.shared_classes else 0
        if signature.image_shape is not None and not n_classes:
            return _start_of_images(store, signature)
        start = class_metric(store, n_classes)
        # Columns that vary together must not count as if each were evidence of its own.
        temperature = start.freedom / start.directions.shape[1]
        pseudo_count = PRIOR_ROWS * start.frequency
        prepared = {
            "directions": start.directions,
            "centres": start.centres,
            "log_class_spread": np.log(start.class_spread),
            "log_task_spread": np.log(start.task_spread),
            "log_pseudo_count": np.log(pseudo_count) if n_classes else np.zeros(1),
            "log_temperature": np.log([temperature]),
        }
        prepared["log_scale"] = np.zeros(start.directions.shape[1])
        return {name: array.astype(np.float32) for name, array in prepared.items()}

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> nn.Module:
        widths = prepared["directions"].shape[1], len(prepared["log_scale"])
        module = PrototypicalModule(signature, *widths, generator)
        with torch.no_grad():
            for name in ("directions", "centres", "log_class_spread", "log_task_spread"):
                # The columns of the network come last and have no start of their own.
                start = torch.tensor(prepared[name])
                getattr(module, name)[..., : start.shape[-1]] = start
            for name in ("log_pseudo_count", "log_temperature"):
                if name in prepared:
                    getattr(module, name).copy_(torch.tensor(prepared[name]))
        return module

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        return x if module.is_plain else module.rows(x)

    def adapt(self, module: nn.Module, support: Rows) -> Prototypes:
        n_tasks, ways = support.n_tasks, support.ways
        n_classes = module.n_classes if ways is None else int(ways.max())
        width = module.centres.shape[1]
        nothing = support.x.new_zeros(n_tasks, n_classes, width)
        empty = Prototypes(nothing, nothing[..., 0], nothing[:, 0, 0], ways)
        return self.update(module, empty, support)

    def update(self, module: nn.Module, state: Prototypes, support: Rows) -> Prototypes:
        rows_at_once = max(1, NUMBERS_AT_ONCE // state.sums.numel())
        parts = (t.split(rows_at_once, 1) for t in (support.x, support.y, support.mask))
        for x, y, mask in zip(*parts, strict=True):
            state = _take_in(module, state, module.embed(x), y, mask)
        return state

    def predict(self, module: nn.Module, state: Prototypes, x: Tensor) -> Distribution:
        logits = module.logits(state.sums, state.counts, state.ways, module.embed(x))
        return Categorical(logits=logits, validate_args=False)

    def embed(self, module: nn.Module, state: Prototypes, x: Tensor) -> Tensor:
        """Embedded rows around the middle of the task's prototypes: (T, n, E)."""
        mean, _ = module.prototypes(state.sums, state.counts)
        known = torch.ones_like(state.counts)
        if state.ways is not None:
            known = (torch.arange(mean.shape[1], device=x.device) < state.ways[:, None]).to(x.dtype)
        middle = (mean * known[..., None]).sum(1, keepdim=True) / known.sum(1)[:, None, None]
        return module.embed(x) - middle

    def loss(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        """Return the mean of minus the log likelihood of the query rows.

        In training, where classes mean nothing beyond a task, every second task of a table gets
        classes that no task has: else the embedding would tell the classes at hand apart and no
        others. To embed an image is dear, to compare it is cheap: in training each is support in
        some splits of its episode and query in others.
        """
        anonymous = module.training and episodes.support.ways is not None
        if not module.is_plain:
            episodes = self._embedded(module, episodes)
            if anonymous:
                return _loss_of_all_splits(module, episodes)
        elif anonymous:
            episodes = _with_new_classes(episodes)
        return super().loss(module, episodes)

    def _embedded(self, module: nn.Module, episodes: TaskBatch) -> TaskBatch:
        """Put all rows through the network at once; padding is left out."""
        parts = (episodes.support, episodes.query)
        x, mask = (torch.cat([getattr(p, name) for p in parts], 1) for name in ("x", "mask"))
        embedded = self.inputs(module, x[mask])
        z = embedded.new_zeros(*mask.shape, embedded.shape[-1])
        z[mask] = embedded
        support, query = (
            dataclasses.replace(part, x=own)
            for part, own in zip(parts, z.split([p.x.shape[1] for p in parts], 1), strict=True)
        )
        return dataclasses.replace(episodes, support=support, query=query)

    def evidence(self, module: nn.Module, state: Prototypes) -> Tensor:
        """Return the log probability (T,) of the labels, each foreseen from the rows before it.

        Where classes mean nothing beyond a task, the first row of a class only names it: nobody
        could foresee the name, so it counts as one of equally likely ones. The rest is exact and
        additive over updates, and depends a little on the order of the rows.
        """
        return state.evidence


def _start_of_images(store: TaskStore, signature: Signature) -> dict[str, np.ndarray]:
    """Return a start without directions: pixels say little by themselves."""
    n_classes = len(np.unique(class_index(store).label))
    n_linear = signature.n_inputs if n_classes < CLASSES_TO_LEAD else 0
    nothing = np.zeros(0, np.float32)
    return {
        "log_scale": np.zeros(n_linear, np.float32),
        "directions": np.zeros((signature.n_inputs, 0), np.float32),
        "centres": np.zeros((1, 0), np.float32),
        "log_class_spread": nothing,
        "log_task_spread": nothing,
    }


def _loss_of_all_splits(module: PrototypicalModule, episodes: TaskBatch) -> Tensor:
    """Loss of embedded rows, each class's j-th row as its support, and all others as its support.

    Both for j up to the number of its rows, or MAX_SPLITS; what is not support is query. In two
    more splits every second class has no support: what it means for a row to be the first of its
    class is learned too.
    """
    parts = (episodes.support, episodes.query)
    z, y, mask = (torch.cat([getattr(p, name) for p in parts], 1) for name in ("x", "y", "mask"))
    ways = episodes.support.ways
    member = one_hot(y, int(ways.max())).to(z.dtype) * mask[..., None]
    position = ((member.cumsum(1) - 1) * member).sum(-1)  # of a row among those of its class
    n_splits = min(int(member.sum(1).max()), MAX_SPLITS)
    one = position == torch.arange(n_splits, device=z.device)[:, None, None]
    half = one[:1] & torch.stack([y % 2 == parity for parity in (0, 1)])
    support = torch.cat([one, ~one, half]) & mask  # (S, T, n)
    supports = member * support[..., None]
    sums, counts = supports.transpose(-1, -2) @ z, supports.sum(-2)
    log_p = module.logits(sums, counts, ways, z).log_softmax(-1)
    query = mask & ~support
    return -(log_p * member).sum(-1)[query].mean()


def _with_new_classes(episodes: TaskBatch) -> TaskBatch:
    """Displace each class of every second task by a row of the task before it in the batch.

    The rows are a random sample, so that nothing else has to be drawn.
    """
    support, query = episodes.support, episodes.query
    n_classes = int(support.ways.max())
    chosen = torch.arange(n_classes, device=query.x.device) % query.x.shape[1]
    displacement = query.x[:, chosen].roll(1, 0)
    displacement[::2] = 0

    def displaced(rows: Rows) -> Rows:
        moved = displacement.take_along_dim(rows.y[..., None], 1)
        return dataclasses.replace(rows, x=rows.x + moved * rows.mask[..., None])

    return dataclasses.replace(episodes, support=displaced(support), query=displaced(query))


def _take_in(
    module: PrototypicalModule, state: Prototypes, z: Tensor, y: Tensor, mask: Tensor
) -> Prototypes:
    """Take embedded rows (T, n, E) into the statistics."""
    member = one_hot(y, state.counts.shape[1]).to(z.dtype) * mask[..., None]
    changes: dict[str, Any] = {
        "sums": state.sums + member.transpose(1, 2) @ z,
        "counts": state.counts + member.sum(1),
    }
    # Meta-training needs no evidence, and it is the dear part.
    if not module.training and z.shape[1]:
        each = member[..., None] * z[:, :, None]
        sums = state.sums[:, None] + each.cumsum(1) - each
        counts = state.counts[:, None] + member.cumsum(1) - member
        ways = None if state.ways is None else state.ways[:, None]
        logits = module.logits(sums, counts, ways, z[:, :, None])[:, :, 0]
        foreseen = (logits.log_softmax(-1) * member).sum(-1)
        if ways is not None:
            # The first row of a class only names it: nobody could have foreseen the name.
            named = ((counts * member).sum(-1) > 0) | ~mask
            foreseen = torch.where(named, foreseen, -ways.to(z.dtype).log())
        changes["evidence"] = state.evidence + foreseen.sum(1)
    return dataclasses.replace(state, **changes)
