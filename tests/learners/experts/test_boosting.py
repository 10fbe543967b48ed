"""Gradient boosting foresees rows by the ensemble that missed them."""

import numpy as np
import pytest
import torch

from sklearn_meta.learners.experts import EXPERTS, Table, boosting

from ._tables import KINDS, draw, everything

EXPERT = EXPERTS["boosting"]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(boosting, "N_ROUNDS", 5)


def forecast_of(model, rows, kind):
    return model.predict(rows)[:, None] if kind == "regression" else model.predict_proba(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_foreseen_by_the_ensemble_that_missed_them(kind):
    table = Table.of(*draw(kind, 1, 90))
    forecast, state = EXPERT.fit(table)
    order = table.order[0].numpy()
    assert len(state.ensembles[0]) == boosting.N_FOLDS
    for fold, model in enumerate(state.ensembles[0]):
        mine = order[fold :: boosting.N_FOLDS]
        expected = forecast_of(model, table.values[0, mine, :4].numpy(), kind)
        if kind == "regression":
            np.testing.assert_allclose(forecast[0, 0, mine, :1], expected)
        else:
            even = boosting.SMOOTHING[0]
            expected = (1 - even) * expected + even / 3
            np.testing.assert_allclose(forecast[0, 0, mine].exp(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_get_the_mean_of_the_ensembles(kind):
    table = Table.of(*draw(kind, 1, 90))
    _, state = EXPERT.fit(table)
    new = table.values[:, :7] + 0.1
    out = EXPERT.predict(state, new, everything(EXPERT, kind))[0, 0]
    rows = new[0, :, :4].numpy()
    mean = np.mean([forecast_of(model, rows, kind) for model in state.ensembles[0]], axis=0)
    if kind == "regression":
        np.testing.assert_allclose(out[:, :1], mean)
    else:
        even = boosting.SMOOTHING[0]
        np.testing.assert_allclose(out.exp(), (1 - even) * mean + even / 3)


def test_a_fold_may_lack_a_class():
    """Of 60 rows one is of the other class: two ensembles know of it, and one does not."""
    x, _, _ = draw("classification", 1, 60)
    y = torch.zeros(1, 60, dtype=torch.int64)
    y[0, 5] = 1
    forecast, state = EXPERT.fit(Table.of(x, y, 2))
    assert sorted(len(model.classes_) for model in state.ensembles[0]) == [1, 2, 2]
    torch.testing.assert_close(forecast.exp().sum(-1), torch.ones(1, 2, 60).double())
    assert (forecast.argmax(-1) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_global_generator_is_left_alone(kind):
    before = np.random.get_state()  # noqa: NPY002
    EXPERT.fit(Table.of(*draw(kind, 1, 60)))
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002
