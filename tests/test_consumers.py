"""scikit-learn's own tools, which know nothing of tasks: a clone keeps its prior everywhere."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sklearn_meta import MetaClassifier, MetaRegressor

NEW = 10_000


@pytest.fixture(scope="module")
def data(regression_family):
    return regression_family.task(NEW, 24)


@pytest.fixture(scope="module")
def labelled(classification_family):
    return classification_family.task(NEW, 36)


def uses(estimator, meta):
    """Whether a fitted estimator adapted from the prior that another learned."""
    return estimator.prior is meta.prior_


class TestModelSelection:
    def test_cross_val_score_adapts_in_every_fold(self, regressor, data):
        done = cross_validate(regressor, *data, cv=4, return_estimator=True)
        assert all(uses(one, regressor) for one in done["estimator"])
        scores = cross_val_score(regressor, data[0][:9], data[1][:9], cv=3)
        assert scores.min() > 0.8

    def test_cross_val_predict_probabilities(self, classifier, labelled):
        p = cross_val_predict(classifier, *labelled, cv=3, method="predict_proba")
        np.testing.assert_allclose(p.sum(axis=1), 1)

    @pytest.mark.parametrize("n_jobs", [None, 2])
    def test_grid_search(self, regressor, data, n_jobs):
        search = GridSearchCV(regressor, {"use_prior": [0.0, True]}, cv=3, n_jobs=n_jobs)
        search.fit(*data)
        assert search.best_estimator_.prior == regressor.prior_
        scores = search.cv_results_["mean_test_score"]
        assert scores[0] != scores[1]

    def test_search_over_a_meta_parameter_is_no_silent_no_op(self, regressor, data):
        search = GridSearchCV(regressor, {"shots": [1, 5]}, cv=2, error_score="raise")
        with pytest.raises(ValueError, match="TaskEstimator"):
            search.fit(*data)

    def test_randomized_search(self, classifier, labelled):
        search = RandomizedSearchCV(
            classifier, {"use_prior": np.linspace(0, 1, 5).tolist()}, n_iter=2, cv=2, random_state=0
        ).fit(*labelled)
        assert uses(search.best_estimator_, classifier)

    def test_learning_curve(self, regressor, data):
        sizes, _, scores = learning_curve(regressor, *data, train_sizes=[2, 8], cv=3)
        assert sizes.tolist() == [2, 8] and np.isfinite(scores).all()

    def test_scorers(self, regressor, classifier, data, labelled):
        assert get_scorer("r2")(regressor.adapt(*data), *data) > 0.5
        for name in ("roc_auc", "neg_log_loss", "accuracy"):
            assert np.isfinite(get_scorer(name)(classifier.adapt(*labelled), *labelled))


class TestComposition:
    def test_last_step_of_a_pipeline(self, regressor, data):
        pipe = make_pipeline(FunctionTransformer(), clone(regressor)).fit(*data)
        expected = regressor.adapt(*data).predict(data[0])
        np.testing.assert_array_equal(pipe.predict(data[0]), expected)
        assert clone(pipe)[-1].prior is regressor.prior_

    def test_first_step_of_a_pipeline(self, classifier, labelled):
        pipe = make_pipeline(clone(classifier), LogisticRegression()).fit(*labelled)
        assert pipe.score(*labelled) > 0.6
        assert len(pipe[:-1].get_feature_names_out()) == pipe[-1].n_features_in_

    def test_feature_union(self, regressor, data):
        union = make_union(clone(regressor), FunctionTransformer(feature_names_out="one-to-one"))
        Z = union.fit_transform(*data)
        assert Z.shape[1] == regressor.adapt(*data).transform(data[0]).shape[1] + 3

    def test_column_transformer(self, regression_family, data):
        tasks = [(X[:, :2], y) for X, y in regression_family.tasks(4)]
        meta = MetaRegressor(random_state=0, max_iter=5).fit_tasks(tasks)
        X = pd.DataFrame(data[0]).to_numpy()
        columns = ColumnTransformer([("meta", meta, [0, 1]), ("rest", "passthrough", [2])])
        assert columns.fit_transform(X, data[1]).shape[0] == len(X)

    def test_pandas_output_in_a_pipeline(self, regressor, data):
        pipe = make_pipeline(clone(regressor), StandardScaler()).set_output(transform="pandas")
        assert isinstance(pipe.fit(*data).transform(data[0]), pd.DataFrame)

    def test_stacking(self, regressor, data):
        stack = StackingRegressor([("meta", regressor), ("ridge", Ridge())], cv=3).fit(*data)
        assert uses(stack.named_estimators_["meta"], regressor)
        assert stack.score(*data) > 0.7

    def test_voting(self, classifier, labelled):
        vote = VotingClassifier(
            [("meta", classifier), ("linear", LogisticRegression())], voting="soft"
        )
        assert vote.fit(*labelled).score(*labelled) > 0.6

    def test_bagging(self, regressor, classifier, data, labelled):
        bag = BaggingClassifier(classifier, n_estimators=3, random_state=0).fit(*labelled)
        assert all(uses(one, classifier) for one in bag.estimators_)
        assert bag.score(*labelled) > 0.6
        assert BaggingRegressor(regressor, 2, random_state=0).fit(*data).score(*data) > 0.7

    def test_calibration(self, classifier, labelled):
        calibrated = CalibratedClassifierCV(classifier, cv=2).fit(*labelled)
        np.testing.assert_allclose(calibrated.predict_proba(labelled[0]).sum(axis=1), 1)
        frozen = FrozenEstimator(classifier.adapt(*labelled))
        assert CalibratedClassifierCV(frozen).fit(*labelled).score(*labelled) > 0.6

    def test_frozen(self, regressor, data):
        model = regressor.adapt(*data)
        frozen = clone(FrozenEstimator(model)).fit(data[0][:2], data[1][:2])
        np.testing.assert_array_equal(frozen.predict(data[0]), model.predict(data[0]))

    def test_transformed_target(self, regressor, data):
        """The prior brings its own scaling of the target: units that differ are noticed."""
        shifted = TransformedTargetRegressor(
            regressor, func=lambda y: y - 0.1, inverse_func=lambda y: y + 0.1
        )
        assert shifted.fit(*data).score(*data) > 0.7
        scaled = TransformedTargetRegressor(
            regressor, func=lambda y: 1e5 * y + 1e6, inverse_func=lambda y: (y - 1e6) / 1e5
        )
        with pytest.warns(UserWarning, match="y lies far"):
            scaled.fit(*data)

    def test_several_outputs_one_by_one(self, regressor, data):
        Y = np.column_stack([data[1], -data[1]])
        assert MultiOutputRegressor(regressor).fit(data[0], Y).predict(data[0]).shape == Y.shape

    def test_one_against_the_rest(self, anonymous_classifier, labelled):
        labels = labelled[1] + (labelled[0][:, 1] > 1)
        model = OneVsRestClassifier(anonymous_classifier).fit(labelled[0], labels)
        assert set(model.predict(labelled[0])) <= {0, 1, 2}


class TestInspection:
    def test_permutation_importance(self, regressor, data):
        found = permutation_importance(regressor.adapt(*data), *data, n_repeats=3, random_state=0)
        assert found.importances_mean.argmin() == 2  # the smallest effect of the family

    def test_partial_dependence(self, regressor, data):
        curve = partial_dependence(regressor.adapt(*data), data[0], [0], grid_resolution=5)
        assert np.corrcoef(curve["average"][0], curve["grid_values"][0])[0, 1] > 0.9

    def test_check_is_fitted(self, regressor, data):
        check_is_fitted(regressor.adapt(*data))
        with pytest.raises(NotFittedError):
            check_is_fitted(regressor)


@pytest.mark.parametrize("estimator", [Ridge(), MetaRegressor()])
def test_a_plain_script_in_which_one_line_is_swapped(estimator):
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=150, test_size=100, random_state=0
    )
    model = estimator.fit(X_train, y_train)
    assert model.score(X_test, y_test) > 0.25


def test_a_classifier_in_a_plain_script(labelled):
    X_train, X_test, y_train, y_test = train_test_split(*labelled, random_state=0)
    assert MetaClassifier().fit(X_train, y_train).score(X_test, y_test) > 0.5
