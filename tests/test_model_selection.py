import subprocess
import sys

import joblib
import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    clone,
    is_classifier,
    is_regressor,
)
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_score,
    cross_validate,
    learning_curve,
)

from sklearn_meta.model_selection import (
    AdaptationResult,
    TaskEstimator,
    TaskSplit,
    cross_val_adapt,
    score_adapted,
)
from sklearn_meta.tasks import Task, check_tasks, tasks_from_table


class OffsetRidge(RegressorMixin, BaseEstimator):
    """Pooled ridge over tasks and an offset a task; keeps a log of what it was shown."""

    def __init__(self, alpha=1.0, shrink=1.0, log=None):
        self.alpha = alpha
        self.shrink = shrink
        self.log = log

    def fit_tasks(self, tasks):
        tasks = check_tasks(tasks)
        X = np.concatenate([np.asarray(t.X) - np.asarray(t.X).mean(axis=0) for t in tasks])
        y = np.concatenate([t.y - t.y.mean(axis=0) for t in tasks])
        self.ridge_ = Ridge(alpha=self.alpha, fit_intercept=False).fit(X, y)
        if self.log is not None:
            self.log.append(("fit_tasks", {task_id(t.X) for t in tasks}))
        return self

    def adapt(self, X, y):
        assert len(X) == len(y) > 0
        model = clone(self)
        model.ridge_ = self.ridge_
        rest = y - self.ridge_.predict(np.asarray(X))
        model.offset_ = rest.sum(axis=0) / (len(y) + self.shrink)
        if self.log is not None:
            self.log.append(("adapt", np.asarray(X)))
        return model

    def predict(self, X):
        if self.log is not None:
            self.log.append(("predict", np.asarray(X)))
        return self.ridge_.predict(np.asarray(X)) + self.offset_

    def __sklearn_clone__(self):  # the log is shared with its clones
        return type(self)(self.alpha, self.shrink, self.log)


class NearestMean(ClassifierMixin, BaseEstimator):
    """Nearest class mean, whose classes may be told."""

    def fit_tasks(self, tasks):
        check_tasks(tasks)
        return self

    def adapt(self, X, y, classes=None):
        model = type(self)()
        model.told_ = classes
        model.classes_ = np.unique(y) if classes is None else np.asarray(classes)
        model.means_ = {c: X[y == c].mean(axis=0) for c in np.unique(y)}
        return model

    def predict_proba(self, X):
        distance = np.full((len(X), len(self.classes_)), 9.0)
        for j, c in enumerate(self.classes_):
            if c in self.means_:
                distance[:, j] = ((X - self.means_[c]) ** 2).sum(axis=1)
        p = np.exp(distance.min(axis=1, keepdims=True) - distance)
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def task_id(X):
    return int(np.asarray(X)[0, 0])


def make_tasks(n_tasks=12, n_rows=30, seed=0, noise=0.3, n_targets=None):
    """Return tasks whose first column names the task (it is noise) and whose second the row."""
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(n_tasks):
        n = n_rows if np.isscalar(n_rows) else n_rows[t]
        x = rng.normal(size=(n, 1))
        X = np.column_stack([np.full(n, t), np.arange(n), x])
        shape = (n,) if n_targets is None else (n, n_targets)
        y = x.reshape(n, *[1] * (len(shape) - 1)) if n_targets else x[:, 0]
        y = 2 * y + rng.normal(size=shape[1:]) + noise * rng.normal(size=shape)
        tasks.append((X, y))
    return tasks


def make_classes(n_tasks=8, n_rows=24, seed=0, labels=("a", "b", "c")):
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(n_tasks):
        y = rng.choice(labels, size=n_rows)
        centres = {c: rng.normal(size=2) for c in labels}
        tasks.append((np.array([centres[c] for c in y]) + 0.3 * rng.normal(size=(n_rows, 2)), y))
    return tasks


def pairs_of(log):
    """Return (task, support rows, query rows) of each episode in a log."""
    found, support = [], None
    for what, X in log:
        if what == "adapt":
            support = X
        elif what == "predict":
            assert task_id(support) == task_id(X)
            found.append((task_id(X), support[:, 1].astype(int), X[:, 1].astype(int)))
    return found


