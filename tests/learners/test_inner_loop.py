"""The inner loop against automatic differentiation, task by task."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from sklearn_meta.learners._differentiation import (
    has_second_derivative,
    numbers_kept,
    with_gradient,
)
from sklearn_meta.learners._inner_loop import (
    Headed,
    chain_of,
    descend,
    descend_safely,
    flatten,
    share,
    unflatten,
)
from sklearn_meta.learners._links import LINKS, as_targets
from sklearn_meta.networks import MLP, Template

N_TASKS, N, N_INPUTS, N_OUTPUTS, RATE = 3, 5, 2, 3, 0.3
KINDS = ["regression", "classification", "multilabel"]


class Twice(torch.autograd.Function):
    """A layer whose derivative cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Once(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(N_INPUTS, 4)

    def forward(self, x):
        return Twice.apply(self.linear(x))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(activation="silu", widths=(4, 4, N_OUTPUTS), activate_last=False):
    return MLP(N_INPUTS, widths, generator(), activation, activate_last).double()


def template(module):
    return Template(module, N_INPUTS, None).double()


def rows(kind, seed=1):
    """Rows, targets and masks of tasks; the last task has no row."""
    draw = generator(seed)
    x = torch.randn(N_TASKS, N, N_INPUTS, generator=draw).double()
    y = torch.randn(N_TASKS, N, N_OUTPUTS, generator=draw).double()
    if kind == "multilabel":
        y = (y > 0).long()
    if kind == "classification":
        y = y.argmax(-1)
    mask = torch.arange(N) < torch.tensor([N, 3, 0])[:, None]
    return x, y, mask


def reference(network, parameters, x, y, mask, rates, n_steps, kind):
    """One task after the other, by automatic differentiation of a plain call of the network."""
    found = []
    for t in range(len(x)):
        p = {name: value[t] for name, value in parameters.items()}
        for _ in range(n_steps):
            f = functional_call(network, p, (x[t][mask[t]],))
            target = y[t][mask[t]]
            if kind == "regression":
                loss = (f - target).square().sum(-1).mean()
            elif kind == "classification":
                loss = nn.functional.cross_entropy(f, target)
            else:
                loss = nn.functional.binary_cross_entropy_with_logits(
                    f, target.double(), reduction="none"
                )
                loss = loss.sum(-1).mean()
            loss = loss if len(target) else 0 * f.sum() + 0 * sum(v.sum() for v in p.values())
            gradient = torch.autograd.grad(loss, list(p.values()), create_graph=True)
            rate = rates if isinstance(rates, float) else None
            p = {
                name: value - (rates[name][0] if rate is None else rate) * g
                for (name, value), g in zip(p.items(), gradient, strict=True)
            }
        found.append(p)
    return {name: torch.stack([p[name] for p in found]) for name in parameters}


def judged(parameters):
    """Some number that depends on every parameter."""
    return sum((p * torch.arange(p.numel()).view_as(p).cos()).sum() for p in parameters.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learned_rates", [False, True])
@pytest.mark.parametrize("network", [mlp("silu"), mlp("relu"), mlp(widths=(N_OUTPUTS,))], ids=str)
def test_chains_agree_with_automatic_differentiation(network, kind, learned_rates):
    x, y, mask = rows(kind)
    shared = {name: p.detach().requires_grad_() for name, p in network.named_parameters()}
    rates, leaves = RATE, list(shared.values())
    if learned_rates:
        rates = {name: torch.rand(1, *p.shape).double() for name, p in shared.items()}
        rates = {name: r.requires_grad_() for name, r in rates.items()}
        leaves += rates.values()
    parameters = share(shared, N_TASKS)
    assert chain_of(network, LINKS[kind]) is not None
    (quick,) = descend(network, parameters, x, y, mask, rates=rates, n_steps=3, kind=kind)
    slow = reference(network, parameters, x, y, mask, rates, 3, kind)
    for name in slow:
        torch.testing.assert_close(quick[name], slow[name])
    for a, b in zip(
        torch.autograd.grad(judged(quick), leaves),
        torch.autograd.grad(judged(slow), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first_order", [False, True])
def test_the_general_way_agrees_with_the_quick_one(kind, first_order):
    quick, x_y_mask = mlp(), rows(kind)
    layers = [nn.Linear(N_INPUTS, 4), nn.SiLU(), nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 3)]
    general = template(nn.Sequential(*layers))
    shared = {name: p.detach().requires_grad_() for name, p in quick.named_parameters()}
    other = dict(zip(dict(general.named_parameters()), shared.values(), strict=True))
    assert chain_of(general, LINKS[kind]) is None
    results = []
    for network, parameters in ((quick, shared), (general, other)):
        options = {"rates": RATE, "n_steps": 2, "kind": kind, "first_order": first_order}
        path = descend(network, share(parameters, N_TASKS), *x_y_mask, every_step=True, **options)
        assert len(path) == 2
        flat = flatten(path[-1])
        gradient = torch.autograd.grad(flat.sin().sum(), list(shared.values()))
        results.append([flat, flatten(path[0]), *gradient])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_alone_and_the_gradient_of_the_rows_that_it_takes(kind):
    _, y, mask = rows(kind)
    z = torch.randn(N_TASKS, N, 4, generator=generator(2)).double().requires_grad_()
    weight = torch.randn(N_TASKS, N_OUTPUTS, 4, generator=generator(3)).double().requires_grad_()
    bias = torch.zeros(N_TASKS, N_OUTPUTS).double().requires_grad_()
    start = {"head.weight": weight, "head.bias": bias}
    (quick,) = descend(
        Headed(None, 4, N_OUTPUTS), start, z, y, mask, rates=RATE, n_steps=3, kind=kind
    )
    head = nn.Linear(4, N_OUTPUTS).double()
    given = {"weight": weight, "bias": bias}
    slow = reference(head, given, z, y, mask, RATE, 3, kind)
    leaves = [z, weight, bias]
    for a, b in zip(
        torch.autograd.grad(judged(quick), leaves),
        torch.autograd.grad(judged(slow), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(quick["head.weight"], slow["weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    network, (x, y, mask) = mlp(), rows(kind)
    names = dict(network.named_parameters())
    leaves = [p.detach().expand(N_TASKS, *p.shape).clone().requires_grad_() for p in names.values()]

    def run(x, *values):
        parameters = dict(zip(names, values, strict=True))
        return flatten(
            descend(network, parameters, x, y, mask, rates=RATE, n_steps=2, kind=kind)[0]
        )

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *leaves))


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_and_tangents_are_derivatives_of_the_loss(kind):
    link, (_, y, _) = LINKS[kind], rows(kind)
    target = as_targets(y, kind, N_OUTPUTS, torch.float64)
    f, direction = (torch.randn(target.shape, generator=generator(s)).double() for s in (5, 6))
    f.requires_grad_()
    (gradient,) = torch.autograd.grad(link.value(f, target).sum(), f)
    torch.testing.assert_close(link.scale * (link.mean(f) - target), gradient)
    _, tangent = torch.autograd.functional.jvp(link.mean, f, direction)
    torch.testing.assert_close(link.tangent(link.mean(f), direction), tangent)


def test_first_order_takes_the_gradients_for_constants():
    network, (x, y, mask) = mlp(), rows("regression")
    start = share({k: p.detach().requires_grad_() for k, p in network.named_parameters()}, N_TASKS)
    leaf = next(iter(start.values()))
    options = {"rates": RATE, "n_steps": 3, "first_order": True}
    (reached,) = descend(network, start, x, y, mask, **options)
    outer = torch.randn(leaf.shape, generator=generator()).double()
    (gradient,) = torch.autograd.grad((next(iter(reached.values())) * outer).sum(), leaf)
    torch.testing.assert_close(gradient, outer)


def test_every_network_stacks_its_parameters():
    modules = [mlp(), mlp("relu", activate_last=True), template(mlp())]
    modules.append(template(Once()))
    x, _, _ = rows("regression")
    for module in modules:
        draw = generator(7)
        parameters = {
            name: torch.randn(N_TASKS, *p.shape, generator=draw).double()
            for name, p in module.named_parameters()
        }
        one_by_one = [
            functional_call(module, {k: p[t] for k, p in parameters.items()}, (x[t],))
            for t in range(N_TASKS)
        ]
        torch.testing.assert_close(module.stacked(parameters, x), torch.stack(one_by_one))


def test_a_task_whose_descent_would_diverge_takes_shorter_steps():
    network, (x, y, mask) = mlp(widths=(N_OUTPUTS,)), rows("regression")
    x[1] *= 30
    start = share(dict(network.named_parameters()), N_TASKS)
    options = {"rates": 0.05, "n_steps": 20}
    with torch.no_grad():
        (wild,) = descend(network, start, x, y, mask, **options)
        (tame,) = descend_safely(network, start, x, y, mask, **options)

    def losses(parameters):
        error = (network.stacked(parameters, x) - y).square().sum(-1) * mask
        return error.sum(1)

    assert not losses(wild)[1] < losses(start)[1]
    assert losses(tame)[1] < losses(start)[1] and losses(tame).isfinite().all()
    for name in wild:  # tasks for which the steps were right are as they were
        torch.testing.assert_close(tame[name][0], wild[name][0])


def test_tasks_that_no_step_betters_stay_at_the_start():
    network, (x, y, mask) = mlp(widths=(N_OUTPUTS,)), rows("regression")
    x[0, 0] = 1e30
    start = share(dict(network.named_parameters()), N_TASKS)
    (reached,) = descend_safely(network, start, x, y, mask, rates=0.1, n_steps=2)
    torch.testing.assert_close(flatten(reached)[0], flatten(start)[0])
    (alone,) = descend_safely(
        network, {k: p[1:] for k, p in start.items()}, x[1:], y[1:], mask[1:], rates=0.1, n_steps=2
    )
    torch.testing.assert_close(flatten(reached)[1:], flatten(alone))


def test_no_rows_leave_the_start():
    network, (x, y, mask) = mlp(), rows("regression")
    start = share(dict(network.named_parameters()), N_TASKS)
    (reached,) = descend(network, start, x[:, :0], y[:, :0], mask[:, :0], rates=RATE, n_steps=2)
    torch.testing.assert_close(reached, start)


@pytest.mark.parametrize("network", [mlp(), template(mlp())], ids=["mlp", "other"])
def test_without_gradients_no_graph_is_kept_in_inference_mode_either(network):
    network = copy.deepcopy(network)
    x, y, mask = rows("regression")
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            start = share(dict(network.named_parameters()), N_TASKS)
            (reached,) = descend(network, start, 1 * x, y, mask, rates=RATE, n_steps=2)
        assert not any(p.requires_grad for p in reached.values())


def test_flat_parameters_and_back():
    network = mlp()
    stacked = share(dict(network.named_parameters()), 2)
    shapes = {name: p.shape for name, p in network.named_parameters()}
    torch.testing.assert_close(unflatten(flatten(stacked), shapes), stacked)


def test_networks_that_can_be_differentiated_twice_are_told_from_others():
    x, _, _ = rows("regression")
    assert has_second_derivative(mlp(), x[0])
    assert not has_second_derivative(template(Once()), x[0])


def test_numbers_kept_grow_with_the_network():
    assert 0 < numbers_kept(mlp(widths=(4, 3)), N_INPUTS) < numbers_kept(mlp(), N_INPUTS)


def test_a_value_carries_the_gradients_that_it_was_given():
    p = torch.ones(3, requires_grad=True)
    value = with_gradient(torch.tensor(math.pi), [p], [torch.arange(3.0)])
    value.backward()
    assert value.item() == pytest.approx(math.pi)
    torch.testing.assert_close(p.grad, torch.arange(3.0))
