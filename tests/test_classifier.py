import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss

from sklearn_meta import MetaClassifier

NEW = 10_000


@pytest.fixture(scope="module")
def new_task(classification_family):
    return classification_family.task(NEW, 12)


@pytest.fixture(scope="module")
def query(classification_family):
    return classification_family.task(NEW + 1, 8)[0]


def renamed(task, names):
    return task[0], np.asarray(names)[task[1]]


class TestProbabilities:
    @pytest.mark.parametrize("kind", ["classifier", "anonymous_classifier"])
    def test_they_are_probabilities(self, kind, new_task, query, request):
        model = request.getfixturevalue(kind).adapt(*new_task)
        p = model.predict_proba(query)
        assert p.shape == (len(query), 2)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(query)), p)
        np.testing.assert_array_equal(model.predict(query), model.classes_[p.argmax(axis=1)])

    def test_prior_helps(self, classifier, classification_family):
        losses = []
        for t in range(10):
            X, y = classification_family.task(NEW + 10 + t, 60)
            for model in (classifier.adapt(X[:4], y[:4]), MetaClassifier().fit(X[:4], y[:4])):
                losses.append(log_loss(y[4:], model.predict_proba(X[4:])))
        assert np.mean(losses[0::2]) < 0.9 * np.mean(losses[1::2])

    def test_without_a_prior_fit_is_a_sound_supervised_model(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(120, 2))
        y = (np.hypot(*X.T) > 1.2).astype(int)
        assert MetaClassifier().fit(X[:80], y[:80]).score(X[80:], y[80:]) > 0.85

    def test_transform(self, classifier, new_task, query):
        model = classifier.adapt(*new_task)
        names = model.get_feature_names_out()
        assert model.transform(query).shape == (len(query), len(names))
        assert names[0] == "metaclassifier0"
        shown = clone(classifier).set_output(transform="pandas").fit(*new_task).transform(query)
        assert list(shown.columns) == list(names)


class TestLabels:
    @pytest.mark.parametrize(
        "names",
        [["no", "yes"], [False, True], [-1, 7], [2.0, 5.0], [np.str_("a"), np.str_("b")]],
        ids=["strings", "bools", "gaps", "floats", "numpy_strings"],
    )
    @pytest.mark.parametrize("kind", ["classifier", "anonymous_classifier"])
    def test_any_kind(self, kind, names, new_task, query, request):
        """Labels that the prior does not know are unshared: their names make no difference."""
        meta = request.getfixturevalue(kind)
        model = meta.adapt(*renamed(new_task, names))
        assert model.classes_.tolist() == list(names)
        assert set(model.predict(query)) <= set(names)
        if kind == "anonymous_classifier":
            expected = meta.adapt(*new_task).predict_proba(query)
            np.testing.assert_allclose(model.predict_proba(query), expected, rtol=1e-9)

    def test_renamed_in_all_tasks_and_the_support(self, classification_family, new_task, query):
        names = ["b", "a"]  # the order of the labels changes, too
        tasks = classification_family.tasks(6)
        params = {"random_state": 0, "max_iter": 5, "shared_classes": True}
        p = MetaClassifier(**params).fit_tasks(tasks).adapt(*new_task).predict_proba(query)
        meta = MetaClassifier(**params).fit_tasks([renamed(task, names) for task in tasks])
        model = meta.adapt(*renamed(new_task, names))
        assert model.classes_.tolist() == ["a", "b"]
        # Columns are swapped before the random start of the network: not the same bits.
        np.testing.assert_allclose(model.predict_proba(query)[:, ::-1], p, atol=0.1)

    def test_permuted_labels(self, anonymous_classifier, new_task, query):
        X, y = new_task
        p = anonymous_classifier.adapt(X, y).predict_proba(query)
        swapped = anonymous_classifier.adapt(X, 1 - y).predict_proba(query)
        np.testing.assert_allclose(swapped[:, ::-1], p, rtol=1e-6)

    def test_labels_are_matched_by_value(self, classifier, new_task, query):
        expected = classifier.adapt(*new_task).predict_proba(query)
        model = classifier.adapt(new_task[0], new_task[1].astype(float))
        np.testing.assert_allclose(model.predict_proba(query), expected, rtol=1e-12)

    @pytest.mark.parametrize("kind", ["classifier", "anonymous_classifier"])
    def test_more_classes_than_ever_before(self, kind, query, request):
        rng = np.random.default_rng(0)
        centres = 3 * rng.normal(size=(5, 3))
        y = np.repeat(np.arange(5), 6)
        X = centres[y] + 0.3 * rng.normal(size=(30, 3))
        model = request.getfixturevalue(kind).adapt(X, y)
        assert model.classes_.tolist() == [0, 1, 2, 3, 4]
        assert model.score(X, y) > 0.8

    def test_one_class_and_classes(self, classifier, classification_family):
        losses = []
        for t in range(20):
            X, y = classification_family.task(NEW + 50 + t, 60)
            ones = np.flatnonzero(y == 1)[:3]
            model = classifier.adapt(X[ones], y[ones], classes=[0, 1])
            assert model.classes_.tolist() == [0, 1]
            rest = np.setdiff1d(np.arange(60), ones)
            losses.append(log_loss(y[rest], model.predict_proba(X[rest]), labels=[0, 1]))
        assert np.mean(losses) < 0.6  # chance is 0.69: the prior knows the class that is missing

    def test_one_class_alone(self, classifier, new_task, query):
        X, y = new_task
        model = classifier.adapt(X[y == 1], y[y == 1])
        np.testing.assert_array_equal(model.predict_proba(query), np.ones((len(query), 1)))

    def test_classes_beside_those_in_y(self, anonymous_classifier, new_task, query):
        model = anonymous_classifier.adapt(*new_task, classes=[5, 1, 0])
        assert model.classes_.tolist() == [0, 1, 5]
        p = model.predict_proba(query)
        assert p.shape == (len(query), 3) and (p > 0).all()

    def test_mixed_labels_are_refused(self, classifier, new_task):
        with pytest.raises(ValueError, match="[Mm]ix"):
            classifier.adapt(*new_task, classes=["a"])

    def test_numbers_are_no_labels(self, classifier, new_task):
        with pytest.raises(ValueError, match="Unknown label type"):
            classifier.adapt(new_task[0], new_task[0][:, 0])

    def test_series_of_labels(self, classifier, new_task, query):
        expected = classifier.adapt(*new_task).predict(query)
        for series in (
            pd.Series(new_task[1]),
            pd.Series(new_task[1]).astype("category"),
            pl.Series(new_task[1]),
            new_task[1].tolist(),
        ):
            model = classifier.adapt(new_task[0], series)
            np.testing.assert_array_equal(model.predict(query), expected)


