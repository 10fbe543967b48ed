"""Panels of experts on a table, and the mixtures that a gate makes of them."""

import pytest
import torch

from sklearn_meta.learners import _mixture
from sklearn_meta.learners._gate import Gate
from sklearn_meta.learners._mixture import Mixture, Panel
from sklearn_meta.learners.experts import SLOTS, Warp, log_score
from sklearn_meta.learners.experts._expert import Table

from .experts._tables import KINDS, draw

every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind, seed=0, **shape):
    x, y, n_classes = draw(kind, seed=seed, **shape)
    gate = Gate(kind, torch.Generator().manual_seed(0)).double().requires_grad_(False)
    return x, y, Panel.of(x, y, n_classes), gate


def forecast_of(mixture, x, kind):
    """Class probabilities (B, n, C), or mean and variance (B, n, 2)."""
    forecast, log_weight = mixture.forecast(x)
    weight = log_weight.exp()[:, :, None]
    if kind == "classification":
        return (forecast.exp() * weight[..., None]).sum(1)
    mean = (forecast[..., 0] * weight).sum(1)
    square = ((forecast[..., 1].exp() + forecast[..., 0].square()) * weight).sum(1)
    return torch.stack([mean, square - mean.square()], -1)


class TestPanel:
    @every_kind
    def test_left_out_is_what_each_expert_says(self, kind):
        x, y, panel, _ = make(kind, n_rows=20)
        n_variants = sum(slot.n_variants for slot in SLOTS[kind])
        assert panel.left_out.shape == (3, n_variants, 20)
        at = 0
        for fit in panel.fits:
            own = panel.left_out[:, at : at + fit.slot.n_variants]
            at += fit.slot.n_variants
            assert (own == -torch.inf).all() if fit.state is None else own.isfinite().all()
            assert (fit.warp is not None) == (fit.slot.warped and fit.state is not None)

    @every_kind
    def test_few_rows_are_not_for_forest_and_boosting(self, kind):
        _, _, panel, _ = make(kind, n_rows=20)
        silent = {fit.slot.expert for fit in panel.fits if fit.state is None}
        assert silent == {"forest", "boosting"}

    @every_kind
    def test_a_batch_equals_one_by_one(self, kind):
        x, y, panel, _ = make(kind, n_rows=20)
        n_classes = None if kind == "regression" else 3
        for i in range(3):
            one = Panel.of(x[[i]], y[[i]], n_classes)
            torch.testing.assert_close(one.left_out[0], panel.left_out[i])
            torch.testing.assert_close(one.facts[0], panel.facts[i])

    def test_a_long_tail_is_foreseen_better_through_its_logarithm(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 60, 3, generator=generator, dtype=torch.float64)
        y = (1.5 * x[..., 0] + 0.1 * torch.randn(1, 60, generator=generator)).exp()
        y = (y - y.mean()) / y.std()
        panel = Panel.of(x, y, None)
        best = {
            fit.slot[:2]: scores.mean(-1).max()
            for fit, scores in zip(
                panel.fits,
                panel.left_out.split([fit.slot.n_variants for fit in panel.fits], 1),
                strict=True,
            )
        }
        assert best["linear", True] > best["linear", False] + 0.5


