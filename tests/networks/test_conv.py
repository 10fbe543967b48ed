"""The convolutional network: rows are independent, and stacked tasks are a loop over tasks."""

import pytest
import torch
from torch.func import functional_call

from sklearn_meta.networks import ConvNet
from sklearn_meta.networks import _pooled_convolution as engine
from sklearn_meta.networks import conv as module
from sklearn_meta.networks._precision import computing_dtype

SHAPES = [(8, 8), (7, 5), (3, 6, 9), (1, 1), (2, 3, 1)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(shape=(8, 8), channels=(4, 3), dtype=torch.float64, **options):
    return ConvNet(shape, channels, generator(), **options).to(dtype)


def rows(network, *leading, dtype=torch.float64):
    n_pixels = network.row_shape[0] * network.row_shape[1] * network.row_shape[2]
    return torch.randn(*leading, n_pixels, generator=generator(1), dtype=dtype)


def tasks_of(network, n_tasks):
    """Parameters of each task, of its own, stacked."""
    draws = generator(2)
    return {
        name: (p.detach() + 0.3 * torch.randn(n_tasks, *p.shape, generator=draws, dtype=p.dtype))
        for name, p in network.named_parameters()
    }


def loop(network, parameters, x):
    own = [{name: p[t] for name, p in parameters.items()} for t in range(len(x))]
    return torch.stack([functional_call(network, p, (z,)) for p, z in zip(own, x, strict=True)])


@pytest.fixture(params=["one by one", "together"])
def grouping(request, monkeypatch):
    """Both ways to go through the tasks, whatever their size."""
    monkeypatch.setattr(engine, "FEW_PIXELS", 0 if request.param == "one by one" else 10**9)


@pytest.mark.parametrize("shape", SHAPES)
def test_features_have_the_width_that_is_told(shape):
    network = make(shape, (4, 4, 3))
    assert network(rows(network, 2, 5)).shape == (2, 5, network.n_features)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_do_not_see_each_other(shape, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    network = make(shape)
    x = rows(network, 7)
    together = network(x)
    torch.testing.assert_close(together, torch.cat([network(z[None]) for z in x]))
    parameters = {name: p[None] for name, p in network.named_parameters()}
    torch.testing.assert_close(network.stacked(parameters, x[None])[0], together)


def test_blocks_are_convolution_pool_norm_and_relu():
    network = make((6, 8), (5, 4), activate_last=True)
    x = rows(network, 3)
    z = x.reshape(3, 1, 6, 8)
    for convolution, norm in zip(network.convolutions, network.norms, strict=True):
        z = torch.relu(norm(torch.max_pool2d(convolution(z), 2)))
    torch.testing.assert_close(network(x), z.permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", [4, 100])
def test_stacked_is_a_loop_over_tasks(shape, chunk, grouping, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    network = make(shape)
    parameters, x = tasks_of(network, 3), rows(network, 3, 2)
    expected = loop(network, parameters, x)
    torch.testing.assert_close(network.stacked(parameters, x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 5)])
def test_derivatives_of_stacked_are_those_of_a_loop(shape, grouping):
    network = make(shape, activate_last=True)
    x = rows(network, 2, 3).requires_grad_()
    given = {k: p.requires_grad_() for k, p in tasks_of(network, 2).items()}
    leaves = [*given.values(), x]
    found = []
    for run in (network.stacked, lambda p, z: loop(network, p, z)):
        loss = run(given, x).pow(3).sum()
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), leaves)
        found.append((first, second))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_pooled_convolution_has_two_derivatives(pool, size, grouping):
    draws = generator(3)
    x = torch.randn(2, 2, 3, 2, 2, generator=draws, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, size, size, 2, generator=draws, dtype=torch.float64)

    def run(x, weight):
        return engine.pooled_convolution(x, weight, pool)

    weight.requires_grad_()
    assert torch.autograd.gradcheck(run, (x, weight))
    assert torch.autograd.gradgradcheck(run, (x, weight))


def test_gradients_that_nobody_asks_for_are_not_made():
    network = make()
    parameters = tasks_of(network, 2)
    last = parameters["norms.1.bias"].requires_grad_()
    network.stacked(parameters, rows(network, 2, 3)).sum().backward()
    assert last.grad is not None
    assert all(p.grad is None for p in parameters.values() if p is not last)


def test_precision_is_lower_in_training_alone(monkeypatch):
    monkeypatch.setattr(
        "sklearn_meta.networks._precision._multiplies_bfloat16", lambda device: True
    )
    network = make((8, 8), (16, 16), dtype=torch.float32)
    x = rows(network, 2, 9, dtype=torch.float32)
    parameters = {name: p.expand(2, *p.shape) for name, p in network.named_parameters()}
    exact = network.double().eval()(x.double()).float()
    network.float()
    for run in (network, lambda z: network.stacked(parameters, z)):
        quick = run(x) if network.train().training else None
        assert quick.dtype == torch.float32
        gap = (quick - exact).norm() / exact.norm()
        assert 1e-4 < gap < 0.03
        network.eval()
        torch.testing.assert_close(run(x), exact, rtol=1e-4, atol=1e-4)
    assert network.double().train()(x.double()).dtype == torch.float64


def test_precision_follows_from_the_hardware_alone(monkeypatch):
    cpu = torch.device("cpu")
    for able in (True, False):
        told = {"amx_bf16": able}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda told=told: told, raising=False)
        low = torch.bfloat16 if able else torch.float32
        assert computing_dtype(torch.float32, cpu, training=True) == low
        assert computing_dtype(torch.float32, cpu, training=False) == torch.float32
        assert computing_dtype(torch.float64, cpu, training=True) == torch.float64
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert computing_dtype(torch.float32, cpu, training=True) == torch.float32


def test_parameters_are_all_that_it_holds():
    assert not list(make().buffers())


def test_the_start_comes_from_the_generator_alone():
    before = torch.get_rng_state()
    first, again = make().state_dict(), make().state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