class TestSharedClasses:
    def test_decided_by_prediction_not_by_values(self, classification_family):
        tasks = classification_family.tasks(12)
        meta = MetaClassifier(random_state=0, max_iter=5).fit_tasks(tasks)
        assert meta.prior_.signature["shared_classes"]
        rng = np.random.default_rng(0)
        flipped = [(X, y ^ int(rng.integers(2))) for X, y in tasks]
        meta = MetaClassifier(random_state=0, max_iter=5).fit_tasks(flipped)
        assert not meta.prior_.signature["shared_classes"]

    def test_wrong_value(self, classification_family):
        with pytest.raises(ValueError, match="shared_classes is 'maybe'"):
            MetaClassifier(shared_classes="maybe").fit_tasks(classification_family.tasks(3))

    def test_it_is_a_meta_parameter(self, classifier, new_task):
        clone(classifier).set_params(shared_classes=True).fit(*new_task)
        with pytest.raises(ValueError, match="shared_classes=False has no effect"):
            clone(classifier).set_params(shared_classes=False).fit(*new_task)

    def test_validation_task_with_a_foreign_label(self, classification_family):
        tasks = classification_family.tasks(3)
        meta = MetaClassifier(shared_classes=True, max_iter=5)
        with pytest.raises(ValueError, match="validation_tasks: task 'v' has labels \\[2\\]"):
            meta.fit_tasks(tasks, {"v": (tasks[0][0], tasks[0][1] + 1)})


class TestPartialFit:
    @pytest.mark.parametrize("kind", ["classifier", "anonymous_classifier"])
    def test_equals_adapt_on_all_rows(self, kind, classification_family, query, request):
        meta = request.getfixturevalue(kind)
        X, y = classification_family.task(NEW + 3, 24)
        y[0] = y[1] = 1  # the first part holds one class
        model = clone(meta).partial_fit(X[:2], y[:2], classes=[0, 1])
        model.partial_fit(X[2:10], y[2:10]).partial_fit(X[10:], y[10:])
        whole = meta.adapt(X, y)
        np.testing.assert_allclose(
            model.predict_proba(query), whole.predict_proba(query), rtol=1e-9
        )
        assert model.prior_weight_ == pytest.approx(whole.prior_weight_, rel=1e-9)

    def test_label_that_was_not_announced(self, classifier, new_task):
        model = classifier.adapt(*new_task)
        before = dict(vars(model))
        with pytest.raises(ValueError, match="holds \\[2\\]"):
            model.partial_fit(new_task[0], new_task[1] + 1)
        with pytest.raises(ValueError, match="holds \\[9\\]"):
            model.partial_fit(*new_task, classes=[0, 1, 9])
        assert vars(model) == before


def label_sets(task):
    X, y = task
    return X, np.column_stack([y, 1 - y, X[:, 1] > 0]).astype(int)