# ---------------------------------------------------------------- TaskEstimator


def test_support_and_query_are_disjoint_and_of_the_size_asked_for():
    log, tasks = [], make_tasks(9, n_rows=[30] * 6 + [4, 2, 1])
    estimator = TaskEstimator(OffsetRidge(log=log), shots=5, n_query=7, n_episodes=3)
    estimator.fit(tasks).score(tasks)
    episodes = pairs_of(log)
    assert len(episodes) == 3 * 8  # the task of a single row cannot be split
    sizes = {6: (3, 1), 7: (1, 1)}
    for task, support, query in episodes:
        assert not set(support) & set(query)
        assert (len(support), len(query)) == sizes.get(task, (5, 7))
    of_first = {tuple(support) for task, support, _ in episodes if task == 0}
    assert len(of_first) == 3  # episodes differ


def test_all_rows_that_are_left_are_query_rows():
    log, tasks = [], make_tasks(4)
    TaskEstimator(OffsetRidge(log=log), shots=5).fit(tasks).score(tasks)
    for _, support, query in pairs_of(log):
        assert sorted([*support, *query]) == list(range(30))


def test_whole_tasks_are_held_out():
    log, tasks = [], make_tasks(10)
    cross_val_score(TaskEstimator(OffsetRidge(log=log)), tasks, cv=5)
    trained, tested = None, []
    for what, shown in log:
        if what == "fit_tasks":
            trained = shown
            assert len(trained) == 8
        else:
            assert task_id(shown) not in trained
            tested.append(task_id(shown))
    assert set(tested) == set(range(10))


def test_default_score_of_regressors_is_r2_pooled_over_tasks():
    tasks = make_tasks(6)
    estimator = TaskEstimator(OffsetRidge(log=[]), random_state=0).fit(tasks)
    score = estimator.score(tasks)
    true, predicted = [], []
    meta = estimator.estimator_
    for task, support, query in pairs_of(estimator.estimator.log):
        X, y = tasks[task]
        true.append(y[query])
        predicted.append(meta.adapt(X[support], y[support]).predict(X[query]))
    assert score == pytest.approx(r2_score(np.concatenate(true), np.concatenate(predicted)))
    own = np.mean([r2_score(a, b) for a, b in zip(true, predicted, strict=True)])
    per_task = clone(estimator).set_params(scoring="r2").fit(tasks).score(tasks)
    assert per_task == pytest.approx(own) and per_task != pytest.approx(score)


def test_pooled_r2_of_several_targets_is_their_mean():
    tasks = make_tasks(6, n_targets=3)
    estimator = TaskEstimator(OffsetRidge(log=[]), random_state=0).fit(tasks)
    score = estimator.score(tasks)
    episodes = pairs_of(estimator.estimator.log)
    y_query = np.concatenate([tasks[t][1][q] for t, _, q in episodes])
    predicted = np.concatenate(
        [
            estimator.adapt(tasks[t][0][s], tasks[t][1][s]).predict(tasks[t][0][q])
            for t, s, q in episodes
        ]
    )
    assert score == pytest.approx(r2_score(y_query, predicted))


def test_split_of_a_task_is_the_same_wherever_it_is():
    tasks = make_tasks(6)
    estimator = TaskEstimator(OffsetRidge(log=[]), random_state=3).fit(tasks)

    def splits(tasks):
        estimator.estimator.log.clear()
        estimator.score(tasks)
        return {t: (tuple(s), tuple(q)) for t, s, q in pairs_of(estimator.estimator.log)}

    forward = splits(tasks)
    assert splits(tasks[::-1]) == forward
    assert splits(tasks[2:4]) == {t: forward[t] for t in (2, 3)}
    assert len({s for s, _ in forward.values()}) > 1  # tasks do not share one split
    estimator.set_params(random_state=4)
    assert splits(tasks) != forward
    estimator.set_params(random_state=None)
    assert splits(tasks) != splits(tasks)


