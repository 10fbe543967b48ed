"""MAML and its variants: what they learn, and what their gradients are."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_meta import MetaClassifier, MetaRegressor
from sklearn_meta._training import TrainingConfig, meta_train
from sklearn_meta.learners import MAML
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._gradient import negative_log_likelihood
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import EpisodeSampler, Rows, TaskBatch

from ._families import Case, trained

VARIANTS = {
    "maml": {"learn_step_size": False},
    "fomaml": {"first_order": True, "learn_step_size": False},
    "meta_sgd": {},
    "anil": {"head_only": True, "learn_step_size": False},
    "multi_step": {"multi_step_loss": True, "learn_step_size": False},
    "all": {"learn_step_size": True, "head_only": True, "multi_step_loss": True},
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
CASES = [
    Case("maml", kind, shared)
    for kind, shared in (
        ("regression", False),
        ("classification", True),
        ("classification", False),
        ("multilabel", True),
    )
]
every_kind = pytest.mark.parametrize("case", CASES, ids=str)


def build(case, learner, seed=0, **signature):
    parts = {"kind": case.kind, "n_inputs": 3, "n_outputs": case.n_outputs}
    parts |= {"shared_classes": case.shared, "hidden": (5, 4)}
    generator = torch.Generator().manual_seed(seed)
    return learner.build(Signature(**parts | signature), {}, generator).double()


def batch(case, seed=0, n_tasks=4, shots=(0, 6)):
    rng = np.random.default_rng(seed)
    return EpisodeSampler(case.store(6), shots, 8, n_tasks, rng=rng).draw().to("cpu", torch.float64)


def with_head(module, seed=3):
    """A module whose head is not 0, so that its features matter from the start."""
    if hasattr(module, "head"):
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(module.head.weight, generator=generator)
    return module


@every_kind
@every_variant
def test_the_gradient_is_that_of_the_loss(case, options):
    """Finite differences along random directions; FOMAML's is no derivative of its loss."""
    learner = MAML(inner_steps=2, inner_learning_rate=0.05, **options)
    module, episodes = with_head(build(case, learner)), batch(case)
    parameters = list(module.parameters())
    gradient = torch.autograd.grad(learner.loss(module, episodes), parameters)
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(p.shape, generator=generator).double() for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradient, directions, strict=True)).item()
    ends = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            moved = copy.deepcopy(module)
            for p, d in zip(moved.parameters(), directions, strict=True):
                p += step * d
            ends.append(learner.loss(moved, episodes).item())
    numeric = (ends[0] - ends[1]) / 2e-6
    assert (slope == pytest.approx(numeric, rel=1e-4)) is not learner.first_order


def test_one_step_on_a_linear_model_is_known_in_closed_form():
    case = CASES[0]
    learner = MAML(1, 0.1, learn_step_size=False, head_only=True)
    module, support = with_head(build(case, learner)), case.support(None, [6])
    with torch.no_grad():
        z = module.network(support.x)[0]
        error = z @ module.head.weight.T + module.head.bias - support.y[0]
        state = learner.adapt(module, support)
        adapted = module.adapted(state.parameters)
        expected = module.head.weight - 0.1 * 2 / 6 * error.T @ z
        torch.testing.assert_close(adapted["head.weight"][0], expected)
        bias = module.head.bias - 0.1 * 2 / 6 * error.sum(0)
        torch.testing.assert_close(adapted["head.bias"][0], bias)


@every_kind
def test_memory_is_bounded_by_parts_of_a_batch_with_the_same_gradient(case, monkeypatch):
    learner = MAML(inner_steps=2)
    module, episodes = with_head(build(case, learner)), batch(case)
    parameters = list(module.parameters())
    results = []
    for limit in (2**27, 1):
        monkeypatch.setattr("sklearn_meta.learners._gradient.NUMBERS_AT_ONCE", limit)
        loss = learner.loss(module, episodes)
        state = learner.adapt(module, episodes.support)
        flat = state.parameters.detach()
        results.append((loss.detach(), flat, *torch.autograd.grad(loss, parameters)))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("head_only", [False, True])
