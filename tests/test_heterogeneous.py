"""Tables of other columns, classes and units in every task, and fits without a prior."""

import pickle
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import MetaClassifier, MetaRegressor, Prior, Task
from sklearn_meta.learners import InContext
from sklearn_meta.learners.maml import MAML
from sklearn_meta.model_selection import score_adapted
from sklearn_meta.preprocessing import ImageEncoder, TableEncoder

pd = pytest.importorskip("pandas")

DIGITS = load_digits(return_X_y=True)
WINE = load_wine(return_X_y=True)
IRIS = load_iris(as_frame=True).data, load_iris(as_frame=True).target_names[load_iris().target]


def few(task, n=40, seed=0):
    """A few rows of a task, and some others."""
    X, y = task
    order = np.random.default_rng(seed).permutation(len(y))
    take = X.iloc if hasattr(X, "iloc") else X
    support, query = order[:n], order[n : n + 100]
    return (take[support], y[support]), (take[query], y[query])


def houses(n=60, seed=0):
    """Prices in hundred thousands and rents in hundreds, of other columns."""
    rng = np.random.default_rng(seed)
    area, rooms, near = rng.uniform(40, 200, n), rng.integers(1, 6, n), rng.uniform(0, 30, n)
    quality = rng.choice(["poor", "fair", "good"], n)
    worth = area * np.select([quality == "poor", quality == "fair"], [0.7, 1.0], 1.5)
    noise = np.exp(0.1 * rng.normal(size=(2, n)))
    price = (
        pd.DataFrame({"area": area, "rooms": rooms, "quality": quality}),
        3000 * worth * noise[0],
    )
    rent = np.stack([area, near], 1), 9 * area * np.exp(-near / 40) * noise[1]
    return {"price": price, "rent": rent}


def founding_tasks():
    return {"digits": few(DIGITS, 80)[0], "iris": few(IRIS, 60)[0]}


@pytest.fixture(scope="module")
def classifier():
    return MetaClassifier(random_state=0, max_time=2).fit_tasks(founding_tasks())


@pytest.fixture(scope="module")
def regressor():
    return MetaRegressor(random_state=0, max_time=2).fit_tasks(houses())


