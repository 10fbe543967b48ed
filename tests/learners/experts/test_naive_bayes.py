"""Naive Bayes: the formula, and rows left out."""

import itertools

import pytest
import torch

from sklearn_meta.learners.experts import EXPERTS, Table
from sklearn_meta.learners.experts.naive_bayes import INDEPENDENCE, PSEUDO_ROWS

from ._tables import draw, everything, without

NAMES = ["naive_bayes", "naive_bayes_ranks"]
every_name = pytest.mark.parametrize("name", NAMES)


@every_name
def test_forecasts_are_those_of_normal_classes(name):
    table = Table.of(*draw("classification", 1, 25))
    expert = EXPERTS[name]
    _, state = expert.fit(table)
    out = expert.predict(state, table.values, everything(expert, "classification"))[0]
    values = table.values[0].chunk(2, -1)[name == "naive_bayes_ranks"]
    for variant, (pseudo, share) in enumerate(itertools.product(PSEUDO_ROWS, INDEPENDENCE)):
        scores = []
        for c in range(3):
            mine = values[table.codes[0] == c]
            mean = mine.sum(0) / (len(mine) + pseudo)
            scores.append(
                torch.tensor(len(mine) + 1.0).log() - share / 2 * (values - mean).square().sum(-1)
            )
        expected = torch.stack(scores, -1).log_softmax(-1)
        torch.testing.assert_close(out[variant], expected)


@every_name
@pytest.mark.parametrize("n_rows", [2, 9, 30])
def test_left_out_equals_refits(name, n_rows):
    table = Table.of(*draw("classification", 2, n_rows))
    expert = EXPERTS[name]
    forecast, _ = expert.fit(table)
    for i in range(n_rows):
        _, state = expert.fit(without(table, [i]))
        out = expert.predict(state, table.values[:, [i]], everything(expert, "classification"))
        torch.testing.assert_close(forecast[:, :, [i]], out)


def test_classes_without_a_row_are_at_the_mean_of_all():
    x, y, _ = draw("classification", 1, 20)
    expert = EXPERTS["naive_bayes"]
    _, state = expert.fit(Table.of(x, y.clamp_max(1), 3))
    assert state.counts[0, 2] == 0 and (state.sums[0, 2] == 0).all()
