"""What `NeuralProcess` learns across tasks: features, encoder, attention and decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import pad, scaled_dot_product_attention, silu, softplus

from sklearn_meta.learners._base import Signature
from sklearn_meta.networks import MLP, linear

MAX_HEADS = 8
MIN_STD = 1e-3  # in units of the scaled target
START_STD = -1.0  # before softplus
GAIN = 2.0  # of a new layer: else what is read of the support fades on its way


class NeuralProcessModule(nn.Module):
    """Features, encoder, attention if asked for, and decoder.

    Parameters
    ----------
    signature : Signature
    attention : bool
    generator : torch.Generator
    """

    def __init__(self, signature: Signature, attention: bool, generator: torch.Generator):
        super().__init__()
        self.network = signature.make_network(generator)
        self.n_columns = signature.n_inputs if signature.is_plain else 0
        self.n_targets, self.width = signature.n_outputs, max(signature.hidden)
        n_inputs = self.n_columns + self.network.n_features
        width, self.n_heads = self.width, math.gcd(MAX_HEADS, self.width)
        self.mean = nn.Parameter(torch.zeros(1 + n_inputs, self.n_targets))
        self.encoder = MLP(n_inputs + self.n_targets, (width, width, width), generator)
        self.attends = attention
        if attention:
            self.query = MLP(n_inputs, (width, width), generator)
            self.key = MLP(n_inputs, (width, width), generator)
            # Attended to as if it were one more row: an empty support is a case like any other.
            self.nothing = nn.Parameter(torch.zeros(2, width))
        n_read = width * (2 if attention else 1)
        self.decoder = MLP(n_inputs + n_read + 1, (width, width), generator)
        self.head = linear(width, 2 * self.n_targets, generator)
        networks = [self.encoder, self.decoder, *([self.query, self.key] if attention else [])]
        with torch.no_grad():
            for layer in (layer for network in networks for layer in network.layers):
                layer.weight *= GAIN
            self.head.weight *= 0.1
            self.head.bias.zero_()
            self.head.bias[self.n_targets :] = START_STD

    def inputs(self, x: Tensor) -> Tensor:
        """Columns of a table, then features: (T, n, d) of rows (T, n, n_inputs)."""
        return torch.cat([x[..., : self.n_columns], self.network(x)], -1)

    def prior_mean(self, z: Tensor) -> Tensor:
        """Mean (T, n, k) of the targets of all tasks, linear in the inputs (T, n, d)."""
        return self.mean[0] + z @ self.mean[1:]

    def attend(self, z: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """What rows (T, n, d) find among keys and values (T, m, W): (T, n, W).

        Parameters
        ----------
        mask : bool Tensor of shape (T, n or 1, m)
            Which row may look at which.
        """
        n_tasks, n_rows, _ = z.shape
        null = self.nothing[:, None, None].expand(-1, n_tasks, 1, -1)
        both = (torch.cat(pair, 1) for pair in zip(null, (keys, values), strict=True))
        keys, values, queries = (self._heads(t) for t in (*both, self.query(z)))
        mask = pad(mask, (1, 0), value=True)
        mask = mask.expand(n_tasks, n_rows, -1)[:, None]
        found = scaled_dot_product_attention(queries, keys, values, mask)
        return found.transpose(1, 2).flatten(2)

    def decode(self, z: Tensor, read: Tensor, count: Tensor) -> Tensor:
        """Adapted embedding (T, n, W) of inputs z, given what was read and of how many rows."""
        return silu(self.decoder(torch.cat([z, read, torch.log1p(count)[..., None]], -1)))

    def distribution(self, z: Tensor, embedded: Tensor) -> Normal:
        """Predictive distribution, batch shape (T, n, k), at inputs z with their embedding."""
        mean, spread = self.head(embedded).split(self.n_targets, -1)
        std = MIN_STD + softplus(spread)
        return Normal(self.prior_mean(z) + mean, std, validate_args=False)

    def _heads(self, t: Tensor) -> Tensor:
        return t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
