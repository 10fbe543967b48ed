"""Classes by label across tables, and the expert of what they promise, against direct formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._class_prior import ClassPrior
from sklearn_meta.learners._named_classes import (
    PRIOR_ROWS,
    RIDGES,
    TEMPERS,
    NamedClasses,
    _deviation,
)
from sklearn_meta.learners.experts import log_score
from sklearn_meta.learners.in_context import InContext
from sklearn_meta.preprocessing import OwnTableEncoder
from sklearn_meta.preprocessing._column_names import EncodedColumn
from sklearn_meta.preprocessing._columns import read_table
from sklearn_meta.tasks._episodes import Rows
from sklearn_meta.tasks._table_task import TableTask

pd = pytest.importorskip("pandas")

NAMES, LABELS = ("height", "width", "depth"), ("a", "b", "c")
MEANS = np.array([[-2.0, 0.0, 1.0], [0.0, 2.0, -1.0], [2.0, -1.0, 0.0]])


def columns(*names, log_sd=0.0, clip=math.inf):
    return [EncodedColumn(name, "number", log_sd, clip) for name in names]


def rows(seed, n=90, means=MEANS, shift=0.0):
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(len(means)), rng.integers(0, len(means), n)][:n]
    return means[y] + shift + rng.normal(size=(n, means.shape[1])), y


def standard(seed, labels=LABELS, names=NAMES, **options):
    z, y = rows(seed, **options)
    sd = z.std(0)
    cols = [EncodedColumn(m, "number", float(np.log(s))) for m, s in zip(names, sd, strict=True)]
    return (z - z.mean(0)) / sd, y, cols, labels


def prior_of(n_tables=3, **options):
    return ClassPrior.learn(standard(seed, **options) for seed in range(n_tables))


def fitted(prior, z, y, names=NAMES, labels=LABELS):
    named = NamedClasses.of(prior, columns(*names), labels)
    return named.fit(torch.as_tensor(z), torch.as_tensor(y))


def same(a, b, **tolerance):
    np.testing.assert_allclose(
        np.asarray(a), np.asarray(b), **{"rtol": 1e-6, "atol": 1e-7} | tolerance
    )


class TestPrior:
    def test_means_and_covariances_of_one_table(self):
        z, y, cols, _ = table = standard(0)
        expected = ClassPrior.learn([table]).expect(cols, LABELS)
        means = np.stack([z[y == c].mean(0) for c in range(3)])
        inside = z - means[y]
        same(expected.means, means - means.mean(0))
        same(expected.within, inside.T @ inside / len(y), atol=1e-6)
        same(expected.log_sd, [c.log_sd for c in cols])
        assert expected.n_tables.tolist() == [1, 1, 1] and expected.columns.tolist() == [0, 1, 2]

    def test_tables_are_averaged_and_what_they_disagree_about_is_noise(self):
        apart = [MEANS, MEANS * [1, 1, -1]]
        tables = [standard(s, means=m, n=3000) for s, m in enumerate(apart)]
        alone = [ClassPrior.learn([t]).expect(columns(*NAMES), LABELS) for t in tables]
        both = ClassPrior.learn(tables).expect(columns(*NAMES), LABELS)
        same(both.means, (alone[0].means + alone[1].means) / 2)
        mean = (alone[0].within + alone[1].within) / 2
        apart = ((alone[0].means - alone[1].means) ** 2).mean(0) / 4
        same(both.within, mean + np.diag(apart), atol=1e-6)
        assert both.within[2, 2] > 2 * both.within[0, 0]

    def test_without_a_table_equals_learning_from_the_others(self):
        tables = [standard(s, names=n) for s, n in enumerate(["abc", "bcd", "abd"])]
        for t in range(3):
            left = ClassPrior.learn(tables).without(t).expect(columns(*"abcd"), LABELS)
            direct = ClassPrior.learn(tables[:t] + tables[t + 1 :])
            direct = direct.expect(columns(*"abcd"), LABELS)
            for name in ("columns", "log_sd", "n_tables", "means", "within"):
                same(getattr(left, name), getattr(direct, name))
        assert ClassPrior.learn(tables[:1]).without(0).expect(columns(*"abc"), LABELS) is None

    def test_only_labels_and_columns_that_are_known(self):
        prior = prior_of()
        assert prior.expect(columns(*NAMES), (*LABELS, "d")) is None
        assert prior.expect(columns("p", "q", "r"), LABELS) is None
        assert prior.expect(columns(None, None, None), LABELS) is None
        assert prior.expect(columns("height", "q", "r"), LABELS) is None  # one of three
        assert prior.expect(columns("q", "height", "r", "width"), LABELS).columns.tolist() == [1, 3]
        assert prior.expect(columns("height", "height"), LABELS) is None  # which is it?
        assert prior.expect(columns(*NAMES), ("b", "a")).means.shape == (2, 3)

    def test_labels_and_columns_in_any_order(self):
        prior = prior_of()
        one = prior.expect(columns(*NAMES), LABELS)
        other = prior.expect(columns(*NAMES[::-1]), LABELS[::-1])
        same(one.means, other.means[::-1, ::-1])
        same(one.within, other.within[::-1, ::-1])

    def test_tables_without_labels_or_names_only_have_their_place(self):
        z, y, cols, labels = standard(0)
        nothing = [(z, y, cols, None), (z, y, columns(None, None, None), labels)]
        assert ClassPrior.learn(nothing).is_empty and len(ClassPrior.learn(nothing).tables) == 2
        mixed = ClassPrior.learn([*nothing, (z, y, cols, labels)])
        alone = ClassPrior.learn([(z, y, cols, labels)])
        same(mixed.expect(cols, labels).means, alone.expect(cols, labels).means)

    def test_arrays_and_back(self):
        z, y, cols, _ = standard(3, names=("new", "height", "width"))
        odd = ("line\nbreak", "\u00fc \ud800", "")
        prior = ClassPrior.learn([standard(0), (z, y, cols, None), (z, y, cols, odd)])
        arrays = prior.to_arrays()
        assert all(np.isfinite(a).all() and a.dtype != object for a in arrays.values())
        back = ClassPrior.from_arrays(arrays)
        assert back.names == prior.names and back.labels == prior.labels
        for name, array in back.to_arrays().items():
            np.testing.assert_array_equal(array, arrays[name])
        same(back.expect(cols, odd).means, prior.expect(cols, odd).means, rtol=0, atol=0)
        assert ClassPrior.from_arrays(ClassPrior().to_arrays()).is_empty

    @pytest.mark.parametrize("name", sorted(prior_of(1).to_arrays()))
    def test_damage_is_noticed(self, name):
        arrays = prior_of(2).to_arrays()
        with pytest.raises(ValueError, match="damaged"):
            ClassPrior.from_arrays({n: a for n, a in arrays.items() if n != name})
        with pytest.raises(ValueError, match="damaged"):
            ClassPrior.from_arrays(arrays | {name: arrays[name][:-1]})
        other = arrays[name].astype(np.int8 if arrays[name].dtype.kind == "f" else np.float32)
        for wrong in (arrays[name].ravel()[0], arrays[name][None], other):
            with pytest.raises(ValueError, match="damaged"):
                ClassPrior.from_arrays(arrays | {name: np.asarray(wrong)})

    @pytest.mark.parametrize(
        ("name", "content"), [("names", b'[[[],["a"]]]'), ("label_names", b'[["a"], 1]')]
    )
    def test_names_are_text(self, name, content):
        arrays = ClassPrior().to_arrays() | {name: np.frombuffer(content, np.uint8)}
        with pytest.raises(ValueError, match="damaged"):
            ClassPrior.from_arrays(arrays)

    def test_tables_without_weight(self):
        arrays = prior_of(2).to_arrays()
        with pytest.raises(ValueError, match="damaged"):
            ClassPrior.from_arrays(arrays | {"weight": 0 * arrays["weight"]})


class TestExpert:
    def test_shifts_are_those_of_a_model_of_random_effects(self):
        counts, k = torch.tensor([3.0, 1.0, 0.0]), 2.0
        errors = torch.tensor([1.0, 2.0, 4.0, -3.0], dtype=torch.float64)
        code = torch.tensor([0, 0, 0, 1])
        hot = torch.nn.functional.one_hot(code, 3).double()
        # Ridge on indicators of classes with penalty k, beside a bias without one.
        design = torch.cat([torch.ones(4, 1), hot], 1).double()
        penalty = torch.diag(torch.tensor([0.0, k, k, k], dtype=torch.float64))
        solved = torch.linalg.solve(design.mT @ design + penalty, design.mT @ errors)
        shift = _deviation(counts.double(), (hot.mT @ errors)[:, None], k)[:, 0]
        torch.testing.assert_close(shift, solved[0] + solved[1:])

    def test_left_out_rows_are_foreseen_as_by_a_fit_to_the_others(self):
        z, y = rows(5, n=12)
        x, hot = torch.as_tensor(z), np.eye(3)[y]
        prior = prior_of()
        left_out, fit = fitted(prior, z, y)
        expected = prior.expect(columns(*NAMES), LABELS)
        scaled = ((x - fit.center) * fit.weight).numpy()
        covariance = expected.within + RIDGES[1] * np.diag(expected.within.diagonal())
        for i in (0, 5):
            others = np.arange(12) != i
            # Every column is a ridge regression of what is not promised on indicators of classes.
            design = np.column_stack([np.ones(11), hot[others]])
            penalty = np.diag([0.0] + 3 * [PRIOR_ROWS[2]])
            errors = (scaled - expected.means[y])[others]
            shifts = np.linalg.solve(design.T @ design + penalty, design.T @ errors)
            far = scaled[i] - expected.means - shifts[0] - shifts[1:]
            square = (far * np.linalg.solve(covariance, far.T).T).sum(1)
            score = np.log(hot[others].sum(0) + 1) - TEMPERS[1] / 2 * square
            variant = left_out[0].unflatten(0, (len(RIDGES), len(PRIOR_ROWS), -1))[1, 2, 1, i]
            same(variant, score - np.log(np.exp(score).sum()))

    def test_parts_of_many_rows_are_as_all(self, monkeypatch):
        z, y = rows(6, n=10)
        whole = fitted(prior_of(), z, y)[0]
        monkeypatch.setattr("sklearn_meta.learners._named_classes.MOST_AT_ONCE", 80)
        same(fitted(prior_of(), z, y)[0], whole, rtol=1e-12)

    def test_own_label_has_no_say(self):
        z, y = rows(6, n=10)
        other = y.copy()
        other[4] = (y[4] + 1) % 3
        # Shares of classes say a little of the scale: columns keep that of many rows.
        one, two = (fitted(prior_of(), z, labels)[0][0, :, 4] for labels in (y, other))
        same(one.exp(), two.exp(), atol=0.02)

    def test_variants(self):
        z, y = rows(7, n=20)
        left_out, fit = fitted(prior_of(), z, y)
        n = len(RIDGES) * len(PRIOR_ROWS) * len(TEMPERS)
        assert left_out.shape == (1, n, 20, 3)
        forecast = fit.forecast(torch.as_tensor(z[:4]))
        assert forecast.shape == (1, n, 4, 3)
        same(forecast.exp().sum(-1), np.ones((1, n, 4)))

    def test_one_row_of_each_class_is_enough(self):
        prior = prior_of(means=2 * MEANS)
        x, y = rows(8, n=300, means=2 * MEANS, shift=7.0)
        _, fit = fitted(prior, x[:4], y[:4])
        right = (fit.forecast(torch.as_tensor(x[4:]))[0].argmax(-1).numpy() == y[4:]).mean(-1)
        assert right.max() > 0.95 and np.median(right) > 0.9

    def test_order_of_rows_columns_and_labels_means_nothing(self):
        prior, (z, y) = prior_of(), rows(9, n=15)
        left_out, fit = fitted(prior, z, y)
        order = np.random.default_rng(0).permutation(15)
        other, turned = fitted(
            prior, z[order][:, ::-1].copy(), 2 - y[order], NAMES[::-1], LABELS[::-1]
        )
        # Another order of columns is another root of the same covariance.
        same(other.flip(-1), left_out[:, :, order])
        x = torch.as_tensor(z)
        same(turned.forecast(x.flip(-1)).flip(-1), fit.forecast(x))

    def test_what_the_encoder_draws_in_is_undone(self):
        z, y = rows(10, n=9)
        prior = prior_of()
        drawn = np.where(np.abs(z) > 1, np.sign(z) * (1 + np.log1p(np.abs(z) - 1)), z)
        named = NamedClasses.of(prior, columns(*NAMES, clip=1.0), LABELS)
        same(named.fit(torch.as_tensor(drawn), torch.as_tensor(y))[0], fitted(prior, z, y)[0])

    def test_constant_columns_and_single_rows(self):
        z, y = rows(11, n=6)
        z[:, 1] = 3.0
        for n in (1, 6):
            left_out, fit = fitted(prior_of(), z[:n], y[:n])
            assert left_out.isfinite().all()
            assert fit.forecast(torch.as_tensor(z)).isfinite().all()
        _, whole = fitted(prior_of(), z, y)
        moved = z.copy()
        moved[:, 1] = -3.0
        same(whole.forecast(torch.as_tensor(moved)), whole.forecast(torch.as_tensor(z)))


def tasks(seeds, labels=LABELS, n=90, order=(0, 1, 2)):
    found = []
    for seed in seeds:
        z, y = rows(seed, n=n)
        X = read_table(pd.DataFrame(z, columns=NAMES))
        found.append(
            TableTask(f"task {seed}", X, np.array(order)[y], OwnTableEncoder(), tuple(labels))
        )
    return found


def module_of(tables):
    signature = Signature("classification", 0, 0, shared_classes=False)
    learner = InContext()
    start = learner.build(signature, {}, torch.Generator().manual_seed(0)).state_dict()
    weights = learner.learn_columns(tables, {n: w.numpy() for n, w in start.items()})
    return learner, learner.restore(signature, weights)


def outcome(learner, module, n, seed, named=True, labels=LABELS):
    """Log loss of 200 rows, and the share of the expert of names."""
    z, y = rows(seed, n=n + 200)
    encoder = OwnTableEncoder().fit([pd.DataFrame(z[:n], columns=NAMES)])
    x = torch.as_tensor(encoder.transform(pd.DataFrame(z, columns=NAMES))).double()[None]
    y = torch.as_tensor(y)[None]
    module._named = None
    if named:
        learner.open(module, encoder.columns(), labels=labels)
    support = Rows(x[:, :n], y[:, :n], torch.ones(1, n, dtype=torch.bool), torch.tensor([3]))
    state = learner.adapt(module, support)
    loss = -learner.predict(module, state, x[:, n:]).log_prob(y[0, n:]).mean()
    mixture = state.mixtures[0]
    n_variants = len(RIDGES) * len(PRIOR_ROWS) * len(TEMPERS)
    share = mixture.log_weight[0, -n_variants:].exp().sum() if mixture.named else 0.0
    return float(loss), float(share)


class TestInContext:
    @pytest.mark.parametrize(("n", "most"), [(4, 0.5), (8, 0.8)])
    def test_known_classes_need_few_rows(self, n, most):
        learner, module = module_of(tasks(range(3)))
        found = [
            (*outcome(learner, module, n, s), outcome(learner, module, n, s, False)[0])
            for s in range(20, 26)
        ]
        with_names, share, without = np.mean(found, 0)
        assert with_names < most * without and share > 0.7

    @pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0)])
    def test_labels_that_mean_other_classes_do_little_harm(self, order):
        learner, module = module_of(tasks(range(3), order=order))
        for n in (8, 16):
            losses = [
                [outcome(learner, module, n, s, named)[0] for named in (True, False)]
                for s in range(20, 26)
            ]
            with_names, without = np.mean(losses, 0)
            assert with_names < 1.05 * without

    def test_unknown_labels_and_number_of_classes(self):
        learner, module = module_of(tasks(range(2)))
        alone = outcome(learner, module, 8, 30, named=False)
        assert outcome(learner, module, 8, 30, labels=("a", "b", "z")) == alone
        assert outcome(learner, module, 8, 30, labels=("a", "b")) == alone  # of a part only

    def test_without_names_or_labels_nothing_is_learned(self):
        table = tasks([0])[0]
        weights = {"gate.names": np.zeros(2, np.float32)}
        unnamed = replace(table, X=read_table(rows(0)[0]))
        for nothing in (unnamed, replace(table, labels=None)):
            assert InContext().learn_columns([nothing], weights) is weights

    def test_a_table_is_foreseen_by_what_the_others_tell(self):
        tables = tasks(range(3)) + tasks([3], labels=("x", "y", "z"))
        learner, module = module_of(tables)
        store = learner.episodes(module, tables, np.random.default_rng(0), 1.0)
        scores = store.x[:, 7 + module.gate.n_variants]
        own = np.repeat([name.startswith("task 3") for name in store.names], store.counts)
        assert (scores[own] == -1e6).all() and (scores[~own] > -1e3).all()

    def test_log_scores_of_left_out_rows(self):
        z, y = rows(12, n=10)
        learner, module = module_of(tasks(range(2)))
        module.open(columns(*NAMES), labels=LABELS)
        panel = module.panel(torch.as_tensor(z), torch.as_tensor(y), 3)
        left_out, _ = module._named.fit(torch.as_tensor(z), torch.as_tensor(y))
        expected = log_score(left_out, torch.as_tensor(y)[None]).clamp_min(-8)
        torch.testing.assert_close(panel.named_left_out, expected)
