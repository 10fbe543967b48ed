"""Data frames: pandas and polars, their dtypes and their column names."""

from datetime import date

import numpy as np
import pytest

from sklearn_meta.preprocessing import TableEncoder

SIZE = ["s", "m", "l", "m", None, "s"] * 10
COUNT = [1, 2, None, 4, 5, 6] * 10
FLAG = [True, None, False, True, False, False] * 10
LENGTH = [0.5, 1.5, 2.5, np.nan, 4.5, 3.5] * 10


@pytest.fixture
def pd():
    return pytest.importorskip("pandas")


@pytest.fixture
def pl():
    return pytest.importorskip("polars")


@pytest.fixture
def reference():
    """What object arrays give."""
    X = np.array(list(zip(SIZE, COUNT, FLAG, LENGTH, strict=True)), dtype=object)
    return TableEncoder().fit([X]).transform(X)


@pytest.mark.parametrize("text", ["category", "str", "string", object])
@pytest.mark.parametrize(("whole", "flag"), [("Int64", "boolean"), ("float", object)])
def test_pandas_dtypes(pd, reference, text, whole, flag):
    X = pd.DataFrame(
        {
            "size": pd.Series(SIZE, dtype=text),
            "count": pd.Series(COUNT, dtype=whole),
            "flag": pd.Series(FLAG, dtype=flag),
            "length": LENGTH,
        }
    )
    encoder = TableEncoder().fit([X.iloc[:7], X.iloc[7:]])
    np.testing.assert_array_equal(encoder.transform(X), reference)
    assert encoder.get_feature_names_out().tolist()[:4] == ["count", "flag", "length", "size_l"]


@pytest.mark.parametrize("text", ["String", "Categorical", "Enum"])
def test_polars_dtypes(pl, reference, text):
    dtype = pl.Enum(["l", "m", "s", "xxl"]) if text == "Enum" else getattr(pl, text)
    X = pl.DataFrame(
        {
            "size": pl.Series(SIZE, dtype=dtype),
            "count": pl.Series(COUNT, dtype=pl.Int32),
            "flag": pl.Series(FLAG, dtype=pl.Boolean),
            "length": pl.Series(LENGTH, dtype=pl.Float32),
        }
    )
    encoder = TableEncoder().fit([X[:7], X[7:]])
    np.testing.assert_array_equal(encoder.transform(X), reference)
    assert encoder.feature_names_in_.tolist() == X.columns


def test_pandas_and_polars_are_exchangeable(pd, pl, reference):
    X = pd.DataFrame({"size": SIZE, "length": LENGTH})
    encoder = TableEncoder().fit([X])
    np.testing.assert_array_equal(
        encoder.transform(X), encoder.transform(pl.DataFrame({"length": LENGTH, "size": SIZE}))
    )


def test_all_null_polars_column(pl):
    X = pl.DataFrame({"a": [None] * 4, "b": [1, 2, 3, 4]})
    assert TableEncoder().fit([X]).get_feature_names_out().tolist() == ["b"]


def test_unused_levels_get_no_column_and_are_unknown(pd):
    X = pd.DataFrame({"c": pd.Categorical(["a", "b", "c"] * 5, categories=list("zabc"))})
    encoder = TableEncoder().fit([X])
    assert encoder.get_feature_names_out().tolist() == ["c_a", "c_b", "c_c"]
    new = pd.DataFrame({"c": pd.Categorical(["z"], categories=list("zabc"))})
    assert (encoder.transform(new) == 0).all()


def test_codes_of_a_category_do_not_matter(pd):
    a = pd.DataFrame({"c": pd.Categorical(["x", "y", "z"] * 3, categories=["x", "y", "z"])})
    b = pd.DataFrame({"c": pd.Categorical(["x", "y", "z"] * 3, categories=["z", "y", "x"])})
    encoder = TableEncoder().fit([a, b])
    np.testing.assert_array_equal(encoder.transform(a), encoder.transform(b))


def test_whole_number_categories_match_floats_and_ints(pd):
    a = pd.DataFrame({"c": pd.Categorical([1, 2, 3] * 4)})
    b = pd.DataFrame({"c": pd.Categorical([1.0, 2.0, 3.0] * 4)})
    encoder = TableEncoder().fit([a, b])
    assert encoder.get_feature_names_out().tolist() == ["c_1", "c_2", "c_3"]
    np.testing.assert_array_equal(encoder.transform(a), encoder.transform([[1], [2], [3]] * 4))