def test_global_random_state_is_left_alone():
    tasks, before = make_tasks(6), np.random.get_state()[1].copy()  # noqa: NPY002
    TaskEstimator(OffsetRidge()).fit(tasks).score(tasks)
    cross_val_adapt(OffsetRidge(), tasks, shots=2, cv=2)
    list(TaskSplit(2).split(np.zeros((9, 1)), groups=[0, 1, 2] * 3))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_every_label_is_in_the_support():
    class Recorder(NearestMean):
        seen = []

        def adapt(self, X, y):
            self.seen.append(y)
            return NearestMean().adapt(X, y)

    rng = np.random.default_rng(0)
    rare = (rng.normal(size=(40, 2)), np.array([0] * 37 + [1, 1, 2]))
    estimator = TaskEstimator(Recorder(), shots=3, n_episodes=20, random_state=0)
    estimator.fit([rare, rare]).score([rare])
    assert len(Recorder.seen) == 20
    assert all(sorted(y) == [0, 1, 2] for y in Recorder.seen)
    Recorder.seen.clear()
    estimator.set_params(shots=2).score([rare])
    assert all(len(y) == 2 for y in Recorder.seen)


def test_classifiers_and_scorers():
    tasks = make_classes()
    estimator = TaskEstimator(NearestMean(), shots=6, random_state=0).fit(tasks)
    assert 0.5 < estimator.score(tasks) <= 1
    loss = estimator.set_params(scoring="neg_log_loss").score(tasks)
    assert -1.2 < loss < 0
    # One shot: the query holds labels that the support lacks, and probabilities still have a score.
    assert estimator.set_params(shots=1).score(tasks) < loss
    called = estimator.set_params(scoring=lambda model, X, y: float(len(model.classes_)))
    assert called.score(tasks) == 3


@pytest.mark.parametrize("form", ["pairs", "tasks", "object array", "checked dict"])
def test_forms_of_tasks(form):
    tasks = make_tasks(10)
    expected = cross_val_score(TaskEstimator(OffsetRidge(), random_state=0), tasks, cv=5)
    if form == "tasks":
        tasks = [Task(X, y, name=f"t{i}") for i, (X, y) in enumerate(tasks)]
    elif form == "object array":
        array = np.empty(10, dtype=object)
        array[:] = tasks
        tasks = array
    elif form == "checked dict":
        tasks = check_tasks({f"t{i}": task for i, task in enumerate(tasks)})
    scores = cross_val_score(TaskEstimator(OffsetRidge(), random_state=0), tasks, cv=5)
    np.testing.assert_array_equal(scores, expected)


def test_tasks_of_equal_shape_stay_pairs():
    # numpy would stack these pairs into one array.
    rng = np.random.default_rng(0)
    tasks = [(rng.normal(size=(8, 1)), rng.normal(size=(8, 1))) for _ in range(6)]
    scores = cross_val_score(TaskEstimator(OffsetRidge(), shots=3), tasks, cv=3)
    assert np.isfinite(scores).all()


def test_dict_and_frames_in_fit_and_score():
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    tasks = make_tasks(5)
    expected = TaskEstimator(OffsetRidge(), random_state=0).fit(tasks).score(tasks)
    for lib in (pd, pl):
        frames = {
            f"t{i}": (lib.DataFrame(dict(zip("tix", X.T, strict=True))), y)
            for i, (X, y) in enumerate(tasks)
        }
        score = TaskEstimator(OffsetRidge(), random_state=0).fit(frames).score(frames)
        assert score == pytest.approx(expected)


def test_searches_find_the_better_parameter():
    tasks = make_tasks(15, noise=0.1)
    wrapped = TaskEstimator(OffsetRidge(), random_state=0)
    grid = GridSearchCV(wrapped, {"estimator__alpha": [0.1, 1e6], "shots": [5]}, cv=5)
    grid.fit(tasks)
    assert grid.best_params_["estimator__alpha"] == 0.1
    assert np.ptp(grid.cv_results_["mean_test_score"]) > 0.3
    X, y = make_tasks(1, seed=9)[0]
    assert grid.best_estimator_.adapt(X[:5], y[:5]).predict(X[5:]).shape == (25,)
    search = RandomizedSearchCV(
        wrapped, {"estimator__alpha": [0.1, 1e6]}, n_iter=2, cv=3, random_state=0
    ).fit(tasks)
    assert search.best_params_ == {"estimator__alpha": 0.1}
    assert search.score(tasks) == search.best_estimator_.score(tasks)


