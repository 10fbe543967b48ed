"""Small images: a mixture of Gaussians, a network, or both, as held-out images say."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_meta import MetaReconstructor, Prior, Task
from sklearn_meta._small_images import mixture_of
from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.operators import Blur

LEAVES = make_dead_leaves(80, (16, 16), random_state=0).astype(np.float64)
SIGMA = 0.02


def pairs(operator, images, seed=0):
    y = operator @ images.reshape(len(images), -1).T
    return y.T + SIGMA * np.random.default_rng(seed).normal(size=y.T.shape), images


@pytest.fixture(scope="module")
def leaves():
    tasks = [Task(y=LEAVES[k : k + 20]) for k in (0, 20, 40)]
    return MetaReconstructor(max_iter=2, random_state=0).fit_tasks(tasks)


def test_digits_have_a_mixture():
    images = load_digits().images[:300] / 16
    meta = MetaReconstructor().fit_tasks([Task(y=images[:150]), Task(y=images[150:])])
    assert meta.prior_.learner_config["name"] == "gaussian_mixture"
    assert mixture_of(meta.prior_) is None


def test_pieces_of_photographs_have_a_network_and_a_mixture_beside_it(leaves, tmp_path):
    assert leaves.prior_.learner_config["name"] == "unrolled"
    alone = MetaReconstructor(learner="gaussian_mixture", random_state=0)
    alone.fit_tasks([Task(y=LEAVES[k : k + 20]) for k in (0, 20, 40)])
    part = mixture_of(leaves.prior_)
    assert part.weights.keys() == alone.prior_.weights.keys()
    for name, value in alone.prior_.weights.items():
        np.testing.assert_array_equal(part.weights[name], value)
    leaves.prior_.save(tmp_path / "leaves.safetensors")
    assert mixture_of(Prior.load(tmp_path / "leaves.safetensors")) == part


def test_an_operator_that_pairs_tell_little_of_is_left_to_the_mixture(leaves):
    operator = np.random.default_rng(1).normal(size=(64, 256)) / 16
    X, y = pairs(operator, LEAVES[60:70])
    model = leaves.adapt(X, y)
    assert type(model._adapted.learner).__name__ == "GaussianMixturePrior"
    Z, truth = pairs(operator, LEAVES[70:], seed=1)
    mean = LEAVES[:60].mean(0)
    assert np.mean((model.predict_images(Z) - truth) ** 2) < np.mean((mean - truth) ** 2)


def test_an_operator_that_pairs_tell_is_inverted_by_the_network(leaves):
    operator = Blur((16, 16), np.ones((3, 3)) / 9)
    noisy = operator @ LEAVES[60:] + SIGMA * np.random.default_rng(0).normal(size=(20, 16, 16))
    model = leaves.adapt(noisy[:10], LEAVES[60:70])
    assert type(model._adapted.learner).__name__ == "Unrolled"
    assert model.noise_.sigma == pytest.approx(SIGMA, rel=0.3)
    known = leaves.adapt(operator=operator)
    errors = [np.mean((m.predict_images(noisy[10:]) - LEAVES[70:]) ** 2) for m in (model, known)]
    assert errors[0] < 1.3 * errors[1]


def test_fit_trains_no_network():
    X, y = pairs(np.eye(256)[::2], LEAVES[:60])
    model = MetaReconstructor(operator=np.eye(256)[::2], image_shape=(16, 16)).fit(X, y)
    assert type(model._adapted.learner).__name__ == "GaussianMixturePrior"
