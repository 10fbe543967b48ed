import numpy as np
import pytest

from sklearn_meta.datasets import _table_columns as columns
from sklearn_meta.datasets import _table_functions as functions
from sklearn_meta.datasets import _table_models as models
from sklearn_meta.datasets import _table_targets as targets
from sklearn_meta.datasets import make_table_tasks
from sklearn_meta.preprocessing import TableEncoder

KINDS = ["classification", "regression"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.name == b.name
        assert a.X.dtype == b.X.dtype
        # Objects are compared one by one: NaN is not equal to itself.
        assert a.X.tolist().__repr__() == b.X.tolist().__repr__()
        np.testing.assert_array_equal(a.y, b.y)


@every_kind
def test_same_seed_same_tasks_and_longer_list_begins_with_shorter(kind):
    long = make_table_tasks(30, (20, 60), kind=kind, random_state=3)
    assert_equal(make_table_tasks(30, (20, 60), kind=kind, random_state=3), long)
    assert_equal(make_table_tasks(4, (20, 60), kind=kind, random_state=3), long[:4])
    state = np.random.RandomState(3)
    first, second = (make_table_tasks(2, 20, kind=kind, random_state=state) for _ in range(2))
    assert repr(first[0].X.tolist()) != repr(second[0].X.tolist())


@every_kind
def test_global_random_numbers_are_left_alone(kind):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_table_tasks(5, kind=kind)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@every_kind
def test_bounds_are_kept_and_both_occur(kind):
    tasks = make_table_tasks(
        200, (8, 10), kind=kind, n_features=(1, 3), n_classes=(2, 4), random_state=0
    )
    assert {len(X) for X, _ in tasks} == {8, 9, 10}
    assert {X.shape[1] for X, _ in tasks} == {1, 2, 3}
    if kind == "classification":
        assert {len(np.unique(y)) for _, y in tasks} == {2, 3, 4}
    assert len({task.name for task in tasks}) == 200


def test_every_class_has_two_rows():
    for n_rows in (4, (5, 40)):
        for _, y in make_table_tasks(200, n_rows, n_classes=(2, 8), random_state=0):
            counts = np.bincount(y)
            assert y.dtype == np.int64
            assert len(counts) <= len(y) // 2
            assert counts.min() >= 2


def test_targets_are_finite_and_never_constant():
    for _, y in make_table_tasks(400, (4, 60), kind="regression", random_state=0):
        assert y.dtype == np.float64
        assert np.isfinite(y).all()
        assert np.ptp(y) > 0


@every_kind
def test_entries_are_finite_numbers_levels_or_missing(kind):
    tasks, drawn = make_table_tasks(200, (4, 80), kind=kind, random_state=1, return_parameters=True)
    missing = 0
    for (X, _), kinds in zip(tasks, drawn["columns"], strict=True):
        assert X.dtype == (object if "categorical" in kinds else np.float64)
        for x, column in zip(X.T, kinds, strict=True):
            if column == "categorical":
                assert all(v is None or (isinstance(v, str) and v in columns.LEVELS) for v in x)
                missing += sum(v is None for v in x)
            else:
                x = x.astype(np.float64)
                assert np.isfinite(x[~np.isnan(x)]).all()
                assert not np.isnan(x).all()
                missing += np.isnan(x).sum()
    assert missing > 0


@every_kind
def test_all_families_kinds_of_columns_and_styles_come_up(kind):
    _, drawn = make_table_tasks(600, 20, kind=kind, random_state=0, return_parameters=True)
    assert set(drawn["family"]) == set(models.FAMILIES)
    assert {c for kinds in drawn["columns"] for c in kinds} == {*columns.NUMERIC, "categorical"}
    styles = {"ordered", "argmax"} if kind == "classification" else set(targets.STYLES)
    assert set(drawn["target"]) == styles


@every_kind
def test_share_is_what_the_signal_explains_of_the_score(kind):
    tasks, drawn = make_table_tasks(
        60, 20000, kind=kind, n_features=(2, 6), random_state=0, return_parameters=True
    )
    for share, signal, score in zip(
        drawn["signal_share"], drawn["signal"], drawn["score"], strict=True
    ):
        np.testing.assert_allclose(signal.mean(axis=0), 0.0, atol=1e-9)
        np.testing.assert_allclose(signal.std(axis=0), 1.0, atol=1e-9)
        for f, s in zip(signal.T, score.T, strict=True):
            assert np.corrcoef(f, s)[0, 1] ** 2 == pytest.approx(share, abs=0.03)


def test_linear_family_is_linear_in_its_inputs():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((50, 4))
    signal = functions.linear(Z, 3, rng)
    fitted = Z @ np.linalg.lstsq(Z, signal, rcond=None)[0]
    np.testing.assert_allclose(fitted, signal, atol=1e-12)


def test_trees_depend_on_the_order_of_values_alone():
    Z = np.random.default_rng(0).standard_normal((60, 3))
    for seed in range(20):
        first, second = (
            functions.trees(inputs, 2, np.random.default_rng(seed)) for inputs in (Z, np.exp(Z))
        )
        np.testing.assert_allclose(first, second)


def test_parity_is_a_product_of_signs_of_single_columns():
    grid = np.linspace(-2.0, 2.0, 21)
    Z = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=2).reshape(-1, 2)
    signals = [functions.parity(Z, 1, np.random.default_rng(seed)) for seed in range(20)]
    pure = [signal for signal in signals if set(np.unique(signal)) == {-1.0, 1.0}]
    assert pure
    for signal in pure:
        assert np.linalg.matrix_rank(signal.reshape(21, 21)) == 1