class TestFitTasks:
    def test_digits_and_iris(self, classifier):
        assert classifier.prior_.encoder is None and classifier.prior_.target is None
        assert classifier.prior_.learner_config["name"] == "in_context"
        assert classifier.prior_.meta["n_tasks"] == 2
        for task, least in ((DIGITS, 0.6), (IRIS, 0.85), (WINE, 0.85)):
            support, query = few(task)
            assert classifier.adapt(*support).score(*query) > least

    def test_prices_and_rents(self, regressor):
        for name, task in houses(200, seed=1).items():
            support, query = few(task, 50)
            model = regressor.adapt(*support)
            assert model.score(*query) > 0.6, name
            mean, std = model.predict(query[0], return_std=True)
            inside = np.abs(query[1] - mean) < 2 * std
            assert 0.8 < inside.mean() and (std < query[1].std()).mean() > 0.8

    def test_same_columns_have_the_homogeneous_default(self):
        tasks = [few(IRIS, 20, seed)[0] for seed in range(3)]
        tasks[1] = tasks[1][0][tasks[1][0].columns[::-1]], tasks[1][1]
        meta = MetaClassifier(max_iter=1, random_state=0).fit_tasks(tasks)
        assert meta.prior_.learner_config["name"] == "bayesian_logistic"
        meta = MetaClassifier(learner="in_context", max_time=0.1, random_state=0).fit_tasks(tasks)
        assert meta.prior_.learner_config["name"] == "in_context"

    def test_validation_tasks(self):
        validation = {"wine": few(WINE)[0]}
        meta = MetaClassifier(random_state=0, max_time=0.5).fit_tasks(founding_tasks(), validation)
        assert meta.history_.validation == "given"

    @pytest.mark.parametrize("learner", ["maml", MAML(), "bayesian_logistic"])
    def test_other_learners_name_this_one(self, learner):
        tasks = {"digits": few(DIGITS)[0], "wine": few(WINE)[0]}
        message = "task 'wine' has 13 columns, but task 'digits' has 64.*InContext"
        with pytest.raises(ValueError, match=message):
            MetaClassifier(learner=learner).fit_tasks(tasks)

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            ("network", (8,)),
            ("image_shape", (2, 2)),
            ("preprocessor", ImageEncoder((2, 2))),
            ("shots", 5),
            ("shared_classes", True),
        ],
    )
    def test_parameters_without_meaning(self, parameter, value):
        meta = MetaClassifier(learner="in_context").set_params(**{parameter: value})
        with pytest.raises(ValueError, match=f"InContext.*{parameter}.*mean nothing to it"):
            meta.fit_tasks(founding_tasks())

    def test_faults_are_named_by_task(self):
        X, y = few(WINE)[0]
        text = X.astype(object)
        text[0, 0] = ["a list"]
        with pytest.raises(TypeError, match="tasks: task 'bad': .*column"):
            MetaClassifier().fit_tasks({**founding_tasks(), "bad": (text, y)})
        with pytest.raises(ValueError, match="tasks: task 'bad': X holds infinity"):
            MetaClassifier().fit_tasks({**founding_tasks(), "bad": (np.full_like(X, np.inf), y)})

    def test_tasks_that_are_too_small(self):
        X, y = few(WINE)[0]
        with pytest.raises(ValueError, match="every task has a single row"):
            MetaClassifier().fit_tasks([(X[:1], y[:1]), (X[:1, :2], y[:1])])
        tasks = {**founding_tasks(), "one row": (X[:1, :2], y[:1])}
        meta = MetaClassifier(random_state=0, max_time=0.1).fit_tasks(tasks)
        assert meta.prior_.meta["n_tasks"] == 3

    def test_label_sets_and_several_targets_are_tables_of_their_own(self):
        (X, y), (Z, w) = few(WINE)[0], few(DIGITS)[0]
        sets = [(X, np.stack([y == 0, X[:, 0] > 13], 1).astype(int)), (Z, np.eye(10, dtype=int)[w])]
        meta = MetaClassifier(random_state=0, max_time=0.5).fit_tasks(sets)
        assert meta.adapt(*sets[0]).predict_proba(X).shape == (40, 2)
        assert meta.adapt(*few(IRIS)[0]).predict(few(IRIS)[1][0]).dtype.kind == "U"
        targets = [(X[:, 2:], X[:, :2]), (Z[:, 3:], Z[:, 2])]
        meta = MetaRegressor(random_state=0, max_time=0.5).fit_tasks(targets)
        assert meta.adapt(*targets[0]).predict(X[:, 2:]).shape == (40, 2)

    def test_same_seed_same_prior(self):
        make = lambda: MetaClassifier(random_state=3, max_iter=5, max_time=np.inf)  # noqa: E731
        tasks = {"wine": few(WINE, 12)[0], "iris": few(IRIS, 12)[0]}
        assert make().fit_tasks(tasks).prior_ == make().fit_tasks(tasks).prior_

    def test_a_prior_is_saved_and_loaded(self, classifier, tmp_path):
        classifier.prior_.save(tmp_path / "any.safetensors")
        assert Prior.load(tmp_path / "any.safetensors") == classifier.prior_
        support, query = few(WINE)
        loaded = MetaClassifier(prior=tmp_path / "any.safetensors").fit(*support)
        p = classifier.adapt(*support).predict_proba(query[0])
        np.testing.assert_array_equal(loaded.predict_proba(query[0]), p)

    def test_the_encoder_of_meta_training_is_that_of_adaptation(self):
        tasks = {"wine": few(WINE, 12)[0], "iris": few(IRIS, 12)[0]}
        own = MetaClassifier(preprocessor=TableEncoder(clip=2.0), random_state=0, max_time=0.1)
        model = MetaClassifier(prior=own.fit_tasks(tasks).prior_).fit(*few(IRIS)[0])
        encoder = model._adapted.model.encoder
        assert type(encoder) is TableEncoder and encoder.clip == 2.0
        with pytest.raises(ValueError, match="preprocessor"):
            MetaClassifier(prior=own, preprocessor=TableEncoder(clip=3.0)).fit(*few(IRIS)[0])

        other = MetaRegressor(preprocessor=TableEncoder(), random_state=0, max_time=0.1)
        price = houses()["price"]
        model = other.fit_tasks(houses()).adapt(*price)
        assert type(model._adapted.model.encoder) is TableEncoder
        assert model.score(*price) > 0.6

    def test_scores_over_tasks(self, classifier):
        tasks = {"wine": WINE, "iris": IRIS}
        result = score_adapted(classifier, tasks, shots=(10,), random_state=0)
        assert result.mean[0] > 0.7


