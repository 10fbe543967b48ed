"""Correlations by name, and the Gaussian process whose mean they are, against direct formulas."""

import numpy as np
import pytest
import torch

from sklearn_meta.learners._column_prior import ColumnPrior
from sklearn_meta.learners._named_gp import (
    CLIP,
    LEVEL,
    LINEAR,
    NOISES,
    RANKS,
    SMOOTH,
    NamedGP,
    covariance,
    foresee,
    solve,
)
from sklearn_meta.learners.experts import log_score
from sklearn_meta.preprocessing import OwnTableEncoder
from sklearn_meta.preprocessing._column_names import EncodedColumn

AREA, ROOMS, AGE = "area", "rooms", "age"


def columns(*names, kind="number", log_sd=0.0):
    return [EncodedColumn(name, kind, log_sd) for name in names]


def table(seed, slopes=(1.0, 0.5, -0.5), names=(AREA, ROOMS, AGE), n=200, noise=0.1):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, len(slopes)))
    return z, z @ slopes + noise * rng.normal(size=n), columns(*names)


def strong_prior(n_tables=6):
    return ColumnPrior.learn(table(seed) for seed in range(n_tables))


def adapt(z, y, prior, cols):
    log_sd = torch.tensor([c.log_sd for c in cols], dtype=torch.float64)
    return NamedGP.adapt(torch.as_tensor(z), torch.as_tensor(y), log_sd, prior.expect(cols))


def mean_of(forecast, left_out, y):
    weight = log_score(left_out[None], torch.as_tensor(y)[None])[0].sum(-1).softmax(0)
    return (weight @ forecast[..., 0]).numpy()


def same(a, b, **tolerance):
    np.testing.assert_allclose(
        np.asarray(a), np.asarray(b), **{"rtol": 1e-8, "atol": 1e-9} | tolerance
    )


# What is learned


def test_correlations_are_averages_over_tables_shrunken_to_all_numbers():
    tables = [table(seed, noise=1.0) for seed in range(4)]
    prior = ColumnPrior.learn(tables)
    standard = [np.column_stack([y, z.clip(-50, 50)]) for z, y, _ in tables]
    correlation = [np.corrcoef(s.T) for s in standard]
    with_all = np.array([c[0, 1:].mean() for c in correlation])
    shrink = 1 - with_all.var(ddof=1) / 4 / with_all.mean() ** 2
    mean = with_all.mean() * max(shrink, 0)
    weight = 4 * 200 / 210
    expected = (weight * np.mean(correlation, 0)[0, 1:] + 2 * mean) / (weight + 2)
    alone = prior.expect(columns(AREA)).slopes  # one column: its slope is its correlation
    same(alone, expected[:1], atol=0.01)


def test_without_a_table_equals_learning_from_the_others():
    tables = [table(seed, names=names) for seed, names in enumerate(["abc", "bcd", "cde", "aec"])]
    cols = columns("a", "b", "c", "d", "e", "f")
    for t in range(4):
        left = ColumnPrior.learn(tables).without(t).expect(cols)
        direct = ColumnPrior.learn(tables[:t] + tables[t + 1 :]).expect(cols)
        for name in ("slopes", "log_sd", "n_tables", "target_log_sd", "target_spread"):
            same(getattr(left, name), getattr(direct, name))


def test_nothing_is_expected_of_unknown_names_unless_tables_agree():
    agree = ColumnPrior.learn(table(s, (1.0, 0.8, 0.9)) for s in range(5))
    differ = ColumnPrior.learn(
        table(s, (1.0, 1.0, 1.0) if s % 2 else (-1.0, -1.0, -1.0)) for s in range(6)
    )
    unknown = columns("p", "q", None)
    assert (agree.expect(unknown).slopes > 0.2).all()
    same(differ.expect(unknown).slopes, np.zeros(3))
    same(agree.expect(columns("p", "q", kind="level")).slopes, np.zeros(2))
    same(ColumnPrior().expect(unknown).slopes, np.zeros(3))


def test_kinds_and_repeated_names_are_kept_apart():
    prior = ColumnPrior.learn(table(s, (1.0, -1.0, 0.0)) for s in range(6))
    assert prior.expect(columns(AREA, kind="level")).slopes[0] == 0
    once, twice = prior.expect(columns(AREA)), prior.expect(columns(AREA, AREA))
    assert once.slopes[0] > 0.4 and once.n_tables.tolist() == [6]
    same(twice.slopes, prior.expect(columns("p", "q")).slopes)
    assert twice.n_tables.tolist() == [0, 0]


