"""MetaReconstructor: from measurements to images, as a scikit-learn estimator."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_meta import MetaReconstructor, MetaRegressor, Prior, Task, _operator_in
from sklearn_meta._image_tasks import check_image_tasks
from sklearn_meta._learn_images import image_prior
from sklearn_meta._resolve_prior import bundled_prior, described
from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.learners.reconstruction import Learned, Noise, PlugAndPlay, Unrolled
from sklearn_meta.metrics import psnr, psnr_scorer, ssim_scorer
from sklearn_meta.operators import (
    Identity,
    Mask,
    Operator,
    PoissonCount,
    RandomProjection,
    Saturation,
)

DIGITS = load_digits()
IMAGES = DIGITS.images / 16
TRAIN, TEST = IMAGES[:600], IMAGES[600:640]
SIGMA = 0.02
A = np.random.default_rng(0).normal(size=(24, 64)) / 8


def flat(images):
    return images.reshape(len(images), -1)


def measure(images, matrix=A, seed=1):
    y = flat(images) @ matrix.T
    return y + SIGMA * np.random.default_rng(seed).normal(size=y.shape)


Y = measure(TEST)


@pytest.fixture(scope="module")
def meta():
    meta = MetaReconstructor(learner="gaussian", noise=SIGMA, random_state=0)
    return meta.fit_tasks([Task(y=TRAIN[:300]), Task(measure(TRAIN[300:]), TRAIN[300:], A)])


@pytest.fixture(scope="module")
def model(meta):
    return meta.adapt(operator=A)


# ------------------------------------------------------------------ meta-training and adaptation


def test_every_way_to_adapt(meta):
    pairs = measure(TRAIN[:200]), TRAIN[:200]
    models = {
        "zero-shot": meta.adapt(operator=A),
        "measurements": meta.adapt(Y, operator=A),
        "pairs": meta.adapt(*pairs, operator=A),
        "unknown operator": meta.adapt(*pairs),
    }
    for name, model in models.items():
        assert model is not meta and not hasattr(meta, "operator_")
        assert model.predict(Y).shape == (40, 64)
        assert model.score(Y, TEST) > 14, name
        assert model.image_shape_ == (8, 8) and model.n_features_in_ == 24
        assert isinstance(model.operator_, Operator) and isinstance(model.noise_, Noise)
        assert model.prior == meta.prior_
    to = [model.adapt_to_ for model in models.values()]
    assert to == [None, "measurements", "targets", "targets"]


def test_zero_noise_and_an_invertible_operator_give_back_the_images(meta):
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(64, 64)))[0]
    model = clone(meta).set_params(noise=0.0).adapt(operator=rotation)
    np.testing.assert_allclose(model.predict(flat(TEST) @ rotation.T), flat(TEST), atol=1e-4)


def test_adapt_is_fit_of_a_clone(meta):
    adapted = meta.adapt(Y, operator=A)
    fitted = clone(meta).set_params(operator=A).fit(Y)
    np.testing.assert_array_equal(adapted.predict(Y), fitted.predict(Y))
    np.testing.assert_array_equal(adapted.predict(Y), clone(adapted).fit(Y).predict(Y))


def test_operators_of_every_kind_give_the_same(meta, model):
    tensor = torch.from_numpy(A)
    kinds = {
        "sparse": sparse.csr_array(A),
        "linear": aslinearoperator(A),
        "torch": lambda x: x.flatten(1) @ tensor.T.to(x.dtype),
        "own": model.operator_,
    }
    shaped = clone(meta).set_params(image_shape=(8, 8))
    for name, operator in kinds.items():
        found = shaped.adapt(operator=operator).predict(Y)
        np.testing.assert_allclose(found, model.predict(Y), atol=1e-6, err_msg=name)


def test_a_missing_measurement_is_one_that_was_not_made(meta, model):
    missing = Y.copy()
    missing[:, 3] = np.nan
    fewer = meta.adapt(operator=np.delete(A, 3, axis=0)).predict(np.delete(Y, 3, axis=1))
    np.testing.assert_allclose(model.predict(missing), fewer, atol=1e-7)


def test_images_do_not_depend_on_one_another(model):
    alone = np.concatenate([model.predict(y[None]) for y in Y[:5]])
    np.testing.assert_allclose(model.predict(Y)[:5], alone, rtol=1e-9, atol=1e-9)


def test_many_images_are_computed_in_parts(model, monkeypatch):
    whole = model.predict(Y)
    monkeypatch.setattr("sklearn_meta._adapted_images.VALUES_AT_ONCE", 7 * 64)
    np.testing.assert_allclose(model.predict(Y), whole, rtol=1e-9, atol=1e-9)


def test_noise_for_each_image(meta):
    levels = np.linspace(0.01, 0.5, len(Y))
    each = clone(meta).set_params(noise=levels, operator=A).fit(Y)
    alone = clone(meta).set_params(noise=levels[7], operator=A).fit(Y)
    np.testing.assert_allclose(each.predict(Y)[7], alone.predict(Y)[7], atol=1e-9)
    with pytest.raises(ValueError, match="noise holds 40 standard deviations"):
        each.predict(Y[:3])


def test_partial_fit_is_fit_to_all_rows(meta):
    whole = clone(meta).set_params(operator=A).fit(measure(TRAIN[:20]), TRAIN[:20])
    parts = clone(meta).set_params(operator=A)
    parts.partial_fit(measure(TRAIN[:20])[:12], TRAIN[:12])
    parts.partial_fit(measure(TRAIN[:20])[12:], flat(TRAIN[12:20]))
    np.testing.assert_allclose(parts.predict(Y), whole.predict(Y), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="y is None, but the rows before came with images"):
        parts.partial_fit(Y)


def test_adapt_many_is_a_loop(meta):
    B = A[:10]
    tasks = {"a": Task(Y, operator=A), "b": Task(operator=B), "c": (measure(TRAIN), TRAIN)}
    many = meta.adapt_many(tasks)
    assert list(many) == ["a", "b", "c"]
    np.testing.assert_array_equal(many["a"].predict(Y), meta.adapt(Y, operator=A).predict(Y))
    assert many["b"].predict(Y[:, :10]).shape == (40, 64)
    with pytest.raises(ValueError, match="task 'x': X has 24 values a row"):
        meta.adapt_many({"x": Task(Y)})
    with pytest.raises(ValueError, match="task 'x': it is there twice"):
        meta.adapt_many([Task(operator=A, name="x"), Task(operator=A, name="x")])


def test_adapt_from_threads(meta):
    operators = [np.roll(A, k, axis=1) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda op: meta.adapt(operator=op).predict(Y), operators))
    for operator, found in zip(operators, together, strict=True):
        np.testing.assert_array_equal(found, meta.adapt(operator=operator).predict(Y))


def test_meta_training_over_operators_and_sizes():
    small, large = TRAIN[:40], np.kron(TRAIN[40:60], np.ones((1, 2, 2)))
    tasks = [
        Task(measure(small), small, A, name="dense"),
        Task(y=small, operator=A[:5]),
        (measure(small, A[:7]), flat(small)),
        Task(y=large, operator=Mask((16, 16), np.arange(256).reshape(16, 16) % 3 == 0)),
        Task(np.stack([small, small], axis=1).reshape(40, 2, 64), small, name="dense"),
    ]
    owner = MetaReconstructor()
    checked = check_image_tasks(owner, tasks, (8, 8))
    assert [task.images.shape[1:] for task in checked] == [(8, 8)] * 3 + [(16, 16), (8, 8)]
    assert [None if t.operator is None else t.operator.n_measurements for t in checked] == [
        24,
        5,
        None,
        256,
        None,
    ]
    assert [t.measurements is None for t in checked] == [False, True, False, True, False]
    assert checked[-1].measurements.shape == (40, 2, 64) and not vars(owner).get("n_features_in_")


# ------------------------------------------------------------------ shapes


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_rank_and_dtype_of_the_input(meta, dtype):
    model = meta.adapt(operator=Identity((8, 8)))
    X = np.round(TEST * 16).astype(dtype)
    wanted = dtype if np.dtype(dtype).kind == "f" else np.float64
    assert model.predict(X).shape == (40, 8, 8) and model.predict(X).dtype == wanted
    assert model.predict(flat(X)).shape == (40, 64)
    assert model.predict_images(flat(X)).shape == (40, 8, 8)
    assert model.transform(X).shape == (40, 64)
    assert model.inverse_transform(X).shape == X.shape
    np.testing.assert_array_equal(flat(model.predict(X)), model.predict(flat(X)))


def test_colour_and_sides_that_differ():
    rng = np.random.default_rng(0)
    shape = 5, 3, 3
    images = rng.uniform(size=(60, *shape))
    operator = Mask(shape, rng.random((5, 3)) < 0.6)
    meta = MetaReconstructor(learner="gaussian", noise=0.1).fit_tasks([Task(y=images)])
    model = meta.adapt(operator=operator)
    measured = model.inverse_transform(images)
    assert measured.shape == (60, *operator.measurement_shape)
    assert model.predict(measured.reshape(60, -1)).shape == (60, 45)
    assert model.predict_images(measured).shape == (60, *shape)
    assert model.get_feature_names_out()[4] == "pixel_0_1_1"


def test_a_channel_may_be_left_out():
    meta = MetaReconstructor(learner="gaussian", image_shape=(8, 8, 1), noise=SIGMA)
    model = meta.fit_tasks([Task(y=TRAIN)]).adapt(measure(TRAIN), TRAIN, operator=A)
    assert model.adapt_to_ == "targets"
    assert model.predict_images(Y).shape == (40, 8, 8, 1)


def test_inverse_transform_is_the_forward_operator(model):
    np.testing.assert_allclose(model.inverse_transform(flat(TEST)), flat(TEST) @ A.T)


def test_posterior_standard_deviation(model):
    mean, std = model.predict(Y, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(Y))
    assert std.shape == mean.shape and (std >= 0).all()
    error = (mean - flat(TEST)) ** 2
    assert np.mean(std**2) == pytest.approx(error.mean(), rel=0.3)


def test_names_of_pixels_and_columns(meta, model):
    assert list(model.get_feature_names_out()[[0, 9]]) == ["pixel_0_0", "pixel_1_1"]
    frame = pd.DataFrame(Y, columns=[f"y{i}" for i in range(24)])
    fitted = clone(meta).set_params(operator=A).fit(frame)
    assert list(fitted.feature_names_in_) == list(frame.columns)
    out = fitted.set_output(transform="pandas").transform(frame)
    assert list(out.columns) == list(model.get_feature_names_out())
    np.testing.assert_array_equal(out, model.predict(Y))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"y0": "z"}))


# ------------------------------------------------------------------ which targets


@pytest.mark.parametrize(
    ("y", "adapt_to", "found"),
    [
        (TEST, "auto", "targets"),
        (flat(TEST), "auto", "targets"),
        (TEST, "measurements", "measurements"),
        (TEST, "targets", "targets"),
        (np.arange(40) % 10, "auto", "measurements"),
        (list("ab" * 20), "auto", "measurements"),
        (np.eye(40)[:, :3], "auto", "measurements"),
        (None, "auto", "measurements"),
        (None, "measurements", "measurements"),
    ],
)
def test_what_is_adapted_to(meta, y, adapt_to, found):
    estimator = clone(meta).set_params(operator=A, adapt_to=adapt_to)
    assert estimator.fit(Y, y).adapt_to_ == found


def test_one_number_is_a_label_unless_it_has_the_axes_of_an_image():
    meta = MetaReconstructor(learner="gaussian", noise=0.1, operator=np.ones((2, 1)))
    meta.fit_tasks([Task(y=np.random.default_rng(0).random((30, 1, 1)))])
    assert meta.fit(np.ones((5, 2)), np.ones(5)).adapt_to_ == "measurements"
    assert meta.fit(np.ones((5, 2)), np.ones((5, 1))).adapt_to_ == "measurements"
    assert meta.fit(np.ones((5, 2)), np.ones((5, 1, 1))).adapt_to_ == "targets"


# ------------------------------------------------------------------ scikit-learn's tools


def test_pipeline_before_a_classifier(meta):
    labels = DIGITS.target[600:800]
    X = measure(IMAGES[600:800])
    pipeline = make_pipeline(clone(meta).set_params(operator=A), LogisticRegression(max_iter=500))
    assert pipeline.fit(X[:120], labels[:120])[0].adapt_to_ == "measurements"
    assert pipeline.score(X[120:], labels[120:]) > 0.7
    assert cross_val_score(pipeline, X, labels, cv=3).mean() > 0.7


def test_search_over_noise_and_learners(meta):
    estimator = clone(meta).set_params(operator=A)
    for score in (None, psnr_scorer, ssim_scorer):
        search = GridSearchCV(estimator, {"noise": [1e-3, SIGMA, 3.0]}, scoring=score, cv=2)
        assert search.fit(Y, TEST).best_params_["noise"] != 3.0
    search = GridSearchCV(estimator, {"noise": [SIGMA, 3.0]}, cv=2)
    assert search.fit(Y).best_params_ == {"noise": SIGMA}  # judged by hidden measurements
    learners = {"learner": ["gaussian", "gaussian_mixture"]}
    alone = MetaReconstructor(operator=A, image_shape=(8, 8), noise=SIGMA, random_state=0)
    search = GridSearchCV(alone, learners, cv=2).fit(measure(TRAIN[:200]), flat(TRAIN[:200]))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_processes_give_the_same(meta):
    estimator = clone(meta).set_params(operator=sparse.csr_array(A), image_shape=(8, 8))
    here = cross_val_score(estimator, Y, flat(TEST), cv=2)
    np.testing.assert_allclose(cross_val_score(estimator, Y, flat(TEST), cv=2, n_jobs=2), here)


def test_pickle(meta, model):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(Y), model.predict(Y))
    again = pickle.loads(pickle.dumps(meta))
    np.testing.assert_array_equal(again.adapt(operator=A).predict(Y), model.predict(Y))


def test_a_clone_carries_the_prior_and_shares_the_operator(meta, model):
    twin = clone(meta)
    assert twin.prior is meta.prior_ and not hasattr(twin, "prior_")
    operator = aslinearoperator(A)
    assert clone(model.set_params(operator=operator)).operator is operator
    model.set_params(operator=A)


def test_saved_priors_reconstruct_the_same(meta, model, tmp_path):
    path = tmp_path / "digits.safetensors"
    meta.prior_.save(path)
    assert Prior.load(path) == meta.prior_
    loaded = MetaReconstructor(prior=path, operator=A, noise=SIGMA).fit(Y)
    np.testing.assert_array_equal(loaded.predict(Y), model.predict(Y))
    with pytest.raises(ValueError, match="learner='gaussian_mixture' has no effect"):
        MetaReconstructor(prior=path, learner="gaussian_mixture", operator=A).fit(Y)
    with pytest.raises(ValueError, match="prior is one of a reconstructor"):
        MetaRegressor(prior=path).fit(Y, Y[:, 0])


def test_scores(model):
    assert model.score(Y, TEST) == psnr(TEST, model.predict_images(Y))
    assert model.score(Y, flat(TEST)) == model.score(Y, TEST)
    assert model.score(Y) == model.score(Y, np.arange(40)) > 0


def test_operators_are_examined_once(meta, monkeypatch):
    calls = []
    real = _operator_in.as_operator
    monkeypatch.setattr(
        _operator_in, "as_operator", lambda *args: calls.append(args) or real(*args)
    )
    operator = aslinearoperator(A + 0.0)
    for _ in range(3):
        meta.adapt(operator=operator)
    assert len(calls) == 1
    changed = A.copy()
    first = meta.adapt(operator=changed).predict(Y)
    changed *= 2
    assert not np.allclose(meta.adapt(operator=changed).predict(Y), first)


# ------------------------------------------------------------------ without a prior


@pytest.mark.parametrize("shape", [(24, 24), (21, 34), (20, 17, 3)])
def test_the_bundled_prior_serves_any_operator_and_size(shape):
    images = make_dead_leaves(2, shape, random_state=0).astype(np.float64)
    rng = np.random.default_rng(0)
    keep = rng.random(np.prod(shape)) < 0.7
    matrix = sparse.eye_array(np.prod(shape), format="csr")[keep]
    X = flat(images) @ matrix.T + SIGMA * rng.normal(size=(2, keep.sum()))
    chosen = {"operator": matrix, "image_shape": shape, "learner": "plug_and_play"}
    model = MetaReconstructor(**chosen, random_state=0).fit(X=X)
    found = model.predict(X)
    assert found.shape == flat(images).shape and model.adapt_to_ == "measurements"
    filled = np.where(keep, flat(images), images.mean())
    assert psnr(images, found) > psnr(flat(images), filled) + 3
    named = MetaReconstructor(prior="image", **chosen).fit(X)
    np.testing.assert_array_equal(named.predict(X), found)


def test_noisy_images_alone_are_denoised():
    images = make_dead_leaves(2, (32, 40), random_state=1)
    X = images + 0.1 * np.random.default_rng(0).normal(size=images.shape)
    model = MetaReconstructor(learner="plug_and_play").fit(X)
    assert psnr(images, model.predict(X)) > psnr(images, X) + 3
    assert isinstance(model.operator_, Identity) and model.image_shape_ == (32, 40)
    with pytest.raises(ValueError, match="are not known: pass operator="):
        MetaReconstructor(prior="image").fit(flat(X))
    with pytest.raises(ValueError, match="which takes images"):
        MetaReconstructor(learner="unrolled").fit(flat(X))
    with pytest.raises(ValueError, match="it cannot run"):
        MetaReconstructor(prior="image", learner="gaussian").fit(X)


def test_operators_that_are_not_linear(meta):
    images = make_dead_leaves(2, (16, 20), random_state=1).astype(np.float64)
    bent = Saturation((16, 20), gain=2.0)
    X = np.clip(bent @ images + 0.02 * np.random.default_rng(0).normal(size=images.shape), 0, 1)
    model = MetaReconstructor(operator=bent, learner=PlugAndPlay(steps=2)).fit(X)
    assert psnr(images, model.predict(X)) > psnr(images, X / 2) + 0.3
    np.testing.assert_array_equal(model.predict(X), pickle.loads(pickle.dumps(model)).predict(X))
    # A Gaussian prior serves linear operators only.
    model = meta.adapt(operator=Saturation((8, 8), gain=1.5))
    assert isinstance(model._adapted.learner, PlugAndPlay)


def test_counts_are_seen_or_told():
    images = make_dead_leaves(2, (24, 24), random_state=1).astype(np.float64)
    counts = np.random.default_rng(0).poisson(30 * images)
    quick = MetaReconstructor(learner=PlugAndPlay(steps=2))
    seen = clone(quick).fit(counts / 30)
    assert seen.noise_.gain == pytest.approx(1 / 30)
    assert psnr(images, seen.predict(counts / 30)) > psnr(images, counts / 30) + 3
    told = clone(quick).set_params(operator=PoissonCount((24, 24), 30)).fit(counts / 30)
    np.testing.assert_allclose(told.predict(counts / 30), seen.predict(counts / 30), atol=0.01)
    white = images + 0.1 * np.random.default_rng(0).normal(size=images.shape)
    assert quick.fit(white).noise_.gain == 0


def test_pairs_alone_are_learned_from():
    model = MetaReconstructor(operator=A, noise=SIGMA, random_state=0).fit(measure(TRAIN), TRAIN)
    assert model.history_ is not None and not hasattr(model, "prior_")
    assert model.score(Y, TEST) > 14
    assert clone(model).prior is None


def test_a_table_is_denoised_by_its_own_covariance():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 6)) + 3
    X = clean + 0.3 * rng.normal(size=clean.shape)
    model = MetaReconstructor().fit(X)
    assert model.image_shape_ == (1, 6) and isinstance(model.operator_, Identity)
    assert model.noise_.sigma == pytest.approx(0.3, rel=0.2)
    assert np.mean((model.predict(X) - clean) ** 2) < 0.6 * np.mean((X - clean) ** 2)
    parts = MetaReconstructor().partial_fit(X[:150]).partial_fit(X[150:])
    np.testing.assert_allclose(parts.predict(X), model.predict(X), rtol=1e-9)
    missing = X.copy()
    missing[:, 2] = np.where(np.arange(400) % 4 == 0, np.nan, X[:, 2])
    filled = MetaReconstructor().fit(missing).predict(missing)
    assert np.corrcoef(filled[::4, 2], clean[::4, 2])[0, 1] > 0.9


def smooth(x, sigma):
    return x + sigma * (torch.roll(x, 1, -1) - 2 * x + torch.roll(x, -1, -1))


def test_a_denoiser_of_ones_own(tmp_path):
    learner = PlugAndPlay(denoiser=smooth, steps=2)
    operator = Mask((8, 8), np.random.default_rng(0).random((8, 8)) < 0.7)
    X = TEST[:5] * operator.mask.numpy()
    meta = MetaReconstructor(learner=learner, noise=0.1).fit_tasks([Task(y=TRAIN[:5])])
    found = meta.adapt(operator=operator).predict(X)
    assert found.shape == X.shape and np.isfinite(found).all()
    pickled = pickle.loads(pickle.dumps(meta.adapt(operator=operator)))
    np.testing.assert_array_equal(pickled.predict(X), found)
    path = tmp_path / "own.safetensors"
    meta.prior_.save(path)
    again = MetaReconstructor(prior=path, learner=learner, noise=0.1).adapt(operator=operator)
    np.testing.assert_array_equal(again.predict(X), found)
    with pytest.raises(ValueError, match="denoiser of the user's own, which is no part of it"):
        MetaReconstructor(prior=path).adapt(operator=operator)


# ------------------------------------------------------------------ errors


def test_not_fitted(meta):
    with pytest.raises(NotFittedError, match="has no prior to adapt from"):
        MetaReconstructor().adapt(operator=A)
    with pytest.raises(NotFittedError, match="not adapted to a task yet: call adapt or fit"):
        meta.predict(Y)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        MetaReconstructor().predict(Y)


def test_fit_tasks_drops_what_was_adapted(meta):
    model = clone(meta).set_params(operator=A).fit(Y)
    model.fit_tasks([Task(y=TRAIN[:50])])
    assert model.prior_ != meta.prior_ and not hasattr(model, "operator_")


def test_a_fit_that_fails_leaves_no_trace(meta):
    model = clone(meta).set_params(operator=A).fit(Y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="X has shape"):
        model.fit(Y[:, :5])
    assert vars(model) == before


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.adapt(), ValueError, "nothing to adapt to"),
        (lambda m: m.adapt(y=TEST, operator=A), ValueError, "images without their measurements"),
        (lambda m: m.adapt(Y), ValueError, "cannot be the images with noise"),
        (lambda m: m.adapt(Y, TEST[:3], operator=A), ValueError, "inconsistent numbers of samples"),
        (
            lambda m: m.adapt(Y, Y, operator=A),
            ValueError,
            r"rows of shape \(24,\), expected images",
        ),
        (lambda m: m.adapt(Y, np.zeros((40, 7, 9)), operator=A), ValueError, "7, 9"),
        (lambda m: m.adapt(Y, np.full_like(TEST, np.nan), A), ValueError, "Input y contains NaN"),
        (lambda m: m.adapt(np.full_like(Y, np.inf), operator=A), ValueError, "X contains infinity"),
        (lambda m: m.adapt(Y + 1j, operator=A), ValueError, "stack both parts"),
        (lambda m: m.adapt(sparse.csr_array(Y), operator=A), TypeError, "[Ss]parse data"),
        (lambda m: m.adapt(Y[0], operator=A), ValueError, "Expected 2D array"),
        (lambda m: m.adapt(operator=A[:, :5]), ValueError, "5"),
        (lambda m: m.adapt(operator="blur"), TypeError, "str"),
        (lambda m: m.adapt(operator=Identity((9, 9))), ValueError, r"\(9, 9\)"),
        (lambda m: m.adapt(operator=A).predict(Y[:, :3]), ValueError, "X has 3 features, but"),
        (
            lambda m: m.adapt(operator=A).predict(Y.reshape(40, 4, 3, 2)[:2, :2]),
            ValueError,
            "12 fe",
        ),
        (lambda m: m.set_params(noise=-1.0).adapt(operator=A), ValueError, "noise is -1.0"),
        (lambda m: m.set_params(noise="low").adapt(operator=A), ValueError, "noise is 'low'"),
        (lambda m: m.set_params(noise=("poisson", 0)).adapt(operator=A), ValueError, "peak > 0"),
        (lambda m: m.set_params(noise=[0.1, 0.2]).adapt(Y, operator=A), ValueError, "2 standard"),
        (lambda m: m.set_params(adapt_to="y").adapt(Y, operator=A), ValueError, "adapt_to is 'y'"),
        (lambda m: m.set_params(adapt_to="targets").fit(Y), ValueError, "there is no y"),
        (lambda m: m.set_params(image_shape=8).adapt(operator=A), ValueError, "image_shape"),
        (lambda m: m.set_params(image_shape=(4, 4)).adapt(operator=A), ValueError, "16|64"),
        (lambda m: m.set_params(device="gpu").adapt(operator=A), ValueError, "device is 'gpu'"),
        (lambda m: m.fit(None), ValueError, "X is None"),
        (lambda m: m.fit_tasks([]), ValueError, "tasks is empty"),
        (lambda m: m.fit_tasks(TRAIN), TypeError, "array of shape"),
        (lambda m: m.fit_tasks([Task(Y)]), ValueError, "task '0': there are neither images"),
        (lambda m: m.fit_tasks([Task(y=flat(TEST))]), ValueError, "pass image_shape="),
        (lambda m: m.fit_tasks([Task(Y[:3], TEST, A)]), ValueError, "3 rows and y has 40"),
        (lambda m: m.fit_tasks([Task(Y[:, :3], TEST, A)]), ValueError, "one measurement a row"),
        (lambda m: m.fit_tasks([5]), TypeError, "it is a int, expected a Task"),
        (lambda m: m.set_params(learner="maml").fit_tasks([Task(y=TEST)]), ValueError, "'maml'"),
        (lambda m: m.set_params(learner=3).fit_tasks([Task(y=TEST)]), TypeError, "learner is 3"),
        (lambda m: m.set_params(max_iter=0).fit_tasks([Task(y=TEST)]), ValueError, "max_iter must"),
        (lambda m: MetaReconstructor(operator=A).fit(Y), ValueError, "pass image_shape="),
        (lambda m: MetaReconstructor(prior="tabular").fit(Y), ValueError, "serves classifier"),
        (lambda m: m.adapt(operator=Identity((4, 4))), ValueError, "4, 4"),
    ],
)
def test_errors_say_what_is_wrong(meta, call, error, message):
    with pytest.raises(error, match=message):
        call(clone(meta))


def test_a_prior_that_hidden_measurements_find_far_worse_is_second_to_the_bundled_one():
    bundled = bundled_prior("reconstructor", "image")
    deaf = bundled.weights | {"log_factors": np.full(8, 12.0)}  # measurements weigh nothing
    learned = Learned(deaf, bundled.signature["facts"])
    prior = image_prior(Unrolled(2), learned, [(16, 16)], {})
    operator = RandomProjection((16, 16), 128, "orthogonal", random_state=0)
    images = make_dead_leaves(4, (16, 16), random_state=2).astype(np.float64)
    X = flat(operator @ images) + 0.01 * np.random.default_rng(0).normal(size=(4, 128))
    meta = MetaReconstructor(prior=prior, noise=0.01)
    assert isinstance(meta.adapt(X, operator=operator)._adapted.learner, PlugAndPlay)
    assert isinstance(meta.adapt(operator=operator)._adapted.learner, Unrolled)


def test_learners_that_run_the_same_network_may_be_searched_over():
    bundled = bundled_prior("reconstructor", "image")
    learned = Learned(bundled.weights, bundled.signature["facts"])
    prior = image_prior(
        Unrolled(2), learned, [(16, 16)], {"meta_parameters": {"learner": described(Unrolled(2))}}
    )
    operator = RandomProjection((16, 16), 128, "orthogonal", random_state=0)
    X = flat(operator @ make_dead_leaves(2, (16, 16), random_state=2).astype(np.float64))
    for learner in ("plug_and_play", PlugAndPlay(steps=2), Unrolled(3, adaptation="none")):
        meta = MetaReconstructor(prior=prior, learner=learner, operator=operator).fit(X)
        kind = PlugAndPlay if learner == "plug_and_play" else type(learner)
        assert type(meta._adapted.learner) is kind
    with pytest.raises(ValueError, match="learner='gaussian' has no effect"):
        MetaReconstructor(prior=prior, learner="gaussian", operator=operator).fit(X)
