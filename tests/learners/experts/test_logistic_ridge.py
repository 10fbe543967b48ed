"""Logistic regression: optimality for every penalty, and rows left out."""

import pytest
import torch

from sklearn_meta.learners.experts import EXPERTS, Table
from sklearn_meta.learners.experts._columns import relevance
from sklearn_meta.learners.experts._kernels import BIAS, linear
from sklearn_meta.learners.experts._ridge import Directions
from sklearn_meta.learners.experts.logistic_ridge import PENALTIES, _log_shares, _newton

from ._tables import draw, everything

EXPERT = EXPERTS["logistic"]


def rows_of(n_rows=40, n_columns=4, n_classes=3, seed=0):
    """Rows (B, n, r) in the directions of a table, and indicators (B, n, C)."""
    table = Table.of(*draw("classification", 2, n_rows, n_columns, n_classes, seed))
    kernel = linear(table.values, table.values) + BIAS
    return Directions.of_all(kernel).rows[..., -32:], table.targets + 1 / n_classes


def optimum(rows, truth, penalty):
    """Coefficients (r,) of one class by L-BFGS."""
    coefficients = torch.zeros(rows.shape[-1], dtype=rows.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [coefficients],
        max_iter=500,
        tolerance_grad=1e-11,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss():
        optimiser.zero_grad()
        score = rows @ coefficients
        value = torch.nn.functional.binary_cross_entropy_with_logits(score, truth, reduction="sum")
        value = value + penalty / 2 * coefficients.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return coefficients.detach()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("n_rows", "n_columns"), [(40, 4), (8, 20)])
def test_gradient_is_zero_for_every_penalty(n_classes, n_rows, n_columns):
    rows, positive = rows_of(n_rows, n_columns, n_classes)
    coefficients, _ = _newton(rows, positive, torch.ones_like(rows[..., 0]))
    assert coefficients.shape == (2, len(PENALTIES), n_classes, rows.shape[-1])
    penalty = torch.tensor(PENALTIES, dtype=rows.dtype)[:, None, None]
    p = torch.sigmoid(coefficients @ rows[:, None].mT)
    gradient = (p - positive.mT[:, None]) @ rows[:, None] + penalty * coefficients
    assert gradient.abs().max() < 1e-5


def test_coefficients_are_those_of_another_solver():
    rows, positive = rows_of(n_rows=20)
    coefficients, _ = _newton(rows, positive, torch.ones_like(rows[..., 0]))
    for i, penalty in list(enumerate(PENALTIES))[::2]:
        expected = optimum(rows[0], positive[0, :, 1], penalty)
        torch.testing.assert_close(coefficients[0, i, 1], expected, rtol=1e-4, atol=1e-5)


def test_rows_that_are_not_used_have_no_say():
    rows, positive = rows_of(n_rows=20)
    used = torch.ones_like(rows[..., 0])
    used[:, 3:7] = 0
    masked, _ = _newton(rows, positive, used)
    others = used[0] == 1
    alone, _ = _newton(rows[:, others], positive[:, others], used[:, others])
    torch.testing.assert_close(masked, alone, rtol=1e-6, atol=1e-8)


def test_one_newton_step_away_from_a_row_is_close_to_a_refit():
    rows, positive = rows_of(n_rows=60)
    everyone = torch.ones_like(rows[..., 0])
    coefficients, left_out = _newton(rows, positive, everyone)
    in_sample = coefficients @ rows[:, None].mT
    exact = torch.empty_like(left_out)
    for i in range(60):
        used = everyone.clone()
        used[:, i] = 0
        refit, _ = _newton(rows, positive, used)
        exact[..., i] = (refit * rows[:, None, None, i]).sum(-1)
    strong = [i for i, penalty in enumerate(PENALTIES) if penalty >= 0.3]
    wrong = (left_out - exact).abs()[:, strong].mean()
    assert wrong < 0.05 * (in_sample - exact).abs()[:, strong].mean()


@pytest.mark.parametrize("n_rows", [6, 16, 40])
def test_left_out_equals_refits_with_the_relevance_of_the_others(n_rows):
    table = Table.of(*draw("classification", 1, n_rows))
    forecast, _ = EXPERT.fit(table)
    for held in table.held:
        weight = relevance(table.values, table.targets, 1 - held).sqrt()[:, None]
        rows = table.values * weight
        mine, others = held[0] == 1, held[0] == 0
        near = rows[:, others]
        directions = Directions.of_all(linear(near, near) + BIAS)
        rank = slice(-32, None)
        positive = table.targets[:, others] + 1 / 3
        used = torch.ones_like(near[..., 0])
        coefficients, _ = _newton(directions.rows[..., rank], positive, used)
        turned = (linear(rows[:, mine], near) + BIAS) @ directions.turn[..., rank]
        expected = _log_shares(coefficients @ turned[:, None].mT)
        torch.testing.assert_close(forecast[:, :, mine], expected, rtol=1e-6, atol=1e-6)


def test_two_classes_are_one_regression():
    table = Table.of(*draw("classification", 2, 20, n_classes=2))
    _, state = EXPERT.fit(table)
    torch.testing.assert_close(state.coefficients[:, :, 0], -state.coefficients[:, :, 1])
    log_p = EXPERT.predict(state, table.values, everything(EXPERT, "classification"))
    turned = (linear(table.values * state.weight, state.landmarks) + BIAS) @ state.turn
    score = (state.coefficients @ turned[:, None].mT)[:, :, 1]
    torch.testing.assert_close(log_p[..., 1], torch.nn.functional.logsigmoid(score))