@pytest.fixture(scope="module")
def halves():
    """Meta-trained with one half of the irises; four rows of the other half, and the others."""
    X, y = IRIS
    order = np.random.default_rng(0).permutation(len(y))
    first, second = order[:75], order[75:]
    tasks = {"digits": few(DIGITS, 80)[0], "iris": (X.iloc[first], y[first])}
    meta = MetaClassifier(random_state=0, max_time=1).fit_tasks(tasks)
    other = y[second]
    start = [np.flatnonzero(other == label)[0] for label in np.unique(y)]
    start = np.r_[start, np.flatnonzero(other == "virginica")[1]]
    rest = np.setdiff1d(np.arange(75), start)
    rows = X.iloc[second]
    return meta, (rows.iloc[start], other[start]), (rows.iloc[rest], other[rest])


class TestNames:
    """Columns and labels of the same names in several tables."""

    def test_four_rows_of_classes_that_another_table_has(self, halves):
        meta, support, query = halves
        model = meta.adapt(*support)
        unnamed = meta.adapt(support[0].to_numpy(), support[1])
        assert model.score(*query) > 0.9 > unnamed.score(query[0].to_numpy(), query[1])
        step = meta.adapt(support[0][:2], support[1][:2], classes=np.unique(support[1]))
        step.partial_fit(support[0][2:], support[1][2:])
        np.testing.assert_allclose(
            step.predict_proba(query[0]), model.predict_proba(query[0]), rtol=1e-6, atol=1e-9
        )

    def test_other_names_of_columns_or_labels_are_as_none(self, halves):
        meta, support, query = halves
        p = meta.adapt(support[0].to_numpy(), support[1]).predict_proba(query[0].to_numpy())
        columns = [f"other {c}" for c in "abcd"]
        renamed = meta.adapt(support[0].set_axis(columns, axis=1), support[1])
        np.testing.assert_allclose(
            renamed.predict_proba(query[0].set_axis(columns, axis=1)), p, rtol=1e-6, atol=1e-9
        )
        relabelled = meta.adapt(support[0], np.char.add(support[1].astype(str), " b"))
        np.testing.assert_allclose(relabelled.predict_proba(query[0]), p, rtol=1e-6, atol=1e-9)

    def test_whole_numbers_are_one_label_whatever_their_dtype(self, halves):
        meta, support, query = halves
        codes = np.unique(support[1], return_inverse=True)[1]
        task = IRIS[0].iloc[::2], np.unique(IRIS[1][::2], return_inverse=True)[1]
        meta = MetaClassifier(random_state=0, max_time=1).fit_tasks([few(DIGITS, 80)[0], task])
        p = meta.adapt(support[0], codes).predict_proba(query[0])
        np.testing.assert_array_equal(
            meta.adapt(support[0], 1.0 * codes).predict_proba(query[0]), p
        )
        other = meta.adapt(support[0], codes + 10.0).predict_proba(query[0])
        assert abs(other - p).max() > 0.01

    def test_saved_and_pickled(self, halves, tmp_path):
        meta, support, query = halves
        model = meta.adapt(*support)
        p = model.predict_proba(query[0])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(query[0]), p)
        path = tmp_path / "prior.safetensors"
        meta.prior_.save(path)
        loaded = MetaClassifier(prior=Prior.load(path)).fit(*support)
        np.testing.assert_allclose(loaded.predict_proba(query[0]), p, rtol=1e-6, atol=1e-9)

    def test_task_column(self, halves):
        meta, support, query = halves
        X = support[0].assign(garden=["a", "a", "b", "b"])
        model = MetaClassifier(prior=meta.prior_, task_column="garden").fit(X, support[1])
        assert model.score(query[0].assign(garden="a"), query[1]) > 0.8


