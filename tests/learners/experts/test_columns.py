"""Standardised columns and ranks."""

import torch

from sklearn_meta.learners.experts._columns import CLIP, Columns, relevance

from ._tables import draw


def test_values_of_the_support_are_standardised():
    x, _, _ = draw("regression", 2, 50)
    values = Columns.of(5 + 3 * x).values(5 + 3 * x)
    assert values.shape == (2, 50, 8)
    inside = values[..., :4].abs().amax(1) < CLIP
    torch.testing.assert_close(
        values[..., :4].mean(1)[inside], torch.zeros(int(inside.sum())).double()
    )
    torch.testing.assert_close(
        values[..., :4].std(1, unbiased=False)[inside], torch.ones(int(inside.sum())).double()
    )


def test_ranks_are_centred_and_depend_on_the_order_alone():
    x, _, _ = draw("regression", 2, 50)
    ranks = Columns.of(x).values(x)[..., 4:]
    torch.testing.assert_close(ranks.mean(1), torch.zeros(2, 4).double())
    torch.testing.assert_close(ranks, Columns.of(x.exp()).values(x.exp())[..., 4:])
    assert (ranks.argsort(1) == x.argsort(1)).all()
    assert ranks.abs().max() < 3**0.5


def test_ties_share_a_rank():
    x = torch.tensor([[[0.0], [1.0], [1.0], [3.0]]], dtype=torch.float64)
    ranks = Columns.of(x).values(x)[0, :, 1]
    torch.testing.assert_close(ranks / 12**0.5, torch.tensor([-0.375, 0.0, 0.0, 0.375]).double())


def test_constant_columns_say_nothing():
    x, y, _ = draw("regression", 1, 20)
    x[..., 1] = 1e6
    values = Columns.of(x).values(x)
    assert (values[..., 1] == 0).all() and (values[..., 5] == 0).all()
    weight = relevance(values, y[..., None], torch.ones_like(y))
    assert weight[0, 1] == weight.min()


def test_new_rows_are_on_the_same_scale_and_clipped():
    x, _, _ = draw("regression", 1, 20)
    columns = Columns.of(x)
    torch.testing.assert_close(columns.values(x)[:, :3], columns.values(x[:, :3]))
    assert columns.values(x + 100)[..., :4].eq(CLIP).all()


def test_relevance_of_nobody_is_even():
    x, y, _ = draw("regression", 1, 20)
    values = Columns.of(x).values(x)
    weight = relevance(values, y[..., None], torch.zeros_like(y))
    torch.testing.assert_close(weight, torch.ones(1, 8).double())