def test_standard_deviations_of_names_and_of_the_target():
    tables = []
    for s in range(4):
        z, y, _ = table(s)
        scale = np.exp(0.1 * s)
        tables.append(
            (z / z.std(0), scale * y / y.std(), columns(AREA, ROOMS, AGE, log_sd=0.2 * s))
        )
    cols = columns(AREA, ROOMS, "new")
    expected = ColumnPrior.learn(tables).expect(cols)
    same(expected.log_sd, [0.3, 0.3, 0.0])
    assert expected.n_tables.tolist() == [4, 4, 0]
    same(expected.target_log_sd, 0.15)
    same(expected.target_spread, 0.1**2 * np.var(range(4)) + 0.01)


def test_units_of_tables_do_not_matter_but_for_the_target():
    tables = [table(s) for s in range(4)]
    scaled = [(1e3 * z + 7, 1e4 * y - 2, c) for z, y, c in tables]
    cols = columns(AREA, ROOMS, "new")
    a, b = (ColumnPrior.learn(t).expect(cols) for t in (tables, scaled))
    same(a.slopes, b.slopes, rtol=1e-5)
    same(a.target_spread, b.target_spread)
    same(b.target_log_sd - a.target_log_sd, np.log(1e4))


def test_round_trip_through_arrays_gives_the_same_bits():
    tables = [table(seed, names=names) for seed, names in enumerate(["äbc", "bcd", "cdé"])]
    tables.append((np.ones((5, 1)), np.ones(5), columns("constant")))
    cols = columns("ä", "b", "c", "d", "é", "x")
    for prior in (ColumnPrior.learn(tables), ColumnPrior()):
        arrays = prior.to_arrays()
        assert all(np.isfinite(a).all() for a in arrays.values())
        again = ColumnPrior.from_arrays(arrays)
        assert again.names == prior.names
        for name in ("slopes", "log_sd", "n_tables"):
            a, b = (getattr(p.expect(cols), name) for p in (prior, again))
            assert a.tobytes() == b.tobytes()
        assert str({k: v.tobytes() for k, v in again.to_arrays().items()}) == str(
            {k: v.tobytes() for k, v in arrays.items()}
        )


def test_damage_is_refused():
    arrays = strong_prior().to_arrays()
    damages = {
        "columns": arrays["columns"] + 7,
        "products": arrays["products"][:-1],
        "names": np.frombuffer(b"number", dtype=np.uint8),
        "n_columns": arrays["n_columns"][:-1],
    }
    for name, array in arrays.items():  # of another number of axes, of another kind
        for wrong in (array.ravel()[0], array[None], array.astype(np.complex64)):
            with pytest.raises(ValueError, match="damaged names of columns"):
                ColumnPrior.from_arrays(arrays | {name: np.asarray(wrong)})
    for name, damaged in damages.items():
        with pytest.raises(ValueError, match="damaged names of columns"):
            ColumnPrior.from_arrays(arrays | {name: damaged})
    with pytest.raises(ValueError, match="expected the arrays"):
        ColumnPrior.from_arrays({})


def test_tables_that_say_nothing_keep_their_place():
    constant = (np.ones((5, 3)), np.arange(5.0), columns(AREA, ROOMS, AGE))
    same_target = (table(0)[0], np.ones(200), columns(AREA, ROOMS, AGE))
    one_row = (np.ones((1, 3)), np.ones(1), columns(AREA, ROOMS, AGE))
    tables = [table(1), constant, same_target, one_row, table(2)]
    prior, cols = ColumnPrior.learn(tables), columns(AREA, AGE, "new")
    assert len(prior.tables) == 5
    slopes = ColumnPrior.learn([table(1), table(2)]).expect(cols).slopes
    same(prior.expect(cols).slopes, slopes)


def test_wide_tables_are_cheap_and_finite():
    names = [f"n{i}" for i in range(3000)]
    expected = strong_prior().expect(columns(AREA, *names, ROOMS))
    same(expected.slopes[[0, -1]], strong_prior().expect(columns(AREA, ROOMS)).slopes)
    assert (expected.slopes[1:-1] == 0).all()