class TestBundled:
    @pytest.fixture(autouse=True)
    def offline(self, monkeypatch):
        def refuse(*args):
            raise AssertionError("no connection is to be made")

        monkeypatch.setattr(socket, "socket", refuse)

    def test_classifier(self):
        support, query = few(IRIS)
        model = MetaClassifier().fit(*support)
        assert model.score(*query) > 0.85
        assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
        assert model.feature_names_in_.tolist() == list(IRIS[0].columns)
        assert (model.n_features_in_, model.prior_weight_, model.novelty_) == (4, 1.0, 1.0)
        assert model.transform(query[0]).shape == (100, len(model.get_feature_names_out()))

    def test_regressor(self):
        (X, y), (X_new, y_new) = few(load_diabetes(return_X_y=True), 100)
        model = MetaRegressor().fit(X, y)
        assert model.score(X_new, y_new) > 0.3
        mean, std = model.predict(X_new, return_std=True)
        assert mean.shape == std.shape == (100,) and (std > 0).all()
        draws = model.sample_y(X_new[:3], 2000)
        np.testing.assert_allclose(draws.mean(1), mean[:3], atol=0.1 * std[:3].max())
        np.testing.assert_allclose(draws.std(1), std[:3], rtol=0.1)

    @pytest.mark.parametrize("learner", ["in_context", InContext()])
    def test_by_name(self, learner):
        support, query = few(WINE)
        p = MetaClassifier().fit(*support).predict_proba(query[0])
        for named in (MetaClassifier(learner=learner), MetaClassifier(prior="tabular")):
            np.testing.assert_array_equal(named.fit(*support).predict_proba(query[0]), p)
        meta = MetaClassifier(prior="tabular", max_iter=7)  # agrees with everything
        np.testing.assert_array_equal(meta.adapt(*support).predict_proba(query[0]), p)

    def test_adapt_needs_a_prior_that_was_asked_for(self):
        with pytest.raises(NotFittedError):
            MetaClassifier().adapt(*few(WINE)[0])
        with pytest.raises(ValueError, match="one of a classifier"):
            MetaRegressor(prior=MetaClassifier(prior="tabular")).fit(*WINE)

    def test_other_parameters_ask_for_other_models(self):
        X, y = few(DIGITS)[0]
        assert MetaClassifier(image_shape=(8, 8)).fit(X, y).prior_weight_ == 0.0
        assert MetaClassifier(preprocessor=ImageEncoder((8, 8))).fit(X, y).prior_weight_ == 0.0
        trained = MetaClassifier(learner="bayesian_logistic", max_iter=1).fit(X, y)
        assert trained.n_iter_ == 1 and hasattr(trained, "history_")

    def test_own_encoder_of_tables(self):
        model = MetaClassifier(preprocessor=TableEncoder(max_levels=3)).fit(*few(IRIS)[0])
        assert model._adapted.model.encoder.max_levels == 3

    def test_wrong_columns(self):
        (X, y), (X_new, _) = few(IRIS)
        model = MetaClassifier().fit(X, y)
        with pytest.raises(ValueError, match="X has 3 features, but MetaClassifier is expecting 4"):
            MetaClassifier().fit(X.to_numpy(), y).predict(X_new.to_numpy()[:, :3])
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(X_new.rename(columns={X.columns[0]: "other"}))
        with pytest.warns(UserWarning, match="valid feature names"):
            model.predict(X_new.to_numpy())

    def test_announced_classes(self):
        X, y = few(IRIS)[0]
        one = MetaClassifier(prior="tabular").adapt(X[y == "setosa"], y[y == "setosa"])
        assert (one.predict_proba(X) == 1).all()
        classes = ["setosa", "versicolor", "none"]
        two = MetaClassifier(prior="tabular").adapt(X[:5], y[:5], classes=[*classes, *set(y[:5])])
        p = two.predict_proba(X)
        assert set(classes) <= set(two.classes_) and (p > 0).all()
        np.testing.assert_allclose(p.sum(1), 1)

    def test_weight_between_experts_and_the_support_alone(self):
        support, query = few(WINE, 20)
        p = [
            MetaClassifier(use_prior=w).fit(*support).predict_proba(query[0])
            for w in (0.0, 0.25, 1.0, True, "auto")
        ]
        np.testing.assert_allclose(p[1], 0.75 * p[0] + 0.25 * p[2])
        np.testing.assert_allclose(p[2], p[3])
        np.testing.assert_allclose(p[2], p[4])
        assert np.abs(p[0] - p[2]).max() > 1e-3


