"""`MetaReconstructor.score`: by which images, in which range, and by which measurements."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_meta import MetaReconstructor, Task
from sklearn_meta.metrics import psnr, psnr_scorer
from sklearn_meta.operators import Mask

IMAGES = load_digits().images / 16
A = np.random.default_rng(0).normal(size=(24, 64)) / 8
X = IMAGES[600:640].reshape(40, -1) @ A.T
Y = IMAGES[600:640]


@pytest.fixture(scope="module")
def meta():
    return MetaReconstructor(learner="gaussian", noise=0.02).fit_tasks([Task(y=IMAGES[:600])])


@pytest.fixture(scope="module")
def model(meta):
    return meta.adapt(operator=A)


@pytest.mark.parametrize(
    "y", [Y[:, :7], np.repeat(Y, 2, axis=2), np.moveaxis(Y, 0, 2), Y[..., None, None], Y[:, :, :1]]
)
@pytest.mark.parametrize("adapt_to", ["auto", "measurements", "targets"])
def test_images_of_another_shape_are_refused(model, y, adapt_to):
    other = clone(model).set_params(adapt_to=adapt_to)
    other.fit(X, Y)
    with pytest.raises(
        ValueError, match=r"y has .* expected images of shape \(8, 8\).*leave y out"
    ):
        other.score(X, y)


def test_labels_are_refused_where_y_is_said_to_hold_images(model):
    labels = np.arange(40)
    assert model.score(X, labels) == model.score(X) == model.score(X, np.eye(40)[:, :3])
    told = clone(model).set_params(adapt_to="targets").fit(X, Y)
    with pytest.raises(ValueError, match="y has one number or label a row"):
        told.score(X, labels)
    with pytest.raises(ValueError, match="y has one number or label a row"):
        told.fit(X, list("ab" * 20))
    with pytest.raises(ValueError, match=r"rows of shape \(3,\), expected images"):
        told.fit(X, np.eye(40)[:, :3])


def test_one_pixel_may_be_an_image():
    images = np.random.default_rng(0).random((30, 1, 1))
    meta = MetaReconstructor(learner="gaussian", noise=0.1, adapt_to="targets")
    meta.fit_tasks([Task(y=images)]).set_params(operator=np.ones((2, 1)))
    fitted = meta.fit(np.ones((5, 2)), np.ones((5, 1)))
    assert fitted.adapt_to_ == "targets"
    assert fitted.score(np.ones((5, 2)), np.ones((5, 1))) > 0


@pytest.mark.parametrize(
    "y",
    [
        (IMAGES * 96).astype(np.uint8),
        (IMAGES * 16).astype(int),
        (IMAGES > 0.5).astype(np.uint8),
        IMAGES > 0.5,
        IMAGES.astype(np.float32),
        40 * IMAGES - 3,
    ],
)
def test_score_and_scorer_are_one_number_whatever_the_dtype(y):
    meta = MetaReconstructor(learner="gaussian", noise=0.02).fit_tasks([Task(y=y[:600])])
    X = y[600:640].reshape(40, -1) @ A.T
    model = meta.adapt(operator=A)
    for images in (y[600:640], y[600:640].reshape(40, -1)):
        assert model.score(X, images) == psnr_scorer(model, X, images)
        assert model.score(X, images) == psnr(images, model.predict(X))


def test_a_channel_may_be_left_out():
    meta = MetaReconstructor(learner="gaussian", noise=0.02, image_shape=(8, 8, 1))
    model = meta.fit_tasks([Task(y=IMAGES[:100])]).adapt(operator=Mask((8, 8, 1), np.ones((8, 8))))
    for y in (Y, Y[..., None], Y.reshape(40, -1)):
        assert model.score(Y, y) == model.score(Y, Y) == psnr_scorer(model, Y, y)
        assert model.score(Y[..., None], y) == psnr_scorer(model, Y[..., None], y)


@pytest.mark.parametrize("learner", ["gaussian", "plug_and_play"])
@pytest.mark.parametrize("m", [2, 3, 9])
def test_never_all_of_an_image_is_hidden(learner, m, monkeypatch):
    rows = np.random.default_rng(m).random((m, 64)) / 64
    meta = MetaReconstructor(learner=learner, noise=0.02).fit_tasks([Task(y=IMAGES[:50])])
    model = meta.adapt(operator=rows)
    measured = Y.reshape(40, -1) @ rows.T
    measured[::3, 1] = np.nan
    seen = []
    real = model._adapted.reconstruct
    monkeypatch.setattr(model._adapted, "reconstruct", lambda y: seen.append(y) or real(y))
    assert np.isfinite(model.score(measured))
    known, left = np.isfinite(measured), np.isfinite(seen[0])
    assert left.any(axis=1).all() and known[left].all()
    assert 0 < (known & ~left).sum() <= 0.2 * known.sum() + len(known)


def test_two_measurements_are_few_but_enough():
    model = MetaReconstructor(operator=np.ones((2, 64)) / 64, image_shape=(8, 8))
    Z = Y[:20].reshape(20, -1) @ (np.ones((2, 64)) / 64).T
    assert model.fit(Z).score(Z) > 0
    assert np.isfinite(model.score(Z[:1]))


def test_one_measurement_cannot_be_foreseen_from_others():
    model = MetaReconstructor(operator=np.ones((1, 64)) / 64, image_shape=(8, 8))
    Z = Y.reshape(40, -1) @ (np.ones((1, 64)) / 64).T
    with pytest.raises(ValueError, match="at most one known measurement for each image"):
        model.fit(Z).score(Z)
    assert model.score(Z, Y) > 0


def test_complex_images_are_refused_without_printing_them(model):
    for call in (
        lambda: model.score(X, Y + 1j),
        lambda: clone(model).fit(X, Y + 1j),
        lambda: psnr_scorer(model, X, Y + 1j),
    ):
        with pytest.raises(ValueError, match=r"y\w* is complex, expected real numbers") as caught:
            call()
        assert len(str(caught.value)) < 200


def test_pairs_of_nothing_are_refused(meta):
    zeros = np.zeros((5, 24)), np.zeros((5, 8, 8))
    for X_0, y_0, name in ((*zeros, "X"), (zeros[0], Y[:5], "X"), (X[:5], zeros[1], "y")):
        with pytest.raises(ValueError, match=f"{name} is 0 everywhere, so that no operator"):
            meta.adapt(X_0, y_0)
    assert np.isfinite(meta.adapt(np.ones((5, 24)), np.ones((5, 8, 8))).predict(X)).all()


@pytest.mark.parametrize("seed", ["x", -1, 1.5])
def test_a_random_state_that_is_none_is_refused(seed):
    model = MetaReconstructor(operator=A, image_shape=(8, 8), random_state=seed)
    for call in (lambda: model.fit(X), lambda: model.fit_tasks([Task(y=Y)])):
        with pytest.raises(ValueError, match=f"random_state is {seed!r}, expected an int >= 0"):
            call()


def test_random_states_are_not_used_up_by_checks():
    state = np.random.RandomState(0)
    MetaReconstructor(operator=A, image_shape=(8, 8), random_state=state).fit(X[:2])
    assert state.randint(1000) == np.random.RandomState(0).randint(1000)
