"""Kernel ridge: rows left out, in closed form and by folds, equal refits without them."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from sklearn_meta.learners.experts import EXPERTS, KernelRidge, Table, _expert
from sklearn_meta.learners.experts._columns import relevance
from sklearn_meta.learners.experts._kernels import BIAS, laplace, linear, radial
from sklearn_meta.learners.experts._ridge import NOISES, Directions, left_out, ridge
from sklearn_meta.learners.experts.kernel_ridge import SHARPNESS

from ._tables import KINDS, draw, everything

KERNELS = {
    "linear": linear,
    "radial": partial(radial, length=0.7),
    "laplace": partial(laplace, length=2.0),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def refit(kernel, values, targets, new):
    """Mean (L, rows, m) and relative variance (L, rows) by plain linear algebra, all noises."""
    gram, similar = kernel(values, values) + BIAS, kernel(new, values) + BIAS
    own = (kernel(new, new) + BIAS).diagonal()
    means, variances = [], []
    for noise in NOISES:
        solve = torch.linalg.inv(gram + noise * torch.eye(len(gram), dtype=gram.dtype))
        means.append(similar @ solve @ targets)
        variances.append(1 + (own - ((similar @ solve) * similar).sum(-1)) / noise)
    return torch.stack(means), torch.stack(variances)


def scores_of(log_p):
    """Class scores (B, L, n, C), up to a constant a row, from log probabilities."""
    one = log_p.unflatten(1, (len(NOISES), len(SHARPNESS)))[:, :, 0]
    return one - one.mean(-1, keepdim=True)


def close(a, b, tolerance=1e-6):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


class TestFixedColumns:
    @every_kernel
    @pytest.mark.parametrize("n_columns", [3, 40])
    def test_left_out_equals_refits(self, kernel, n_columns):
        table = Table.of(*draw("regression", n_tables=1, n_rows=14, n_columns=n_columns))
        forecast, state = KernelRidge(kernel).fit(table)
        values, targets = table.values[0], table.targets[0]
        for i in range(14):
            others = torch.arange(14) != i
            mean, variance = refit(kernel, values[others], targets[others], values[[i]])
            close(forecast[0, :, i, 0], mean[:, 0, 0])
            close(forecast[0, :, i, 1], (variance[:, 0] * state.noise[0]).log())

    @every_kernel
    def test_left_out_classes_equal_refits(self, kernel):
        table = Table.of(*draw("classification", n_tables=1, n_rows=14))
        forecast, _ = KernelRidge(kernel).fit(table)
        values, targets = table.values[0], table.targets[0]
        for i in range(14):
            others = torch.arange(14) != i
            mean, _ = refit(kernel, values[others], targets[others], values[[i]])
            for j, sharpness in enumerate(SHARPNESS):
                rows = forecast[0].unflatten(0, (len(NOISES), len(SHARPNESS)))[:, j, i]
                close(rows, (sharpness * mean[:, 0]).log_softmax(-1))

    @every_kernel
    def test_predictions_are_those_of_the_posterior(self, kernel):
        table = Table.of(*draw("regression", n_tables=1, n_rows=14))
        expert = KernelRidge(kernel)
        _, state = expert.fit(table)
        new = torch.cat([table.values[:, :3], table.values[:, :3] + 0.3], 1)
        out = expert.predict(state, new, everything(expert, "regression"))[0]
        mean, variance = refit(kernel, table.values[0], table.targets[0], new[0])
        close(out[..., 0], mean[..., 0])
        close(out[..., 1], (variance * state.noise[0][:, None]).log())

    def test_noise_is_the_mean_error_left_out_and_half_a_row_of_the_target(self):
        table = Table.of(*draw("regression", n_tables=2, n_rows=14))
        expert = KernelRidge(linear)
        forecast, state = expert.fit(table)
        relative = (forecast[..., 1] - state.noise.log()[..., None]).exp()
        errors = (table.targets[:, None, :, 0] - forecast[..., 0]).square() / relative
        start = 0.5 * table.targets.square().mean((1, 2))
        close(state.noise, (errors.sum(-1) + start[:, None]) / 14.5)

    def test_constant_targets_and_a_shift_of_a_column(self):
        x, y, _ = draw("regression", n_tables=1, n_rows=14)
        expert = KernelRidge(linear)
        before, _ = expert.fit(Table.of(x, y))
        after, _ = expert.fit(Table.of(1000 + 50 * x, y))
        close(before, after)


class TestRelevance:
    """Columns are weighted by rows that are not left out."""

    @every_kernel
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(("n_rows", "power"), [(5, 1), (16, 1), (16, 2), (40, 1)])
    def test_left_out_equals_refits(self, kernel, kind, n_rows, power):
        table = Table.of(*draw(kind, n_tables=1, n_rows=n_rows))
        assert len(table.held) == (n_rows if n_rows <= 16 else 8)
        close(table.held.sum(0), torch.ones(1, n_rows, dtype=torch.float64))
        forecast, state = KernelRidge(kernel, power).fit(table)
        for held in table.held[:, 0]:
            mine, others = held == 1, held == 0
            weight = relevance(table.values, table.targets, (1 - held)[None])[0] ** power
            weight = (weight / weight.mean()).sqrt()
            rows, targets = table.values[0] * weight, table.targets[0]
            mean, variance = refit(kernel, rows[others], targets[others], rows[mine])
            if kind == "regression":
                close(forecast[0, :, mine, 0], mean[..., 0])
                close(forecast[0, :, mine, 1], (variance * state.noise[0][:, None]).log())
            else:
                centred = mean - mean.mean(-1, keepdim=True)
                close(scores_of(forecast)[0][:, mine], centred)

    def test_relevance_is_that_of_the_rows_that_are_used(self):
        x, y, _ = draw("regression", n_tables=1, n_rows=12)
        table = Table.of(x, y)
        used = torch.ones(1, 12, dtype=torch.float64)
        used[0, 4] = 0
        others = torch.arange(12) != 4
        subset = relevance(
            table.values[:, others], table.targets[:, others], torch.ones(1, 11).double()
        )
        close(relevance(table.values, table.targets, used), subset)

    def test_average_of_one_and_the_most_where_the_signal_is(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 60, 5, generator=generator, dtype=torch.float64)
        table = Table.of(x, x[..., 2])
        close(table.relevance.mean(-1), torch.ones(1, dtype=torch.float64))
        assert table.relevance[0].argsort(descending=True)[:2].sort().values.tolist() == [2, 7]
        assert table.relevance.min() > 0

    @pytest.mark.parametrize("name", ["linear_relevance", "linear_sparse", "radial_short"])
    def test_wide_tables_of_many_rows(self, name):
        """A row has no say in the relevance that it is foreseen with; landmarks or not."""
        x, y, _ = draw("regression", n_tables=1, n_rows=140, n_columns=60)
        table = Table.of(x, y)
        assert table.landmarks is not None and table.held is not None
        forecast, _ = EXPERTS[name].fit(table)
        held = table.held[0, 0] == 1
        weight = relevance(table.values, table.targets, 1 - table.held[0])
        weight = weight ** EXPERTS[name].power
        rows = table.values * (weight / weight.mean()).sqrt()
        landmarks = table.at_landmarks(rows)
        kernel = EXPERTS[name].kernel
        directions = Directions.of_landmarks(
            kernel(rows, landmarks) + BIAS, kernel(landmarks, landmarks) + BIAS
        )
        mean, _ = left_out(directions, table.targets)
        close(forecast[0, :, held, 0], mean[0, :, held, 0])
        narrow = Table.of(x[..., :20], y)
        assert narrow.landmarks is not None and narrow.held is None


class TestLandmarks:
    @every_kernel
    def test_all_rows_as_landmarks_give_the_exact_answer(self, kernel):
        table = Table.of(*draw("regression", n_tables=2, n_rows=30))
        gram = kernel(table.values, table.values) + BIAS
        exact, approximate = Directions.of_all(gram), Directions.of_landmarks(gram, gram)
        for ours, theirs in zip(
            left_out(exact, table.targets), left_out(approximate, table.targets), strict=True
        ):
            close(ours, theirs)
        new = kernel(table.values[:, :4] + 0.2, table.values) + BIAS
        means = [
            (new @ one.turn)[:, None] @ ridge(one, table.targets)[0] for one in (exact, approximate)
        ]
        close(*means)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("kernel", [linear, KERNELS["radial"]], ids=["linear", "radial"])
    def test_forecasts_with_as_many_landmarks_as_rows(self, kernel, kind, monkeypatch):
        x, y, n_classes = draw(kind, n_tables=1, n_rows=30)
        expert = KernelRidge(kernel)
        whole = Table.of(x, y, n_classes)
        exact, state = expert.fit(whole)
        out = expert.predict(state, whole.values + 0.1, everything(expert, kind))
        monkeypatch.setattr(_expert, "MAX_LANDMARKS", 29)
        table = Table.of(x, y, n_classes)
        table = replace(table, landmarks=torch.arange(30)[None])
        approximate, state = expert.fit(table)
        close(approximate, exact, 1e-5)
        again = expert.predict(state, table.values + 0.1, everything(expert, kind))
        close(again, out, 1e-5)

    def test_landmarks_are_distinct_rows(self):
        table = Table.of(*draw("regression", n_tables=3, n_rows=210))
        assert all(len(set(rows.tolist())) == _expert.N_LANDMARKS for rows in table.landmarks)


def test_kernels_are_positive_and_equal_rows_are_the_most_similar():
    values = Table.of(*draw("regression", n_tables=1, n_rows=20)).values[0]
    for kernel in KERNELS.values():
        gram = kernel(values, values)
        assert torch.linalg.eigvalsh(gram).min() > -1e-9
        close(gram, gram.mT)
    for name in ("radial", "laplace"):
        gram = KERNELS[name](values, values)
        assert (gram.argmax(-1) == torch.arange(20)).all()
