import numpy as np
import pytest

from sklearn_meta.datasets import make_classification_tasks


def residuals(tasks, drawn):
    return np.concatenate(
        [
            X - means[np.searchsorted(classes, y)]
            for (X, y), classes, means in zip(tasks, drawn["classes"], drawn["means"], strict=True)
        ]
    )


@pytest.mark.parametrize("shared", [False, True])
def test_classes_are_balanced_and_their_number_varies(shared):
    tasks = make_classification_tasks(
        200, (7, 12), n_classes=(2, 5), shared_classes=shared, random_state=0
    )
    ways = set()
    for _, y in tasks:
        counts = np.unique(y, return_counts=True)[1]
        assert counts.max() - counts.min() <= 1
        ways.add(len(counts))
    assert ways == {2, 3, 4, 5}


@pytest.mark.parametrize("covariance", [None, np.diag([1.0, 4.0, 0.0]) + 0.5])
def test_covariance_within_classes_is_that_of_all_tasks(covariance):
    tasks, drawn = make_classification_tasks(
        200, 60, n_features=3, covariance=covariance, random_state=0, return_parameters=True
    )
    if covariance is not None:
        np.testing.assert_array_equal(drawn["covariance"], covariance)
    within = np.cov(residuals(tasks, drawn).T)
    np.testing.assert_allclose(within, drawn["covariance"], atol=0.15)


def test_drawn_covariance_has_variance_one_on_average():
    _, drawn = make_classification_tasks(1, random_state=0, return_parameters=True)
    assert np.isclose(np.trace(drawn["covariance"]), 5)


def test_shared_classes_lie_where_they_lie_in_every_task():
    _, drawn = make_classification_tasks(
        60, n_classes=(2, 4), shared_classes=True, random_state=0, return_parameters=True
    )
    where = {}
    for classes, means in zip(drawn["classes"], drawn["means"], strict=True):
        for label, mean in zip(classes.tolist(), means, strict=True):
            np.testing.assert_array_equal(where.setdefault(label, mean), mean)
    assert sorted(where) == [0, 1, 2, 3]


def test_unshared_classes_are_new_in_every_task():
    _, drawn = make_classification_tasks(
        2000, class_sep=3.0, random_state=0, return_parameters=True
    )
    means = np.array(drawn["means"])
    assert len(np.unique(means[:, 0], axis=0)) == 2000
    np.testing.assert_allclose(np.cov(means[:, 0].T), 9 * np.eye(5), atol=1.5)
    np.testing.assert_allclose(np.mean(means[:, 0] * means[:, 1], 0), 0, atol=1.0)


def test_shift_moves_all_classes_of_a_task_alike():
    arguments = {"n_classes": 3, "shared_classes": True, "random_state": 0}
    _, still = make_classification_tasks(500, **arguments, return_parameters=True)
    _, moved = make_classification_tasks(500, shift=2.0, **arguments, return_parameters=True)
    shifts = np.array(moved["means"]) - np.array(still["means"])
    np.testing.assert_allclose(shifts, np.repeat(shifts[:, :1], 3, axis=1), atol=1e-12)
    assert abs(shifts[:, 0].std() - 2) < 0.1