def test_learning_curve_and_cross_validate():
    tasks = make_tasks(12)
    wrapped = TaskEstimator(OffsetRidge(), random_state=0)
    sizes, train, test = learning_curve(wrapped, tasks, None, train_sizes=[2, 4, 8], cv=3)
    assert sizes.tolist() == [2, 4, 8] and train.shape == test.shape == (3, 3)
    assert np.isfinite(train).all() and np.isfinite(test).all()
    result = cross_validate(wrapped, tasks, cv=KFold(4, shuffle=True, random_state=0))
    assert np.isfinite(result["test_score"]).all() and len(result["test_score"]) == 4


def test_task_estimator_is_a_scikit_learn_estimator():
    meta = OffsetRidge(alpha=3.0)
    wrapped = TaskEstimator(meta, shots=3)
    assert clone(wrapped).get_params()["estimator__alpha"] == 3.0
    assert "shots=3" in repr(wrapped)
    assert not is_regressor(wrapped) and not is_classifier(wrapped)
    tasks = make_tasks(4)
    assert wrapped.fit(tasks) is wrapped
    assert not hasattr(meta, "ridge_") and hasattr(wrapped.estimator_, "ridge_")
    assert not hasattr(wrapped, "adapt_many")  # this estimator has none
    for call in (clone(wrapped).score, lambda tasks: clone(wrapped).adapt(*tasks[0])):
        with pytest.raises(NotFittedError):
            call(tasks)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"shots": 0}, ValueError, "shots=0 is too small"),
        ({"shots": 2.5}, TypeError, "shots=2.5 is not a whole number"),
        ({"shots": (1, 5)}, TypeError, "shots="),
        ({"n_query": 0}, ValueError, "n_query=0 is too small"),
        ({"n_episodes": True}, TypeError, "n_episodes=True"),
        ({"scoring": ["r2", "max_error"]}, TypeError, "pass one scorer"),
        ({"scoring": "r3"}, ValueError, "r3"),
        ({"estimator": Ridge()}, TypeError, "has no fit_tasks"),
    ],
)
def test_task_estimator_names_the_parameter_at_fault(parameters, error, message):
    with pytest.raises(error, match=message):
        TaskEstimator(OffsetRidge()).set_params(**parameters).fit(make_tasks(4))


def test_task_estimator_refuses_what_cannot_be_scored():
    tasks = make_tasks(4)
    wrapped = TaskEstimator(OffsetRidge()).fit(tasks)
    with pytest.raises(ValueError, match="All 2 tasks have a single row"):
        wrapped.score([(X[:1], y[:1]) for X, y in tasks[:2]])
    with pytest.raises(ValueError, match="y is given"):
        wrapped.fit(tasks, [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"one pair \(X, y\)"):
        wrapped.score(tasks[0])


# ---------------------------------------------------------------- TaskSplit


def make_table(counts=(9, 12, 7, 3, 1, 20, 6), seed=0):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat([f"g{i}" for i in range(len(counts))], counts))
    return rng.normal(size=(len(groups), 2)), groups


def test_task_split_deals_out_rows():
    X, groups = make_table()
    splits = list(TaskSplit(3, shots=4, random_state=0).split(X, groups=groups))
    assert len(splits) == 3
    held_out = []
    for train, test in splits:
        assert sorted([*train, *test]) == list(range(len(X)))  # disjoint, nothing lost
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
        for task in np.unique(groups[test]):
            n_rows = (groups == task).sum()
            assert (groups[train] == task).sum() == min(4, n_rows - 1)
            held_out.append(task)
    assert sorted(held_out) == ["g0", "g1", "g2", "g3", "g5", "g6"]  # once; g4 has a single row