class TestConsumers:
    def test_pickles(self, classifier, regressor):
        for meta, task in ((classifier, WINE), (regressor, houses()["price"])):
            (X, y), (X_new, _) = few(task, 30)
            for model in (meta.adapt(X, y), type(meta)().fit(X, y)):
                again = pickle.loads(pickle.dumps(model))
                predict = "predict_proba" if meta is classifier else "predict"
                a, b = (getattr(one, predict)(X_new) for one in (model, again))
                np.testing.assert_array_equal(a, b)
                more = (one.partial_fit(X, y) for one in (model, again))
                a, b = (getattr(one, predict)(X_new) for one in more)
                np.testing.assert_array_equal(a, b)

    def test_pickles_of_larger_tables(self):
        X, y = few(DIGITS, 200)[0]
        model = MetaClassifier().fit(X, y)
        again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model))))
        np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))

    def test_clones_keep_the_prior(self, classifier):
        support, query = few(WINE)
        copy = clone(classifier)
        assert copy.prior is classifier.prior_
        a = copy.fit(*support).predict_proba(query[0])
        np.testing.assert_array_equal(a, classifier.adapt(*support).predict_proba(query[0]))

    def test_cross_validation_and_searches(self, classifier):
        X, y = few(WINE, 40)[0]
        for estimator in (MetaClassifier(), classifier):
            assert cross_val_score(estimator, X, y, cv=3).mean() > 0.8
        search = GridSearchCV(MetaClassifier(), {"use_prior": ["auto", 0.5, 0.0]}, cv=3).fit(X, y)
        assert search.best_score_ > 0.8
        assert make_pipeline(StandardScaler(), MetaClassifier()).fit(X, y).score(X, y) > 0.9

    def test_adapt_many_is_a_loop_over_adapt(self, classifier, regressor):
        flowers = {"wine": few(WINE)[0], "iris": few(IRIS)[0], "few": few(DIGITS, 30)[0]}
        for meta, tasks, predict in (
            (classifier, flowers, "predict_proba"),
            (regressor, houses(), "predict"),
        ):
            models = meta.adapt_many(tasks)
            assert list(models) == list(tasks)
            for name, (X, y) in tasks.items():
                expected = getattr(meta.adapt(X, y), predict)(X)
                np.testing.assert_array_equal(getattr(models[name], predict)(X), expected)
        X, y = few(WINE)[0]
        text = X.astype(object)
        text[0, 0] = ["a list"]
        with pytest.raises(TypeError, match="tasks: task 'bad': "):
            classifier.adapt_many({"good": (X, y), "bad": (text, y)})
        assert list(classifier.adapt_many([Task(X, y, name="a")])) == ["a"]

    def test_task_column(self, classifier):
        X, y = few(IRIS, 90)[0]
        table = X.assign(place=np.arange(90) % 3)
        fitted = clone(classifier).set_params(task_column="place").fit(table, y)
        assert fitted.score(table, y) > 0.9 and fitted.n_features_in_ == 5
        with pytest.warns(UserWarning, match="predicted from the prior"):
            p = fitted.predict_proba(table.assign(place=7))
        np.testing.assert_allclose(p, 1 / 3)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.predict_proba(table), fitted.predict_proba(table))

    def test_task_column_of_a_regressor(self, regressor):
        X, y = houses(90)["price"]
        y = y * np.array([1.0, 1.5, 2.0])[np.arange(90) % 3]
        table = X.assign(place=np.arange(90) % 3)
        fitted = clone(regressor).set_params(task_column="place").fit(table, y)
        assert fitted.score(table, y) > 0.8
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.predict(table), fitted.predict(table))

    def test_threads(self, classifier):
        X, y = few(WINE)[0]
        widths = list(range(2, 12))

        def adapted(width):
            return classifier.adapt(X[:, :width], y).predict_proba(X[:, :width])

        with ThreadPoolExecutor(4) as pool:
            for width, p in zip(widths, pool.map(adapted, widths), strict=True):
                np.testing.assert_array_equal(p, adapted(width))


