"""What a neural process reads of a support: its invariances, its attention, its evidence."""

import functools

import numpy as np
import pytest
import torch

from sklearn_meta import MetaRegressor
from sklearn_meta.learners import NeuralProcess
from sklearn_meta.learners._base import Signature
from sklearn_meta.tasks._episodes import Rows

both = pytest.mark.parametrize("attention", [False, True])


@functools.cache
def make(attention, n_targets=2, image_shape=None):
    n_inputs = 3 if image_shape is None else 64
    signature = Signature("regression", n_inputs, n_targets, False, (8, 8), image_shape)
    learner = NeuralProcess(attention)
    module = learner.build(signature, {}, torch.Generator().manual_seed(0)).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # away from the start, where everything is small
        for p in module.parameters():
            p += 0.3 * torch.randn(p.shape, generator=generator)
    return learner, module.requires_grad_(False)


def make_rows(n, n_tasks=2, n_targets=2, n_inputs=3, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n_tasks, n, n_inputs)), rng.normal(size=(n_tasks, n, n_targets))
    mask = torch.ones(n_tasks, n, dtype=torch.bool)
    return Rows(torch.from_numpy(x), torch.from_numpy(y), mask)


def part(rows, which):
    return Rows(rows.x[:, which], rows.y[:, which], rows.mask[:, which])


def summary(learner, module, support, query, state=None):
    state = learner.adapt(module, support) if state is None else state
    predicted = learner.predict(module, state, query)
    return torch.stack([predicted.mean, predicted.stddev])


@both
def test_predictions_do_not_depend_on_the_order_of_the_support(attention):
    learner, module = make(attention)
    support, query = make_rows(9), make_rows(5, seed=1).x
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        summary(learner, module, part(support, order), query),
        summary(learner, module, support, query),
    )


@both
def test_predictions_depend_on_every_row(attention):
    learner, module = make(attention)
    support, query = make_rows(6), make_rows(5, seed=1).x
    y = support.y.clone().requires_grad_(True)
    mean = learner.predict(
        module, learner.adapt(module, Rows(support.x, y, support.mask)), query
    ).mean
    (gradient,) = torch.autograd.grad(mean.sum(), y)
    assert (gradient.abs().sum(-1) > 1e-6).all()


@both
def test_update_equals_adapt_on_all_rows(attention):
    learner, module = make(attention)
    rows, query = make_rows(12), make_rows(5, seed=1).x
    rows.mask[1, 10:] = False
    state = learner.adapt(module, part(rows, slice(0, 0)))
    for which in (slice(0, 1), slice(1, 8), slice(8, 12)):
        state = learner.update(module, state, part(rows, which))
    everything = learner.adapt(module, rows)
    torch.testing.assert_close(
        summary(learner, module, None, query, state),
        summary(learner, module, None, query, everything),
    )
    torch.testing.assert_close(state.evidence, everything.evidence)


def test_without_attention_the_state_does_not_grow():
    learner, module = make(False)
    small, large = (learner.adapt(module, make_rows(n)) for n in (1, 50))
    assert small.total.shape == large.total.shape and large.keys is None
    assert large.count.tolist() == [50, 50]


@both
def test_a_padded_batch_gives_the_numbers_of_the_unpadded(attention):
    learner, module = make(attention)
    rows, query = make_rows(7), make_rows(5, seed=1).x
    rows.mask[0, 4:] = False
    rows.mask[1] = False
    rows.x[~rows.mask], rows.y[~rows.mask] = 3.0, 0.0
    state = learner.adapt(module, rows)
    together = summary(learner, module, None, query, state)
    for t, n in enumerate((4, 0)):
        one = part(rows.take(slice(t, t + 1)), slice(0, n))
        alone = learner.adapt(module, one)
        expected = summary(learner, module, None, query[t : t + 1], alone)
        torch.testing.assert_close(together[:, t : t + 1], expected)
        torch.testing.assert_close(state.evidence[t : t + 1], alone.evidence)
    assert state.evidence[1] == 0