class TestMixture:
    @every_kind
    @pytest.mark.parametrize("n_rows", [1, 5, 20])
    def test_weights_sum_to_one_and_who_does_not_serve_has_none(self, kind, n_rows):
        x, _, panel, gate = make(kind, n_rows=n_rows)
        mixture = Mixture.of(panel, gate)
        torch.testing.assert_close(mixture.log_weight.exp().sum(-1), torch.ones(3).double())
        assert all(fit.state is not None for fit in mixture.fits)
        forecast, log_weight = mixture.forecast(x)
        assert forecast.shape[:3] == (*log_weight.shape, n_rows) and forecast.isfinite().all()

    @every_kind
    @pytest.mark.parametrize("n_rows", [5, 20])
    def test_dropping_variants_hardly_changes_predictions(self, kind, n_rows, monkeypatch):
        _, _, panel, gate = make(kind, n_tables=1, n_rows=n_rows)
        few = Mixture.of(panel, gate)
        monkeypatch.setattr(_mixture, "DROPPED", 1e-9)
        full = Mixture.of(panel, gate)
        assert few.log_weight.shape[1] < full.log_weight.shape[1]
        new, _, _ = draw(kind, n_tables=1, n_rows=9, seed=1)
        one, other = (forecast_of(mixture, new, kind) for mixture in (few, full))
        # A thousandth of the weight moves a mean by as much of what the variants differ by.
        change = (one - other)[..., 0].abs().max()
        assert change < (1e-3 if kind == "classification" else 4e-3)

    @every_kind
    def test_evidence_is_the_log_score_of_the_mixture_on_rows_left_out(self, kind):
        _, _, panel, gate = make(kind, n_rows=20)
        mixture = Mixture.of(panel, gate)
        log_weight = gate(panel.left_out.sum(-1), panel.facts)
        expected = (log_weight.exp()[..., None] * panel.left_out.exp()).sum(1).log().sum(-1)
        torch.testing.assert_close(mixture.evidence, expected)

    @every_kind
    def test_all_variants_forecast_what_their_experts_do(self, kind):
        x, y, panel, _ = make(kind, n_rows=20)
        new, _, _ = draw(kind, n_rows=6, seed=1)
        forecast, _ = Mixture.of_all(panel).forecast(new)
        serving = panel.left_out[0, :, 0].isfinite()
        assert forecast.shape[1] == int(serving.sum())
        n_classes = None if kind == "regression" else 3
        values = Table.of(x, y, n_classes).columns.values(new)
        last = [fit for fit in panel.fits if fit.state is not None][-1]
        own = last.forecast(values, torch.arange(last.slot.n_variants))
        torch.testing.assert_close(forecast[:, -last.slot.n_variants :], own)

    def test_equivariance(self):
        """Rows, columns and labels in another order; through the gate as well."""
        x, y, panel, gate = make("classification", n_tables=1, n_rows=30)
        generator = torch.Generator().manual_seed(2)
        rows, columns = torch.randperm(30, generator=generator), torch.tensor([2, 0, 3, 1])
        label = torch.tensor([1, 2, 0])
        other = Panel.of(x[:, rows][..., columns], label[y][:, rows], 3)
        new, _, _ = draw("classification", n_tables=1, n_rows=6, seed=1)
        p = forecast_of(Mixture.of(panel, gate), new, "classification")
        q = forecast_of(Mixture.of(other, gate), new[..., columns], "classification")
        torch.testing.assert_close(q[..., label], p, rtol=1e-5, atol=1e-6)

    @every_kind
    def test_better_than_the_base_rate(self, kind):
        x, y, n_classes = draw(kind, n_tables=2, n_rows=80)
        gate = Gate(kind, torch.Generator().manual_seed(0)).double().requires_grad_(False)
        mixture = Mixture.of(Panel.of(x[:, :50], y[:, :50], n_classes), gate)
        forecast, log_weight = mixture.forecast(x[:, 50:])
        score = (log_score(forecast, y[:, 50:]) + log_weight[..., None]).logsumexp(1).mean(-1)
        assert (score > (-1.35 if kind == "regression" else -1.0)).all()

    @every_kind
    def test_embedding(self, kind):
        x, _, panel, gate = make(kind, n_rows=20)
        embedding = Mixture.of(panel, gate).embedding(x[0])
        assert embedding.shape == (20, 8) and embedding.isfinite().all()


def test_warps_are_of_the_whole_support():
    _, y, panel, _ = make("regression", n_rows=20)
    warped = next(fit for fit in panel.fits if fit.warp is not None)
    torch.testing.assert_close(warped.warp.center, Warp.of(y).center)
