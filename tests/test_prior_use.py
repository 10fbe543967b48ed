"""Never much worse than the support alone, and never without the prior where it helps."""

import numpy as np
import pytest
from sklearn.base import clone

from sklearn_meta import MetaClassifier, MetaRegressor

NEW = 10_000
N_QUERY = 100
WEIGHTS = {"blend": "auto", "prior": True, "alone": 0.0}


@pytest.fixture(scope="module", params=["regression", "classification"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def family(kind, request):
    return request.getfixturevalue(f"{kind}_family")


@pytest.fixture(scope="module")
def like(kind, request):
    """Meta-trained on tasks like the new ones."""
    return request.getfixturevalue({"regression": "regressor"}.get(kind, "classifier"))


@pytest.fixture(scope="module")
def flipped(kind, family):
    """Meta-trained on tasks whose targets have the opposite sign."""
    tasks = type(family)(kind, sign=-1.0).tasks(24)
    if kind == "regression":
        return MetaRegressor(random_state=0, max_iter=60).fit_tasks(tasks)
    return MetaClassifier(random_state=0, max_iter=60, shared_classes=True).fit_tasks(tasks)


def losses(meta, family, n_rows, n_tasks=40):
    """Mean loss over new tasks (squared error, or log loss) by use of the prior."""
    total = dict.fromkeys(WEIGHTS, 0.0)
    for t in range(n_tasks):
        X, y = family.task(NEW + t, n_rows + N_QUERY)
        # The first rows of a task hold both classes on purpose; the support is a random one.
        X, y = X[::-1], y[::-1]
        for name, use_prior in WEIGHTS.items():
            model = clone(meta).set_params(use_prior=use_prior)
            query = X[n_rows:], y[n_rows:]
            if family.kind == "regression":
                predicted = model.adapt(X[:n_rows], y[:n_rows]).predict(query[0])
                total[name] += np.mean((predicted - query[1]) ** 2) / n_tasks
            else:
                p = model.adapt(X[:n_rows], y[:n_rows], classes=[0, 1]).predict_proba(query[0])
                total[name] -= np.mean(np.log(p[np.arange(N_QUERY), query[1]])) / n_tasks
    return total


@pytest.mark.parametrize("n_rows", [20, 40])
def test_adversarial_tasks_cost_at_most_5_percent(flipped, family, n_rows):
    loss = losses(flipped, family, n_rows)
    assert loss["prior"] > 1.05 * loss["alone"], "the prior does not mislead: nothing is tested"
    assert loss["blend"] < 1.05 * loss["alone"]


@pytest.mark.parametrize("n_rows", [1, 3, 5])
def test_like_tasks_keep_the_gain(like, family, n_rows):
    loss = losses(like, family, n_rows)
    gain = loss["alone"] - loss["prior"]
    assert gain > 0.1 * loss["alone"], "the prior does not help: nothing is tested"
    assert loss["alone"] - loss["blend"] > 0.95 * gain


def test_like_tasks_with_more_rows_do_not_lose(like, family):
    loss = losses(like, family, 20)
    assert loss["blend"] < 1.05 * min(loss["alone"], loss["prior"])


def test_prior_weight_says_what_was_decided(like, flipped, family):
    X, y = family.task(NEW, 40)
    assert like.adapt(X[:4], y[:4]).prior_weight_ > 0.9
    assert flipped.adapt(X, y).prior_weight_ < 0.5


def test_a_label_that_the_prior_does_not_know(classifier, classification_family):
    X, y = classification_family.task(NEW, 12)
    model = classifier.adapt(X, np.array(["a", "b"])[y])
    assert model.prior_weight_ == 0.0


def test_the_support_alone_may_be_the_learner(kind, family):
    X, y = family.task(NEW, 30)
    meta = (MetaRegressor if kind == "regression" else MetaClassifier)(learner="support_only")
    model = meta.fit_tasks(family.tasks(6)).adapt(X, y)
    assert meta.n_iter_ == 1 and model.prior_weight_ == 0
    assert model.score(X, y) == pytest.approx(clone(meta).fit(X, y).score(X, y))
    assert type(meta)(learner="support_only").fit(X, y).score(X, y) > 0.5


def test_a_weight_that_is_changed_counts_from_the_next_rows_on(like, family):
    X, y = family.task(NEW, 6)
    model = like.adapt(X, y).set_params(use_prior=0.25).partial_fit(X, y)
    assert model.prior_weight_ == 0.25
    fixed = clone(like).set_params(use_prior=0.25).fit(np.vstack([X, X]), np.concatenate([y, y]))
    expected, found = fixed.predict(X), model.predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
