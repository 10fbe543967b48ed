"""Boosted trees as features: exported to arrays, fitted with whole tasks left out."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta.learners import _trees
from sklearn_meta.learners._trees import TreeFeatures, out_of_fold_boosting
from sklearn_meta.tasks import TaskStore


def make_store(n_classes=0, n_tasks=6, n_rows=30, n_targets=1, seed=0):
    rng = np.random.default_rng(seed)
    xs = [rng.normal(size=(n_rows, 3)).astype(np.float32) for _ in range(n_tasks)]
    latent = [np.sin(2 * x) + 0.1 * rng.normal(size=x.shape) for x in xs]
    ys = [f.argmax(1) % n_classes if n_classes else f[:, :n_targets] for f in latent]
    return TaskStore.from_lists(xs, ys, [str(i) for i in range(n_tasks)])


@pytest.fixture
def fitted(monkeypatch):
    """Every ensemble that is fitted, with its rows."""
    found = []
    original = _trees._ensemble

    def spy(n_rows, n_classes, rng):
        ensemble = original(n_rows, n_classes, rng)
        fit = ensemble.fit

        def remember(x, y):
            found.append((ensemble, x, y))
            return fit(x, y)

        ensemble.fit = remember
        return ensemble

    monkeypatch.setattr(_trees, "_ensemble", spy)
    return found


def test_regression_equals_the_mean_of_the_ensembles(fitted):
    _, arrays = out_of_fold_boosting(make_store(), 0, np.random.default_rng(0))
    trees = TreeFeatures(arrays, 0)
    x = np.random.default_rng(5).normal(size=(700, 3)).astype(np.float32)
    ensembles = [ensemble for ensemble, _, _ in fitted]
    assert all(isinstance(e, GradientBoostingRegressor) for e in ensembles) and len(ensembles) == 3
    n_rounds = len(arrays["value"]) // len(ensembles)
    expected = np.mean([list(e.staged_predict(x))[n_rounds - 1] for e in ensembles], axis=0)
    np.testing.assert_allclose(trees(torch.from_numpy(x))[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classification_equals_the_mean_log_probabilities(fitted, n_classes):
    store = make_store(n_classes)
    _, arrays = out_of_fold_boosting(store, n_classes, np.random.default_rng(0))
    trees = TreeFeatures(arrays, n_classes)
    x = np.random.default_rng(5).normal(size=(300, 3)).astype(np.float32)
    ensembles = [ensemble for ensemble, _, _ in fitted]
    assert all(isinstance(e, GradientBoostingClassifier) for e in ensembles)
    n_rounds = len(arrays["value"]) // (len(ensembles) * n_classes)
    log_p = []
    for e in ensembles:
        out = list(e.staged_decision_function(x))[n_rounds - 1]
        out = np.column_stack([-out / 2, out / 2]) if n_classes == 2 else out
        log_p.append(np.maximum(log_softmax(out, axis=1), _trees.LOWEST_LOG_P))
    expected = np.mean(log_p, axis=0)
    expected = (expected - expected.mean(axis=1, keepdims=True)) / arrays["spread"]
    np.testing.assert_allclose(trees(torch.from_numpy(x)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_classes", [0, 2])
def test_no_ensemble_that_predicts_a_row_has_seen_its_task(fitted, n_classes):
    store = make_store(n_classes)
    features, _ = out_of_fold_boosting(store, n_classes, np.random.default_rng(0))
    assert features.shape == (len(store.x), max(n_classes, 1)) and features.dtype == np.float32
    task_of = {row.tobytes(): t for row, t in zip(store.x, store.task_of_row, strict=True)}
    left_out = []
    for _, x, _ in fitted:
        seen = {task_of[row.tobytes()] for row in x}
        assert all(sum(task_of[row.tobytes()] == t for row in x) == 30 for t in seen)
        left_out += sorted(set(range(store.n_tasks)) - seen)
    assert sorted(left_out) == list(range(store.n_tasks))  # each task by one ensemble


def test_out_of_fold_rows_are_those_of_the_ensemble_that_missed_them(fitted):
    store = make_store()
    features, arrays = out_of_fold_boosting(store, 0, np.random.default_rng(0))
    n_rounds = len(arrays["value"]) // len(fitted)
    for ensemble, x, _ in fitted:
        seen = {row.tobytes() for row in x}
        held = np.array([row.tobytes() not in seen for row in store.x])
        expected = list(ensemble.staged_predict(store.x[held]))[n_rounds - 1]
        np.testing.assert_allclose(features[held, 0], expected, rtol=1e-5)


def test_every_target_has_a_column_of_its_own():
    store = make_store(n_targets=2)
    features, arrays = out_of_fold_boosting(store, 0, np.random.default_rng(0))
    assert features.shape == (180, 2)
    predicted = TreeFeatures(arrays, 0)(torch.from_numpy(store.x)).numpy()
    for j in range(2):
        assert np.corrcoef(predicted[:, j], store.y[:, j])[0, 1] > 0.9


def test_values_on_a_threshold_go_where_scikit_learn_sends_them():
    x = np.array([[0.1], [0.2], [0.3], [0.7]], dtype=np.float32)
    tree = DecisionTreeRegressor(max_depth=_trees.MAX_DEPTH).fit(x, [0.0, 1.0, 2.0, 3.0])
    feature, threshold, value = _trees._to_heap(tree.tree_)
    arrays = {
        "feature": feature[None],
        "threshold": threshold[None],
        "value": value[None],
        "column": np.zeros(1, int),
        "offset": np.zeros(1),
        "spread": np.ones(1),
    }
    splits = tree.tree_.threshold[tree.tree_.children_left >= 0].astype(np.float32)
    around = [splits, np.nextafter(splits, np.float32(9)), np.nextafter(splits, np.float32(-9))]
    at = np.concatenate(around)[:, None]
    out = TreeFeatures(arrays, 0)(torch.from_numpy(at))[:, 0]
    np.testing.assert_array_equal(out, tree.predict(at))


@pytest.mark.parametrize("n_classes", [0, 2])
def test_any_number_of_rows_in_any_shape_and_dtype(n_classes):
    _, arrays = out_of_fold_boosting(make_store(n_classes), n_classes, np.random.default_rng(0))
    trees = TreeFeatures(arrays, n_classes).double()
    x = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = trees(x)
    assert out.shape == (2, 300, trees.n_outputs) and out.dtype == torch.float64
    torch.testing.assert_close(out[1], trees(x[1]))
    assert trees(x[:, :0]).shape == (2, 0, trees.n_outputs)


def test_a_class_that_an_ensemble_has_not_seen_is_unlikely():
    store = make_store(2)
    y = store.y.copy()
    y[store.task_of_row == 0] = 2  # in one task alone, so one ensemble misses it
    features, arrays = out_of_fold_boosting(store.replace(y=y), 3, np.random.default_rng(0))
    assert np.isfinite(features).all()
    held = store.task_of_row == 0
    assert (features[held].argmin(axis=1) == 2).all()
    assert TreeFeatures(arrays, 3)(torch.from_numpy(store.x)).isfinite().all()
