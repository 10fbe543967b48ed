"""Encoded numbers against scikit-learn's transformers, and the encoder's own rules."""

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_meta.preprocessing import TableEncoder

PANELS = sorted((Path(__file__).parents[3] / "shared" / "data" / "panels").glob("*.npz"))


def numbers(seed=0, n=200, d=3):
    return np.random.default_rng(seed).normal(size=(n, d))


def objects(*columns):
    return np.array(list(zip(*columns, strict=True)), dtype=object)


def test_numbers_equal_standard_scaler_on_winsorised_values():
    X = numbers() * [1, 10, 0.1] + [5, -3, 1000]
    k = int(np.ceil(0.01 * 199))
    trimmed = np.array([np.clip(x, np.sort(x)[k], np.sort(x)[-1 - k]) for x in X.T]).T
    expected = StandardScaler().fit(trimmed).transform(X)
    Z = TableEncoder().fit([X[:50], X[50:]]).transform(X)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, expected, rtol=1e-5, atol=1e-5)


def test_dummies_equal_standard_scaler_and_rare_ones_do_not_explode():
    rng = np.random.default_rng(0)
    common, rare = rng.random(1000) < 0.3, np.arange(1000) == 7
    X = np.column_stack([common, rare]).astype(float)
    Z = TableEncoder().fit([X]).transform(X)
    np.testing.assert_allclose(
        Z[:, 0], StandardScaler().fit_transform(X)[:, 0], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(Z[:, 1], (X[:, 1] - 0.001) / 0.2, rtol=1e-5)
    assert np.abs(Z).max() < 5


def test_booleans_are_numbers():
    X = numbers(d=1) > 0
    np.testing.assert_array_equal(
        TableEncoder().fit([X]).transform(X), TableEncoder().fit([X * 1.0]).transform(X * 1.0)
    )


def test_one_hot_equals_scaled_one_hot_encoder():
    rng = np.random.default_rng(1)
    x = rng.choice(list("abcd"), size=400, p=[0.5, 0.3, 0.15, 0.05])
    hot = OneHotEncoder(sparse_output=False).fit_transform(x[:, None])
    scale = np.maximum(hot.std(axis=0), 0.2)
    encoder = TableEncoder().fit([x[:100, None], x[100:, None]])
    np.testing.assert_allclose(
        encoder.transform(x[:, None]), (hot - hot.mean(axis=0)) / scale, rtol=1e-5, atol=1e-5
    )
    assert encoder.get_feature_names_out().tolist() == ["x0_a", "x0_b", "x0_c", "x0_d"]


def test_two_levels_make_one_column_like_a_dummy():
    x = np.array(["no", "yes", "no", "no"] * 10)
    Z = TableEncoder().fit([x[:, None]]).transform(x[:, None])
    dummy = (x == "yes")[:, None]
    np.testing.assert_array_equal(Z, TableEncoder().fit([dummy]).transform(dummy))


def test_rare_levels_are_pooled_and_unknown_levels_join_them():
    x = np.repeat(["a", "b", "r", "s"], [200, 196, 2, 2])[:, None]
    encoder = TableEncoder(min_frequency=0.01).fit([x])
    assert encoder.get_feature_names_out().tolist() == ["x0_a", "x0_b", "x0_infrequent"]
    Z = encoder.transform(np.array([["r"], ["s"], ["never seen"]]))
    np.testing.assert_array_equal(Z[0], Z[1])
    np.testing.assert_array_equal(Z[0], Z[2])


def test_max_levels_bounds_the_columns_of_a_category():
    rng = np.random.default_rng(0)
    x = rng.choice([f"town {i}" for i in range(40)], size=(4000, 1))
    assert TableEncoder(max_levels=10).fit([x]).transform(x).shape == (4000, 10)


def test_unknown_and_missing_levels_are_the_average_row():
    x = np.array(["a", "b", "c", None] * 10, dtype=object)[:, None]
    encoder = TableEncoder().fit([x])
    assert encoder.get_feature_names_out().tolist() == [
        "x0_a", "x0_b", "x0_c", "missingindicator_x0",
    ]  # fmt: skip
    Z = encoder.transform(np.array([["z"], [None], [np.nan]], dtype=object))
    assert (Z[:, :3] == 0).all()
    assert Z[0, 3] < 0 < Z[1, 3] == Z[2, 3]


def test_missing_numbers_become_the_mean_with_an_indicator():
    X = numbers(d=2)
    X[::4, 0] = np.nan
    encoder = TableEncoder().fit([X[:100], X[100:]])
    assert encoder.get_feature_names_out().tolist() == ["x0", "x1", "missingindicator_x0"]
    Z = encoder.transform(X)
    assert (Z[::4, 0] == 0).all()
    np.testing.assert_allclose(Z[:, 2].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(Z[:, 2].std(), 1, rtol=1e-6)
    # a column that only a new task misses is imputed, too
    assert encoder.transform([[0.0, None]])[0, 1] == 0


def test_an_indicator_of_a_handful_of_rows_is_left_out():
    X = numbers(n=1000, d=1)
    X[:2] = np.nan
    assert TableEncoder().fit([X]).transform(X).shape == (1000, 1)
    assert TableEncoder(min_frequency=2).fit([X]).transform(X).shape == (1000, 2)
    assert TableEncoder(min_frequency=None).fit([X]).transform(X).shape == (1000, 2)


def test_constant_and_all_missing_columns_are_dropped():
    X = np.column_stack([np.full(50, 7.0), np.full(50, np.nan), numbers(n=50, d=1)])
    encoder = TableEncoder().fit([X[:20], X[20:]])
    assert encoder.get_feature_names_out().tolist() == ["x2"]
    assert encoder.n_features_in_ == 3 and encoder.n_features_out_ == 1


@pytest.mark.parametrize("value", [3.0, np.nan, "same", None])
def test_all_constant_gives_one_column_of_zeros(value):
    X = objects([value] * 5, [value] * 5)
    encoder = TableEncoder().fit([X])
    np.testing.assert_array_equal(encoder.transform(X), np.zeros((5, 1), dtype=np.float32))
    assert encoder.get_feature_names_out().tolist() == ["constant"]


def test_a_column_constant_within_tasks_is_kept():
    Xs = [np.full((5, 1), t) for t in range(4)]
    assert np.unique(TableEncoder().fit(Xs).transform_many(Xs)[0]).size == 4


def test_heavy_tails_neither_shrink_the_rest_nor_explode():
    X = numbers(n=500, d=1)
    X[:4] = [[1e9], [-1e9], [1e30], [3e38]]
    Z = TableEncoder().fit([X]).transform(X)
    assert 0.9 < Z[4:].std() < 1.1
    assert np.isfinite(Z).all() and np.abs(Z[:2]).max() < 30
    assert Z[1] < Z[4:].min() < Z[4:].max() < Z[0] < Z[2] < Z[3]  # order is kept


def test_soft_clip_is_the_identity_inside_and_logarithmic_outside():
    X = np.array([[-1.0], [0.0], [1.0]] * 100)
    plain = TableEncoder(clip=1e6).fit([X])
    clipped = TableEncoder(clip=2.0).fit([X])
    rows = np.linspace(-20, 20, 81)[:, None]
    z, soft = plain.transform(rows), clipped.transform(rows)
    expected = np.where(
        np.abs(z) <= 2, z, np.sign(z) * (2 + np.log1p(np.maximum(np.abs(z) - 2, 0)))
    )
    np.testing.assert_allclose(soft, expected, rtol=1e-5)


def test_a_column_that_is_nearly_always_zero_still_varies():
    X = np.zeros((1000, 1))
    X[:3, 0] = [1, 2, 3]
    Z = TableEncoder().fit([X]).transform(X)
    assert 0.1 < Z.std() < 2 and np.abs(Z).max() < 15


def test_tasks_may_disagree_on_the_type_of_a_column():
    ints = np.arange(20)[:, None]
    floats = np.linspace(0, 1, 20)[:, None]
    empty = np.full((3, 1), None, dtype=object)
    encoder = TableEncoder(min_frequency=None).fit([ints, floats, empty])
    assert encoder.get_feature_names_out().tolist() == ["x0", "missingindicator_x0"]
    text = np.array([["a"], ["b"], [1.0], [2]] * 5, dtype=object)
    coded = np.array([[1], [2]])
    encoder = TableEncoder().fit([text, coded, coded.astype(float), np.full((2, 1), np.nan)])
    names = encoder.get_feature_names_out().tolist()
    assert names == ["x0_1", "x0_2", "x0_a", "x0_b", "missingindicator_x0"]
    np.testing.assert_array_equal(encoder.transform([[1]]), encoder.transform([["1"], [1.0]])[1:])


def test_order_of_tasks_does_not_change_levels():
    a, b = np.array([["x"], ["y"]] * 9), np.array([["z"], ["x"]] * 9)
    one, two = TableEncoder().fit([a, b]), TableEncoder().fit([b, a])
    np.testing.assert_array_equal(one.transform(a), two.transform(a))


def test_objects_and_lists_that_hold_numbers_are_numbers():
    X = numbers(n=30)
    encoder = TableEncoder().fit([X])
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(X.astype(object)))
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(X.tolist()))
    again = TableEncoder().fit([X.astype(object).tolist()])
    np.testing.assert_array_equal(encoder.transform(X), again.transform(X))


