"""Rows that are images: scikit-learn's digits through the whole of the estimators."""

import pickle
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_meta import MetaClassifier, MetaRegressor, Prior
from sklearn_meta._training import _Run
from sklearn_meta.preprocessing import ImageEncoder, TableEncoder

X, Y = load_digits(return_X_y=True)
INK = X.reshape(-1, 8, 8)[:, :4].sum(axis=(1, 2))  # ink in the upper half


def two_digits(a, b, n=30):
    rows = np.flatnonzero((Y == a) | (Y == b))[:n]
    return X[rows], Y[rows]


TASKS = [two_digits(a, b) for a in range(6) for b in range(a)]
NEW, NEW_LABELS = two_digits(6, 7, 200)


def new_meta(**parameters):
    parameters = {"network": (16, 16), "max_iter": 60, "shared_classes": False, **parameters}
    return MetaClassifier(**{"random_state": 0, "image_shape": (8, 8)} | parameters)


@pytest.fixture(scope="module")
def meta():
    return new_meta().fit_tasks(TASKS)


@pytest.fixture(scope="module")
def adapted(meta):
    return meta.adapt(NEW[:10], NEW_LABELS[:10])


def test_new_digits_are_told_apart(meta, adapted):
    assert adapted.score(NEW[10:], NEW_LABELS[10:]) > 0.85
    p = adapted.predict_proba(NEW)
    assert p.shape == (200, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert adapted.novelty_ < 2


def test_what_the_prior_says_of_itself(meta):
    described = meta.prior_.meta["meta_parameters"]
    assert described["image_shape"] == [8, 8] and described["network"] == [16, 16]
    assert described["preprocessor"] == {"name": "ImageEncoder", "params": {"image_shape": [8, 8]}}
    assert meta.prior_.learner_config["name"] == "prototypical"


@pytest.mark.parametrize("form", [list, np.array])
def test_a_shape_may_be_a_list_or_an_array(form):
    meta = new_meta(image_shape=form((8, 8)), max_iter=1, network=(4,)).fit_tasks(TASKS[:4])
    assert meta.prior_.meta["meta_parameters"]["image_shape"] == [8, 8]
    assert clone(meta).fit(*TASKS[0]).prior_weight_ > 0


def test_channels_by_default_and_several_in_an_image():
    color = [(np.hstack([X, 16 - X, 0 * X]), y) for X, y in TASKS[:4]]
    meta = MetaClassifier(image_shape=(3, 8, 8), max_iter=1, shared_classes=False)
    meta.fit_tasks(color)
    assert meta.prior_.meta["meta_parameters"]["network"] == [32, 64, 128, 128]
    assert meta.adapt(*color[0]).predict(color[1][0]).shape == (30,)


@pytest.mark.parametrize("learner", ["maml", "reptile", "deep_kernel"])
def test_other_learners_and_other_numbers_of_classes(learner):
    meta = new_meta(learner=learner, network=(8, 8), max_iter=2, batch_size=2).fit_tasks(TASKS[:6])
    n_rows = {1: 3, 2: 6, 5: 10}
    tasks = {str(k): (X[:n], np.arange(n) % k) for k, n in n_rows.items()}
    many = meta.adapt_many(tasks)
    for k in n_rows:
        expected = meta.adapt(*tasks[str(k)]).predict_proba(X[:4])
        assert expected.shape == (4, k)
        p = many[str(k)].predict_proba(X[:4])
        np.testing.assert_allclose(p, expected, rtol=1e-3, atol=1e-5)
    again = pickle.loads(pickle.dumps(many["5"]))
    np.testing.assert_array_equal(again.predict_proba(X[:4]), p)


def test_a_few_tasks_of_images_are_judged_by_more_episodes_than_tasks(monkeypatch):
    drawn = []
    monkeypatch.setattr(_Run, "_judge", lambda run: drawn.append(run.held_out) or 0.0)
    new_meta(early_stopping=True, max_iter=1).fit_tasks(TASKS[:6])
    assert len(drawn[0]) == 20
    for episode in drawn[0]:
        assert episode.n_tasks == 1 and episode.support.ways.tolist() == [2]


def test_shared_classes_are_known_without_rows():
    tasks = [(X[i::12], Y[i::12]) for i in range(6)]
    meta = new_meta(max_iter=150, shared_classes=True).fit_tasks(tasks)
    rows = Y[:2] == Y[0]
    model = meta.adapt(X[:2][rows], Y[:2][rows], classes=np.arange(10))
    assert model.score(X[9::12], Y[9::12]) > 0.5


def test_scikit_learns_tools_adapt_from_the_prior(meta):
    assert cross_val_score(meta, NEW[:40], NEW_LABELS[:40], cv=4).mean() > 0.85
    pipeline = make_pipeline(FunctionTransformer(np.asarray), meta).fit(NEW[:10], NEW_LABELS[:10])
    assert pipeline.score(NEW[10:], NEW_LABELS[10:]) > 0.85
    search = GridSearchCV(meta, {"use_prior": [True, 0.0]}, cv=3)
    search.fit(NEW[:24], NEW_LABELS[:24])
    assert search.best_score_ > 0.85
    features = make_pipeline(clone(meta), FunctionTransformer()).fit_transform(
        NEW[:10], NEW_LABELS[:10]
    )
    assert features.shape == (10, len(meta.adapt(NEW, NEW_LABELS).get_feature_names_out()))


def test_many_tasks_and_more_rows_give_the_numbers_of_one_adaptation(meta, adapted):
    tasks = {"a": (NEW[:10], NEW_LABELS[:10]), "b": two_digits(8, 9, 14)}
    many = meta.adapt_many(tasks)
    expected = adapted.predict_proba(NEW)
    np.testing.assert_allclose(many["a"].predict_proba(NEW), expected, rtol=1e-3, atol=1e-5)
    more = meta.adapt(NEW[:4], NEW_LABELS[:4], classes=[6, 7])
    more.partial_fit(NEW[4:10], NEW_LABELS[4:10])
    np.testing.assert_allclose(more.predict_proba(NEW), expected, rtol=1e-3, atol=1e-5)


def test_pickles_and_files_keep_the_bits(meta, adapted, tmp_path):
    expected = adapted.predict_proba(NEW)
    again = pickle.loads(pickle.dumps(adapted))
    np.testing.assert_array_equal(again.predict_proba(NEW), expected)
    meta.prior_.save(tmp_path / "digits.safetensors")
    assert Prior.load(tmp_path / "digits.safetensors") == meta.prior_
    loaded = MetaClassifier(prior=tmp_path / "digits.safetensors").fit(NEW[:10], NEW_LABELS[:10])
    np.testing.assert_array_equal(loaded.predict_proba(NEW), expected)


def test_threads_may_share_a_prior(meta, adapted):
    expected, results = adapted.predict_proba(NEW), {}

    def work(i):
        results[i] = meta.adapt(NEW[:10], NEW_LABELS[:10]).predict_proba(NEW)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for p in results.values():
        np.testing.assert_array_equal(p, expected)


def test_same_seed_same_bits():
    first, again = (new_meta(max_iter=3).fit_tasks(TASKS[:5]) for _ in range(2))
    assert first.prior_ == again.prior_


def test_missing_pixels_frames_and_whole_numbers(meta, adapted):
    broken = NEW.copy()
    broken[:, 27] = np.nan
    assert adapted.score(broken[10:], NEW_LABELS[10:]) > 0.8
    np.testing.assert_array_equal(adapted.predict(NEW.astype(np.uint8)), adapted.predict(NEW))
    frames = [(pd.DataFrame(X).add_prefix("p"), y) for X, y in TASKS[:4]]
    model = new_meta(max_iter=2).fit_tasks(frames).adapt(*frames[0])
    assert model.feature_names_in_[0] == "p0"


def test_one_long_table_of_tasks():
    rows = np.vstack([np.column_stack([np.full(30, i), X]) for i, (X, _) in enumerate(TASKS[:5])])
    labels = np.concatenate([y for _, y in TASKS[:5]])
    model = new_meta(max_iter=5, task_column=0).fit(rows, labels)
    assert model.predict(rows).shape == (150,)


def test_validation_tasks_are_judged_as_images_too():
    meta = new_meta(max_iter=60).fit_tasks(TASKS[:10], validation_tasks=TASKS[10:])
    assert meta.history_.validation == "given"
    assert meta.history_.best_score < 0.6  # chance: log 2


def test_without_a_prior_images_are_rows():
    model = MetaClassifier(image_shape=(8, 8)).fit(X[:300], Y[:300])
    assert model.score(X[300:600], Y[300:600]) > 0.8


def test_regression():
    tasks = [(X[i::20], (1 + 0.1 * i) * INK[i::20]) for i in range(12)]
    meta = MetaRegressor(random_state=0, image_shape=(8, 8), network=(16, 16), max_iter=100)
    model = meta.fit_tasks(tasks).adapt(X[15::20][:30], INK[15::20][:30])
    assert meta.prior_.learner_config["name"] == "deep_kernel"
    assert model.score(X[16::20], INK[16::20]) > 0.5
    mean, std = model.predict(X[16::20], return_std=True)
    assert (std > 0).all() and mean.shape == std.shape
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X[16::20]), mean)


