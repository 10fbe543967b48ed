"""Parameters of meta-training: what "auto" stands for and what is refused."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from sklearn_meta._training import TrainingConfig, resolve
from sklearn_meta.tasks import TaskStore


def store(n_rows=30):
    rows = np.zeros((n_rows, 2))
    return TaskStore.from_lists([rows, rows], [rows[:, 0]] * 2, ["a", "b"])


def test_auto_becomes_numbers_that_json_can_hold():
    resolved = resolve(TrainingConfig(), store())
    assert resolved == TrainingConfig(
        shots=(0, 20),
        batch_size=16,
        max_iter=4000,
        learning_rate_init=5e-3,
        alpha=1e-2,
        early_stopping=True,
        validation_fraction=1 / 6,
        n_iter_no_change=6,
        tol=1e-3,
        max_time=60.0,
        n_query=20,
        n_ways=5,
        decay_iterations=400,
    )
    text = json.dumps(asdict(resolved))
    assert resolve(TrainingConfig(**json.loads(text)), store()) == resolved


def test_auto_shots_leave_a_row_to_be_judged_on():
    assert resolve(TrainingConfig(), store(6)).shots == (0, 5)
    assert resolve(TrainingConfig(), store(1)).shots == (0, 0)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("shots", 5, (5, 5)),
        ("shots", np.int64(3), (3, 3)),
        ("shots", [1, np.int32(4)], (1, 4)),
        ("batch_size", np.int64(8), 8),
        ("alpha", 0, 0.0),
        ("tol", 0, 0.0),
        ("learning_rate_init", np.float32(0.5), 0.5),
        ("early_stopping", np.True_, True),
        ("max_time", float("inf"), float("inf")),
    ],
)
def test_values_are_taken_as_plain_numbers(name, given, expected):
    value = getattr(resolve(replace(TrainingConfig(), **{name: given}), store()), name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("shots", [-1, 2.5, (3, 2), (1, 2, 3), (-1, 2), "many", None, True]),
        ("batch_size", [0, 1.5, "x", None, True]),
        ("max_iter", [0, -1, 2.0]),
        ("learning_rate_init", [0, -1e-3, float("nan"), float("inf"), "fast"]),
        ("alpha", [-1e-9, float("nan"), float("inf"), None]),
        ("early_stopping", [1, 0, "yes", None]),
        ("validation_fraction", [0.0, 1.0, 2, float("nan")]),
        ("n_iter_no_change", [0, 1.5]),
        ("tol", [-1.0, float("nan")]),
        ("max_time", [0, -1, float("nan"), None]),
        ("n_query", [0, 2.5]),
    ],
)
def test_bad_values_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} must be .*, or 'auto'; got "):
            resolve(replace(TrainingConfig(), **{name: value}), store())