def test_ways_may_vary_between_parts_of_a_batch(head_only, monkeypatch):
    learner, case = MAML(inner_steps=2, head_only=head_only), CASES[2]
    module, support = build(case, learner), case.support(None, [8, 8, 8])
    ways = torch.tensor([2, 3, 1])
    support = Rows(support.x, support.y % ways[:, None], support.mask, ways)
    with torch.inference_mode():
        whole = learner.adapt(module, support).parameters
        monkeypatch.setattr("sklearn_meta.learners._gradient.NUMBERS_AT_ONCE", 1)
        torch.testing.assert_close(learner.adapt(module, support).parameters, whole)


def test_the_prototypes_are_where_the_head_starts():
    case = CASES[2]
    learner = MAML(inner_steps=0)
    module, support = build(case, learner), case.support(None, [12])
    with torch.no_grad():
        module.log_pseudo_count.fill_(-50)
        query = case.query(module, 1)
        predicted = learner.predict(module, learner.adapt(module, support), query).probs[0]
        z, zq = module.network(support.x)[0], module.network(query)[0]
        means = torch.stack([z[support.y[0] == c].mean(0) for c in range(3)])
        expected = (-torch.cdist(zq, means).square()).softmax(-1)
    torch.testing.assert_close(predicted, expected)


@every_variant
@every_kind
def test_a_support_of_no_rows_leaves_the_start(case, options):
    learner = MAML(**options)
    module = with_head(build(case, learner))
    with torch.no_grad():
        state = learner.adapt(module, case.support(module, [0, 0]))
        start = module.start(case.support(module, [0, 0]))
    torch.testing.assert_close(module.adapted(state.parameters), start)


def test_steps_on_the_support_lower_its_loss():
    case = CASES[0]
    module = trained(case)
    support = case.support(module, [10, 4])
    episodes = TaskBatch(support, support, torch.arange(2))
    losses = []
    for n in (0, 1, 5, 20):
        learner = MAML(inner_steps=n, learn_step_size=False)
        with torch.no_grad():
            parameters = module.adapted(learner.adapt(module, support).parameters)
            losses.append(negative_log_likelihood(module, parameters, episodes).item())
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1] + 0.5


def test_the_loss_after_every_step_counts_in_training_only():
    case = CASES[0]
    learner = MAML(inner_steps=3, multi_step_loss=True)
    module, episodes = with_head(build(case, learner)), batch(case)
    with torch.no_grad():
        path = learner.descend(module, episodes.support, every_step=True)
        losses = [negative_log_likelihood(module, p, episodes).item() for p in path]
        expected = np.average(losses, weights=[1, 2, 4])
        assert learner.total(module.train(), episodes).item() == pytest.approx(expected)
        assert learner.total(module.eval(), episodes).item() == pytest.approx(losses[-1])


def test_the_noise_is_interpolated_between_numbers_of_rows():
    module = build(CASES[0], MAML())
    with torch.no_grad():
        module.log_noise[:, 0] = torch.arange(6.0)
        log_noise = module.noise(torch.tensor([0, 1, 3, 31, 1000])).log()[:, 0]
    torch.testing.assert_close(log_noise, torch.tensor([0.0, 1, 2, 5, 5]).double())


