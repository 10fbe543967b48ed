"""What is known, and asked, about automatic differentiation of a network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._inner_loop import share


def numbers_kept(network: nn.Module, n_inputs: int) -> int:
    """How many numbers automatic differentiation keeps of one row that a network maps."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    network = copy.deepcopy(network).eval()  # a trial leaves running statistics as they are
    parameter = next(network.parameters(), torch.zeros(()))
    row = torch.zeros(1, n_inputs, dtype=parameter.dtype, device=parameter.device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        network(row)
    return kept


def has_second_derivative(network: nn.Module, rows: Tensor) -> bool:
    """Whether a network can be differentiated twice, tried on rows (n, n_inputs)."""
    network = copy.deepcopy(network).eval()
    given = {name: p.detach().requires_grad_() for name, p in network.named_parameters()}
    outputs = network.stacked(share(given, 1), rows[None])
    leaves = list(given.values())
    first = torch.autograd.grad(
        outputs.square().sum(), leaves, create_graph=True, allow_unused=True
    )
    try:
        # Not autograd.grad: it leaves out what leads to no leaf, as a refused derivative does.
        sum(g.square().sum() for g in first if g is not None).backward()
    except RuntimeError:
        return False
    return True


def with_gradient(
    value: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    """Give a value these gradients too: how what is known already reaches an optimiser."""
    pairs = zip(parameters, gradients, strict=True)
    return value + sum(((p - p.detach()) * g).sum() for p, g in pairs)