def test_task_split_draws_support_rows_at_random():
    groups = np.repeat([0, 1], 10)
    drawn = np.zeros(20)
    for seed in range(300):
        for train, test in TaskSplit(2, shots=3, random_state=seed).split(groups, groups=groups):
            own = groups == groups[test[0]]
            drawn[train[own[train]]] += 1
    # 300 draws of 3 rows in 10: mean 90, standard deviation 8.
    assert drawn.sum() == 1800 and drawn.min() > 55 and drawn.max() < 125


def test_task_split_is_reproducible_and_balanced():
    groups = np.repeat(np.arange(23), 4)
    cv = TaskSplit(5, shots=1, random_state=0)

    def tests(cv):
        return [test.tolist() for _, test in cv.split(groups, groups=groups)]

    assert tests(cv) == tests(cv)
    assert tests(TaskSplit(5, shots=1)) != tests(TaskSplit(5, shots=1))
    assert sorted(len(test) // 3 for test in tests(cv)) == [4, 4, 5, 5, 5]
    assert cv.get_n_splits() == 5
    assert repr(cv) == "TaskSplit(n_splits=5, random_state=0, shots=1)"


def test_task_split_inside_scikit_learn():
    pd = pytest.importorskip("pandas")
    X, groups = make_table()
    y = X[:, 0] + np.unique(groups, return_inverse=True)[1]
    cv = TaskSplit(3, shots=2, random_state=0)
    scores = cross_val_score(Ridge(), X, y, groups=groups, cv=cv)
    frame = cross_val_score(Ridge(), pd.DataFrame(X), y, groups=pd.Series(groups), cv=cv)
    assert len(scores) == 3
    np.testing.assert_allclose(frame, scores)
    grid = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=cv).fit(X, y, groups=groups)
    assert grid.n_splits_ == 3


def test_task_split_takes_routed_groups():
    import sklearn

    X, groups = make_table()
    with sklearn.config_context(enable_metadata_routing=True):
        cv = TaskSplit(3, shots=2, random_state=0)
        scores = cross_val_score(Ridge(), X, X[:, 0], cv=cv, params={"groups": groups})
    assert len(scores) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TaskSplit(1), ValueError, "n_splits=1 is too small"),
        (lambda: TaskSplit(shots=0), ValueError, "shots=0 is too small"),
        (lambda: next(TaskSplit().split([1, 2, 3])), ValueError, "groups is None"),
        (lambda: next(TaskSplit(2).split([1, 2], groups=[1])), ValueError, "1 labels"),
        (
            lambda: next(TaskSplit(3).split([1] * 5, groups=[0, 0, 1, 1, 2])),
            ValueError,
            "2 tasks with at least 2 rows",
        ),
    ],
)
def test_task_split_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- scores against shots


def test_supports_are_nested_and_share_a_query():
    log, tasks = [], make_tasks(4, n_rows=[40, 12, 3, 1])
    meta = OffsetRidge(log=log).fit_tasks(tasks)
    result = score_adapted(meta, tasks, shots=(5, 1, 9), random_state=0)
    assert result.shots == (1, 5, 9)
    by_task = {}
    for task, support, query in pairs_of(log):
        by_task.setdefault(task, []).append((support, query))
    assert {t: [len(s) for s, _ in found] for t, found in by_task.items()} == {
        0: [1, 5, 9],
        1: [1, 5, 9],  # 12 rows: a quarter, 3, are kept for the query
        2: [1],
    }
    for found in by_task.values():
        for support, query in found:
            assert not set(support) & set(query)
            assert set(support) <= set(found[-1][0])
            np.testing.assert_array_equal(query, found[0][1])
    assert result.n_query.tolist() == [31, 3, 2, 0]
    assert result.n_tasks.tolist() == [3, 2, 2]
    np.testing.assert_array_equal(
        np.isnan(result.scores), [[0, 0, 0], [0, 0, 0], [0, 1, 1], [1, 1, 1]]
    )


def test_cross_val_adapt_holds_out_whole_tasks_and_trains_afresh():
    log, tasks = [], make_tasks(9)
    cross_val_adapt(OffsetRidge(log=log), tasks, shots=(1, 4), cv=3, random_state=0)
    trained, tested = None, []
    for what, shown in log:
        if what == "fit_tasks":
            trained = shown
        else:
            assert task_id(shown) not in trained
            tested += [task_id(shown)] if what == "adapt" else []
    assert sorted(tested) == sorted([*range(9)] * 2)


