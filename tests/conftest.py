"""Families of small tasks, and one small prior for each kind of estimator."""

import numpy as np
import pytest

from sklearn_meta import MetaClassifier, MetaRegressor

EFFECTS = np.array([1.5, -1.0, 0.5])


class Family:
    """Related tasks: linear effects that vary from task to task around common ones."""

    def __init__(self, kind="regression", sign=1.0, spread=0.3, noise=0.3):
        self.kind, self.sign, self.spread, self.noise = kind, sign, spread, noise

    def task(self, seed, n_rows=30):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n_rows, len(EFFECTS)))
        slopes = EFFECTS + self.spread * rng.normal(size=len(EFFECTS))
        score = self.sign * (X @ slopes + self.spread * rng.normal())
        if self.kind == "regression":
            return X, score + self.noise * rng.normal(size=n_rows)
        y = (1.5 * score + rng.logistic(size=n_rows) > 0).astype(int)
        y[:2] = [0, 1]
        return X, y

    def tasks(self, n_tasks, n_rows=30, first_seed=0):
        return [self.task(first_seed + t, n_rows) for t in range(n_tasks)]


NEW = 10_000  # seeds from here on are those of tasks that no prior has seen


@pytest.fixture(scope="session")
def regression_family():
    return Family()


@pytest.fixture(scope="session")
def classification_family():
    return Family("classification")


@pytest.fixture(scope="session")
def regressor(regression_family):
    """Meta-trained; do not change it."""
    return MetaRegressor(random_state=0, max_iter=60).fit_tasks(regression_family.tasks(24))


@pytest.fixture(scope="session")
def classifier(classification_family):
    """Meta-trained on labels that mean the same in every task; do not change it."""
    meta = MetaClassifier(random_state=0, max_iter=60, shared_classes=True)
    return meta.fit_tasks(classification_family.tasks(24))


@pytest.fixture(scope="session")
def anonymous_classifier(classification_family):
    """Meta-trained on labels that mean nothing beyond a task; do not change it."""
    meta = MetaClassifier(random_state=0, max_iter=60, shared_classes=False)
    return meta.fit_tasks(classification_family.tasks(24))
