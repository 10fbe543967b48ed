"""Forests foresee rows by the trees that have not seen them."""

import numpy as np
import pytest
import torch

from sklearn_meta.learners.experts import EXPERTS, Table, forest

from ._tables import KINDS, draw, everything

EXPERT = EXPERTS["forest"]


@pytest.mark.parametrize("kind", KINDS)
def test_left_out_is_out_of_bag_in_the_order_of_the_rows(kind):
    table = Table.of(*draw(kind, 1, 60))
    forecast, state = EXPERT.fit(table)
    fitted, order = state.forests[0], table.order[0].numpy()
    if kind == "regression":
        np.testing.assert_array_equal(forecast[0, 0, order, 0], fitted.oob_prediction_)
        return
    for variant, even in enumerate(forest.SMOOTHING):
        votes = (1 - even) * fitted.oob_decision_function_ + even / 3
        np.testing.assert_allclose(forecast[0, variant, order].exp(), votes)


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_get_the_mean_of_all_trees(kind):
    table = Table.of(*draw(kind, 1, 60))
    _, state = EXPERT.fit(table)
    new = table.values[:, :7] + 0.1
    out = EXPERT.predict(state, new, everything(EXPERT, kind))[0, 0]
    rows = new[0, :, :4][:, state.order[0]].numpy()
    trees = [
        tree.predict_proba(rows) if kind != "regression" else tree.predict(rows)
        for tree in state.forests[0].estimators_
    ]
    mean = np.mean(trees, axis=0)
    if kind == "regression":
        np.testing.assert_allclose(out[:, 0], mean)
        assert (out[:, 1] == state.noise[0].log()).all()
    else:
        even = forest.SMOOTHING[0]
        np.testing.assert_allclose(out.exp(), (1 - even) * mean + even / 3)


def test_a_row_that_every_tree_has_seen_gets_the_mean():
    class Fitted:
        oob_decision_function_ = np.array([[0.5, 0.5], [np.nan, np.nan], [0.0, 0.0], [0.1, 0.9]])

    found = forest._out_of_bag(Fitted())
    np.testing.assert_allclose(found.sum(1), 1.0)
    np.testing.assert_allclose(found[1], [0.3, 0.7])
    np.testing.assert_allclose(found[2], [0.3, 0.7])


def test_classes_that_were_not_seen_are_possible():
    x, y, _ = draw("classification", 1, 40)
    forecast, _ = EXPERT.fit(Table.of(x, y.clamp_max(1), 4))
    assert forecast.shape[-1] == 4
    torch.testing.assert_close(forecast[..., 3].exp(), forecast[..., 2].exp())
    assert (forecast[..., 3].exp() > 0.004).all()
