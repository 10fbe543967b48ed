"""Whether labels mean the same in every task is asked of tasks left out."""

import numpy as np
import pytest

from sklearn_meta import _shared_classes
from sklearn_meta._shared_classes import classes_are_shared


def rows(shared, seed=0, n_tasks=8, n_rows=30, n_labels=3):
    """Rows around a centre for each label: one for all tasks, or others in each task."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(n_labels, 2))
    x, y = [], []
    for _ in range(n_tasks):
        codes = rng.integers(n_labels, size=n_rows)
        if not shared:
            centres = 3 * rng.normal(size=(n_labels, 2))
        x.append(centres[codes] + rng.normal(size=(n_rows, 2)))
        y.append(codes)
    return np.concatenate(x), np.concatenate(y), np.repeat(np.arange(n_tasks), n_rows)


@pytest.mark.parametrize("shared", [True, False])
def test_models_of_other_tasks_foresee_labels_that_are_shared(shared):
    assert classes_are_shared(*rows(shared), np.random.default_rng(0)) is shared


def test_labels_that_no_two_tasks_have_are_not_shared_and_cost_nothing(monkeypatch):
    x, y, task = rows(True)
    monkeypatch.delattr(_shared_classes, "ExtraTreesClassifier")
    assert classes_are_shared(x, y + 3 * task, task, np.random.default_rng(0)) is False
