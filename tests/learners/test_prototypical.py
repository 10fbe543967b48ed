"""Prototypes, their shrinkage and their statistics, against a dense hierarchical model."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from sklearn_meta import MetaClassifier
from sklearn_meta.learners import PrototypicalNetwork
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._class_metric import class_metric
from sklearn_meta.learners.prototypical import PrototypicalModule
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows

from ._families import N_CLASSES, Case, trained

SHARED = Case("prototypical", "classification", True)
UNSHARED = Case("prototypical", "classification", False)


def make_module(n_classes=3, seed=0):
    signature = Signature("classification", 2, n_classes, True, hidden=(3, 2))
    module = PrototypicalModule(signature, 2, 2, torch.Generator().manual_seed(seed)).double()
    rng = np.random.default_rng(seed)
    module.requires_grad_(False)
    module.directions.copy_(torch.eye(2))
    for p in (module.centres, module.log_class_spread, module.log_task_spread):
        p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
    return module.eval()


def test_prototypes_are_the_posterior_of_the_hierarchical_model():
    module = make_module()
    counts = torch.tensor([3.0, 1.0, 0.0]).double()
    rng = np.random.default_rng(1)
    means = torch.from_numpy(rng.normal(size=(3, 4)))
    mean, var = module.prototypes(means * counts[:, None], counts)
    seen = counts.numpy() > 0
    for j in range(4):  # prototypes of all classes are jointly normal, column by column
        spread, task = module.log_class_spread[j].exp(), module.log_task_spread[j].exp()
        covariance = spread.item() * np.eye(3) + task.item()
        centre = module.centres[:, j].numpy()
        noisy = covariance[seen][:, seen] + np.diag(1 / counts.numpy()[seen])
        gain = covariance[:, seen] @ np.linalg.inv(noisy)
        expected = centre + gain @ (means[:, j].numpy() - centre)[seen]
        np.testing.assert_allclose(mean[:, j], expected)
        posterior = covariance - gain @ covariance[seen]
        np.testing.assert_allclose(var[:, j], posterior.diagonal())


def test_probabilities_are_those_of_normal_classes():
    module = make_module()
    rng = np.random.default_rng(2)
    counts = torch.tensor([4.0, 2.0, 1.0]).double()
    sums, z = (torch.from_numpy(rng.normal(size=(3, 4))) for _ in range(2))
    logits = module.logits(sums, counts, None, z)
    mean, var = module.prototypes(sums, counts)
    density = np.array(
        [
            multivariate_normal(m, np.diag(1 + v)).logpdf(z) + np.log(n + 1)
            for m, v, n in zip(mean.numpy(), var.numpy(), counts.tolist(), strict=True)
        ]
    ).T
    np.testing.assert_allclose(
        logits.log_softmax(-1), torch.from_numpy(density).log_softmax(-1), atol=1e-10
    )


def test_the_state_is_sums_and_counts_and_does_not_grow():
    module = trained(UNSHARED)
    learner = UNSHARED.learner
    support = UNSHARED.support(module, [12, 5])
    state = learner.adapt(module, support)
    z = module.embed(support.x)
    for t in range(2):
        for c in range(3):
            own = support.mask[t] & (support.y[t] == c)
            assert state.counts[t, c] == own.sum()
            torch.testing.assert_close(state.sums[t, c], z[t, own].sum(0))
    again = learner.update(module, state, support)
    assert again.sums.shape == state.sums.shape
    torch.testing.assert_close(again.sums, 2 * state.sums)


@pytest.mark.parametrize("case", [SHARED, UNSHARED], ids=str)
def test_evidence_is_the_sum_of_predictions_one_row_after_the_other(case):
    learner, module = case.learner, trained(case)
    support = case.support(module, [10])
    state, total = learner.adapt(module, case.support(module, [0])), 0.0
    for i in range(10):
        one = slice(i, i + 1)
        row = Rows(support.x[:, one], support.y[:, one], support.mask[:, one], support.ways)
        named = case.shared or bool(state.counts[0, row.y[0, 0]] > 0)
        log_p = learner.predict(module, state, row.x).log_prob(row.y).item()
        total += log_p if named else -np.log(N_CLASSES)
        state = learner.update(module, state, row)
    evidence = learner.evidence(module, learner.adapt(module, support))
    assert evidence.item() == pytest.approx(total, rel=1e-8)


def test_evidence_in_blocks_of_rows_is_the_same(monkeypatch):
    learner, module = UNSHARED.learner, trained(UNSHARED)
    support = UNSHARED.support(module, [19, 7])
    whole = learner.adapt(module, support)
    monkeypatch.setattr("sklearn_meta.learners.prototypical.NUMBERS_AT_ONCE", 200)
    blocks = learner.adapt(module, support)
    torch.testing.assert_close(whole.evidence, blocks.evidence)
    torch.testing.assert_close(whole.sums, blocks.sums)


def test_without_support_shared_classes_have_their_prior():
    learner, module = SHARED.learner, trained(SHARED)
    rng = np.random.default_rng(3)
    x, y = zip(*(SHARED.task(rng, 50) for _ in range(20)), strict=True)
    queries = SHARED.rows(module, x, y)
    nothing = Rows(queries.x[:, :0], queries.y[:, :0], queries.mask[:, :0])
    predicted = learner.predict(module, learner.adapt(module, nothing), queries.x)
    assert predicted.log_prob(queries.y).mean() > np.log(1 / 3) + 0.3
    # Calibrated: probabilities are as large as classes are frequent.
    share = torch.nn.functional.one_hot(queries.y, 3).double().mean((0, 1))
    assert (predicted.probs.mean((0, 1)) - share).abs().max() < 0.12


def test_rows_of_a_class_draw_predictions_to_it():
    learner, module = UNSHARED.learner, trained(UNSHARED)
    x = torch.zeros(1, 12, 3).double()
    y = torch.tensor([[0] * 10 + [1] * 2])
    support = Rows(x, y, torch.ones(1, 12, dtype=torch.bool), torch.tensor([2]))
    p = learner.predict(module, learner.adapt(module, support), x[:, :1]).probs[0, 0]
    assert p[0] > 0.6  # the rows are all alike: only frequencies tell the classes apart


def test_metric_weighs_columns_by_what_differs_between_classes():
    rng = np.random.default_rng(0)
    xs, ys = [], []
    for _ in range(40):
        y = np.arange(30) % 3
        centres = rng.normal(size=(3, 2)) * [3.0, 0.0]
        xs.append(rng.normal(size=(30, 2)) + centres[y])
        ys.append(y)
    store = TaskStore.from_lists(xs, ys, [str(i) for i in range(40)])
    weight = np.diag(class_metric(store, 0).directions)
    assert weight[0] > 3 * weight[1]
    shared = class_metric(store, 3)  # the same classes mean nothing here: a wide class spread
    within = (
        np.concatenate(
            [
                x - np.stack([x[y == c].mean(0) for c in range(3)])[y]
                for x, y in zip(xs, ys, strict=True)
            ]
        )
        @ shared.directions
    )
    np.testing.assert_allclose(within.T @ within / (len(within) * 0.9), np.eye(2), atol=0.1)
    assert shared.class_spread[0] == pytest.approx(9.0, rel=0.3)


@pytest.mark.parametrize("n_rows", [1, 2])
def test_tasks_of_one_row_a_class_are_enough_to_start(n_rows):
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(n_rows, 3)) for _ in range(5)]
    store = TaskStore.from_lists(xs, [np.arange(n_rows)] * 5, list("abcde"))
    for n_classes in (0, 2):
        metric = class_metric(store, n_classes)
        assert all(np.isfinite(part).all() for part in vars(metric).values())


@pytest.mark.parametrize("shared_classes", [True, False])
def test_meta_classifier_learns_with_it(shared_classes):
    rng = np.random.default_rng(0)
    case = SHARED if shared_classes else UNSHARED
    tasks = [case.task(rng, 25) for _ in range(24)]
    scores = []
    meta = MetaClassifier(
        learner=PrototypicalNetwork(),
        shared_classes=shared_classes,
        max_iter=60,
        network=(8, 4),
        random_state=0,
    ).fit_tasks(tasks[:12])
    for x, y in tasks[12:]:
        model = meta.adapt(x[:8], y[:8], classes=range(3))
        scores.append(np.log(model.predict_proba(x[8:])[np.arange(17), y[8:]]).mean())
        model.partial_fit(x[8:12], y[8:12])
        both = meta.adapt(x[:12], y[:12], classes=range(3))
        np.testing.assert_allclose(model.predict_proba(x), both.predict_proba(x), rtol=1e-6)
    assert np.mean(scores) > np.log(1 / 3) + 0.2
