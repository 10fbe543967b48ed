import copy
import gc
import pickle
import threading

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError

from sklearn_meta import MetaClassifier, MetaRegressor, Prior, _model
from sklearn_meta.learners import BayesianLinear
from sklearn_meta.preprocessing import TableEncoder

NEW = 10_000


@pytest.fixture(scope="module")
def new_task(regression_family):
    return regression_family.task(NEW, 12)


@pytest.fixture(scope="module")
def query(regression_family):
    return regression_family.task(NEW + 1, 8)[0]


@pytest.fixture(scope="module")
def adapted(regressor, new_task):
    return regressor.adapt(*new_task)


def frame(X, make=pd.DataFrame):
    return make({f"c{j}": X[:, j] for j in range(X.shape[1])})


class TestContract:
    def test_fit_tasks_sets_prior_and_history_and_returns_self(self, regression_family):
        meta = MetaRegressor(random_state=0, max_iter=5)
        assert meta.fit_tasks(regression_family.tasks(6)) is meta
        assert meta.prior_.meta["n_tasks"] == 6
        assert meta.history_.iteration[-1] == meta.n_iter_ == 5

    def test_same_seed_same_prior(self, regression_family):
        tasks = regression_family.tasks(6)
        one, other = (MetaRegressor(random_state=3, max_iter=5).fit_tasks(tasks) for _ in range(2))
        assert one.prior_ == other.prior_

    def test_fit_tasks_drops_what_was_adapted(self, regression_family, new_task):
        meta = MetaRegressor(random_state=0, max_iter=5).fit(*new_task)
        meta.fit_tasks(regression_family.tasks(6))
        with pytest.raises(NotFittedError, match="adapt or fit"):
            meta.predict(new_task[0])

    def test_failed_fit_tasks_leaves_the_estimator_as_it_was(self, regressor, new_task):
        model = clone(regressor).fit(*new_task)
        before = dict(vars(model))
        with pytest.raises(ValueError, match="task 'bad'"):
            model.fit_tasks({"good": new_task, "bad": (new_task[0], new_task[1][:-1])})
        assert vars(model) == before

    def test_adapt_returns_a_new_estimator(self, regressor, new_task):
        before = dict(vars(regressor))
        model = regressor.adapt(*new_task)
        assert vars(regressor) == before
        assert model is not regressor
        assert model.prior is regressor.prior_

    def test_adapt_equals_fit_of_a_clone(self, regressor, adapted, new_task, query):
        fitted = clone(regressor).fit(*new_task)
        np.testing.assert_array_equal(fitted.predict(query), adapted.predict(query))

    def test_fit_in_place_keeps_the_learned_prior(self, regressor, new_task, query):
        meta = copy.deepcopy(regressor)
        prior = meta.prior_
        model = meta.fit(*new_task)
        assert model is meta and meta.prior_ is prior
        assert meta.adapt(*new_task).predict(query).shape == (len(query),)

    def test_prior_helps(self, regressor, regression_family):
        errors = []
        for t in range(10):
            X, y = regression_family.task(NEW + 10 + t, 53)
            for model in (regressor.adapt(X[:3], y[:3]), MetaRegressor().fit(X[:3], y[:3])):
                errors.append(np.mean((model.predict(X[3:]) - y[3:]) ** 2))
        assert np.mean(errors[0::2]) < 0.5 * np.mean(errors[1::2])

    def test_without_a_prior_adapt_says_so(self, new_task):
        with pytest.raises(NotFittedError, match="fit_tasks"):
            MetaRegressor().adapt(*new_task)

    def test_unfitted_predict_says_so(self, query):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            MetaRegressor().predict(query)

    def test_without_a_prior_fit_is_a_sound_supervised_model(self):
        rng = np.random.default_rng(0)
        X = rng.uniform(-2, 2, (80, 1))
        y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=80)
        model = MetaRegressor().fit(X[:60], y[:60])
        assert model.score(X[60:], y[60:]) > 0.9
        assert model.prior_weight_ == 1.0  # of the bundled prior

    def test_named_learner_without_a_prior_is_trained_on_this_data(self, regression_family):
        model = MetaRegressor(learner="bayesian_linear", max_iter=20, random_state=0)
        model.fit(*regression_family.task(0, 60))
        assert model.n_iter_ == 20
        assert model.score(*regression_family.task(0, 60)) > 0.8
        model.set_params(learner="auto").fit(*regression_family.task(0, 60))
        assert model.n_iter_ == 1 and not hasattr(model, "history_")

    def test_validation_tasks(self, regression_family):
        meta = MetaRegressor(random_state=0, max_iter=5)
        meta.fit_tasks(regression_family.tasks(6), regression_family.tasks(3, first_seed=50))
        assert meta.history_.validation == "given"

    def test_one_task_is_not_enough_to_meta_train(self, new_task):
        with pytest.raises(ValueError, match="expected at least 2"):
            MetaRegressor().fit_tasks([new_task])