class TestPartialFit:
    def test_equals_fit_on_all_rows(self):
        X, y = few(IRIS)[0]
        model = MetaClassifier().partial_fit(X[:10], y[:10], classes=np.unique(y))
        model.partial_fit(X[10:11], y[10:11]).partial_fit(X[11:][X.columns[::-1]], y[11:])
        everything = MetaClassifier().fit(X, y)
        np.testing.assert_allclose(model.predict_proba(X), everything.predict_proba(X), rtol=1e-9)
        price, target = houses()["price"]
        model = MetaRegressor().fit(price[:7], target[:7]).partial_fit(price[7:], target[7:])
        expected = MetaRegressor().fit(price, target).predict(price)
        np.testing.assert_allclose(model.predict(price), expected, rtol=1e-9)

    def test_label_sets_and_several_targets(self):
        X, y = few(WINE)[0]
        sets = np.stack([y == 0, X[:, 0] > 13], 1).astype(int)
        model = MetaClassifier().fit(X[:9], sets[:9]).partial_fit(X[9:], sets[9:])
        expected = MetaClassifier().fit(X, sets).predict_proba(X)
        np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-9)
        model = MetaRegressor().fit(X[:9, 2:], X[:9, :2]).partial_fit(X[9:, 2:], X[9:, :2])
        expected = MetaRegressor().fit(X[:, 2:], X[:, :2]).predict(X[:, 2:])
        np.testing.assert_allclose(model.predict(X[:, 2:]), expected, rtol=1e-9)

    def test_what_does_not_fit_leaves_the_model_as_it_was(self):
        X, y = few(WINE)[0]
        model = MetaClassifier().fit(X, y)
        before = model.predict_proba(X)
        for bad, message in (
            ((X, y + 1), "did not announce"),
            ((X[:, :5], y), "X has 5 features"),
            ((X, y, [9]), "did not announce"),
        ):
            with pytest.raises(ValueError, match=message):
                model.partial_fit(*bad)
        np.testing.assert_array_equal(model.predict_proba(X), before)
        sets = np.stack([y == 0, y == 1], 1).astype(int)
        with pytest.raises(ValueError, match="the first rows had label sets of 2 labels"):
            MetaClassifier().fit(X, sets).partial_fit(X, np.eye(3, dtype=int)[y])
        with pytest.raises(ValueError, match=r"y has 2 target\(s\), but the first rows had 1"):
            MetaRegressor().fit(X, y).partial_fit(X, X[:, :2])

    def test_the_users_table_may_change_afterwards(self):
        X, y = (part.copy() for part in few(WINE)[0])
        model = MetaClassifier().fit(X[:20], y[:20])
        expected = MetaClassifier().fit(X, y).predict_proba(X)
        more, kept = (X[20:].copy(), y[20:].copy()), X.copy()
        X[:], y[:] = 0, 0
        model.partial_fit(*more)
        np.testing.assert_allclose(model.predict_proba(kept), expected, rtol=1e-9)


