"""Soft nearest neighbours: the formula, and rows left out."""

import itertools
from dataclasses import replace

import pytest
import torch

from sklearn_meta.learners.experts import EXPERTS, Table, _expert
from sklearn_meta.learners.experts.neighbours import BACKGROUND, WIDTHS

from ._tables import KINDS, draw, everything, without

EXPERT = EXPERTS["neighbours"]


def estimates(state, values, kind):
    out = EXPERT.predict(state, values, everything(EXPERT, kind))
    return out[..., 0] if kind == "regression" else out.exp()


def test_forecasts_are_weighted_averages():
    table = Table.of(*draw("regression", 1, 12))
    _, state = EXPERT.fit(table)
    new = table.values[:, :5] + 0.1
    out = estimates(state, new, "regression")[0]
    values, y = table.values[0], table.targets[0, :, 0]
    apart = (values[:, None] - values).abs().sum(-1)
    distance = apart[~torch.eye(12, dtype=torch.bool)].mean()
    for variant, (width, background) in enumerate(itertools.product(WIDTHS, BACKGROUND)):
        similar = torch.exp(-(new[0, :, None] - values).abs().sum(-1) / (width * distance))
        expected = (similar @ y + background * y.mean()) / (similar.sum(-1) + background)
        torch.testing.assert_close(out[variant], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_rows", [3, 9, 30])
def test_left_out_equals_refits(kind, n_rows):
    """With the mean distance of all rows, which says nothing of targets."""
    table = Table.of(*draw(kind, 2, n_rows))
    forecast, whole = EXPERT.fit(table)
    forecast = forecast[..., 0] if kind == "regression" else forecast.exp()
    for i in range(n_rows):
        _, state = EXPERT.fit(without(table, [i]))
        out = estimates(replace(state, distance=whole.distance), table.values[:, [i]], kind)
        torch.testing.assert_close(forecast[:, :, [i]], out)


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_as_landmarks_give_the_exact_answer(kind, monkeypatch):
    x, y, n_classes = draw(kind, 2, 30)
    table = Table.of(x, y, n_classes)
    exact, _ = EXPERT.fit(table)
    everyone = torch.arange(30).expand(2, 30)
    through, _ = EXPERT.fit(replace(table, landmarks=everyone))
    torch.testing.assert_close(through, exact)
    monkeypatch.setattr(_expert, "MAX_LANDMARKS", 29)
    few, _ = EXPERT.fit(Table.of(x, y, n_classes))
    assert (few - exact).abs().mean() < 0.2


def test_narrow_neighbourhoods_of_equal_rows():
    x, y, _ = draw("regression", 1, 20)
    x, y = x.repeat(1, 2, 1), y.repeat(1, 2)  # each row has a twin, which foresees it
    table = Table.of(x, y)
    forecast, _ = EXPERT.fit(table)
    torch.testing.assert_close(forecast[0, 0, :, 0], y[0], rtol=0.1, atol=0.1)


def test_no_two_rows_apart():
    x, y, _ = draw("regression", 1, 8)
    forecast, _ = EXPERT.fit(Table.of(torch.ones_like(x), y))
    assert forecast.isfinite().all()
