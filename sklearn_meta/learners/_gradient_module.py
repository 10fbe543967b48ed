"""What learners meta-learn that adapt by gradient descent: a start, noise, step sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Normal
from torch.nn.functional import one_hot

from sklearn_meta.learners._base import IMPOSSIBLE, Signature
from sklearn_meta.networks import MLP
from sklearn_meta.tasks._episodes import Rows

from ._differentiation import numbers_kept
from ._inner_loop import Headed, Parameters, share, unflatten

KEEPS_SCALE = math.sqrt(6)  # from nn.Linear's start to that of K. He et al. (2015)
NOISE_KNOTS = 6  # the noise is learned at 0, 1, 3, 7, 15 and 31 support rows
RATE_OF_SCALES = 5.0  # step size of noise, temperature and pseudo-count, in learning rates


class GradientModule(nn.Module):
    """Where every task starts: a network of features and a linear head.

    Where classes mean nothing beyond a task, the head starts at the prototypes of the support, so
    that the nearest prototype is the likeliest class; a class without a row starts at the mean of
    the support.

    Parameters
    ----------
    signature : Signature
    activation : {"silu", "relu"}
        Of the network, if it is an MLP of the library's own.
    head_only : bool
        Whether the network of features is the same for every task.
    learned_rate : float or None
        Where step sizes start that are learned, one a parameter; None for none.
    generator : torch.Generator
    """

    def __init__(
        self,
        signature: Signature,
        activation: str,
        head_only: bool,
        learned_rate: float | None,
        generator: torch.Generator,
    ):
        super().__init__()
        self.kind, self.head_only = signature.kind, head_only
        self.second_order = True
        if signature.is_plain:
            self.network = MLP(signature.n_inputs, signature.hidden, generator, activation, True)
            with torch.no_grad():
                for layer in self.network.layers:
                    layer.weight *= KEEPS_SCALE
        else:
            self.network = signature.make_network(generator)
        # Asked now: a prior's module is frozen as a whole, whatever the user froze.
        trained = [name for name, p in self.network.named_parameters() if p.requires_grad]
        self._adapted_names = [] if head_only else trained
        self.numbers_a_row = numbers_kept(self.network, signature.n_inputs)
        self.anonymous = signature.kind == "classification" and not signature.shared_classes
        self.n_outputs = 0 if self.anonymous else signature.n_outputs
        if self.anonymous:
            self.log_pseudo_count = nn.Parameter(torch.zeros(1))
            self.log_temperature = nn.Parameter(torch.zeros(1))
        else:
            self.head = nn.utils.skip_init(nn.Linear, self.network.n_features, self.n_outputs)
            with torch.no_grad():
                # From 0 on classes and targets learn alike, however they are numbered.
                self.head.weight.zero_()
                self.head.bias.zero_()
        if signature.kind == "regression":
            self.log_noise = nn.Parameter(torch.zeros(NOISE_KNOTS, signature.n_outputs))
        self._rate_shapes = self.adapted_part(max(self.n_outputs, 1)).shapes
        if learned_rate is not None:
            n_rates = sum(map(math.prod, self._rate_shapes.values()))
            self.step_sizes = nn.Parameter(torch.full((n_rates,), learned_rate))

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Groups for the optimiser: only the network decays."""
        groups = [
            {"params": list(self.network.parameters()), "weight_decay": weight_decay},
            {"params": [], "weight_decay": 0.0},
            {"params": [], "lr": RATE_OF_SCALES * learning_rate, "weight_decay": 0.0},
        ]
        for name, p in self.named_parameters():
            if not name.startswith("network."):
                groups[2 if name.startswith(("log_", "head.")) else 1]["params"].append(p)
        return [{"lr": learning_rate, **group} for group in groups if group["params"]]

    def adapted_part(self, n_outputs: int) -> Headed:
        """What a task adapts: network, but for frozen layers, and head, or the head alone."""
        network = None if self.head_only else self.network
        return Headed(network, self.network.n_features, n_outputs, self._adapted_names)

    def rows(self, x: Tensor) -> Tensor:
        """Rows (T, n, n_inputs) as what a task adapts takes them."""
        return self.network(x) if self.head_only and x.shape[1] else x

    def rates(self, otherwise: float) -> float | Parameters:
        """Step sizes: those learned, each (1, *shape), or the one given."""
        if not hasattr(self, "step_sizes"):
            return otherwise
        return unflatten(self.step_sizes[None], self._rate_shapes)

    def common_start(self) -> dict[str, nn.Parameter]:
        """What a task adapts that starts at the same numbers for all tasks."""
        named = dict(self.network.named_parameters())
        parameters = {name: named[name] for name in self._adapted_names}
        if not self.anonymous:
            parameters |= {"head.weight": self.head.weight, "head.bias": self.head.bias}
        return parameters

    def start(self, support: Rows) -> Parameters:
        """Where each task starts: named parameters (T, *shape) of what it adapts."""
        parameters = share(self.common_start(), support.n_tasks)
        return parameters | (self._prototypes(support) if self.anonymous else {})

    def adapted(self, flat: Tensor) -> Parameters:
        """Named parameters from the flat ones (T, P) of what a task adapts."""
        n_outputs = self.n_outputs
        if self.anonymous:
            fixed = sum(p.numel() for p in self.common_start().values())
            n_outputs = (flat.shape[1] - fixed) // (self.network.n_features + 1)
        return unflatten(flat, self.adapted_part(n_outputs).shapes)

    def predict(self, parameters: Parameters, x: Tensor, counts: Tensor) -> Distribution:
        """Predictive distribution of rows (T, n, n_inputs).

        Parameters
        ----------
        parameters : dict of str to Tensor of shape (T, *shape)
        x : Tensor of shape (T, n, n_inputs)
        counts : Tensor of shape (T,)
            Number of support rows.
        """
        part = self.adapted_part(parameters["head.bias"].shape[-1])
        outputs = part.stacked(parameters, self.rows(x))
        if self.kind == "regression":
            return Normal(outputs, self.noise(counts)[:, None], validate_args=False)
        if self.kind == "multilabel":
            return Bernoulli(logits=outputs, validate_args=False)
        return Categorical(logits=outputs, validate_args=False)

    def noise(self, counts: Tensor) -> Tensor:
        """Standard deviations (T, n_outputs) of the targets after so many rows (T,).

        They are learned: less with every row, as long as rows better the prediction.
        """
        knots = torch.arange(NOISE_KNOTS, device=counts.device)
        position = torch.log2(1 + counts.to(self.log_noise.dtype)).clamp_max(NOISE_KNOTS - 1)
        share_of_knot = (1 - (position[:, None] - knots).abs()).clamp_min(0)
        return (share_of_knot @ self.log_noise).exp()

    def _prototypes(self, support: Rows) -> Parameters:
        """Weight (T, C, n_features) and bias (T, C) of a head by which the nearest prototype wins.

        Distances are around the mean of the support: what all classes have in common is left out.
        """
        n_classes = int(support.ways.max())
        member = one_hot(support.y, n_classes).to(support.x.dtype) * support.mask[..., None]
        if support.x.shape[1]:
            z = self.network(support.x)
        else:
            z = support.x.new_zeros(*support.x.shape[:2], self.network.n_features)
        counts = member.sum(1)[..., None]
        sums = member.mT @ z
        middle = sums.sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp_min(1)
        pseudo_count = self.log_pseudo_count.exp()
        apart = (sums - counts * middle) / (counts + pseudo_count)
        temperature = self.log_temperature.exp()
        bias = -temperature * (apart * (apart + 2 * middle)).sum(-1)
        impossible = torch.arange(n_classes, device=bias.device) >= support.ways[:, None]
        bias = bias.masked_fill(impossible, IMPOSSIBLE)
        return {"head.weight": 2 * temperature * apart, "head.bias": bias}
