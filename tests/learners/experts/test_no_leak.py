"""No expert foresees noise: what it says of a row left out is worth no more than of a new one."""

import math

import pytest
import torch

from sklearn_meta.learners._mixture import Panel
from sklearn_meta.learners.experts import EXPERTS, Table, log_score

from ._tables import KINDS

N_DRAWS, FEW_DRAWS = 50, 8
N_QUERY = 200
# Rows and columns: no more rows than columns + 1, and many columns.
SHAPES = [(4, 3), (5, 4), (8, 20), (13, 12), (16, 60), (30, 40), (64, 63)]


def noise(kind, n_rows, n_columns, seed, n_draws=N_DRAWS):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_draws, n_rows, n_columns, generator=generator, dtype=torch.float64)
    if kind == "regression":
        return x, torch.randn(n_draws, n_rows, generator=generator, dtype=torch.float64), None
    return x, torch.randint(2, (n_draws, n_rows), generator=generator), 2


def mixed(scores):
    """Mean log score (B,) of the even mixture of variants (B, V, n)."""
    return (scores.logsumexp(1) - math.log(scores.shape[1])).mean(-1)


def at_most_by_chance(gain):
    return gain.mean() < 3 * gain.std() / math.sqrt(len(gain))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_rows", "n_columns"), SHAPES)
def test_noise_is_foreseen_no_better_than_by_the_base_rate(kind, n_rows, n_columns):
    """The variance of a number rests on all rows, for the base rate too: it is the yardstick."""
    n_draws = N_DRAWS if n_rows < 30 else FEW_DRAWS
    x, y, n_classes = noise(kind, n_rows, n_columns, 0, n_draws)
    panel = Panel.of(x, y, n_classes)
    base = EXPERTS["base_rate"]
    foreseen, state = base.fit(Table.of(x, y, n_classes))
    _, y_new, _ = noise(kind, N_QUERY, 1, 1, n_draws)
    new = base.predict(state, torch.zeros(n_draws, N_QUERY, 1), torch.arange(2))
    yardstick = mixed(log_score(new, y_new))
    if kind == "regression":
        yardstick = torch.maximum(yardstick, mixed(log_score(foreseen, y)))
    scores = panel.left_out.split([fit.slot.n_variants for fit in panel.fits], 1)
    for fit, own in zip(panel.fits, scores, strict=True):
        if fit.state is not None:
            assert at_most_by_chance(mixed(own) - yardstick), fit.slot


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["linear_relevance", "radial_short", "logistic", "forest"])
def test_noise_of_many_rows_and_more_columns(name, kind):
    if not EXPERTS[name].n_variants[kind]:
        pytest.skip("is not for numbers")
    x, y, n_classes = noise(kind, 140, 250, 0, 3)
    table = Table.of(x, y, n_classes)
    gain = [mixed(log_score(EXPERTS[one].fit(table)[0], y)) for one in (name, "base_rate")]
    assert (gain[0] < gain[1] + 0.02).all()


@pytest.mark.parametrize("n_rows", [4, 8, 13])
@pytest.mark.parametrize("name", ["linear", "linear_relevance", "linear_sparse"])
def test_centred_columns_do_not_give_the_row_left_out_away(name, n_rows):
    """Without a bias the left-out prediction were perfect: the other rows sum to its negative."""
    x, y, _ = noise("regression", n_rows, 20, 0)
    y = y - y.mean(1, keepdim=True)
    forecast, _ = EXPERTS[name].fit(Table.of(x, y))
    mean = forecast[..., 0]
    covariance = (mean * y[:, None]).sum(-1) / y.square().sum(-1)[:, None]
    assert (covariance.mean(0) < 0.1).all()
