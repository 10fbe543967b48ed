"""Which learner of reconstruction is chosen by itself."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_meta import MetaReconstructor, Task
from sklearn_meta._choose_learner import choose_learner, has_enough_images, runs_under
from sklearn_meta.learners.reconstruction import ImageTask, Noise
from sklearn_meta.operators import Identity, Saturation

LINEAR = Identity((8, 8))


def task(n, shape=(8, 8), operator=None):
    return ImageTask(None, None if n is None else np.zeros((n, *shape)), operator, "0")


def measured(n, shape=(8, 8)):
    return ImageTask(np.zeros((n, *shape)), None, Identity(shape), "0")


@pytest.mark.parametrize(
    ("tasks", "name"),
    [
        ([task(100)], "GaussianMixturePrior"),
        ([task(20, operator=LINEAR), task(20)], "GaussianMixturePrior"),
        ([task(20)], "Unrolled"),
        ([task(100), task(100, (8, 9))], "Unrolled"),
        ([task(100, (64, 64))], "Unrolled"),
        ([task(100, (28, 28))], "GaussianMixturePrior"),
        ([task(97, (28, 28))], "Unrolled"),
        ([measured(30)], "GaussianPrior"),
        ([measured(10), measured(20)], "GaussianPrior"),
        ([measured(29)], "PlugAndPlay"),
        ([measured(500, (40, 40))], "PlugAndPlay"),
        ([measured(30), measured(30, (8, 9))], "PlugAndPlay"),
        ([measured(30), task(20)], "Unrolled"),
        ([task(100, operator=Saturation((8, 8)))], "PlugAndPlay"),
    ],
)
def test_by_size_number_and_operators(tasks, name):
    assert type(choose_learner(tasks)).__name__ == name


def test_measurements_alone_are_learned_from():
    images = load_digits().images / 16
    rng = np.random.default_rng(0)
    tasks = []
    for first in range(0, 600, 100):
        operator = rng.normal(size=(24, 64)) / 8
        X = images[first : first + 100].reshape(100, -1) @ operator.T
        tasks.append(Task(X + 0.02 * rng.normal(size=X.shape), operator=operator))
    meta = MetaReconstructor(image_shape=(8, 8)).fit_tasks(tasks)
    assert meta.prior_.learner_config["name"] == "gaussian"
    operator = rng.normal(size=(24, 64)) / 8
    test = images[1000:1050]
    X = test.reshape(50, -1) @ operator.T + 0.02 * rng.normal(size=(50, 24))
    bundled = MetaReconstructor(prior="image", image_shape=(8, 8)).adapt(X, operator=operator)
    assert meta.adapt(X, operator=operator).score(X, test) > bundled.score(X, test) + 1


def test_no_images_are_not_enough():
    assert not has_enough_images([])


def test_unrolled_steps_are_linear():
    bent, white, counts = Saturation((8, 8)), Noise(0.1), Noise(0.0, 0.1)
    assert runs_under("unrolled", LINEAR, white) == "unrolled"
    assert runs_under("unrolled", LINEAR, counts) == "plug_and_play"
    assert runs_under("unrolled", bent, white) == "plug_and_play"
    assert runs_under("plug_and_play", bent, white) == "plug_and_play"
    assert runs_under("gaussian", bent, counts) == "gaussian"
