"""One table encoded by itself: ratios to the mean, names that other tables share."""

import json

import numpy as np
import pytest

from sklearn_meta.preprocessing import OwnTableEncoder, TableEncoder
from sklearn_meta.preprocessing._column_names import normalised
from sklearn_meta.preprocessing._registry import export_encoder, import_encoder

LEVELS = ["b", "a", "c", "a", "b", "a", "a", "c"]


def positive(seed=0, n=60, d=3):
    return np.random.default_rng(seed).lognormal(size=(n, d))


def mixed():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "LivingArea_m2": rng.lognormal(size=8),
            "change": rng.normal(size=8),
            "City": pd.Series(LEVELS, dtype="category"),
            "garage": [True, False, False, True, False, False, True, False],
            "lot.size": [1.0, 3.0, np.nan, np.nan, 2.0, 8.0, 5.0, 4.0],
            "same": 3.0,
        }
    )


def test_numbers_are_those_of_the_table_encoder_on_log_ratios():
    X = positive()
    own, other = OwnTableEncoder().fit([X]), TableEncoder().fit([np.log1p(X / X.mean(0))])
    new = positive(1)
    expected = other.transform(np.log1p(new / X.mean(0)))
    np.testing.assert_allclose(own.transform(new), expected, rtol=1e-5, atol=1e-5)


def test_signed_numbers_are_those_of_the_table_encoder():
    X = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_array_equal(
        OwnTableEncoder().fit([X]).transform(X), TableEncoder().fit([X]).transform(X)
    )


def test_two_values_are_encoded_as_any_other_two():
    X = (positive() > 1).astype(float)
    own = OwnTableEncoder().fit([X]).transform(X)
    np.testing.assert_allclose(own, TableEncoder().fit([X]).transform(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 0.3, 1e9])
def test_units_do_not_matter(unit):
    X = np.column_stack([positive(), np.random.default_rng(1).normal(size=60)])
    encoder, scaled = OwnTableEncoder().fit([X]), OwnTableEncoder().fit([X * unit])
    np.testing.assert_allclose(
        scaled.transform(X * unit), encoder.transform(X), rtol=1e-5, atol=1e-5
    )
    log_sd, scaled_log_sd = ([c.log_sd for c in e.columns()] for e in (encoder, scaled))
    np.testing.assert_allclose(scaled_log_sd, log_sd, rtol=1e-9)
    assert np.isnan(log_sd).tolist() == [False, False, False, True]


def test_log_sd_is_what_log_ratios_were_divided_by():
    X = positive()
    encoder = OwnTableEncoder().fit([X])
    sd = np.exp([column.log_sd for column in encoder.columns()])
    logged = np.log1p(X / X.mean(0))
    inner = np.abs(encoder.transform(X)).max(1) < 4
    spread = encoder.transform(X)[inner] * sd - logged[inner]
    np.testing.assert_allclose(spread, np.broadcast_to(spread[0], spread.shape), atol=1e-5)


def test_numbers_below_those_of_the_support_keep_their_order():
    encoder = OwnTableEncoder().fit([positive(d=1)])
    z = encoder.transform(np.linspace(-3, 3, 50)[:, None])[:, 0]
    assert (np.diff(z) > 0).all()


def test_names_and_kinds_of_columns():
    X = mixed()
    encoder = OwnTableEncoder().fit([X])
    columns = encoder.columns()
    assert [(column.name, column.kind) for column in columns] == [
        ("living area m 2", "number"),
        ("change", "number"),
        ("garage", "number"),
        ("lot size", "number"),
        ("city a", "level"),
        ("city b", "level"),
        ("city c", "level"),
        ("lot size missing", "missing"),
    ]
    assert len(columns) == encoder.n_features_out_ == encoder.transform(X).shape[1]
    assert encoder.get_feature_names_out().tolist() == [
        *["LivingArea_m2", "change", "garage", "lot.size", "City_a", "City_b", "City_c"],
        "missingindicator_lot.size",
    ]


def test_arrays_and_pooled_levels_have_no_names():
    assert [column.name for column in OwnTableEncoder().fit([positive()]).columns()] == [None] * 3
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"x": np.repeat(["a", "b", "c", "d"], [200, 198, 1, 1])})
    columns = OwnTableEncoder().fit([X]).columns()
    assert [column.name for column in columns] == ["x a", "x b", None]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("livingArea", "living area"),
        ("Sale_Price.USD", "sale price usd"),
        ("sqft2", "sqft 2"),
        ("BEDROOMS", "bedrooms"),
        ("WohnFläche", "wohn fläche"),
        ("__", ""),
    ],
)
def test_normalised_names(name, words):
    assert normalised(name) == words
    assert normalised(words) == words


def test_missing_values_are_the_average_row_and_unknown_levels_too():
    X = mixed()
    encoder = OwnTableEncoder().fit([X])
    row = X.iloc[:1].copy()
    row["City"], row["lot.size"] = ["elsewhere"], [np.nan]
    z = encoder.transform(row)[0]
    assert (z[3:7] == 0).all()
    assert z[7] > 0


@pytest.mark.parametrize("X", [np.ones((4, 2)), np.full((3, 2), np.nan), [[1.0, 2.0]]])
def test_constant_tables_become_one_column_of_zeros(X):
    encoder = OwnTableEncoder().fit([X])
    assert (encoder.transform(X) == np.zeros((len(X), 1))).all()
    (column,) = encoder.columns()
    assert column.name is None and column.kind == "number"


def test_extremes_are_finite_and_keep_their_order():
    X = positive(d=1)
    z = OwnTableEncoder().fit([X]).transform(np.array([[-1e30], [-1.0], [0.0], [1.0], [1e30]]))
    assert np.isfinite(z).all() and z.dtype == np.float32
    assert (np.diff(z[:, 0]) > 0).all()


def test_several_tables_are_one():
    X = positive()
    parts, whole = OwnTableEncoder().fit([X[:20], X[20:]]), OwnTableEncoder().fit([X])
    np.testing.assert_array_equal(parts.transform(X), whole.transform(X))


def test_nothing_is_novel():
    encoder = OwnTableEncoder().fit([positive()])
    Z = encoder.transform(1000 * positive())
    np.testing.assert_array_equal(encoder.novelty(Z), np.ones(3))
    np.testing.assert_array_equal(encoder.novelty(Z.reshape(4, 15, 3)), np.ones((4, 3)))


def test_round_trip_through_json_gives_the_same_bits():
    X = mixed()
    encoder = OwnTableEncoder(clip=4.0).fit([X])
    config, arrays = export_encoder(encoder)
    again = import_encoder(json.loads(json.dumps(config)), arrays)
    assert type(again) is OwnTableEncoder
    assert again.transform(X).tobytes() == encoder.transform(X).tobytes()
    assert str(again.columns()) == str(encoder.columns())


def test_damage_is_refused():
    config, arrays = OwnTableEncoder().fit([positive()]).to_dict()
    for mean in (np.ones(2), np.ones(3, np.float32), np.full(3, np.nan)):
        with pytest.raises(ValueError, match="damaged OwnTableEncoder state: number_mean"):
            OwnTableEncoder.from_dict(config, arrays | {"number_mean": mean})
    del arrays["number_mean"]
    with pytest.raises(ValueError, match="damaged OwnTableEncoder state"):
        OwnTableEncoder.from_dict(config, arrays)