def test_pooled_scores_and_their_weighted_mean():
    tasks = make_tasks(8, n_rows=[12, 30, 18, 25, 14, 22, 40, 16])
    meta = OffsetRidge(log=[]).fit_tasks(tasks)
    result = score_adapted(meta, tasks, shots=4, random_state=0)
    true = [tasks[t][1][query] for t, _, query in pairs_of(meta.log)]
    predicted = [
        meta.adapt(tasks[t][0][support], tasks[t][1][support]).predict(tasks[t][0][query])
        for t, support, query in pairs_of(meta.log)
    ]
    assert result.metric == "pooled R2"
    assert result.mean[0] == pytest.approx(
        r2_score(np.concatenate(true), np.concatenate(predicted))
    )
    assert np.average(result.scores[:, 0], weights=result.n_query) == pytest.approx(result.mean[0])


def test_plain_scores_have_the_usual_t_interval():
    tasks = make_classes(10)
    result = score_adapted(NearestMean(), tasks, shots=(3, 6), random_state=0)
    assert result.metric == "accuracy"
    np.testing.assert_allclose(result.mean, result.scores.mean(axis=0))
    half = student.ppf(0.975, 9) * result.scores.std(axis=0, ddof=1) / np.sqrt(10)
    np.testing.assert_allclose(result.high - result.mean, half)
    np.testing.assert_allclose(result.mean - result.low, half)


def test_interval_of_pooled_r2_covers():
    # Tasks are an offset and noise; with the offset shrunk from k rows, R2 of the family is known.
    rng, shots, n_query, spread, noise = np.random.default_rng(0), 3, 12, 1.0, 0.7
    shrunk = shots / (shots + 1.0)
    error = noise**2 * (1 + shrunk**2 / shots) + spread**2 * (1 - shrunk) ** 2
    truth = 1 - error / (spread**2 + noise**2)
    meta = OffsetRidge()
    meta.ridge_ = Ridge(fit_intercept=False).fit([[0.0]], [0.0])
    covered = 0
    for seed in range(200):
        offsets = spread * rng.normal(size=(40, 1))
        y = offsets + noise * rng.normal(size=(40, shots + n_query))
        tasks = [(np.zeros((len(row), 1)), row) for row in y]
        result = score_adapted(meta, tasks, shots=shots, n_query=n_query, random_state=seed)
        covered += result.low[0] <= truth <= result.high[0]
    assert 0.88 <= covered / 200 <= 0.99


def test_more_shots_score_better_and_old_tasks_help():
    tasks = make_tasks(30, seed=1)
    meta = cross_val_adapt(OffsetRidge(), tasks, shots=(1, 3, 10), random_state=0)
    assert (np.diff(meta.mean) > 0).all()
    alone = cross_val_adapt(Ridge(), tasks, shots=(1, 3, 10), random_state=0)
    assert (meta.mean > alone.mean).all()
    np.testing.assert_array_equal(meta.n_query, alone.n_query)


def test_scores_do_not_depend_on_jobs_or_order():
    tasks = make_tasks(9)
    one = cross_val_adapt(OffsetRidge(), tasks, shots=(1, 5), cv=3, random_state=0)
    again = cross_val_adapt(OffsetRidge(), tasks, shots=(1, 5), cv=3, random_state=0)
    with joblib.parallel_config(backend="threading"):
        two = cross_val_adapt(OffsetRidge(), tasks, shots=(1, 5), cv=3, random_state=0, n_jobs=2)
    for other in (again, two):
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.high, other.high)
    meta = OffsetRidge().fit_tasks(tasks)
    forward, backward = (score_adapted(meta, t, random_state=0) for t in (tasks, tasks[::-1]))
    np.testing.assert_allclose(forward.scores, backward.scores[::-1])