@pytest.fixture(scope="module")
def set_classifier(classification_family):
    tasks = [label_sets(task) for task in classification_family.tasks(8)]
    return MetaClassifier(random_state=0, max_iter=20).fit_tasks(tasks)


class TestLabelSets:
    def test_predicts_sets(self, set_classifier, classification_family):
        X, Y = label_sets(classification_family.task(NEW, 60))
        model = set_classifier.adapt(X[:20], Y[:20])
        p, predicted = model.predict_proba(X[20:]), model.predict(X[20:])
        assert p.shape == predicted.shape == (40, 3)
        np.testing.assert_array_equal(predicted, p > 0.5)
        assert (predicted == Y[20:]).mean() > 0.7

    def test_partial_fit(self, set_classifier, classification_family):
        X, Y = label_sets(classification_family.task(NEW, 24))
        model = clone(set_classifier).partial_fit(X[:10], Y[:10]).partial_fit(X[10:], Y[10:])
        expected = set_classifier.adapt(X, Y).predict_proba(X)
        np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-9)

    def test_a_task_of_another_kind(self, set_classifier, classifier, classification_family):
        X, Y = label_sets(classification_family.task(NEW, 12))
        with pytest.raises(ValueError, match="label sets of 3 labels"):
            set_classifier.adapt(X, Y[:, 0])
        with pytest.raises(ValueError, match="one label a row"):
            classifier.adapt(X, Y)
        with pytest.raises(ValueError, match="several columns of classes"):
            classifier.adapt(X, Y * 2 + 1)
        with pytest.raises(TypeError, match="sparse"):
            set_classifier.adapt(X, sparse.csr_matrix(Y))

    def test_without_a_prior(self, classification_family):
        X, Y = label_sets(classification_family.task(NEW, 60))
        assert (MetaClassifier().fit(X, Y).predict(X) == Y).mean() > 0.8


class TestContract:
    def test_adapt_equals_fit_of_a_clone(self, classifier, new_task, query):
        expected = classifier.adapt(*new_task).predict_proba(query)
        fitted = clone(classifier).fit(*new_task)
        np.testing.assert_array_equal(fitted.predict_proba(query), expected)
        assert fitted.prior is classifier.prior_

    def test_predict_before_adapt(self, classifier, query):
        for method in ("predict", "predict_proba", "predict_log_proba", "transform"):
            with pytest.raises(NotFittedError, match="adapt or fit"):
                getattr(classifier, method)(query)
        with pytest.raises(NotFittedError, match="fit_tasks"):
            MetaClassifier().adapt(query, [0] * len(query))

    @pytest.mark.parametrize("kind", ["classifier", "anonymous_classifier"])
    def test_pickle(self, kind, new_task, query, request):
        model = request.getfixturevalue(kind).adapt(*new_task)
        twin = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(twin.predict_proba(query), model.predict_proba(query))

    def test_saved_prior_knows_the_classes(self, classification_family, new_task, query, tmp_path):
        tasks = [renamed(task, ["no", "yes"]) for task in classification_family.tasks(4)]
        meta = MetaClassifier(random_state=0, max_iter=5, shared_classes=True).fit_tasks(tasks)
        meta.prior_.save(tmp_path / "prior.safetensors")
        task = renamed(new_task, ["no", "yes"])
        model = MetaClassifier(tmp_path / "prior.safetensors").fit(*task)
        expected = meta.adapt(*task).predict_proba(query)
        np.testing.assert_array_equal(model.predict_proba(query), expected)

    def test_named_learner_without_a_prior_is_trained_on_this_data(self, classification_family):
        X, y = classification_family.task(0, 80)
        model = MetaClassifier(learner="bayesian_logistic", max_iter=20, random_state=0).fit(X, y)
        assert model.n_iter_ == 20
        assert model.score(X, y) > 0.7

    @pytest.mark.parametrize("fitted_before", [False, True])
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda X, y: (X[:, :2], y), "X has 2 features, but MetaClassifier is expecting 3"),
            (lambda X, y: (X[:5], y), "inconsistent numbers of samples"),
            (lambda X, y: (X, None), "requires y to be passed"),
            (lambda X, y: (X, np.full(len(X), np.nan)), "NaN"),
            (lambda X, y: (np.full_like(X, np.inf), y), "infinity"),
            (lambda X, y: (X, X), "continuous|Unknown label"),
            (lambda X, y: (X[:0], y[:0]), "0 sample"),
        ],
    )
    def test_nothing_is_half_fitted(self, classifier, new_task, fitted_before, spoil, message):
        model = clone(classifier)
        if fitted_before:
            model.fit(*new_task)
        before = dict(vars(model))
        for method in (model.fit, model.partial_fit, model.adapt):
            with pytest.raises((ValueError, TypeError), match=message):
                method(*spoil(*new_task))
        assert vars(model) == before
