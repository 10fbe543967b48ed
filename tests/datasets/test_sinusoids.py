import itertools

import numpy as np
import pytest

from sklearn_meta.datasets import make_sinusoids, sinusoid_protocol


def test_targets_are_the_sinusoids_of_their_parameters():
    tasks, parameters = make_sinusoids(50, (3, 9), random_state=0, return_parameters=True)
    for (X, y), a, p in zip(tasks, parameters["amplitude"], parameters["phase"], strict=True):
        np.testing.assert_array_equal(y, a * np.sin(X[:, 0] + p))


def test_parameters_are_uniform():
    tasks, parameters = make_sinusoids(4000, 5, random_state=0, return_parameters=True)
    x = np.concatenate([X for X, _ in tasks])
    for values, low, high in (
        (parameters["amplitude"], 0.1, 5.0),
        (parameters["phase"], 0.0, np.pi),
        (x, -5.0, 5.0),
    ):
        unit = (values - low) / (high - low)
        assert unit.min() >= 0 and unit.max() <= 1
        assert abs(unit.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / len(unit))
        assert abs(unit.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / len(unit))


def test_noise_is_added_to_the_same_sinusoids():
    clean, noisy = (make_sinusoids(200, 50, noise=s, random_state=0) for s in (0.0, 0.5))
    residuals = np.concatenate([b.y - a.y for a, b in zip(clean, noisy, strict=True)])
    assert abs(residuals.std() - 0.5) < 0.02
    np.testing.assert_array_equal(clean[7].X, noisy[7].X)


def test_protocol_asks_the_same_of_every_number_of_shots():
    (_, five), (_, ten) = (sinusoid_protocol(k, n_test_tasks=6, random_state=0) for k in (5, 10))
    assert len(five) == 6
    for few, more in zip(five, ten, strict=True):
        np.testing.assert_array_equal(few[0], more[0][:5])
        np.testing.assert_array_equal(few[1], more[1][:5])
        np.testing.assert_array_equal(few[2], more[2])
        np.testing.assert_array_equal(few[3], more[3])


def test_protocol_keeps_support_query_and_training_apart():
    train, test = sinusoid_protocol(10, n_train_tasks=50, n_test_tasks=50, random_state=0)
    X_support, _, X_query, _ = (np.concatenate(part).ravel() for part in zip(*test, strict=True))
    seen = np.concatenate([X for X, _ in train]).ravel()
    assert not np.intersect1d(X_support, X_query).size
    assert not np.intersect1d(seen, np.concatenate([X_support, X_query])).size
    assert {len(y) for _, y in train} == {20}


def test_protocol_streams_new_tasks_for_ever():
    stream, _ = sinusoid_protocol(5, n_test_tasks=1, random_state=0)
    tasks = list(itertools.islice(stream, 300))
    assert len({y[0] for _, y in tasks}) == 300
    assert tasks[299].name == "sinusoid_299"


@pytest.mark.parametrize("name", ["shots", "n_query", "n_train_rows", "n_train_tasks"])
def test_protocol_names_what_is_wrong(name):
    with pytest.raises(ValueError, match="is 0"):
        sinusoid_protocol(**{name: 0})