@both
@pytest.mark.parametrize("rows_at_once", [2, 256])
def test_evidence_is_the_sum_of_predictions_one_row_after_the_other(
    attention, rows_at_once, monkeypatch
):
    monkeypatch.setattr("sklearn_meta.learners.neural_process.ROWS_AT_ONCE", rows_at_once)
    learner, module = make(attention)
    rows = make_rows(7)
    state, total = learner.adapt(module, part(rows, slice(0, 0))), 0.0
    for i in range(7):
        row = part(rows, slice(i, i + 1))
        total = total + learner.predict(module, state, row.x).log_prob(row.y).sum((1, 2))
        state = learner.update(module, state, row)
    torch.testing.assert_close(learner.adapt(module, rows).evidence, total)


def test_training_foresees_each_row_of_an_episode_from_those_before():
    learner, module = make(False)
    rows = make_rows(8)
    evidence = learner.adapt(module, rows).evidence

    class Episodes:
        support, query = part(rows, slice(0, 3)), part(rows, slice(3, 8))

    loss = learner.loss(module.train(), Episodes)
    module.eval()
    torch.testing.assert_close(loss, -evidence.sum() / (2 * 8 * 2))


def test_attention_is_the_softmax_of_scaled_products():
    _, module = make(True)
    rng = np.random.default_rng(0)
    z, keys, values = (torch.from_numpy(rng.normal(size=(1, n, 11))) for n in (4, 5, 5))
    keys, values = keys[..., :8], values[..., :8]
    mask = torch.tensor([[[True, True, False, True, True]]])
    found = module.attend(z, keys, values, mask)[0]
    query = module.query(z)[0]
    keys = torch.cat([module.nothing[:1], keys[0, mask[0, 0]]])
    values = torch.cat([module.nothing[1:], values[0, mask[0, 0]]])
    width = 8 // module.n_heads
    for h in range(module.n_heads):
        own = slice(h * width, (h + 1) * width)
        weight = torch.softmax(query[:, own] @ keys[:, own].T / width**0.5, -1)
        torch.testing.assert_close(found[:, own], weight @ values[:, own])


def test_rows_that_are_repeated_often_leave_nothing_to_the_empty_row():
    _, module = make(True)
    z, key = torch.zeros(1, 3, 11).double(), torch.full((1, 1, 8), 0.5).double()
    value = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(0)).double()

    def attended(n):
        mask = torch.ones(1, 1, n, dtype=torch.bool)
        return module.attend(z, key.expand(1, n, 8), value.expand(1, n, 8), mask)

    gap = [(attended(n) - value).abs().max().item() for n in (1, 100, 10_000)]
    assert gap[0] > 10 * gap[1] > 50 * gap[2]
    torch.testing.assert_close(attended(0), module.nothing[1].expand(1, 3, 8))


@both
def test_rows_may_be_images(attention):
    learner, module = make(attention, image_shape=(8, 8))
    support = make_rows(4, n_inputs=64)
    assert summary(learner, module, support, support.x).isfinite().all()


@both
def test_meta_regressor_learns_with_it(attention):
    rng = np.random.default_rng(0)
    tasks = []
    for level, slope in rng.normal(size=(80, 2)):
        X = rng.uniform(-1, 1, size=(20, 1))
        tasks.append((X, np.stack([level + slope * X[:, 0], level - X[:, 0] ** 2], 1)))
    meta = MetaRegressor(
        learner=NeuralProcess(attention), max_iter=600, network=(32, 16), random_state=0
    ).fit_tasks(tasks[:70])
    errors = []
    for X, y in tasks[70:]:
        model = meta.adapt(X[:8], y[:8])
        mean, std = model.predict(X[8:], return_std=True)
        assert mean.shape == std.shape == (12, 2) and (std > 0).all()
        errors.append(((mean - y[8:]) ** 2).mean())
    assert np.mean(errors) < 0.25  # the targets vary by about 1