# The process


def test_without_names_it_is_the_plain_process():
    z, y, cols = table(0, n=12)
    new = np.random.default_rng(1).normal(size=(5, 3))
    state = adapt(z, y, ColumnPrior(), cols)
    scaled, level, scale = (z - z.mean(0)) / z.std(0, ddof=1), y.mean(), y.std(ddof=1)
    others = (new - z.mean(0)) / z.std(0, ddof=1)

    def ranks(a):
        return ((z < a[:, None]).mean(1) + (z <= a[:, None]).mean(1)) / 2

    def kernel(a, b, a_ranks, b_ranks):
        total = LEVEL + LINEAR * a @ b.T / 3
        total += SMOOTH * np.exp(-((a[:, None] - b) ** 2).sum(-1) / 6)
        return total + RANKS * np.exp(-np.abs(a_ranks[:, None] - b_ranks).sum(-1))

    within = kernel(scaled, scaled, ranks(z), ranks(z))
    across = kernel(others, scaled, ranks(new), ranks(z))
    own = kernel(others, others, ranks(new), ranks(new)).diagonal()
    target = (y - level) / scale
    _, noise = solve(torch.tensor(within), torch.tensor(target))
    forecast = state.predict(torch.tensor(new))
    for v, base in enumerate(NOISES):
        precision = np.linalg.inv(within + np.diag(noise[v].numpy()))
        same(forecast[v, :, 0], level + scale * across @ precision @ target, rtol=1e-6)
        variance = own - (across @ precision * across).sum(1) + base
        same(forecast[v, :, 1].exp(), variance * scale**2 * state.spread[v].item(), rtol=1e-6)


def test_left_out_forecasts_equal_refits():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 4, dtype=torch.float64, generator=generator)
    slopes, residual = rows[0], rows[:, 0] + rows[:, 1].square()
    kernel = covariance(rows, rows, rows, rows, slopes, 4)
    inverse, noise = solve(kernel, residual)
    mean, variance = foresee(inverse, residual, noise)
    for i in range(9):
        rest = torch.arange(9) != i
        for v, base in enumerate(NOISES):
            refit = torch.linalg.inv(kernel[rest][:, rest] + torch.diag(noise[v, rest]))
            cross = kernel[i, rest]
            same(mean[v, i], cross @ refit @ residual[rest])
            same(variance[v, i], kernel[i, i] - cross @ refit @ cross + base)


def test_outliers_are_trusted_less():
    z, y, cols = table(0, n=20)
    wrong = y.copy()
    wrong[3] += 100.0
    _, noise = solve(torch.eye(20, dtype=torch.float64), torch.tensor(wrong))
    assert (noise[:, 3] > 5 * noise[:, 4]).all()


@pytest.mark.parametrize("n", [3, 12])
def test_order_of_rows_and_columns_does_not_matter(n):
    prior, (z, y, cols) = strong_prior(), table(50, n=n)
    new = table(51)[0]
    plain = adapt(z, y, prior, cols).predict(torch.tensor(new))
    rng = np.random.default_rng(0)
    rows, order = rng.permutation(n), rng.permutation(3)
    state = adapt(z[rows][:, order], y[rows], prior, [cols[j] for j in order])
    same(state.predict(torch.tensor(new[:, order])), plain)
    same(state.left_out, adapt(z, y, prior, cols).left_out[:, rows])


def test_many_rows_in_any_order():
    z, y, cols = table(0, n=600)
    prior, new = strong_prior(), torch.tensor(table(1)[0])
    state, rows = adapt(z, y, prior, cols), np.random.default_rng(0).permutation(600)
    assert len(state.rows) < 600 and state.left_out.shape == (len(NOISES), 600, 2)
    other = adapt(z[rows], y[rows], prior, cols)
    same(other.predict(new), state.predict(new), rtol=1e-6, atol=1e-7)
    same(other.left_out, state.left_out[:, rows], rtol=1e-6, atol=1e-7)
    assert np.corrcoef(mean_of(state.left_out, state.left_out, y), y)[0, 1] > 0.95