class TestPrior:
    def test_clone_carries_the_prior_truthfully(self, regressor):
        twin = clone(regressor)
        assert twin.prior is regressor.prior_
        assert not hasattr(twin, "prior_") and not hasattr(twin, "history_")
        assert "prior=Prior(" in repr(twin)
        assert "prior" not in repr(regressor)
        assert clone(twin).prior is regressor.prior_

    def test_what_prior_may_be(self, regressor, adapted, new_task, query, tmp_path):
        regressor.prior_.save(tmp_path / "prior.safetensors")
        expected = adapted.predict(query)
        for prior in (
            regressor.prior_,
            tmp_path / "prior.safetensors",
            str(tmp_path / "prior.safetensors"),
            regressor,
            clone(regressor),
            adapted,
        ):
            model = MetaRegressor(prior=prior).fit(*new_task)
            np.testing.assert_array_equal(model.predict(query), expected)

    def test_a_file_that_changed_is_read_again(
        self, regressor, regression_family, new_task, tmp_path
    ):
        path = tmp_path / "prior.safetensors"
        meta = MetaRegressor(path)
        regressor.prior_.save(path)
        assert meta.adapt(*new_task).prior == regressor.prior_
        other = MetaRegressor(random_state=1, max_iter=5).fit_tasks(regression_family.tasks(4))
        other.prior_.save(path)
        assert meta.adapt(*new_task).prior == other.prior_

    def test_learned_prior_wins_over_the_parameter(self, regressor, regression_family, new_task):
        meta = MetaRegressor(prior=regressor.prior_, random_state=1, max_iter=5)
        meta.fit_tasks(regression_family.tasks(4))
        assert meta.adapt(*new_task).prior is meta.prior_

    def test_estimator_without_prior_is_refused(self, new_task):
        with pytest.raises(ValueError, match="pass meta.prior_"):
            MetaRegressor(prior=MetaRegressor()).fit(*new_task)

    def test_foreign_priors_are_refused(self, classifier, new_task):
        with pytest.raises(ValueError, match="prior is one of a classifier"):
            MetaRegressor(prior=classifier.prior_).fit(*new_task)
        with pytest.raises(ValueError, match="prior is one of a classifier"):
            MetaRegressor(prior=classifier).fit(*new_task)
        with pytest.raises(TypeError, match="prior is of type int"):
            MetaRegressor(prior=3).fit(*new_task)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            MetaRegressor(prior="nowhere.safetensors").fit(*new_task)

    @pytest.mark.parametrize(
        "parameters",
        [
            {"learner": BayesianLinear(n_members=7)},
            {"network": (8, 8)},
            {"max_iter": 61},
            {"shots": (1, 3)},
            {"preprocessor": TableEncoder(clip=3.0)},
        ],
    )
    def test_other_meta_parameters_raise(self, regressor, new_task, parameters):
        (name,) = parameters
        model = clone(regressor).set_params(**parameters)
        with pytest.raises(ValueError, match=f"{name}=.* has no effect"):
            model.fit(*new_task)
        with pytest.raises(ValueError, match=f"{name}=.* has no effect"):
            model.adapt(*new_task)
        assert not model.__sklearn_is_fitted__()

    @pytest.mark.parametrize(
        "parameters",
        [
            {"learner": "bayesian_linear"},
            {"learner": BayesianLinear()},
            {"network": (64, 64, 32)},
            {"max_iter": 60},
            {"preprocessor": TableEncoder()},
            {"checkpoint": "somewhere"},
        ],
    )
    def test_meta_parameters_that_agree_do_not(self, regressor, new_task, parameters):
        clone(regressor).set_params(**parameters).fit(*new_task)

    def test_models_of_dropped_priors_are_dropped(self, regressor, new_task):
        gc.collect()
        before = len(_model._ready)
        fresh = MetaRegressor(random_state=5, max_iter=5)
        fresh.fit_tasks([new_task, new_task, new_task]).adapt(*new_task)
        assert len(_model._ready) == before + 1
        del fresh
        gc.collect()
        assert len(_model._ready) == before


