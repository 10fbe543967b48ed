"""Which learner of reconstruction is chosen by itself."""

import numpy as np
import pytest

from sklearn_meta._choose_learner import choose_learner, has_enough_images, runs_under
from sklearn_meta.learners.reconstruction import ImageTask, Noise
from sklearn_meta.operators import Identity, Saturation

LINEAR = Identity((8, 8))


def task(n, shape=(8, 8), operator=None):
    return ImageTask(None, None if n is None else np.zeros((n, *shape)), operator, "0")


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
        ([task(None, operator=LINEAR)], "Unrolled"),
        ([task(100, operator=Saturation((8, 8)))], "PlugAndPlay"),
    ],
)
def test_by_size_number_and_operators(tasks, name):
    assert type(choose_learner(tasks)).__name__ == name


def test_no_images_are_not_enough():
    assert not has_enough_images([])


def test_unrolled_steps_are_linear():
    bent, white, counts = Saturation((8, 8)), Noise(0.1), Noise(0.0, 0.1)
    assert runs_under("unrolled", LINEAR, white) == "unrolled"
    assert runs_under("unrolled", LINEAR, counts) == "plug_and_play"
    assert runs_under("unrolled", bent, white) == "plug_and_play"
    assert runs_under("plug_and_play", bent, white) == "plug_and_play"
    assert runs_under("gaussian", bent, counts) == "gaussian"