class Once(torch.autograd.Function):
    """Squares, and cannot be differentiated twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Squared(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x):
        return Once.apply(self.linear(x))


def train_with(template, learner, case=CASES[0]):
    signature = Signature(case.kind, 3, case.n_outputs, case.shared, template=template)
    store, rng = case.store(), np.random.default_rng(0)
    prepared = learner.prepare(store, signature, rng)
    module = learner.build(signature, prepared, torch.Generator().manual_seed(0))
    config = TrainingConfig(max_iter=3, batch_size=3, shots=(1, 4))
    return meta_train(learner, module, store, config=config, rng=rng, device="cpu")[0]


def test_a_layer_without_second_derivatives_falls_back_to_first_order_with_one_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = train_with(Squared(), MAML())
    assert [w.category for w in caught] == [UserWarning]
    assert "falls back to first order" in str(caught[0].message)
    assert all(p.isfinite().all() for p in module.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_with(Squared(), MAML(first_order=True))
        train_with(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), MAML())


@every_variant
def test_networks_of_the_user_are_trained_and_left_alone(options):
    template = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    before = copy.deepcopy(template.state_dict())
    module = train_with(template, MAML(**options))
    torch.testing.assert_close(template.state_dict(), before, rtol=0, atol=0)
    trained_weight = module.network.module[0].weight
    assert not torch.equal(trained_weight, template[0].weight)


@pytest.mark.parametrize("shared", [False, True])
def test_layers_that_the_user_froze_do_not_adapt(shared):
    template = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
    template[0].requires_grad_(False)
    case, learner = Case("maml", "classification", shared), MAML(inner_steps=2)
    signature = Signature("classification", 3, case.n_outputs, shared, template=template)
    module = learner.build(signature, {}, torch.Generator().manual_seed(0))
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    restored = with_head(learner.restore(signature, weights))
    with torch.inference_mode():
        state = learner.adapt(restored, case.support(restored, [6, 6], dtype=torch.float32))
        adapted = restored.adapted(state.parameters)
    assert not any(name.startswith("module.0.") for name in adapted)
    own = restored.network.module[2].weight
    assert all(not torch.equal(weight, own) for weight in adapted["module.2.weight"])


@pytest.mark.parametrize("head_only", [False, True])
def test_rows_may_be_images(head_only):
    rng = np.random.default_rng(0)
    learner = MAML(inner_steps=2, head_only=head_only)
    signature = Signature("classification", 64, 3, hidden=(4, 4), image_shape=(8, 8))
    module = learner.build(signature, {}, torch.Generator().manual_seed(0))
    xs, ys = rng.normal(size=(6, 12, 64)).astype(np.float32), np.tile(np.arange(12) % 3, (6, 1))
    store = TaskStore.from_lists(list(xs), list(ys), [str(i) for i in range(6)])
    rows = Rows(
        torch.from_numpy(store.x.reshape(6, 12, 64)),
        torch.from_numpy(ys),
        torch.ones(6, 12, dtype=torch.bool),
        torch.full((6,), 3),
    )
    support, query = (
        Rows(rows.x[:, part], rows.y[:, part], rows.mask[:, part], rows.ways)
        for part in (slice(0, 6), slice(6, 12))
    )
    learner.loss(module, TaskBatch(support, query, torch.arange(6))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    with torch.inference_mode():
        state = learner.adapt(module.requires_grad_(False), support)
        assert learner.predict(module, state, query.x).probs.shape == (6, 6, 3)


def sinusoids(n, n_rows, rng):
    tasks = []
    for amplitude, phase in rng.uniform((0.1, 0), (5, np.pi), size=(n, 2)):
        X = rng.uniform(-5, 5, size=(n_rows, 1))
        tasks.append((X, amplitude * np.sin(X[:, 0] + phase)))
    return tasks


def test_sinusoids_are_learned_from_ten_rows():
    rng = np.random.default_rng(0)
    meta = MetaRegressor(
        learner=MAML(), network=(40, 40), max_iter=250, use_prior=True, random_state=0
    ).fit_tasks(sinusoids(300, 30, rng))
    errors = []
    for X, y in sinusoids(40, 60, rng):
        errors.append(np.mean((meta.adapt(X[:10], y[:10]).predict(X[10:]) - y[10:]) ** 2))
    assert np.mean(errors) < 1.0  # the variance of the targets is above 4


def test_several_targets():
    rng = np.random.default_rng(0)
    tasks = []
    for _ in range(10):
        X, W = rng.normal(size=(20, 3)), rng.normal(size=(3, 2))
        tasks.append((X, X @ W))
    meta = MetaRegressor(learner="maml", max_iter=10, random_state=0).fit_tasks(tasks)
    mean, std = meta.adapt(*tasks[0]).predict(tasks[0][0], return_std=True)
    assert mean.shape == std.shape == (20, 2) and (std > 0).all()


@pytest.mark.parametrize("learner", [MAML(), MAML(head_only=True, learn_step_size=True)], ids=str)
def test_more_ways_than_in_meta_training(learner):
    case, rng = CASES[2], np.random.default_rng(0)
    meta = MetaClassifier(
        learner=learner, shared_classes=False, network=(8, 4), max_iter=10, random_state=0
    ).fit_tasks([case.task(rng) for _ in range(10)])
    X = rng.normal(size=(50, 3)) + 4 * np.repeat(np.eye(5, 3) - np.eye(5, 3, -2), 10, axis=0)
    y = np.repeat(list("abcde"), 10)
    probabilities = meta.adapt(X, y).predict_proba(X)
    assert probabilities.shape == (50, 5)
    np.testing.assert_allclose(probabilities.sum(1), 1)
