"""The inner loop of gradient learners, over all tasks of a batch at once.

Tasks are independent, so the gradient of the sum of their losses with respect to their stacked
parameters holds each task's own gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sklearn_meta.networks import MLP

from ._chain import Chain, ChainStep
from ._links import LINKS, Link, as_targets

Parameters = dict[str, Tensor]

SHORTER = (1 / 4, 1 / 16, 1 / 64, 1 / 256)  # factors of steps that are too long; at last 0
ROUNDING = 1e-5


class Headed:
    """A network of features and a linear head on them, whose weights may differ between tasks.

    It holds no parameters: these come last in the flat ones, weight and then bias.

    Parameters
    ----------
    network : nn.Module or None
        With ``stacked`` and ``n_features``; None where rows are features already.
    n_features, n_outputs : int
    names : sequence of str, optional
        Parameters of the network that may differ; all of them by default.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Of the parameters that may differ, in the order in which they are laid flat.
    """

    def __init__(
        self,
        network: nn.Module | None,
        n_features: int,
        n_outputs: int,
        names: Sequence[str] | None = None,
    ):
        self.network = network
        known = {} if network is None else dict(network.named_parameters())
        self.shapes = {
            name: tuple(known[name].shape) for name in (known if names is None else names)
        }
        self.shapes |= {"head.weight": (n_outputs, n_features), "head.bias": (n_outputs,)}

    def stacked(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Outputs (T, n, n_outputs) of rows (T, n, n_inputs)."""
        if self.network is not None:
            own = {name: p for name, p in parameters.items() if not name.startswith("head.")}
            x = self.network.stacked(own, x)
        return torch.baddbmm(parameters["head.bias"][:, None], x, parameters["head.weight"].mT)


def flatten(parameters: Mapping[str, Tensor]) -> Tensor:
    """Flat parameters (T, P) of stacked ones, each (T, *shape)."""
    return torch.cat([p.flatten(1) for p in parameters.values()], 1)