class TestPrediction:
    def test_std_is_positive_and_covers(self, regressor, regression_family):
        inside = []
        for t in range(20):
            X, y = regression_family.task(NEW + 100 + t, 40)
            mean, std = regressor.adapt(X[:5], y[:5]).predict(X[5:], return_std=True)
            assert (std > 0).all()
            inside.append(np.abs(y[5:] - mean) < 1.645 * std)
        assert 0.8 < np.mean(inside) < 0.99

    def test_more_rows_less_std(self, regressor, regression_family, query):
        X, y = regression_family.task(NEW, 40)
        stds = [regressor.adapt(X[:n], y[:n]).predict(query, return_std=True)[1] for n in (1, 40)]
        assert stds[1].mean() < stds[0].mean()

    def test_samples_have_the_predicted_moments(self, regressor, new_task, query):
        model = clone(regressor).set_params(use_prior=True).fit(*new_task)
        samples = model.sample_y(query, 4000, random_state=0)
        mean, std = model.predict(query, return_std=True)
        assert samples.shape == (len(query), 4000)
        np.testing.assert_allclose(samples.mean(1), mean, atol=5 * std.max() / np.sqrt(4000))
        np.testing.assert_allclose(samples.std(1), std, rtol=0.2)

    def test_samples_depend_on_the_seed_alone(self, adapted, query):
        one, again, other = (adapted.sample_y(query, 3, random_state=s) for s in (0, 0, 1))
        np.testing.assert_array_equal(one, again)
        assert not np.allclose(one, other)

    def test_use_prior(self, regressor, new_task, query):
        means = {}
        for use_prior in (True, 1.0, 0.5, 0.0, False):
            model = clone(regressor).set_params(use_prior=use_prior).fit(*new_task)
            assert model.prior_weight_ == float(use_prior)
            means[repr(use_prior)] = model.predict(query)
        np.testing.assert_allclose(means["True"], means["1.0"], rtol=1e-9)
        np.testing.assert_allclose(means["False"], means["0.0"], rtol=1e-9)
        half = 0.5 * (means["1.0"] + means["0.0"])
        np.testing.assert_allclose(means["0.5"], half, rtol=1e-9)

    @pytest.mark.parametrize("use_prior", ["always", 1.5, -0.1, None])
    def test_wrong_use_prior(self, regressor, new_task, use_prior):
        with pytest.raises(ValueError, match="use_prior is"):
            clone(regressor).set_params(use_prior=use_prior).fit(*new_task)

    def test_wrong_device(self, regressor, new_task):
        with pytest.raises(ValueError, match="device is 'abacus'"):
            clone(regressor).set_params(device="abacus").fit(*new_task)

    def test_transform_adds_up_to_the_prediction_of_the_prior(self, regressor, new_task, query):
        model = clone(regressor).set_params(use_prior=True).fit(*new_task)
        Z = model.transform(query)
        assert Z.shape == (len(query), len(model.get_feature_names_out()))
        centre = model.predict(query) - model._adapted.model.scaler.inverse_transform(Z.sum(1))
        np.testing.assert_allclose(centre, 0, atol=1e-6)

    def test_set_output(self, regressor, new_task, query):
        model = clone(regressor).set_output(transform="pandas").fit(*new_task)
        Z = model.transform(query)
        assert isinstance(Z, pd.DataFrame)
        assert list(Z.columns) == list(model.get_feature_names_out())
        assert Z.columns[0] == "metaregressor0"
        assert isinstance(clone(model).adapt(*new_task).transform(query), pd.DataFrame)

    def test_several_targets(self, regression_family):
        def two(X, y):
            return X, np.column_stack([y, 100 - 10 * y])

        tasks = [two(*task) for task in regression_family.tasks(8)]
        meta = MetaRegressor(random_state=0, max_iter=20).fit_tasks(tasks)
        X, Y = two(*regression_family.task(NEW, 30))
        model = meta.adapt(X[:15], Y[:15])
        mean, std = model.predict(X[15:], return_std=True)
        assert mean.shape == std.shape == (15, 2)
        assert model.sample_y(X[15:], 3).shape == (15, 2, 3)
        assert model.score(X[15:], Y[15:]) > 0.7
        with pytest.raises(ValueError, match="1 target"):
            meta.adapt(X, Y[:, 0])