def test_names_that_are_not_known_change_nothing():
    # the tables disagree, so that an unknown column is not expected to tell anything
    prior = ColumnPrior.learn(
        table(s, (1.0, -1.0, 0.0) if s % 2 else (-1.0, 1.0, 0.0)) for s in range(6)
    )
    z, y, _ = table(50, n=6)
    new = torch.tensor(table(51)[0])
    renamed = [adapt(z, y, prior, columns(*names)) for names in ("pqr", "xyz", [None] * 3)]
    for state in renamed[1:]:
        same(state.predict(new), renamed[0].predict(new))


def test_units_of_a_new_table_do_not_matter():
    frames = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)

    def town(rows):
        X = frames.DataFrame(rng.lognormal(size=(rows, 3)), columns=[AREA, ROOMS, AGE])
        return X, np.log(X[AREA].to_numpy()) - np.log(X[AGE].to_numpy())

    def encoded(X, y):
        encoder = OwnTableEncoder().fit([X])
        return encoder.transform(X).astype(float), y, encoder.columns()

    towns = [town(100) for _ in range(5)]
    (X, y), (new, _) = town(5), town(30)
    forecasts = []
    for unit, currency in [(1.0, 1.0), (1e3, 1.0), (1.0, 50.0)]:
        prior = ColumnPrior.learn(encoded(A, currency * b) for A, b in towns)
        encoder = OwnTableEncoder().fit([unit * X])
        state = adapt(*encoded(unit * X, currency * y)[:2], prior, encoder.columns())
        Z = torch.tensor(encoder.transform(unit * new)).double()
        forecasts.append(state.predict(Z)[..., 0] / currency)
    same(forecasts[1], forecasts[0], rtol=1e-4, atol=1e-4)
    same(forecasts[2], forecasts[0], rtol=1e-4, atol=1e-4)


def test_names_make_few_rows_go_a_long_way():
    prior, new = strong_prior(), table(99, n=300)
    errors = {"known": [], "unknown": []}
    for seed in range(20):
        z, y, cols = table(100 + seed, n=3)
        for key, names in {"known": cols, "unknown": columns(None, None, None)}.items():
            state = adapt(z, y, prior if key == "known" else ColumnPrior(), names)
            mean = mean_of(state.predict(torch.tensor(new[0])), state.left_out, y)
            errors[key].append(np.mean((mean - new[1]) ** 2) / new[1].var())
    assert np.mean(errors["known"]) < 0.4 * np.mean(errors["unknown"])


def test_one_row_foresees_in_the_direction_that_was_learned():
    prior = strong_prior()
    z, y, cols = np.zeros((1, 3)), np.array([5.0]), columns(AREA, ROOMS, AGE)
    forecast = adapt(z, y, prior, cols).predict(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).double())
    assert (forecast[:, 0, 0] > 5.1).all() and (forecast[:, 1, 0] < 4.9).all()
    assert forecast.isfinite().all()


def test_targets_far_from_what_was_learned_keep_their_own_scale():
    prior, (z, y, cols) = strong_prior(), table(50, n=20)
    far = adapt(z, 1e6 * y, prior, cols)
    same(far.scale, 1e6 * y.std(ddof=1))
    near = adapt(z[:3], 0.9 * y[:3], prior, cols)
    own = 0.9 * y[:3].std(ddof=1)
    promised = np.exp(prior.expect(cols).target_log_sd)
    assert min(own, promised) < near.scale < max(own, promised)


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_constant_columns_and_targets_are_finite(n):
    cols = columns(AREA, None, AGE, log_sd=np.nan)
    z = np.random.default_rng(0).normal(size=(n, 3))
    z[:, 2] = 0
    for y in (np.ones(n), np.arange(n) * 1.0):
        for prior in (strong_prior(), ColumnPrior()):
            state = adapt(z, y, prior, cols)
            forecast = state.predict(torch.tensor(1e3 * table(1)[0]))
            assert forecast.isfinite().all() and state.left_out.isfinite().all()
            assert state.left_out.shape == (len(NOISES), n, 2)
            if (y == 1).all():
                same(state.predict(torch.tensor(z))[..., 0], np.ones((len(NOISES), n)), atol=2.0)


def test_far_rows_are_clipped():
    z, y, cols = table(0, n=10)
    state = adapt(z, y, strong_prior(), cols)
    far, farther = (state.predict(torch.full((1, 3), x).double()) for x in (CLIP * 10, CLIP * 99))
    same(far, farther)
