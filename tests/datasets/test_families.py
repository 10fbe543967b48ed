"""What holds for every family of tasks."""

import numpy as np
import pytest

from sklearn_meta.datasets import (
    make_classification_tasks,
    make_gaussian_process_tasks,
    make_linear_tasks,
    make_sinusoids,
)

FAMILIES = [
    make_classification_tasks,
    make_gaussian_process_tasks,
    make_linear_tasks,
    make_sinusoids,
]
every_family = pytest.mark.parametrize("make", FAMILIES)


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.X, b.X)
        np.testing.assert_array_equal(a.y, b.y)


@every_family
def test_same_seed_same_tasks(make):
    assert_equal(make(3, 9, random_state=4), make(3, 9, random_state=4))
    assert not np.array_equal(make(1, 9, random_state=4)[0].X, make(1, 9, random_state=5)[0].X)
    states = [np.random.RandomState(1), np.random.RandomState(1)]
    assert_equal(*(make(2, 9, random_state=state) for state in states))
    rngs = [np.random.default_rng(1), np.random.default_rng(1)]
    first, second = (make(2, 9, random_state=rng) for rng in rngs)
    assert_equal(first, second)
    assert not np.array_equal(make(2, 9, random_state=rngs[0])[0].X, first[0].X)


@every_family
def test_longer_list_begins_with_the_shorter_one(make):
    short, long = (make(n, (5, 12), random_state=0) for n in (3, 30))
    assert_equal(short, long[:3])


@every_family
def test_rows_vary_between_the_bounds_and_both_occur(make):
    tasks = make(200, (4, 6), random_state=0)
    assert {len(X) for X, _ in tasks} == {4, 5, 6}
    assert all(X.dtype == np.float64 and len(X) == len(y) for X, y in tasks)
    assert len({task.name for task in tasks}) == 200


@every_family
def test_global_random_numbers_are_left_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make(2, 5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@every_family
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n_tasks": 0}, "n_tasks is 0"),
        ({"n_rows": (5, 3)}, r"n_rows is \(5, 3\)"),
        ({"n_rows": 2.5}, "n_rows is 2.5"),
    ],
)
def test_errors_name_the_parameter(make, arguments, named):
    with pytest.raises(ValueError, match=named):
        make(**arguments)


@pytest.mark.parametrize(
    ("make", "arguments", "named"),
    [
        (make_sinusoids, {"amplitude": (2, 1)}, "amplitude"),
        (make_sinusoids, {"noise": -1.0}, "noise"),
        (make_linear_tasks, {"spread": np.inf}, "spread"),
        (make_linear_tasks, {"n_groups": 0}, "n_groups"),
        (make_gaussian_process_tasks, {"x_range": 3}, "x_range"),
        (make_classification_tasks, {"n_rows": 3, "n_classes": 4}, "one row a class"),
        (make_classification_tasks, {"covariance": np.eye(2)}, r"shape \(2, 2\)"),
        (make_classification_tasks, {"covariance": -np.eye(5)}, "eigenvalue -1"),
        (make_classification_tasks, {"covariance": np.triu(np.ones((5, 5)))}, "symmetric"),
    ],
)
def test_errors_of_a_family_name_the_parameter(make, arguments, named):
    with pytest.raises(ValueError, match=named):
        make(**arguments)
