"""The rules that hold for every expert; a new one is tested by being in EXPERTS."""

import itertools

import pytest
import torch

from sklearn_meta.learners.experts import EXPERTS, SLOTS, Table, boosting, forest, log_score
from sklearn_meta.learners.experts._expert import MAX_LANDMARKS

from ._tables import KINDS, draw, everything, fit

CASES = [
    (name, kind)
    for name, kind in itertools.product(EXPERTS, KINDS)
    if EXPERTS[name].n_variants[kind]
]
every_case = pytest.mark.parametrize(
    ("name", "kind"), CASES, ids=["-".join(case) for case in CASES]
)
SIZES = [17, MAX_LANDMARKS, MAX_LANDMARKS + 12]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Forests and boosting on small tables too, in little time."""
    monkeypatch.setattr(boosting, "N_ROUNDS", 10)
    monkeypatch.setattr(boosting, "MIN_ROWS", 5)
    monkeypatch.setattr(forest, "MIN_ROWS", 5)


def foreseen(name, kind, **shape):
    x, y, n_classes = draw(kind, **shape)
    expert = EXPERTS[name]
    if not expert.serves(x.shape[1]):
        pytest.skip("is for other tables")
    left_out, state = fit(expert, x, y, n_classes)
    return left_out, expert.predict(
        state, Table.of(x, y, n_classes).values, everything(*at(name, kind))
    )


def at(name, kind):
    return EXPERTS[name], kind


def check(forecast, kind, shape):
    """Shape (B, V, n), finite, and for classes probabilities that sum to one."""
    assert forecast.shape == (*shape, 2 if kind == "regression" else 3)
    assert forecast.isfinite().all()
    if kind == "classification":
        torch.testing.assert_close(forecast.exp().sum(-1), torch.ones(shape, dtype=torch.float64))


def close(a, b, tolerance=1e-7):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


class TestShapes:
    @every_case
    @pytest.mark.parametrize("n_rows", SIZES)
    def test_forecasts(self, name, kind, n_rows):
        x, y, n_classes = draw(kind, n_tables=2, n_rows=n_rows)
        new, _, _ = draw(kind, n_tables=2, n_rows=7, seed=1)
        expert, table = EXPERTS[name], Table.of(x, y, n_classes)
        left_out, state = expert.fit(table)
        check(left_out, kind, (2, expert.n_variants[kind], n_rows))
        out = expert.predict(state, table.columns.values(new), everything(expert, kind))
        check(out, kind, (2, expert.n_variants[kind], 7))

    def test_slots_name_every_variant(self):
        for kind in KINDS:
            assert SLOTS[kind][0].expert == "base_rate"
            assert {slot.expert for slot in SLOTS[kind]} == {n for n, k in CASES if k == kind}
            for slot in SLOTS[kind]:
                assert slot.n_variants == EXPERTS[slot.expert].n_variants[kind]
                assert not slot.warped or (kind == "regression" and EXPERTS[slot.expert].warps)


class TestSubsets:
    @every_case
    def test_kept_variants_forecast_what_they_would_among_all(self, name, kind):
        x, y, n_classes = draw(kind)
        expert, table = EXPERTS[name], Table.of(x, y, n_classes)
        _, state = expert.fit(table)
        kept = everything(expert, kind)[1::2]
        full = expert.predict(state, table.values, everything(expert, kind))
        close(expert.predict(state, table.values, kept), full[:, kept])

    @every_case
    @pytest.mark.parametrize("n_rows", SIZES)
    def test_many_tables_at_once_equal_one_by_one(self, name, kind, n_rows):
        x, y, n_classes = draw(kind, n_tables=2, n_rows=n_rows)
        expert = EXPERTS[name]
        both, state = fit(expert, x, y, n_classes)
        values = Table.of(x, y, n_classes).values
        out = expert.predict(state, values, everything(expert, kind))
        for i in range(2):
            one = slice(i, i + 1)
            left_out, state = fit(expert, x[one], y[one], n_classes)
            close(left_out, both[one])
            close(expert.predict(state, values[one], everything(expert, kind)), out[one])


class TestEquivariance:
    """Orders of rows, columns and labels mean nothing."""

    @staticmethod
    def both(name, x, y, n_classes, new):
        table = Table.of(x, y, n_classes)
        left_out, state = EXPERTS[name].fit(table)
        kind = "regression" if n_classes is None else "classification"
        kept = everything(EXPERTS[name], kind)
        return left_out, EXPERTS[name].predict(state, table.columns.values(new), kept)

    @every_case
    @pytest.mark.parametrize("n_rows", [12, 40, *SIZES[1:]])
    def test_permutations(self, name, kind, n_rows):
        x, y, n_classes = draw(kind, n_tables=1, n_rows=n_rows)
        new, _, _ = draw(kind, n_tables=1, n_rows=5, seed=1)
        left_out, out = self.both(name, x, y, n_classes, new)
        generator = torch.Generator().manual_seed(3)
        rows = torch.randperm(n_rows, generator=generator)
        columns = torch.randperm(x.shape[-1], generator=generator)
        shuffled = self.both(
            name, x[:, rows][..., columns], y[:, rows], n_classes, new[..., columns]
        )
        close(shuffled[0], left_out[:, :, rows])
        close(shuffled[1], out)
        if kind == "classification":
            label = torch.tensor([2, 0, 1])
            renamed = self.both(name, x, label[y], n_classes, new)
            for after, before in zip(renamed, (left_out, out), strict=True):
                close(after[..., label], before)

    @every_case
    @pytest.mark.parametrize("n_rows", [32, 160])
    def test_rows_of_tied_targets(self, name, kind, n_rows):
        x, y, n_classes = draw(kind, n_tables=1, n_rows=n_rows)
        y = y.round() if kind == "regression" else y
        self.check_order_of_rows(name, x, y, n_classes)

    @pytest.mark.parametrize("name", [name for name, kind in CASES if kind == "regression"])
    @pytest.mark.parametrize("n_columns", [5, 8])
    def test_rows_that_are_all_as_far_out(self, name, n_columns):
        bits = list(itertools.product([0.0, 1.0], repeat=n_columns))
        x = torch.tensor(bits, dtype=torch.float64)[None]
        _, y, _ = draw("regression", n_tables=1, n_rows=len(bits))
        self.check_order_of_rows(name, x, y, None)

    def check_order_of_rows(self, name, x, y, n_classes):
        left_out, out = self.both(name, x, y, n_classes, x[:, :16])
        rows = torch.randperm(y.shape[1], generator=torch.Generator().manual_seed(3))
        shuffled = self.both(name, x[:, rows], y[:, rows], n_classes, x[:, :16])
        close(shuffled[0], left_out[:, :, rows])
        close(shuffled[1], out)


class TestEdges:
    @every_case
    @pytest.mark.parametrize("n_rows", [1, 2])
    def test_hardly_a_row(self, name, kind, n_rows):
        for out in foreseen(name, kind, n_rows=n_rows):
            check(out, kind, (3, EXPERTS[name].n_variants[kind], n_rows))

    @every_case
    @pytest.mark.parametrize("n_rows", [6, *SIZES[1:]])
    def test_one_class_or_one_value(self, name, kind, n_rows):
        x, y, n_classes = draw(kind, n_tables=1, n_rows=n_rows)
        left_out, state = fit(EXPERTS[name], x, torch.zeros_like(y), n_classes)
        check(left_out, kind, (1, EXPERTS[name].n_variants[kind], n_rows))
        values = Table.of(x, torch.zeros_like(y), n_classes).values
        check(
            EXPERTS[name].predict(state, values, everything(*at(name, kind))),
            kind,
            left_out.shape[:3],
        )
        if kind == "classification":
            assert (left_out.argmax(-1) == 0).all()

    @every_case
    @pytest.mark.parametrize("n_rows", [8, *SIZES])
    def test_constant_and_equal_columns(self, name, kind, n_rows):
        x, y, n_classes = draw(kind, n_tables=2, n_rows=n_rows)
        x = torch.cat([x, torch.full_like(x, 7.0), x, x], -1)
        x[1] = 3.0  # a table without a column that says anything
        left_out, state = fit(EXPERTS[name], x, y, n_classes)
        check(left_out, kind, (2, EXPERTS[name].n_variants[kind], n_rows))
        values = Table.of(x, y, n_classes).values
        check(
            EXPERTS[name].predict(state, values, everything(*at(name, kind))),
            kind,
            left_out.shape[:3],
        )

    @every_case
    def test_more_columns_than_rows(self, name, kind):
        for out in foreseen(name, kind, n_rows=9, n_columns=30):
            check(out, kind, (3, EXPERTS[name].n_variants[kind], 9))


class TestSkill:
    @every_case
    @pytest.mark.parametrize("n_rows", [100, MAX_LANDMARKS + 72])
    def test_better_than_the_base_rate_where_there_is_a_signal(self, name, kind, n_rows):
        if name == "base_rate":
            pytest.skip("is the base rate")
        x, y, n_classes = draw(kind, n_tables=2, n_rows=n_rows)
        foresight = [
            log_score(fit(EXPERTS[one], x, y, n_classes)[0], y).mean(-1).amax(1)
            for one in (name, "base_rate")
        ]
        assert (foresight[0] > foresight[1] + 0.1).all()


@pytest.mark.parametrize("module", [forest, boosting])
def test_many_rows_are_what_forest_and_boosting_wait_for(module):
    name = module.__name__.rpartition(".")[-1]
    assert not EXPERTS[name].serves(module.MIN_ROWS)
    assert EXPERTS[name].serves(module.MIN_ROWS + 1)