def test_mixed_lists_keep_their_numbers():
    rows = [[i, "ab"[i % 2], i % 3 == 0] for i in range(30)]
    encoder = TableEncoder().fit([rows])
    assert encoder.get_feature_names_out().tolist() == ["x0", "x2", "x1_b"]


@pytest.mark.parametrize("dtype", ["S1", object])
def test_bytes_are_text(dtype):
    X = np.array([[b"a"], [b"b"]] * 5, dtype=dtype)
    np.testing.assert_array_equal(
        TableEncoder().fit([X]).transform(X), TableEncoder().fit([X]).transform([["a"], ["b"]] * 5)
    )


def test_read_only_input_is_left_alone():
    X = numbers()
    X[::5, 0] = np.nan
    X.flags.writeable = False
    before = X.tobytes()
    TableEncoder().fit([X]).transform(X)
    assert X.tobytes() == before


def test_transform_many_gives_the_numbers_of_a_loop():
    Xs = [objects(numbers(s, n, 1)[:, 0], list("abcde" * n)[:n]) for s, n in enumerate([1, 4, 9])]
    encoder = TableEncoder().fit(Xs)
    Z, offsets = encoder.transform_many(Xs)
    assert offsets.tolist() == [0, 1, 5, 14] and offsets.dtype == np.int64
    np.testing.assert_array_equal(Z, np.concatenate([encoder.transform(X) for X in Xs]))