def test_a_process_a_fold():
    tasks = make_tasks(6)  # Ridge can be imported in the other processes, this file cannot
    one = cross_val_adapt(Ridge(), tasks, shots=2, cv=2, random_state=0)
    two = cross_val_adapt(Ridge(), tasks, shots=2, cv=2, random_state=0, n_jobs=2)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_episodes_are_averaged():
    tasks = make_tasks(6)
    meta = OffsetRidge().fit_tasks(tasks)
    one = score_adapted(meta, tasks, shots=2, random_state=0)
    many = score_adapted(meta, tasks, shots=2, n_episodes=8, random_state=0)
    np.testing.assert_array_equal(many.n_query, 8 * one.n_query)
    assert not np.allclose(many.scores, one.scores)


def test_scores_that_are_undefined_do_not_count():
    tasks = make_tasks(5)

    def scorer(model, X, y):
        return np.nan if X[0, 0] == 2 else 1.0

    meta = OffsetRidge().fit_tasks(tasks)
    result = score_adapted(meta, tasks, shots=3, scoring=scorer)
    assert result.n_tasks.tolist() == [4] and result.mean.tolist() == [1.0]
    assert result.low.tolist() == result.high.tolist() == [1.0]
    assert result.metric == "scorer"


def test_constant_targets_score_as_in_scikit_learn():
    tasks = [(np.zeros((8, 1)), np.full(8, 2.0)) for _ in range(3)]
    exact = score_adapted(DummyRegressor(), tasks, shots=2)
    assert exact.mean.tolist() == [1.0]
    wrong = score_adapted(DummyRegressor(strategy="constant", constant=0.0), tasks, shots=2)
    assert wrong.mean.tolist() == [0.0]


def test_baselines_are_fitted_on_the_support_alone():
    tasks = make_classes(6)
    result = score_adapted(LogisticRegression(), tasks, shots=(1, 6), random_state=0)
    assert result.mean[0] < 0.6 < result.mean[1]  # one shot: the only class of the support
    with pytest.raises(NotFittedError):
        score_adapted(TaskEstimator(OffsetRidge()), make_tasks(3), shots=2)


def test_result_as_dict_and_text():
    pd = pytest.importorskip("pandas")
    X, y = (np.concatenate(part) for part in zip(*make_tasks(6, n_rows=12), strict=True))
    tasks = tasks_from_table(X, y, X[:, 0].astype(int))
    result = cross_val_adapt(OffsetRidge(), tasks, cv=3, shots=(1, 3, 20), random_state=0)
    assert isinstance(result, AdaptationResult) and result.names == list("012345")
    frame = pd.DataFrame(result.to_dict())
    assert list(frame) == ["shots", "mean", "low", "high", "n_tasks"]
    assert frame["n_tasks"].tolist() == [6, 6, 0]
    assert frame["mean"].isna().tolist() == [False, False, True]
    lines = repr(result).splitlines()
    assert "pooled R2 over 6 tasks" in lines[0]
    assert lines[1].split() == ["shots", "mean", "low", "high", "tasks"]
    assert lines[3].split()[0] == "3" and float(lines[3].split()[1]) == round(result.mean[1], 4)


def test_one_task_has_a_score_but_no_interval():
    tasks = make_tasks(5)
    result = score_adapted(OffsetRidge().fit_tasks(tasks), tasks[:1], shots=3)
    assert np.isfinite(result.mean[0]) and np.isnan(result.low[0])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"shots": ()}, ValueError, "shots is empty"),
        ({"shots": (0, 1)}, ValueError, "shots=0"),
        ({"shots": "5"}, TypeError, "shots='5'"),
        ({"shots": 40}, ValueError, "No task has enough rows for shots=40"),
        ({"cv": 9}, ValueError, "cv=9 needs at least 9 tasks, but tasks holds 6"),
        ({"cv": 1}, ValueError, "cv=1 is too small"),
        ({"cv": ShuffleSplit(3, random_state=0)}, ValueError, "exactly once"),
        ({"scoring": {"a": "r2"}}, TypeError, "pass one scorer"),
    ],
)
def test_cross_val_adapt_errors(parameters, error, message):
    with pytest.raises(error, match=message):
        cross_val_adapt(OffsetRidge(), make_tasks(6), **parameters)


def test_no_torch():
    code = "import sys, sklearn_meta.model_selection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
