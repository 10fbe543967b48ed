"""Multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Fully connected layers with a smooth activation between them, none after the last.

    There are no running statistics: a row's output depends on that row alone.

    Parameters
    ----------
    n_inputs : int
    hidden : sequence of int
        Widths of the layers, at least one; the last is the width of the output.
    generator : torch.Generator
        Source of the random start.

    Attributes
    ----------
    n_features : int
        Width of the output.

    Raises
    ------
    ValueError
        If a width is not positive, or there is none.
    """

    def __init__(self, n_inputs: int, hidden: Sequence[int], generator: torch.Generator):
        super().__init__()
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
        *inner, last = self.layers
        for layer in inner:
            x = nn.functional.silu(layer(x))
        return last(x)


def linear(n_inputs: int, n_outputs: int, generator: torch.Generator) -> nn.Linear:
    """Linear layer whose random start comes from `generator`, uniform as `nn.Linear`'s own."""
    layer = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs)
    bound = 1 / math.sqrt(n_inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