def test_clone_and_pickle():
    X = numbers()
    encoder = TableEncoder(max_levels=5).fit([X])
    assert clone(encoder).get_params() == encoder.get_params()
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(X), encoder.transform(X))


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ([[np.inf]], ValueError, "Input X contains infinity"),
        ([[1e39]], ValueError, "infinity or a value too large"),
        (np.array([[np.inf]], dtype=object), ValueError, "Input X contains infinity"),
        ([1.0, 2.0], ValueError, "Reshape your data"),
        ([[1.0, 2.0]], ValueError, "X has 2 features, but TableEncoder is expecting 1 features"),
        ([["text"]], ValueError, "column 0 of X held numbers .* could not convert"),
        ([[1j]], ValueError, "Complex data not supported"),
        (np.array([[1j]], dtype=object), ValueError, "Complex data not supported"),
        (np.array([[{"a": 1}]], dtype=object), TypeError, "argument must be a string or a number"),
        (np.array([["2020-01-01"]], dtype="M8[D]"), ValueError, "dates or times"),
        (np.empty((0, 1)), ValueError, r"0 sample\(s\)"),
        (np.empty((1, 0)), ValueError, r"0 feature\(s\)"),
        ([[1.0], [1.0, 2.0]], ValueError, "rows of one length"),
    ],
)
def test_faults_of_a_table_are_named(X, error, match):
    encoder = TableEncoder().fit([numbers(d=1)])
    with pytest.raises(error, match=match):
        encoder.transform(X)
    with pytest.raises(error, match=f"task 'new': .*{match}"):
        encoder.transform_many([X], names=["new"])


