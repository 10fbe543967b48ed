"""How heads are cross-fitted, weighed and dropped."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import softmax

from sklearn_meta.learners import BayesianLinear, BayesianLogistic
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._ensemble import MIN_WEIGHT, stack
from sklearn_meta.learners._heads import N_FOLDS, assign_folds
from sklearn_meta.tasks._episodes import EpisodeSampler

from ._families import Case


def build(learner, case, seed=0):
    store = case.store()
    prepared = learner.prepare(store, case.signature, np.random.default_rng(seed))
    module = learner.build(case.signature, prepared, torch.Generator().manual_seed(seed))
    store = store.replace(x=prepared.get("inputs"))
    batch = EpisodeSampler(store, 5, 10, 12, rng=np.random.default_rng(1)).draw()
    return module.requires_grad_(False).eval(), batch


def random_scores(seed=0, n_rows=60, n_heads=3):
    rng = np.random.default_rng(seed)
    log_prob = rng.normal(size=(n_rows, n_heads)) + np.array([0.0, 0.4, -0.5])[:n_heads]
    evidence, weight = rng.normal(size=(n_rows, n_heads)), rng.uniform(0.5, 1.5, n_rows)
    return log_prob, evidence, weight


def likelihood(share, log_prob, evidence, weight):
    informed = softmax(np.log(share) + evidence, axis=1)
    return weight @ np.log((0.5 * (share + informed) * np.exp(log_prob)).sum(axis=1))


def test_weights_of_heads_raise_the_likelihood_of_their_blend():
    scores = random_scores()
    share = stack(*map(torch.from_numpy, scores), prior_count=0.0).numpy()
    assert share.sum() == pytest.approx(1) and (share > 0).all()
    best = minimize(lambda z: -likelihood(softmax(z), *scores), np.zeros(3))
    equal = likelihood(np.full(3, 1 / 3), *scores)
    # The evidence's weights are taken for fixed in each step: that finds most of the gain.
    assert likelihood(share, *scores) - equal > 0.75 * (-best.fun - equal)


def test_without_evidence_the_weights_have_the_largest_likelihood():
    log_prob, _, weight = random_scores()
    scores = log_prob, np.zeros_like(log_prob), weight
    share = stack(*map(torch.from_numpy, scores), prior_count=0.0).numpy()
    best = minimize(lambda z: -likelihood(softmax(z), *scores), np.zeros(3))
    np.testing.assert_allclose(share, softmax(best.x), atol=1e-2)


def test_few_rows_leave_the_weights_nearly_equal():
    few = stack(*(torch.from_numpy(a[:2]) for a in random_scores()))
    many = stack(*map(torch.from_numpy, random_scores(n_rows=2000)))
    assert (few - 1 / 3).abs().max() < (many - 1 / 3).abs().max()
    assert few.min() > 0.15


def test_folds_are_balanced_and_each_head_is_judged_on_tasks_it_does_not_train_on():
    fold = assign_folds(23, np.random.default_rng(0))
    assert np.bincount(fold).tolist() == [5, 5, 5, 4, 4] and fold.max() + 1 == N_FOLDS
    module, batch = build(BayesianLinear(("linear", "deep"), 3), Case("x", "regression", False))
    judged = module.eval().judged(batch.task)
    trained = module.train().judged(batch.task)
    assert (judged ^ trained).all()
    assert judged.any(1).all() and trained.sum(1).min() >= 9
    outside = torch.full((4,), -1)
    assert module.eval().judged(outside).all()  # given for validation: foreign to all


def test_only_the_heads_that_train_on_a_task_learn_from_it():
    learner = BayesianLinear(("linear",), 3)
    module, batch = build(learner, Case("x", "regression", False))
    module.train().mean.requires_grad_(True)
    task = int(batch.task[0])
    one = next(batch.chunk(1))
    learner.loss(module, one).sum().backward()
    learns = module.mean.grad.abs().sum((1, 2)) > 0
    assert torch.equal(learns, module.fold[task] != module.member) and not learns.all()


@pytest.mark.parametrize(
    ("learner", "case"),
    [
        (BayesianLinear(("linear", "deep", "fourier"), 2), Case("x", "regression", False)),
        (
            BayesianLogistic(anonymous_heads=("linear", "deep", "fourier")),
            Case("x", "classification", False),
        ),
    ],
    ids=["linear", "logistic"],
)
def test_dropping_feeble_heads_hardly_changes_predictions(learner, case):
    module, batch = build(learner, case)
    weight = torch.where(torch.arange(module.n_heads) % 3 == 2, MIN_WEIGHT / 10, 1.0)
    module.log_weight.copy_((weight / weight.sum()).log())
    smaller = learner._keep(module, weight == 1.0)
    assert smaller.n_heads == (weight == 1.0).sum() and not smaller.fourier
    assert smaller.n_features < module.n_features
    probability = smaller.log_weight.exp().sum()
    assert probability.item() == pytest.approx(1, rel=1e-5)

    # The evidence of a support of no row says nothing: what is dropped had its weight alone.
    support = batch.support.take(slice(0, 4))
    nothing = type(support)(support.x[:, :0], support.y[:, :0], support.mask[:, :0], support.ways)
    results = [
        learner.predict(m, learner.adapt(m, nothing), batch.query.x[:4]) for m in (module, smaller)
    ]
    first, second = (r.probs if hasattr(r, "probs") else r.mean for r in results)
    torch.testing.assert_close(first, second, atol=0.02, rtol=0)


def test_all_kept_is_the_same_module():
    learner = BayesianLinear(("linear", "deep"), 2)
    module, batch = build(learner, Case("x", "regression", False))
    same = learner._keep(module, torch.ones(module.n_heads, dtype=torch.bool))
    for m in (module, same):
        assert math.isclose(m.log_weight.exp().sum().item(), 1.0, rel_tol=1e-5)
    first, second = (
        learner.predict(m, learner.adapt(m, batch.support), batch.query.x).mean
        for m in (module, same)
    )
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_better_heads_weigh_more():
    learner = BayesianLinear(("linear", "deep"), 1)
    module, batch = build(learner, Case("x", "regression", False))
    module.mean[0] = 0.0
    module.mean[1] = 5.0  # far from every task
    finished = learner.finish(module, [batch])
    assert finished.kind[finished.log_weight.argmax()] == module.kind[0]


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"heads": ("linear", "quadratic")}, "quadratic"),
        ({"heads": ()}, "at least one"),
        ({"n_members": 0}, "n_members is 0"),
    ],
)
def test_parameters_out_of_range_are_refused(params, match):
    case = Case("x", "regression", False)
    with pytest.raises(ValueError, match=match):
        BayesianLinear(**params).prepare(case.store(), case.signature, np.random.default_rng(0))


def test_signature_is_kept_for_restoring():
    module, _ = build(BayesianLinear(("linear",), 1), Case("x", "regression", False))
    assert isinstance(module.signature, Signature)