class TestTargets:
    def test_label_sets(self):
        (X, y), (X_new, y_new) = few(WINE)
        sets = np.eye(3, dtype=int)[y]
        model = MetaClassifier().fit(X, sets)
        p = model.predict_proba(X_new)
        assert p.shape == (100, 3) and (p.argmax(1) == y_new).mean() > 0.85
        assert set(np.unique(model.predict(X_new))) <= {0, 1} and len(model.classes_) == 3
        # Each label is a table of its own.
        alone = MetaClassifier().fit(X, sets[:, 1]).predict_proba(X_new)[:, 1]
        np.testing.assert_allclose(p[:, 1], alone, atol=0.02)

    def test_several_targets(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(60, 3))
        y = np.stack([1e6 * X[:, 0], 1e-3 * (X[:, 1] + X[:, 2]) + 5], 1)
        model = MetaRegressor().fit(X[:40], y[:40])
        mean, std = model.predict(X[40:], return_std=True)
        assert mean.shape == std.shape == (20, 2)
        error = np.abs(mean - y[40:]) / y.std(0)
        assert error.mean() < 0.1
        assert model.sample_y(X[:3], 4).shape == (3, 2, 4)

    def test_samples_are_of_the_mixture(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(40, 2))
        y = np.exp(X[:, 0] + 0.3 * rng.normal(size=40))
        model = MetaRegressor().fit(X, np.stack([y, -y], 1))
        drawn = model.sample_y(X[:5], 20_000, random_state=1)
        assert drawn.shape == (5, 2, 20_000)
        mean, std = model.predict(X[:5], return_std=True)
        np.testing.assert_allclose(drawn.mean(-1), mean, atol=5 * std.max() / 20_000**0.5)
        np.testing.assert_allclose(drawn.std(-1), std, rtol=0.1)
        kurtosis = (((drawn - mean[..., None]) / std[..., None]) ** 4).mean(-1)
        assert kurtosis.max() > 3.3  # of a normal it is 3
        np.testing.assert_array_equal(drawn, model.sample_y(X[:5], 20_000, random_state=1))

    def test_units_do_not_matter(self):
        price, y = houses()["price"]
        a = MetaRegressor().fit(price[:30], y[:30]).predict(price[30:])
        other = price.assign(area=price["area"] * 10.76)
        b = MetaRegressor().fit(other[:30], 4 + y[:30] / 1024).predict(other[30:])
        np.testing.assert_allclose(1024 * (b - 4), a, rtol=1e-4)