def test_sparse_and_wrong_sequences_are_refused():
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match="[Ss]parse.*toarray"):
        TableEncoder().fit([csr_array(np.eye(3))])
    with pytest.raises(ValueError, match=r"give \[X\]"):
        TableEncoder().fit(np.eye(3))
    with pytest.raises(ValueError, match="at least one table"):
        TableEncoder().fit([])
    with pytest.raises(ValueError, match="X has 2 features, but TableEncoder is expecting 3"):
        TableEncoder().fit([np.eye(3), np.eye(2)])


def test_the_caller_is_named():
    with pytest.raises(ValueError, match="but MetaRegressor is expecting 3 features as input"):
        TableEncoder().fit([np.eye(3)]).transform(np.eye(2), estimator_name="MetaRegressor")


def test_free_text_is_refused_with_advice():
    X = np.array([[f"note number {i}"] for i in range(50)])
    with pytest.raises(ValueError, match="column 0 of X holds free text or identifiers: 50 diff"):
        TableEncoder().fit([X])


def test_unfitted_encoder_says_so():
    for use in (lambda e: e.transform([[1]]), lambda e: e.to_dict(), lambda e: e.novelty([[1]])):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            use(TableEncoder())


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_levels": 1}, {"max_levels": 2.5}, {"max_levels": True}, {"min_frequency": 0},
        {"min_frequency": 1.0}, {"min_frequency": "few"}, {"clip": 0}, {"clip": np.inf},
    ],
)  # fmt: skip
def test_parameters_out_of_range(parameters):
    with pytest.raises(ValueError, match=f"{next(iter(parameters))} must be .*got"):
        TableEncoder(**parameters).fit([np.eye(3)])


def test_novelty_finds_other_units_and_is_calm_otherwise():
    rng = np.random.default_rng(0)
    Xs = [
        np.column_stack([rng.normal(20 + rng.normal(), 2, 30), rng.random(30) < 0.02])
        for _ in range(50)
    ]
    encoder = TableEncoder().fit(Xs)
    assert encoder.task_center_scale_.shape == (2,)
    np.testing.assert_allclose(encoder.task_center_scale_[0], 1 / np.sqrt(5), rtol=0.3)
    usual = np.array([encoder.novelty(encoder.transform(X[:k])) for X in Xs for k in (1, 5, 30)])
    assert usual[:, 0].max() < 5 and (usual[:, 1] == 0).all()
    fahrenheit = Xs[0] * [1.8, 1] + [32, 0]
    assert encoder.novelty(encoder.transform(fahrenheit[:5]))[0] > 5
    rare = np.array([[20.0, 1.0]] * 3)
    assert encoder.novelty(encoder.transform(rare))[1] == 0
    assert encoder.novelty(encoder.transform(rare + [0, 99]))[1] > 5
    assert (encoder.novelty(np.zeros((0, 2))) == 0).all()


def test_speed_of_a_small_table():
    X = numbers(n=20, d=20)
    encoder = TableEncoder().fit([X] * 3)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        encoder.transform(X)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 1e-3  # measured: 0.03 ms


def test_speed_of_many_tables():
    Xs = [numbers(s, 10, 10) for s in range(3000)]
    encoder = TableEncoder().fit(Xs)
    start = time.perf_counter()
    encoder.transform_many(Xs)
    assert time.perf_counter() - start < 1


@pytest.mark.skipif(not PANELS, reason="the panels are not at hand")
@pytest.mark.parametrize("path", PANELS, ids=lambda path: path.stem)
def test_real_panels_are_well_scaled(path):
    with np.load(path, allow_pickle=True) as data:
        X, is_categorical, group = data["X"], data["is_categorical"].astype(bool), data["group"]
    table = X.astype(object)
    for j in np.flatnonzero(is_categorical):
        table[:, j] = [None if np.isnan(v) else f"level {v:g}" for v in X[:, j]]
    tasks = [table[group == g] for g in np.unique(group)]
    meta, new = tasks[len(tasks) // 3 :], tasks[: len(tasks) // 3]
    encoder = TableEncoder().fit(meta)
    Z, _ = encoder.transform_many(meta)
    assert np.abs(Z).max() < 15 and Z.std(axis=0).min() > 0.1
    assert np.abs(encoder.transform_many(new)[0]).max() < 15