@pytest.mark.parametrize("family", models.FUNCTIONS)
def test_functions_of_constant_columns_still_vary(family):
    rng = np.random.default_rng(0)
    constant = np.ones((30, 3))
    model = models.of_function(family, constant, constant, 2, 0.9, rng)
    np.testing.assert_allclose(model.signal.std(axis=0), 1.0)


def test_a_column_may_be_an_effect_of_the_target():
    # Of causes alone no column knows the noise of the target; with effects some do.
    known = []
    for seed in range(40):
        model = models.of_network(4000, 6, 1, 0.5, np.random.default_rng(seed))
        noise = (model.score - np.sqrt(0.5) * model.signal)[:, 0]
        known.append(max(np.corrcoef(noise, z)[0, 1] ** 2 for z in model.latents.T if z.any()))
    assert max(known) > 0.1
    assert min(known) < 0.01


def test_classes_in_order_have_the_frequencies_asked_for():
    score = np.random.default_rng(0).standard_normal(1000)
    labels = targets.classes_in_order(score, np.array([0.1, 0.7, 0.2]))
    assert np.bincount(labels).tolist() == [100, 700, 200]
    assert score[labels == 0].max() < score[labels == 1].min()
    assert score[labels == 1].max() < score[labels == 2].min()


def test_classes_by_score_have_about_the_frequencies_asked_for():
    scores = np.random.default_rng(0).standard_normal((5000, 3))
    labels = targets.classes_by_score(scores, np.array([0.1, 0.6, 0.3]))
    np.testing.assert_allclose(np.bincount(labels) / 5000, [0.1, 0.6, 0.3], atol=0.03)


@every_kind
def test_table_encoder_reads_every_table(kind):
    for X, _ in make_table_tasks(60, (6, 60), kind=kind, random_state=2):
        encoder = TableEncoder().fit([X])
        assert np.isfinite(encoder.transform(X)).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n_tasks": 0}, "n_tasks is 0"),
        ({"n_rows": (50, 30)}, r"n_rows is \(50, 30\)"),
        ({"n_rows": 2.5}, "n_rows is 2.5"),
        ({"n_rows": 3}, "n_rows is 3"),
        ({"n_features": 0}, "n_features is 0"),
        ({"n_classes": 1}, "n_classes is 1"),
        ({"n_rows": 5, "n_classes": 3}, "two rows a class"),
        ({"kind": "ranking"}, "kind is 'ranking'"),
    ],
)
def test_errors_name_the_parameter(arguments, named):
    with pytest.raises(ValueError, match=named):
        make_table_tasks(**arguments)
