import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_meta import MetaClassifier, MetaRegressor

NEW = 10_000
N_TASKS, N_ROWS = 8, 20


def table_of(family, n_tasks=N_TASKS, first_seed=0):
    """One long table whose first column is the task, rows shuffled."""
    tasks = family.tasks(n_tasks, N_ROWS, first_seed)
    X = np.concatenate([np.column_stack([np.full(N_ROWS, t), X]) for t, (X, _) in enumerate(tasks)])
    y = np.concatenate([y for _, y in tasks])
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], y[order]


@pytest.fixture(scope="module")
def table(regression_family):
    return table_of(regression_family)


@pytest.fixture(scope="module")
def fitted(table):
    return MetaRegressor(task_column=0, random_state=0, max_iter=20).fit(*table)


def named(X, make=pd.DataFrame):
    columns = {"school": [f"s{int(t)}" for t in X[:, 0]]}
    return make(columns | {f"c{j}": X[:, j] for j in range(1, X.shape[1])})


class TestPrediction:
    def test_each_row_by_its_own_task(self, fitted, table, regressor):
        X, y = table
        meta = clone(regressor).set_params(task_column=0).fit(X, y)
        for t in range(N_TASKS):
            rows = X[:, 0] == t
            expected = regressor.adapt(X[rows, 1:], y[rows]).predict(X[rows, 1:])
            np.testing.assert_allclose(meta.predict(X)[rows], expected, rtol=1e-9)

    def test_tasks_help(self, fitted, table):
        X, y = table
        assert fitted.score(X, y) > 0.9
        assert fitted.n_features_in_ == 4
        assert 0 <= fitted.prior_weight_ <= 1

    def test_methods(self, fitted, table):
        X, _ = table
        mean, std = fitted.predict(X, return_std=True)
        assert mean.shape == std.shape == (len(X),)
        assert fitted.sample_y(X, 3).shape == (len(X), 3)
        assert fitted.transform(X).shape == (len(X), len(fitted.get_feature_names_out()))

    def test_classifier(self, classification_family):
        X, y = table_of(classification_family)
        labels = np.array(["no", "yes"])[y]
        labels[X[:, 0] == 3] = "no"  # a task that has one class only
        model = MetaClassifier(task_column=0, random_state=0, max_iter=20).fit(X, labels)
        assert model.classes_.tolist() == ["no", "yes"]
        assert model.predict_proba(X).shape == (len(X), 2)
        assert model.score(X, labels) > 0.75

    def test_learned_prior_is_used_but_not_replaced(self, regressor, table):
        model = clone(regressor).set_params(task_column=0).fit(*table)
        assert not hasattr(model, "history_")
        assert model.prior is regressor.prior_

    def test_adapt_is_fit_of_a_clone(self, regressor, table):
        meta = clone(regressor).set_params(task_column=0)
        expected = clone(meta).fit(*table).predict(table[0])
        np.testing.assert_array_equal(meta.adapt(*table).predict(table[0]), expected)

    def test_prior_learned_inside_fit_is_never_carried(self, fitted):
        assert clone(fitted).prior is None and not hasattr(fitted, "prior_")
        assert fitted.history_.iteration[-1] == fitted.n_iter_ == 20

    def test_changed_parameter_counts_from_the_next_fit(self, fitted, table):
        expected = fitted.predict(table[0])
        model = clone(fitted).fit(*table).set_params(task_column=None)
        np.testing.assert_array_equal(model.predict(table[0]), expected)


class TestFrames:
    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    def test_column_by_name(self, fitted, table, make):
        X, y = table
        model = MetaRegressor(task_column="school", random_state=0, max_iter=20)
        model.fit(named(X, make), y)
        assert list(model.feature_names_in_) == ["school", "c1", "c2", "c3"]
        np.testing.assert_allclose(model.predict(named(X, make)), fitted.predict(X), rtol=1e-6)
        reordered = named(X, make)[["c3", "school", "c1", "c2"]]
        np.testing.assert_array_equal(model.predict(reordered), model.predict(named(X, make)))

    def test_faults_of_the_column(self, table):
        X, y = table
        with pytest.raises(ValueError, match="no column named 'school'"):
            MetaRegressor(task_column="school").fit(X, y)
        with pytest.raises(ValueError, match="no column 9"):
            MetaRegressor(task_column=9).fit(X, y)
        holed = X.copy()
        holed[3, 0] = np.nan
        with pytest.raises(ValueError, match="missing in row 3"):
            MetaRegressor(task_column=0).fit(holed, y)


class TestUnknownTasks:
    def test_one_warning_and_the_prior(self, fitted, table, regression_family):
        X, y = table_of(regression_family, 2, NEW)
        X[:, 0] += 100
        with pytest.warns(UserWarning, match="names 2 task") as seen:
            predicted = fitted.predict(X)
        assert len(seen) == 1
        assert np.corrcoef(predicted, y)[0, 1] > 0.8

    def test_known_ones_beside_them(self, fitted, table):
        X = table[0].copy()
        unknown = X[:, 0] == 0
        X[unknown, 0] = 100
        with pytest.warns(UserWarning, match="1 task"):
            predicted = fitted.predict(X)
        expected = fitted.predict(table[0])
        np.testing.assert_array_equal(predicted[~unknown], expected[~unknown])
        assert (predicted[unknown] != expected[unknown]).all()

    def test_error(self, fitted, table):
        model = clone(fitted).set_params(handle_unknown_task="error").fit(*table)
        X = table[0].copy()
        X[0, 0] = 100
        with pytest.raises(ValueError, match="'100'"):
            model.predict(X)
        with pytest.raises(ValueError, match="handle_unknown_task is 'skip'"):
            clone(model).set_params(handle_unknown_task="skip").fit(*table)


class TestConsumers:
    def test_cross_validation(self, fitted, table):
        scores = cross_val_score(clone(fitted), *table, cv=KFold(3, shuffle=True, random_state=0))
        assert scores.min() > 0.8

    def test_unshuffled_folds_hold_unknown_tasks(self, fitted, table):
        X, y = (array[np.argsort(table[0][:, 0], kind="stable")] for array in table)
        with pytest.warns(UserWarning, match="predicted from the prior"):
            scores = cross_val_score(clone(fitted), X, y, cv=KFold(4))
        assert scores.min() > 0.5

    def test_grid_search_in_a_pipeline(self, table):
        X, y = named(table[0]), table[1]
        columns = ColumnTransformer(
            [("keep", "passthrough", ["school", "c1", "c2", "c3"])],
            verbose_feature_names_out=False,
        ).set_output(transform="pandas")
        model = MetaRegressor(task_column="school", random_state=0, max_iter=5)
        search = GridSearchCV(
            make_pipeline(columns, model), {"metaregressor__use_prior": [True, 0.0]}, cv=3
        ).fit(X, y)
        assert search.best_score_ > 0.5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X, y: (X[:, :1], y), "no columns beside"),
        (lambda X, y: (X[:5], y), "inconsistent numbers"),
        (lambda X, y: (np.where(X == X[0, 1], np.inf, X), y), "infinity"),
    ],
)
def test_nothing_is_half_fitted(fitted, table, spoil, message):
    model = clone(fitted).fit(*table)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(*spoil(*table))
    assert vars(model) == before


def test_predict_checks_the_number_of_columns(fitted, table):
    with pytest.raises(ValueError, match="X has 3 features, but MetaRegressor is expecting 4"):
        fitted.predict(table[0][:, :3])


def test_partial_fit_takes_one_task(fitted, table):
    with pytest.raises(ValueError, match="one task"):
        clone(fitted).partial_fit(*table)