def test_intervals_are_levels(pd):
    x = np.linspace(0, 1, 30)
    X = pd.DataFrame({"bin": pd.cut(x, 3)})
    assert TableEncoder().fit([X]).transform(X).shape == (30, 3)


def test_a_declared_category_is_never_free_text(pd):
    X = pd.DataFrame({"id": pd.Categorical([f"p{i}" for i in range(60)]), "x": np.arange(60.0)})
    assert TableEncoder().fit([X]).transform(X).shape[0] == 60
    with pytest.raises(ValueError, match="column 'id' of X holds free text"):
        TableEncoder().fit([X.astype({"id": str})])


def test_columns_are_matched_by_name(pd):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 3)), columns=list("abc"))
    encoder = TableEncoder().fit([X[:10], X.loc[10:, ["c", "a", "b"]]])
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(X[["b", "c", "a"]]))
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(X.to_numpy()))
    same = TableEncoder().fit([X])
    np.testing.assert_array_equal(encoder.transform(X), same.transform(X))


def test_other_names_are_refused_in_the_words_of_scikit_learn(pd):
    X = pd.DataFrame(np.eye(3), columns=list("abc"))
    encoder = TableEncoder().fit([X])
    with pytest.raises(
        ValueError,
        match="The feature names should match those that were passed during fit.\n"
        "Feature names unseen at fit time:\n- d\n"
        "Feature names seen at fit time, yet now missing:\n- c\n",
    ):
        encoder.transform(X.rename(columns={"c": "d"}))
    with pytest.raises(ValueError, match="seen at fit time, yet now missing:\n- b\n- c"):
        encoder.transform(X[["a"]])
    with pytest.raises(ValueError, match="task 't1': The feature names should match"):
        TableEncoder().fit([X, X[["a"]]], names=["t0", "t1"])


def test_names_that_are_no_strings(pd):
    X = pd.DataFrame(np.eye(3))
    encoder = TableEncoder().fit([X])
    assert not hasattr(encoder, "feature_names_in_")
    assert encoder.get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    with pytest.raises(TypeError, match="Feature names are only supported if all"):
        encoder.transform(X.rename(columns={0: "a"}))
    with pytest.raises(ValueError, match=r"several columns of one name: \['a'\]"):
        encoder.transform(pd.DataFrame(np.eye(3), columns=["a", "a", "b"]))


def test_frames_and_arrays_mixed_in_meta_training_are_refused(pd):
    X = pd.DataFrame(np.eye(3), columns=list("abc"))
    with pytest.raises(ValueError, match="some tables have column names and some have none"):
        TableEncoder().fit([X, np.eye(3)])


@pytest.mark.parametrize("tz", [None, "UTC"])
def test_pandas_dates_are_refused_with_advice(pd, tz):
    X = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=4, tz=tz)})
    with pytest.raises(ValueError, match="column 'when' of X holds dates or times.*the year"):
        TableEncoder().fit([X])


def test_polars_dates_lists_and_lazy_frames_are_refused(pl):
    with pytest.raises(ValueError, match="column 'when' of X holds dates or times"):
        TableEncoder().fit([pl.DataFrame({"when": [date(2020, 1, 1)]})])
    with pytest.raises(TypeError, match="argument must be a string or a number"):
        TableEncoder().fit([pl.DataFrame({"a": [[1, 2], [3]]})])
    with pytest.raises(TypeError, match=r"lazy table .*X.collect\(\)"):
        TableEncoder().fit([pl.LazyFrame({"a": [1]})])


def test_infinity_is_named_with_its_column(pd):
    X = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, np.inf]})
    with pytest.raises(ValueError, match="contains infinity .* in column 'b'"):
        TableEncoder().fit([X])


def test_numbers_given_as_categories_to_a_column_of_numbers(pd):
    X = pd.DataFrame({"a": np.arange(10)})
    encoder = TableEncoder().fit([X])
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(X.astype("category")))


def test_speed_of_a_small_frame(pd):
    import time

    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(20, 6)), columns=list("abcdef"))
    for name in "ghij":
        X[name] = pd.Categorical(rng.choice(list("uvwxyz"), 20))
    encoder = TableEncoder().fit([X] * 10)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        encoder.transform(X)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 4e-3  # measured: 0.3 ms
