"""Several Bayesian linear heads over shared rows: features, priors over weights, their blend.

What `BayesianLinear` and `BayesianLogistic` have in common: a head is a set of features of
``[1, x, trees, network(x) or fourier(x)]`` and a Gaussian prior over its weights. All heads are
trained at once, stacked along the first axis of every tensor, each on its own part of the tasks,
and blended for every new task by how well they predicted held-out tasks and how well they foresaw
the support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_meta.learners._trees import TreeFeatures

#: What each kind of head sees beside the constant: (encoded row, trees, "network" or "fourier").
FEATURE_SETS: dict[str, tuple[bool, bool, str | None]] = {
    "linear": (True, False, None),
    "deep": (True, False, "network"),
    "fourier": (True, False, "fourier"),
    "tree": (False, True, None),
    "tree_linear": (True, True, None),
    "tree_deep": (True, True, "network"),
    "tree_fourier": (True, True, "fourier"),
}
KINDS = tuple(FEATURE_SETS)
N_FOLDS = 5  # a member is judged on one fold of the tasks and trained on the others
RANK = 16  # of the low-rank part of a prior covariance
N_FOURIER = 64


class Heads(nn.Module):
    """Features and weight priors of several heads.

    Every parameter has the head as its first axis. With F features, R = rank and k latent
    functions a head is ``w ~ N(mean, root root^T)`` on its own features, 0 elsewhere, with
    ``root = [diag(scale), factor]``.

    Parameters
    ----------
    kinds : sequence of str
        The kind of each head, from `FEATURE_SETS`.
    member : sequence of int
        The member of the ensemble to which each head belongs.
    n_inputs : int
        Width of the encoded rows.
    trees : TreeFeatures or None
    hidden : tuple of int
        Widths of the layers of the network; the last one is the number of its features.
    mean : ndarray of shape (n_heads, n, n_latents)
        Where the prior means start, for the first n features; those beyond start at 0.
    rank : int
        Of the low-rank part of the covariances.
    generator : torch.Generator
    """

    #: Axis along which the features lie, of tensors that have one.
    feature_axis = {"mask": 1, "mean": 1, "log_scale": 1, "factor": 1}

    #: Step sizes of groups of parameters, in units of the learning rate, by prefix of the name.
    rates = {"layers.": 0.2, "": 1.0}

    def __init__(
        self,
        kinds: Sequence[str],
        member: Sequence[int],
        n_inputs: int,
        trees: TreeFeatures | None,
        hidden: tuple[int, ...],
        mean: np.ndarray,
        rank: int,
        generator: torch.Generator,
    ):
        super().__init__()
        self.n_inputs, self.trees = n_inputs, trees
        self.deep = [i for i, kind in enumerate(kinds) if FEATURE_SETS[kind][2] == "network"]
        self.fourier = [i for i, kind in enumerate(kinds) if FEATURE_SETS[kind][2] == "fourier"]
        # Networks and Fourier features share the last columns: no head has both.
        self.n_learned = max(hidden[-1] if self.deep else 0, N_FOURIER if self.fourier else 0)
        self.register_buffer("kind", torch.tensor([KINDS.index(kind) for kind in kinds]))
        self.register_buffer("member", torch.tensor(member, dtype=torch.int64))
        self.register_buffer("mask", self._mask(kinds, hidden[-1]))
        n_heads, n_features = self.mask.shape
        start = torch.zeros(n_heads, n_features, mean.shape[2])
        start[:, : mean.shape[1]] = torch.tensor(mean)
        self.mean = nn.Parameter(start)
        self.log_scale = nn.Parameter(self._start_scale())
        factor = torch.randn(n_heads, n_features, rank, generator=generator)
        self.factor = nn.Parameter(0.05 * factor)
        self.register_buffer("log_weight", torch.full((n_heads,), -math.log(n_heads)))

        self.layers = nn.ParameterList()
        for fan_in, fan_out in zip((n_inputs, *hidden[:-1]), hidden, strict=True):
            for rows in (fan_in, 1) if self.deep else ():
                weight = torch.rand(len(self.deep), rows, fan_out, generator=generator) * 2 - 1
                self.layers.append(nn.Parameter(weight / math.sqrt(fan_in)))
        if self.fourier:
            n = len(self.fourier)
            frequency = torch.randn(n, n_inputs, N_FOURIER, generator=generator)
            phase = 2 * math.pi * torch.rand(n, 1, N_FOURIER, generator=generator)
            self.register_buffer("frequency", frequency / math.sqrt(n_inputs))
            self.register_buffer("phase", phase)
            self.log_length = nn.Parameter(torch.zeros(n, n_inputs, 1))
        # Not part of the prior: the fold of each meta-training task, and how many there are.
        self.fold: Tensor | None = None
        self.n_tasks = 1

    @property
    def n_heads(self) -> int:
        """Number of heads."""
        return self.mask.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features, F."""
        return self.mask.shape[1]

    @property
    def heads_of(self) -> dict[str, Tensor]:
        """The head of each slice of each parameter and buffer that has one slice a head."""
        all_heads = torch.arange(self.n_heads)
        deep = torch.tensor(self.deep, dtype=torch.int64)
        fourier = torch.tensor(self.fourier, dtype=torch.int64)
        heads = {}
        for name in self.state_dict():
            if name.startswith("layers."):
                heads[name] = deep
            elif name in ("frequency", "phase", "log_length"):
                heads[name] = fourier
            elif not name.startswith("trees."):
                heads[name] = all_heads
        return heads

    @property
    def members(self) -> dict[str, Tensor]:
        """Part of the loss to which each slice of each parameter belongs: here, every head."""
        heads_of = self.heads_of
        return {name: heads_of[name] for name, p in self.named_parameters() if p.requires_grad}

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Groups for the optimiser: each kind of parameter at its own rate; only networks decay."""
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                prefix = next(prefix for prefix in self.rates if name.startswith(prefix))
                groups.setdefault(prefix, []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": self.rates[prefix] * learning_rate,
                "weight_decay": weight_decay if prefix == "layers." else 0.0,
            }
            for prefix, parameters in groups.items()
        ]

    def features(self, x: Tensor) -> Tensor:
        """Features (n_heads, T, n, F) of rows (T, n, n_inputs + n_trees), zero where masked."""
        n_tasks, n_rows, _ = x.shape
        parts = torch.cat([torch.ones_like(x[..., :1]), x], -1).expand(self.n_heads, -1, -1, -1)
        if self.n_learned:
            rows = x[..., : self.n_inputs].reshape(1, n_tasks * n_rows, self.n_inputs)
            learned = x.new_zeros(self.n_heads, n_tasks * n_rows, self.n_learned)
            if self.deep:
                learned = _put(learned, self.deep, self._network(rows))
            if self.fourier:
                learned = _put(learned, self.fourier, self._fourier(rows))
            parts = torch.cat([parts, learned.view(*parts.shape[:3], self.n_learned)], -1)
        return parts * self.mask[:, None, None, :].to(x.dtype)

    def whiten(self, features: Tensor) -> Tensor:
        """Rows (n_heads, T, n, F + R) of features in units of the prior: ``features root``."""
        scaled = features * self.log_scale.exp()[:, None, None]
        return torch.cat([scaled, times(features, self.factor)], -1)

    def judged(self, task: Tensor) -> Tensor:
        """Which heads (n_heads, T) train on these tasks; in eval mode, which are judged by them."""
        if self.fold is None:
            return torch.ones(self.n_heads, len(task), dtype=torch.bool, device=task.device)
        fold = self.fold.to(task.device)
        own = fold[task.clamp_min(0)][None] == self.member[:, None]
        return ~own if self.training else (task < 0) | own

    def blend(self, evidence: Tensor) -> Tensor:
        """Log weights of the heads, both (n_heads, T): half as learned, half by the evidence."""
        start = self.log_weight[:, None].to(evidence.dtype)
        informed = torch.log_softmax(start + evidence, 0)
        return torch.logaddexp(start.expand_as(informed), informed) - math.log(2)

    def penalty(self) -> Tensor | float:
        """What is added to the loss of each head in training: here, nothing."""
        return 0.0

    def _network(self, rows: Tensor) -> Tensor:
        z, layers = rows.expand(len(self.deep), -1, -1), list(self.layers)
        for i in range(0, len(layers), 2):
            z = torch.baddbmm(layers[i + 1], z, layers[i])
            if i + 2 < len(layers):
                z = torch.tanh(z)
        return z * (2 / math.sqrt(z.shape[-1]))

    def _fourier(self, rows: Tensor) -> Tensor:
        """Random features of a radial kernel with one learned length scale a column."""
        frequency = self.frequency * self.log_length.exp()
        angle = torch.baddbmm(self.phase, rows.expand(len(self.fourier), -1, -1), frequency)
        return torch.cos(angle) * math.sqrt(2 / N_FOURIER)

    def _start_scale(self) -> Tensor:
        return torch.full(self.mask.shape, -2.0)

    def _mask(self, kinds: Sequence[str], n_hidden: int) -> Tensor:
        n_trees = self.trees.n_outputs if self.trees is not None else 0
        width = {None: 0, "network": n_hidden, "fourier": N_FOURIER}
        rows = []
        for row, tree, learned in (FEATURE_SETS[kind] for kind in kinds):
            own = [True] * width[learned] + [False] * (self.n_learned - width[learned])
            rows.append([True] + [row] * self.n_inputs + [tree] * n_trees + own)
        return torch.tensor(rows)


def assign_folds(n_tasks: int, rng: np.random.Generator) -> np.ndarray:
    """Fold (n_tasks,) of each task, balanced and at random."""
    return rng.permutation(n_tasks) % min(N_FOLDS, n_tasks)


def times(features: Tensor, matrix: Tensor) -> Tensor:
    """(H, T, n, F) times (H, F, m), as one stacked product a head."""
    n_heads, n_tasks, n, width = features.shape
    product = torch.bmm(features.reshape(n_heads, n_tasks * n, width), matrix)
    return product.view(n_heads, n_tasks, n, matrix.shape[-1])


def _put(learned: Tensor, heads: list[int], values: Tensor) -> Tensor:
    """Return `learned` with the first columns of some heads set."""
    padded = nn.functional.pad(values, (0, learned.shape[-1] - values.shape[-1]))
    return learned.index_copy(0, torch.tensor(heads, device=learned.device), padded)