class TestPartialFit:
    @pytest.mark.parametrize("sizes", [(4, 8), (1, 1, 10), (16, 14)])
    def test_equals_adapt_on_all_rows(self, regressor, regression_family, query, sizes):
        X, y = regression_family.task(NEW + 7, sum(sizes))
        model = clone(regressor)
        for start, size in zip(np.cumsum((0, *sizes[:-1])), sizes, strict=True):
            assert model.partial_fit(X[start : start + size], y[start : start + size]) is model
        whole = regressor.adapt(X, y)
        for one, other in zip(
            model.predict(query, return_std=True),
            whole.predict(query, return_std=True),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-9)
        assert model.prior_weight_ == pytest.approx(whole.prior_weight_, rel=1e-9)

    def test_failure_leaves_the_model_as_it_was(self, regressor, new_task):
        model = regressor.adapt(*new_task)
        before = dict(vars(model))
        with pytest.raises(ValueError, match="features"):
            model.partial_fit(new_task[0][:, :2], new_task[1])
        with pytest.raises(ValueError, match="classes has no meaning"):
            model.partial_fit(*new_task, classes=[0, 1])
        assert vars(model) == before


class TestCopies:
    @pytest.mark.parametrize(
        "copied", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy]
    )
    def test_pickle_and_deepcopy(self, adapted, query, copied):
        twin = copied(adapted)
        np.testing.assert_array_equal(twin.predict(query), adapted.predict(query))
        twin.partial_fit(query, np.zeros(len(query)))

    def test_deepcopy_shares_the_prior(self, adapted):
        assert copy.deepcopy(adapted).prior is adapted.prior

    def test_joblib(self, adapted, query, tmp_path):
        joblib.dump(adapted, tmp_path / "model.joblib")
        twin = joblib.load(tmp_path / "model.joblib")
        np.testing.assert_array_equal(twin.predict(query), adapted.predict(query))

    def test_pickle_of_one_of_many_holds_one(self, regressor, regression_family):
        models = regressor.adapt_many(regression_family.tasks(40, 10, NEW))
        alone = regressor.adapt(*regression_family.task(NEW, 10))
        assert len(pickle.dumps(models["0"])) < 1.1 * len(pickle.dumps(alone))

    def test_threads(self, regressor, regression_family, query):
        tasks = regression_family.tasks(16, 6, NEW)
        expected = [regressor.adapt(*task).predict(query) for task in tasks]
        found = [None] * len(tasks)

        def work(i):
            found[i] = regressor.adapt(*tasks[i]).predict(query)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(tasks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(found, expected)


class TestInput:
    def test_dtypes(self, regressor, new_task, query):
        X, y = new_task
        expected = regressor.adapt(X, y).predict(query)
        X32, y32 = X.astype(np.float32), y.astype(np.float32)
        found = regressor.adapt(X32, y32).predict(query.astype(np.float32))
        assert found.dtype == expected.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    def test_lists(self, regressor, adapted, new_task, query):
        model = regressor.adapt(new_task[0].tolist(), new_task[1].tolist())
        np.testing.assert_array_equal(model.predict(query.tolist()), adapted.predict(query))

    def test_read_only_and_memory_mapped(self, regressor, adapted, new_task, query, tmp_path):
        for name, array in zip("Xy", new_task, strict=True):
            np.save(tmp_path / f"{name}.npy", array)
        X, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "Xy")
        model = regressor.adapt(X, y)
        frozen = query.copy()
        frozen.setflags(write=False)
        np.testing.assert_array_equal(model.predict(frozen), adapted.predict(query))

    def test_input_is_not_changed(self, regressor, new_task, query):
        X, y, Xq = new_task[0].copy(), new_task[1].copy(), query.copy()
        regressor.adapt(X, y).predict(Xq)
        for before, after in zip((*new_task, query), (X, y, Xq), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_missing_values(self, regression_family):
        def holed(X, y):
            X = X.copy()
            X[::4, 0] = np.nan
            return X, y

        tasks = [holed(*task) for task in regression_family.tasks(8)]
        meta = MetaRegressor(random_state=0, max_iter=20).fit_tasks(tasks)
        X, y = holed(*regression_family.task(NEW, 20))
        assert np.isfinite(meta.adapt(X, y).predict(np.full((2, 3), np.nan))).all()

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    def test_data_frames_with_categories(self, make):
        effect = {"a": -2.0, "b": 0.0, "c": 2.0}

        def task(seed, n=24):
            rng = np.random.default_rng(seed)
            level, x = rng.choice(list(effect), n), rng.normal(size=n)
            shift = rng.normal()
            y = shift + x + np.array([effect[one] for one in level]) + 0.1 * rng.normal(size=n)
            return make({"level": level, "x": x, "on": x > 0}), y

        meta = MetaRegressor(random_state=0, max_iter=40).fit_tasks([task(t) for t in range(10)])
        X, y = task(NEW)
        model = meta.adapt(X[:6], y[:6])
        assert list(model.feature_names_in_) == ["level", "x", "on"]
        expected = model.predict(X)
        assert np.corrcoef(expected, y)[0, 1] > 0.9
        np.testing.assert_array_equal(model.predict(X[["on", "x", "level"]]), expected)
        unseen = make({"level": ["z"], "x": [0.0], "on": [False]})
        assert np.isfinite(model.predict(unseen)).all()
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(X.rename({"x": "z"}, **({"axis": 1} if make is pd.DataFrame else {})))

    def test_feature_name_warnings(self, regressor, regression_family, new_task, query):
        with pytest.warns(UserWarning, match="X has feature names, but MetaRegressor was fitted w"):
            regressor.adapt(frame(new_task[0]), new_task[1])
        tasks = [(frame(X), y) for X, y in regression_family.tasks(4)]
        meta = MetaRegressor(random_state=0, max_iter=5).fit_tasks(tasks)
        model = meta.adapt(frame(new_task[0]), new_task[1])
        expected = model.predict(frame(query))
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            np.testing.assert_array_equal(model.predict(query), expected)

    def test_other_units_are_noticed(self, regressor, new_task):
        X, y = new_task
        with pytest.warns(UserWarning, match=r"X lies far .* column 'x1'"):
            model = regressor.adapt(X + [0, 1e4, 0], y)
        assert model.novelty_ > 20
        with pytest.warns(UserWarning, match="y lies far"):
            assert regressor.adapt(X, 1e4 + y).novelty_ > 20
        assert regressor.adapt(X, y).novelty_ < 5

    def test_column_vector_target(self, regressor, adapted, new_task, query):
        with pytest.warns(DataConversionWarning):
            model = regressor.adapt(new_task[0], new_task[1][:, None])
        np.testing.assert_array_equal(model.predict(query), adapted.predict(query))


class TestErrors:
    """Whatever is wrong with the data, the estimator is as it was before."""

    @pytest.fixture
    def model(self, regressor):
        return clone(regressor)

    @pytest.mark.parametrize("fitted_before", [False, True])
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda X, y: (X[:, :2], y), "X has 2 features, but MetaRegressor is expecting 3"),
            (lambda X, y: (X[:5], y), "inconsistent numbers of samples"),
            (lambda X, y: (X, None), "requires y to be passed"),
            (lambda X, y: (X, np.full(len(X), np.nan)), "NaN"),
            (lambda X, y: (X, np.full(len(X), np.inf)), "infinity"),
            (lambda X, y: (np.full_like(X, np.inf), y), "infinity"),
            (lambda X, y: (X, ["a"] * len(X)), "could not convert|numeric"),
            (lambda X, y: (X[:0], y[:0]), "0 sample"),
            (lambda X, y: (X[:, 0], y), "2D|2D array"),
            (lambda X, y: (X, np.stack([y, y, y], 1)), "3 target"),
        ],
    )
    def test_nothing_is_half_fitted(self, model, new_task, fitted_before, spoil, message):
        if fitted_before:
            model.fit(*new_task)
        before = dict(vars(model))
        for method in (model.fit, model.partial_fit, model.adapt):
            with pytest.raises((ValueError, TypeError), match=message):
                method(*spoil(*new_task))
        assert vars(model) == before

    def test_the_same_without_a_prior(self, new_task):
        model = MetaRegressor().fit(*new_task)
        before = dict(vars(model))
        with pytest.raises(ValueError, match="infinity"):
            model.fit(np.full_like(new_task[0], np.inf), new_task[1])
        with pytest.raises(TypeError, match="learner is 3"):
            model.set_params(learner=3).fit(*new_task)
        model.set_params(learner="auto")
        assert vars(model) == before

    @pytest.mark.parametrize(
        ("parameters", "error", "message"),
        [
            ({"learner": "nobody"}, ValueError, "learner is 'nobody'"),
            ({"learner": 3}, TypeError, "learner is 3"),
            ({"network": "deep"}, ValueError, "network is 'deep'"),
            ({"preprocessor": "scale"}, TypeError, "preprocessor is 'scale'"),
            ({"max_iter": -1}, ValueError, "max_iter must be"),
            ({"learner": "bayesian_logistic"}, ValueError, "serves"),
            ({"device": "abacus"}, ValueError, "device is"),
        ],
    )
    def test_wrong_parameters(self, regression_family, parameters, error, message):
        meta = MetaRegressor(**parameters)
        with pytest.raises(error, match=message):
            meta.fit_tasks(regression_family.tasks(3))
        assert not hasattr(meta, "prior_")

    def test_sparse_is_refused(self, model, new_task):
        with pytest.raises(TypeError, match="[Ss]parse"):
            model.fit(sparse.csr_matrix(new_task[0]), new_task[1])


def test_kinds_do_not_mix(regressor):
    assert MetaRegressor(prior=regressor).prior is regressor
    assert isinstance(regressor.prior_, Prior)
    with pytest.raises(ValueError, match="prior is one of a regressor"):
        MetaClassifier(prior=regressor.prior_).fit([[0.0] * 3] * 2, [0, 1])
