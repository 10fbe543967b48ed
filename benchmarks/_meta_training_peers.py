"""One meta-gradient of MAML by this library's engine and by its peers.

Each function takes a `Problem` and gives ``(parameters, gradient)``: the meta-parameters, and a
function that adds one episode batch's meta-gradient to them and returns the loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad as gradient_of
from torch.func import functional_call, grad, vmap

from sklearn_meta.learners._inner_loop import Headed, descend, share
from sklearn_meta.networks import MLP, ConvNet

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
Engine = tuple[list[nn.Parameter], Callable[[Batch], float]]


@dataclass(frozen=True)
class Problem:
    """A network in plain PyTorch at its start, and how it adapts."""

    name: str
    network: nn.Sequential
    loss: Callable[[Tensor, Tensor], Tensor]
    rate: float
    n_steps: int


def ours(problem: Problem, mixed: bool = False) -> Engine:
    """All tasks at once; `mixed`: in the precision that training chooses."""
    source = list(problem.network.parameters())
    generator = torch.Generator()
    if problem.name == "sinusoid":
        network = MLP(1, (40, 40), generator, activation="relu", activate_last=True)
        kind = "regression"
    else:
        network = ConvNet((28, 28), (64,) * 4, generator, activate_last=True).train(mixed)
        blocks = list(problem.network)[: 4 * len(network.convolutions)]
        source = [p for layer in (0, 2) for b in blocks[layer::4] for p in b.parameters()]
        source += list(problem.network[-1].parameters())
        kind = "classification"
    n_outputs, n_features = source[-2].shape
    headed = Headed(network, n_features, n_outputs)
    values = zip(headed.shapes, source, strict=True)
    own = {name: nn.Parameter(p.detach().clone()) for name, p in values}

    def step(batch: Batch) -> float:
        x, y, query_x, query_y = batch
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
        start, options = share(own, len(x)), {"n_steps": problem.n_steps, "kind": kind}
        adapted = descend(headed, start, x, y, mask, rates=problem.rate, **options)[-1]
        loss = problem.loss(headed.stacked(adapted, query_x).flatten(0, 1), query_y.flatten(0, 1))
        loss.backward()
        return loss.item()

    return list(own.values()), step


def ours_mixed(problem: Problem) -> Engine:
    """All tasks at once, in the precision that training chooses."""
    return ours(problem, mixed=True)


def loop(problem: Problem) -> Engine:
    """Plain PyTorch, task by task."""
    network = copy.deepcopy(problem.network)

    def adapt(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        p = dict(network.named_parameters())
        for _ in range(problem.n_steps):
            loss = problem.loss(functional_call(network, p, (x,)), y)
            found = gradient_of(loss, list(p.values()), create_graph=True)
            p = {k: v - problem.rate * g for (k, v), g in zip(p.items(), found, strict=True)}
        return p

    def task(x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        return problem.loss(functional_call(network, adapt(x, y), (query_x,)), query_y)

    return list(network.parameters()), _one_by_one(task)


def vmapped(problem: Problem) -> Engine:
    """Plain ``torch.func.vmap`` of ``torch.func.grad``."""
    network = copy.deepcopy(problem.network)

    def task(p: dict[str, Tensor], x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor):
        for _ in range(problem.n_steps):
            g = grad(lambda q: problem.loss(functional_call(network, q, (x,)), y))(p)
            p = {k: v - problem.rate * g[k] for k, v in p.items()}
        return problem.loss(functional_call(network, p, (query_x,)), query_y)

    def step(batch: Batch) -> float:
        losses = vmap(task, (None, 0, 0, 0, 0))(dict(network.named_parameters()), *batch)
        losses.mean().backward()
        return losses.mean().item()

    return list(network.parameters()), step


def learn2learn(problem: Problem) -> Engine:
    """Its own class where it is installed, else its algorithm: clone, then update in place."""
    network = copy.deepcopy(problem.network)
    try:
        from learn2learn.algorithms import MAML
    except ImportError:
        MAML = None

    def task(x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        if MAML is not None:
            learner = MAML(network, lr=problem.rate, first_order=False).clone()
            for _ in range(problem.n_steps):
                learner.adapt(problem.loss(learner(x), y))
            return problem.loss(learner(query_x), query_y)
        learner = _clone_module(network)
        for _ in range(problem.n_steps):
            parameters = _own_parameters(learner)
            loss = problem.loss(learner(x), y)
            values = [module._parameters[name] for module, name in parameters]
            found = gradient_of(loss, values, create_graph=True)
            for (module, name), g in zip(parameters, found, strict=True):
                module._parameters[name] = module._parameters[name] - problem.rate * g
        return problem.loss(learner(query_x), query_y)

    return list(network.parameters()), _one_by_one(task)


def higher(problem: Problem) -> Engine:
    """The package, its inner loop context for each task."""
    import higher as package

    network = copy.deepcopy(problem.network)
    optimizer = torch.optim.SGD(network.parameters(), lr=problem.rate)

    def task(x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        context = package.innerloop_ctx(network, optimizer, copy_initial_weights=False)
        with context as (learner, inner):
            for _ in range(problem.n_steps):
                inner.step(problem.loss(learner(x), y))
            return problem.loss(learner(query_x), query_y)

    return list(network.parameters()), _one_by_one(task)


def torchopt(problem: Problem) -> Engine:
    """The package, its functional optimiser for each task."""
    import torchopt as package

    network = copy.deepcopy(problem.network)
    inner = package.sgd(lr=problem.rate)

    def task(x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
        p = dict(network.named_parameters())
        state = inner.init(p)
        for _ in range(problem.n_steps):
            loss = problem.loss(functional_call(network, p, (x,)), y)
            found = gradient_of(loss, list(p.values()), create_graph=True)
            found = dict(zip(p, found, strict=True))
            updates, state = inner.update(found, state, inplace=False)
            p = package.apply_updates(p, updates, inplace=False)
        return problem.loss(functional_call(network, p, (query_x,)), query_y)

    return list(network.parameters()), _one_by_one(task)


ENGINES: dict[str, Callable[[Problem], Engine]] = {
    "sklearn_meta": ours,
    "sklearn_meta, mixed": ours_mixed,
    "torch loop": loop,
    "torch.func.vmap": vmapped,
    "learn2learn": learn2learn,
    "higher": higher,
    "torchopt": torchopt,
}


def _one_by_one(task: Callable[..., Tensor]) -> Callable[[Batch], float]:
    def step(batch: Batch) -> float:
        total = 0.0
        for rows in zip(*batch, strict=True):
            loss = task(*rows) / len(batch[0])
            loss.backward()
            total += loss.item()
        return total

    return step


def _clone_module(module: nn.Module) -> nn.Module:
    """Copy of a module whose parameters are clones that the gradient passes, as learn2learn's."""
    clone = module.__new__(type(module))
    clone.__dict__ = module.__dict__.copy()
    clone._parameters = {k: None if p is None else p.clone() for k, p in module._parameters.items()}
    clone._modules = {name: _clone_module(child) for name, child in module._modules.items()}
    return clone


def _own_parameters(module: nn.Module) -> list[tuple[Any, str]]:
    named = [(m, k) for m in module.modules() for k, p in m._parameters.items() if p is not None]
    return named
