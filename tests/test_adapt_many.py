import time
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_meta import MetaRegressor, Task

NEW = 10_000


def uneven(family, n_tasks=24):
    """Tasks of 2 to 40 rows, large before small."""
    return {f"t{t}": family.task(NEW + t, 2 + (37 * t + 30) % 39) for t in range(n_tasks)}


class TestNumbersOfALoop:
    @pytest.mark.parametrize("use_prior", ["auto", True, 0.3])
    def test_regressor(self, regressor, regression_family, use_prior):
        meta, tasks = clone(regressor).set_params(use_prior=use_prior), uneven(regression_family)
        X = regression_family.task(NEW - 1, 7)[0]
        many = meta.adapt_many(tasks)
        assert list(many) == list(tasks)
        for name, task in tasks.items():
            one = meta.adapt(*task)
            for found, expected in zip(
                many[name].predict(X, return_std=True), one.predict(X, return_std=True), strict=True
            ):
                np.testing.assert_allclose(found, expected, rtol=1e-9)
            assert many[name].novelty_ == pytest.approx(one.novelty_, rel=1e-9)
            assert many[name].prior_weight_ == pytest.approx(one.prior_weight_, rel=1e-9)
            assert many[name].get_params() == one.get_params()
            assert vars(many[name]).keys() == vars(one).keys()

    @pytest.mark.parametrize("kind", ["classifier", "anonymous_classifier"])
    def test_classifier(self, kind, classification_family, request):
        meta, tasks = request.getfixturevalue(kind), uneven(classification_family)
        X = classification_family.task(NEW - 1, 7)[0]
        tasks["new labels"] = (tasks["t0"][0], np.array(["x", "y", "z"])[tasks["t0"][1]])
        many = meta.adapt_many(tasks)
        for name, task in tasks.items():
            one = meta.adapt(*task)
            np.testing.assert_array_equal(many[name].classes_, one.classes_)
            np.testing.assert_allclose(many[name].predict_proba(X), one.predict_proba(X), rtol=1e-9)

    def test_partial_fit_goes_on(self, regressor, regression_family):
        tasks = uneven(regression_family, 4)
        X, y = regression_family.task(NEW - 1, 9)
        model = regressor.adapt_many(tasks)["t2"].partial_fit(X, y)
        first_X, first_y = tasks["t2"]
        whole = regressor.adapt(np.concatenate([first_X, X]), np.concatenate([first_y, y]))
        np.testing.assert_allclose(model.predict(X), whole.predict(X), rtol=1e-9)


def test_names_and_order(regressor, regression_family):
    tasks = regression_family.tasks(3, 5, NEW)
    assert list(regressor.adapt_many(tasks)) == ["0", "1", "2"]
    named = [Task(*tasks[0], name="b"), Task(*tasks[1], name="a"), tasks[2]]
    assert list(regressor.adapt_many(named)) == ["b", "a", "2"]


def test_data_frames(regression_family):
    def frame(X, y):
        return pd.DataFrame(X, columns=list("abc")), y

    tasks = [frame(*task) for task in regression_family.tasks(4)]
    meta = MetaRegressor(random_state=0, max_iter=5).fit_tasks(tasks)
    many = meta.adapt_many([(X[["c", "a", "b"]], y) for X, y in tasks])
    for (X, y), model in zip(tasks, many.values(), strict=True):
        np.testing.assert_allclose(model.predict(X), meta.adapt(X, y).predict(X), rtol=1e-9)


def test_faults_are_named(regressor, classifier, regression_family):
    X, y = regression_family.task(NEW, 6)
    for bad, message in (
        ((X[:, :2], y), "2 features"),
        ((X, y[:3]), "6 rows and y has 3"),
        ((X, ["a"] * 6), "expected numbers"),
        ((np.full_like(X, np.inf), y), "infinity"),
    ):
        with pytest.raises(ValueError, match=f"task 'bad'.*{message}"):
            regressor.adapt_many({"good": (X, y), "bad": bad})
    with pytest.raises(ValueError, match="task 'bad'.*Unknown label type"):
        classifier.adapt_many({"good": (X, y > 0), "bad": (X, y)})


def test_needs_a_prior_and_tasks(regressor, regression_family):
    with pytest.raises(NotFittedError, match="fit_tasks"):
        MetaRegressor().adapt_many(regression_family.tasks(2))
    with pytest.raises(ValueError, match="set it to None"):
        clone(regressor).set_params(task_column=0).adapt_many(regression_family.tasks(2))
    with pytest.raises(ValueError, match="0 tasks"):
        regressor.adapt_many([])


def test_one_warning_for_all_that_lie_far(regressor, regression_family):
    tasks = regression_family.tasks(5, 6, NEW)
    tasks[1] = (tasks[1][0] + 1e4, tasks[1][1])
    tasks[3] = (tasks[3][0] + 1e4, tasks[3][1])
    with pytest.warns(UserWarning, match="Task '1'; so do 1 other") as seen:
        many = regressor.adapt_many(tasks)
    assert len(seen) == 1
    assert many["3"].novelty_ > 20 > many["0"].novelty_


def test_much_faster_than_a_loop(regressor, regression_family):
    tasks = regression_family.tasks(300, 10, NEW)

    def seconds(call):
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
        return best

    with warnings.catch_warnings():
        many = seconds(lambda: regressor.adapt_many(tasks))
        loop = seconds(lambda: [regressor.adapt(*task) for task in tasks[:30]]) * 10
    assert many < loop / 2