def unflatten(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Parameters:
    """Stacked parameters, each (T, *shape), as views of flat ones (T, P)."""
    parts = flat.split([math.prod(shape) for shape in shapes.values()], 1)
    named = zip(shapes.items(), parts, strict=True)
    return {name: part.unflatten(1, shape) for (name, shape), part in named}


def share(parameters: Mapping[str, Tensor], n_tasks: int) -> Parameters:
    """Give every task the same parameters: (*shape) -> (T, *shape), without copies of each.

    Weights of convolutions are laid with the channels innermost in memory, as their engine is.
    """
    shared = {}
    for name, p in parameters.items():
        laid = p.contiguous(memory_format=torch.channels_last) if p.ndim == 4 else p
        shared[name] = laid.expand(n_tasks, *p.shape)
    return shared


def descend(
    network: Any,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    *,
    rates: float | Mapping[str, Tensor],
    n_steps: int,
    kind: str = "regression",
    first_order: bool = False,
    every_step: bool = False,
    shrink: Tensor | None = None,
) -> list[Parameters]:
    """Descend the mean loss of each task's rows by gradient steps from given parameters.

    What comes out is differentiable once, with respect to the parameters, the rates and the rows,
    where gradients are enabled; else no graph is kept.

    Parameters
    ----------
    network : nn.Module or Headed
        With ``stacked``. An `MLP`, alone or with a head, takes the quick way, see `ChainStep`.
    parameters : mapping of str to Tensor of shape (T, *shape)
        Where each task starts; see `share`.
    x : Tensor of shape (T, n, n_inputs)
    y : Tensor of shape (T, n) or (T, n, n_outputs)
    mask : bool Tensor of shape (T, n)
    rates : float, or mapping of str to Tensor of shape (T or 1, *shape)
        Step size, or those of every parameter.
    n_steps : int
    kind : {"regression", "classification", "multilabel"}
        Squared error summed over targets, cross-entropy of class codes, or cross-entropies summed
        over labels.
    first_order : bool
        Whether to take the gradients of the steps for constants.
    every_step : bool
        Whether what each step gave is asked for.
    shrink : Tensor of shape (T,), optional
        Factor of all step sizes of each task.

    Returns
    -------
    list of dict of str to Tensor of shape (T, *shape)
        Parameters after the last step, or after each.
    """
    parameters = dict(parameters)
    if not x.shape[1] or not n_steps:
        return [parameters] * (n_steps if every_step and n_steps else 1)
    link = LINKS[kind]
    target, weight = _targets_and_weights(parameters, x, y, mask, kind)
    if shrink is not None:
        weight = weight * shrink[:, None]
    chain = chain_of(network, link)
    path: list[Any] = []
    if chain is None:
        for _ in range(n_steps):
            gradient = _gradient(network, parameters, x, target, weight, link, first_order)
            parameters = _moved(parameters, gradient, rates)
            path.append(parameters)
        return path if every_step else path[-1:]
    weight = link.scale * weight[..., None]
    rate, factors = (1.0, chain.join(rates)) if isinstance(rates, Mapping) else (rates, [])
    x, layers = pad(x, (0, 1), value=1.0), chain.join(parameters)
    for _ in range(n_steps):
        step = ChainStep.apply
        layers = step(chain, first_order, rate, x, target, weight, *layers, *factors)
        path.append(layers)
    return [chain.split(layers) for layers in (path if every_step else path[-1:])]


def descend_safely(
    network: Any,
    parameters: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    *,
    kind: str = "regression",
    **options: Any,
) -> list[Parameters]:
    """`descend`, by shorter steps for tasks whose own loss would rise.

    Steps that suit most tasks are too long for one whose rows are far larger: its descent would
    diverge. Its steps are made shorter until its loss does not rise.
    """
    if not x.shape[1]:
        return descend(network, parameters, x, y, mask, kind=kind, **options)
    given = (x, *_targets_and_weights(parameters, x, y, mask, kind), LINKS[kind])
    before, shrink = _losses(network, parameters, *given), None
    for factor in (*SHORTER, 0.0):
        path = descend(network, parameters, x, y, mask, kind=kind, shrink=shrink, **options)
        # What is not a number has risen.
        rises = ~(_losses(network, path[-1], *given) <= before + ROUNDING * (1 + before))
        if not rises.any():
            break
        shrink = torch.ones_like(before) if shrink is None else shrink
        shrink = torch.where(rises, factor, shrink)
    else:
        path = descend(network, parameters, x, y, mask, kind=kind, shrink=shrink, **options)
    return path


def _targets_and_weights(
    parameters: Parameters, x: Tensor, y: Tensor, mask: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    """Targets (T, n, n_outputs), and the share (T, n) of each row in its task's loss."""
    bias = list(parameters.values())[-1]
    weight = mask.to(x.dtype)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1)
    return as_targets(y, kind, bias.shape[-1], x.dtype), weight


@torch.no_grad()
def _losses(
    network: Any, parameters: Parameters, x: Tensor, target: Tensor, weight: Tensor, link: Link
) -> Tensor:
    """Loss (T,) of every task."""
    return (link.value(network.stacked(parameters, x), target) * weight).sum(1)


def chain_of(network: Any, link: Link) -> Chain | None:
    """The linear layers that a network consists of, or None if it is something else."""
    headed = isinstance(network, Headed)
    body = network.network if headed else network
    head = [("head.weight", "head.bias")] if headed else []
    if body is None:
        return Chain(tuple(head), "relu", link)
    if not isinstance(body, MLP) or body.activate_last != headed:
        return None
    names = [(f"layers.{i}.weight", f"layers.{i}.bias") for i in range(len(body.layers))]
    return Chain((*names, *head), body.activation, link)


def _gradient(
    network: Any,
    parameters: Parameters,
    x: Tensor,
    target: Tensor,
    weight: Tensor,
    link: Link,
    first_order: bool,
) -> list[Tensor]:
    """Gradients, each (T, *shape), of the tasks' losses, by automatic differentiation."""
    given = [*parameters.values(), x]
    keep = torch.is_grad_enabled() and not first_order and any(t.requires_grad for t in given)
    # What was made in inference mode, as an adapted state is, knows no gradients.
    with torch.inference_mode(False), torch.enable_grad():
        if not keep:
            x, target, weight = (t.detach().clone() for t in (x, target, weight))
            parameters = {name: p.detach().clone() for name, p in parameters.items()}
        leaves = [
            p if p.requires_grad else p.detach().requires_grad_() for p in parameters.values()
        ]
        outputs = network.stacked(dict(zip(parameters, leaves, strict=True)), x)
        loss = (link.value(outputs, target) * weight).sum()
        found = torch.autograd.grad(loss, leaves, create_graph=keep, allow_unused=True)
    pairs = zip(found, leaves, strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


def _moved(
    parameters: Parameters, gradient: Sequence[Tensor], rates: float | Mapping[str, Tensor]
) -> Parameters:
    moved = {}
    for (name, p), g in zip(parameters.items(), gradient, strict=True):
        if isinstance(rates, Mapping):
            moved[name] = torch.addcmul(p, rates[name], g, value=-1)
        else:
            moved[name] = torch.sub(p, g, alpha=rates)
    return moved