@pytest.mark.parametrize("shape", [(8, 9), 64, (64,), (1, 1, 8, 8), (8, -8), (8.0, 8), "8x8"])
@pytest.mark.parametrize("method", ["fit_tasks", "fit"])
def test_shapes_that_cannot_be_are_refused(shape, method):
    meta = MetaClassifier(image_shape=shape, max_iter=2)
    with pytest.raises(ValueError, match="image_shape is"):
        meta.fit_tasks(TASKS) if method == "fit_tasks" else meta.fit(*TASKS[0])


def test_another_shape_than_the_priors_is_refused(meta):
    for shape in ((4, 16), (1, 8, 8)):
        with pytest.raises(ValueError, match=r"image_shape=\(.* has no effect"):
            clone(meta).set_params(image_shape=shape).fit(NEW, NEW_LABELS)
    MetaClassifier(prior=meta.prior_).fit(NEW[:10], NEW_LABELS[:10])
    with pytest.raises(ValueError, match="X has 63 features"):
        meta.adapt(NEW[:, 1:], NEW_LABELS)


def test_learners_that_take_no_images_name_those_that_do():
    for learner in ("bayesian_logistic", "support_only"):
        with pytest.raises(ValueError, match="takes neither image_shape.*prototypical"):
            MetaClassifier(learner=learner, image_shape=(8, 8)).fit_tasks(TASKS)
    with pytest.raises(ValueError, match="takes neither image_shape.*deep_kernel"):
        MetaRegressor(learner="bayesian_linear", image_shape=(8, 8)).fit_tasks(TASKS)


def test_an_encoder_of_ones_own(meta):
    given = new_meta(preprocessor=ImageEncoder((8, 8)), max_iter=2).fit_tasks(TASKS[:4])
    assert given.prior_ == new_meta(max_iter=2).fit_tasks(TASKS[:4]).prior_
    with pytest.raises(ValueError, match="image_shape is .* but the rows have"):
        new_meta(preprocessor=TableEncoder()).fit_tasks(TASKS)  # it drops constant columns


def test_thread_count_and_global_random_numbers_stay(meta):
    state, n_threads = torch.get_rng_state(), torch.get_num_threads()
    new_meta(max_iter=2).fit_tasks(TASKS[:4]).adapt(*TASKS[0]).predict(NEW)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == n_threads