class TestSmallAndOdd:
    def test_one_row(self):
        X, y = few(WINE)[0]
        assert (MetaClassifier().fit(X[:1], y[:1]).predict(X) == y[0]).all()
        p = MetaClassifier(prior="tabular").adapt(X[:1], y[:1], classes=[0, 1, 2]).predict_proba(X)
        assert np.isfinite(p).all()
        mean, std = MetaRegressor().fit(X[:1], [7.0]).predict(X, return_std=True)
        assert np.isfinite(mean).all() and (std > 0).all()
        np.testing.assert_allclose(MetaRegressor().fit(X[:1], [7.0]).predict(X[:1]), 7.0)

    def test_constant_targets(self):
        X, _ = few(WINE)[0]
        np.testing.assert_allclose(MetaRegressor().fit(X, np.full(40, 7.0)).predict(X), 7.0)
        assert (MetaClassifier().fit(X, ["a"] * 40).predict(X) == "a").all()

    @pytest.mark.parametrize("n", [2, 5, 40])
    def test_columns_of_all_kinds(self, n):
        rng = np.random.default_rng(0)
        X = pd.DataFrame(
            {
                "constant": 1.0,
                "missing": np.nan,
                "some": np.where(rng.random(60) < 0.4, np.nan, rng.normal(size=60)),
                "flag": rng.random(60) < 0.5,
                "level": pd.Categorical(rng.choice(["u", "v", "w"], 60)),
                "text": rng.choice(["x", None, "z"], 60),
                "huge": 1e30 * rng.normal(size=60),
            }
        )
        X["twice"] = X["some"]
        y = np.where(X["flag"] ^ (X["level"] == "u"), "yes", "no")
        y[:2] = ["yes", "no"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            p = MetaClassifier().fit(X[:n], y[:n]).predict_proba(X)
            mean, std = MetaRegressor().fit(X[:n], (y[:n] == "yes") * 1.0).predict(X, True)
        assert np.isfinite(p).all() and np.isfinite(mean).all() and np.isfinite(std).all()

    def test_nothing_but_constant_columns(self):
        X, y = np.ones((9, 3)), np.arange(9) % 3
        np.testing.assert_allclose(MetaClassifier().fit(X, y).predict_proba(X), 1 / 3, atol=0.05)
        np.testing.assert_allclose(MetaRegressor().fit(X, y).predict(X), 1.0, atol=0.2)

    def test_many_columns(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(80, 500))
        y = (X[:, :5].sum(1) > 0).astype(int)
        X[:, :5] *= 3
        assert MetaClassifier().fit(X[:40], y[:40]).predict_proba(X[40:]).shape == (40, 2)
        assert np.isfinite(MetaRegressor().fit(X[:40], y[:40]).predict(X[40:])).all()


class TestSymmetries:
    """Orders of rows, columns and labels mean nothing."""

    @pytest.mark.parametrize("n", [6, 25, 60])
    def test_classifier(self, n):
        (X, y), (X_new, _) = few(WINE, n)
        y[:3] = [0, 1, 2]
        p = MetaClassifier().fit(X, y).predict_proba(X_new)
        rng = np.random.default_rng(1)
        rows, columns = rng.permutation(n), rng.permutation(X.shape[1])
        by_rows = MetaClassifier().fit(X[rows], y[rows]).predict_proba(X_new)
        np.testing.assert_allclose(by_rows, p, atol=1e-9)
        by_columns = MetaClassifier().fit(X[:, columns], y).predict_proba(X_new[:, columns])
        np.testing.assert_allclose(by_columns, p, atol=1e-9)
        renamed = MetaClassifier().fit(X, np.array(["c", "a", "b"])[y]).predict_proba(X_new)
        np.testing.assert_allclose(renamed[:, [2, 0, 1]], p, atol=1e-9)

    @pytest.mark.parametrize("n", [6, 25, 60])
    def test_regressor(self, n):
        (X, y), (X_new, _) = few(load_diabetes(return_X_y=True, scaled=False), n)
        expected = np.stack(MetaRegressor().fit(X, y).predict(X_new, return_std=True))
        rng = np.random.default_rng(1)
        rows, columns = rng.permutation(n), rng.permutation(X.shape[1])
        by_rows = MetaRegressor().fit(X[rows], y[rows]).predict(X_new, return_std=True)
        np.testing.assert_allclose(np.stack(by_rows), expected, rtol=1e-9)
        model = MetaRegressor().fit(X[:, columns], y)
        by_columns = model.predict(X_new[:, columns], return_std=True)
        np.testing.assert_allclose(np.stack(by_columns), expected, rtol=1e-9)

    def test_columns_of_frames_are_known_by_name(self):
        (X, y), (X_new, _) = few(IRIS)
        model = MetaClassifier().fit(X, y)
        turned = model.predict_proba(X_new[X_new.columns[::-1]])
        np.testing.assert_array_equal(turned, model.predict_proba(X_new))
