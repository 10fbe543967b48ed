"""Multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

#: Activations by name.
ACTIVATIONS = {"silu": nn.functional.silu, "relu": torch.relu}


class MLP(nn.Module):
    """Fully connected layers with an activation between them.

    There are no running statistics: a row's output depends on that row alone.

    Parameters
    ----------
    n_inputs : int
    hidden : sequence of int
        Widths of the layers, at least one; the last is the width of the output.
    generator : torch.Generator
        Source of the random start.
    activation : {"silu", "relu"}, default="silu"
    activate_last : bool, default=False
        Whether the activation follows the last layer too.

    Attributes
    ----------
    n_features : int
        Width of the output.

    Raises
    ------
    ValueError
        If a width is not positive, or there is none, or there is no such activation.
    """

    def __init__(
        self,
        n_inputs: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        activation: str = "silu",
        activate_last: bool = False,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}, expected one of {sorted(ACTIVATIONS)}."
            )
        self.activation, self.activate_last = activation, activate_last
        widths = (n_inputs, *hidden)
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"n_inputs is {n_inputs!r} and hidden is {tuple(hidden)!r}, expected positive "
                "widths, and at least one layer."
            )
        self.n_features = widths[-1]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., n_inputs) to (..., hidden[-1])."""
        for i, layer in enumerate(self.layers):
            x = self._activate(i, layer(x))
        return x

    def stacked(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Map the rows of many tasks, each of which has parameters of its own.

        Parameters
        ----------
        parameters : mapping of str to Tensor of shape (T, *shape)
            Named parameters, the task axis first.
        x : Tensor of shape (T, n, n_inputs)

        Returns
        -------
        Tensor of shape (T, n, n_features)
        """
        for i in range(len(self.layers)):
            weight, bias = parameters[f"layers.{i}.weight"], parameters[f"layers.{i}.bias"]
            x = self._activate(i, torch.baddbmm(bias[:, None], x, weight.mT))
        return x

    def _activate(self, i: int, x: Tensor) -> Tensor:
        if i + 1 < len(self.layers) or self.activate_last:
            return ACTIVATIONS[self.activation](x)
        return x


def linear(n_inputs: int, n_outputs: int, generator: torch.Generator) -> nn.Linear:
    """Linear layer whose random start comes from `generator`, uniform as `nn.Linear`'s own."""
    layer = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs)
    bound = 1 / math.sqrt(n_inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
