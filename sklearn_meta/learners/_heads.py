"""Several Bayesian linear heads over shared rows: features, priors over weights, their blend.

What `BayesianLinear` and `BayesianLogistic` have in common: a head is a set of features
``[1, x, trees, network(x)]`` and a Gaussian prior over its weights. All heads are trained at once,
stacked along the first axis of every tensor, each on its own part of the tasks, and blended for
every new task by how well they predicted held-out tasks and how well they foresaw the support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_meta.learners._trees import TreeFeatures

#: What each kind of head sees beside the constant: (encoded row, trees, network).
FEATURE_SETS = {
    "linear": (True, False, False),
    "deep": (True, False, True),
    "tree_linear": (True, True, False),
    "tree_deep": (True, True, True),
    "tree": (False, True, False),
}
N_FOLDS = 5  # a member is judged on one fold of the tasks and trained on the others
RANK = 16  # of the low-rank part of a prior covariance


class Heads(nn.Module):
    """Features and weight priors of several heads.

    Every parameter has the head as its first axis. With F features, R = min(F, rank) and k latent
    functions a head is ``w ~ N(mean, scale^2 + factor factor^T)`` on its own features, 0 elsewhere.

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
        Of the low-rank part of the covariances, at most.
    generator : torch.Generator or None
    """

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
        self.register_buffer("kind", torch.tensor([list(FEATURE_SETS).index(k) for k in kinds]))
        self.register_buffer("member", torch.tensor(member, dtype=torch.int64))
        self.register_buffer("mask", feature_mask(kinds, n_inputs, trees, hidden))
        n_heads, n_features = self.mask.shape
        rank = min(n_features, rank)
        start = torch.zeros(n_heads, n_features, mean.shape[2])
        start[:, : mean.shape[1]] = torch.tensor(mean)
        self.mean = nn.Parameter(start)
        self.log_scale = nn.Parameter(torch.full((n_heads, n_features), -2.0))
        factor = 0.05 * torch.randn(n_heads, n_features, rank, generator=generator)
        self.factor = nn.Parameter(factor)
        self.register_buffer("log_weight", torch.full((n_heads,), -math.log(n_heads)))
        self.deep = [i for i, kind in enumerate(kinds) if FEATURE_SETS[kind][2]]
        self.n_hidden = hidden[-1] if self.deep else 0
        self.layers = nn.ParameterList()
        for fan_in, fan_out in zip((n_inputs, *hidden[:-1]), hidden, strict=True):
            for rows in (fan_in, 1) if self.deep else ():
                start = torch.rand(len(self.deep), rows, fan_out, generator=generator) * 2 - 1
                self.layers.append(nn.Parameter(start / math.sqrt(fan_in)))
        self.fold: Tensor | None = None  # of each meta-training task; not part of the prior

    @property
    def n_heads(self) -> int:
        """Number of heads."""
        return self.mask.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features, F."""
        return self.mask.shape[1]

    @property
    def members(self) -> dict[str, Tensor]:
        """Part of the loss to which each slice of each parameter belongs: here, every head."""
        heads, deep = torch.arange(self.n_heads), torch.tensor(self.deep, dtype=torch.int64)
        return {
            name: deep if name.startswith("layers.") else heads
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Weight priors learn faster than networks, and only networks decay."""
        network = list(self.layers.parameters())
        priors = [p for name, p in self.named_parameters() if not name.startswith("layers.")]
        return [
            {"params": priors, "lr": learning_rate, "weight_decay": 0.0},
            {"params": network, "lr": 0.2 * learning_rate, "weight_decay": weight_decay},
        ]

    def features(self, x: Tensor) -> Tensor:
        """Features (n_heads, T, n, F) of rows (T, n, n_inputs + n_trees), zero where masked."""
        n_tasks, n_rows, _ = x.shape
        ones = torch.ones_like(x[..., :1])
        parts = torch.cat([ones, x], -1).expand(self.n_heads, -1, -1, -1)
        if self.deep:
            z = x[..., : self.n_inputs].reshape(1, n_tasks * n_rows, self.n_inputs)
            z = z.expand(len(self.deep), -1, -1)
            layers = list(self.layers)
            for i in range(0, len(layers), 2):
                z = torch.baddbmm(layers[i + 1], z, layers[i])
                z = torch.tanh(z) if i + 2 < len(layers) else z * (2 / math.sqrt(self.n_hidden))
            z = z.view(len(self.deep), n_tasks, n_rows, self.n_hidden)
            if len(self.deep) < self.n_heads:
                deep = torch.tensor(self.deep, device=x.device)
                z = x.new_zeros(self.n_heads, *z.shape[1:]).index_copy(0, deep, z)
            parts = torch.cat([parts, z], -1)
        return parts * self.mask[:, None, None, :].to(x.dtype)

    def root(self) -> Tensor:
        """Square root (n_heads, F, F + R) of the prior covariances: ``S = root root^T``."""
        root = torch.cat([torch.diag_embed(self.log_scale.exp()), self.factor], -1)
        return root * self.mask[..., None].to(root.dtype)

    def judged(self, task: Tensor) -> Tensor:
        """Which heads (n_heads, T) train on these tasks; in eval mode, which are judged by them."""
        if self.fold is None:
            return torch.ones(self.n_heads, len(task), dtype=torch.bool, device=task.device)
        fold = self.fold.to(task.device)
        own = fold[task.clamp_min(0)][None] == self.member[:, None]
        return (task < 0) | own if not self.training else ~own

    def blend(self, evidence: Tensor) -> Tensor:
        """Log weights of the heads, both (n_heads, T): half as learned, half by the evidence."""
        start = self.log_weight[:, None].to(evidence.dtype)
        informed = torch.log_softmax(start + evidence, 0)
        return torch.logaddexp(start.expand_as(informed), informed) - math.log(2)


def feature_mask(
    kinds: Sequence[str], n_inputs: int, trees: TreeFeatures | None, hidden: tuple[int, ...]
) -> Tensor:
    """Which features (n_heads, F) each head sees."""
    n_trees = trees.n_outputs if trees is not None else 0
    any_deep = any(FEATURE_SETS[kind][2] for kind in kinds)
    rows = [
        [True] + [row] * n_inputs + [tree] * n_trees + [network] * (hidden[-1] if any_deep else 0)
        for row, tree, network in (FEATURE_SETS[kind] for kind in kinds)
    ]
    return torch.tensor(rows)


def assign_folds(n_tasks: int, rng: np.random.Generator) -> np.ndarray:
    """Fold (n_tasks,) of each task, balanced and at random."""
    return rng.permutation(n_tasks) % min(N_FOLDS, n_tasks)
