"""Export and import of the fitted state: same bits, and damage is refused."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest

from sklearn_meta.preprocessing import TableEncoder, TargetScaler


def table():
    rng = np.random.default_rng(0)
    X = np.empty((300, 5), dtype=object)
    X[:, 0] = rng.normal(size=300) / 3
    X[:, 1] = rng.choice(list("abc"), 300)
    X[:, 2] = np.where(rng.random(300) < 0.2, np.nan, rng.standard_t(1, size=300))
    X[:, 3] = rng.choice(["u", 1.5, True, None, "rare"], 300, p=[0.4, 0.3, 0.19, 0.1, 0.01])
    X[:, 4] = rng.random(300) < 0.5
    return X


def exported():
    encoder = TableEncoder(max_levels=np.int64(3), min_frequency=0.02)
    return encoder.fit([table()[:100], table()[100:]])


def test_round_trip_through_json_gives_the_same_bits():
    encoder = exported()
    config, arrays = encoder.to_dict()
    again = TableEncoder.from_dict(json.loads(json.dumps(config)), arrays)
    Z = encoder.transform(table())
    assert again.transform(table()).tobytes() == Z.tobytes()
    assert again.novelty(Z[:7]).tobytes() == encoder.novelty(Z[:7]).tobytes()
    assert again.get_feature_names_out().tolist() == encoder.get_feature_names_out().tolist()
    config_again, arrays_again = again.to_dict()
    assert config_again == config
    assert {k: v.tobytes() for k, v in arrays_again.items()} == {
        k: v.tobytes() for k, v in arrays.items()
    }


def test_round_trip_keeps_names():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"b": [1.0, 2, 3], "a": [4.0, 5, 9]})
    again = TableEncoder.from_dict(*TableEncoder().fit([X]).to_dict())
    assert again.feature_names_in_.tolist() == ["b", "a"]
    np.testing.assert_array_equal(again.transform(X), again.transform(X[["a", "b"]]))


def test_round_trip_of_all_constant_columns():
    encoder = TableEncoder.from_dict(*TableEncoder().fit([np.ones((4, 2))]).to_dict())
    assert (encoder.transform(np.ones((4, 2))) == 0).all()


def test_export_shares_no_memory_with_the_encoder():
    encoder = exported()
    before = encoder.transform(table())
    _, arrays = encoder.to_dict()
    for array in arrays.values():
        array[...] = 0
    np.testing.assert_array_equal(encoder.transform(table()), before)


def set_(key, value):
    return lambda config, arrays: config.update({key: value})


def array_(key, change):
    return lambda config, arrays: arrays.update({key: change(arrays[key])})


def category_(key, value):
    return lambda config, arrays: config["categories"][0].update({key: value})


DAMAGE = {
    "parameter": set_("clip", -1.0),
    "parameter type": set_("max_levels", "20"),
    "key missing": lambda config, arrays: config.pop("clip"),
    "key extra": set_("extra", 1),
    "array missing": lambda config, arrays: arrays.pop("number_scale"),
    "array extra": lambda config, arrays: arrays.update(extra=np.zeros(1)),
    "n_features": set_("n_features_in", 2),
    "n_features type": set_("n_features_in", True),
    "n_features zero": set_("n_features_in", 0),
    "names": set_("feature_names_in", ["a"]),
    "names equal": set_("feature_names_in", ["a"] * 5),
    "names type": set_("feature_names_in", [1, 2, 3, 4, 5]),
    "categories": set_("categories", None),
    "categories lost": set_("categories", []),
    "category keys": lambda config, arrays: config["categories"][0].pop("pooled"),
    "category column": category_("column", 99),
    "category is a number": category_("column", 0),
    "category order": lambda config, arrays: config["categories"].reverse(),
    "levels type": category_("levels", "abc"),
    "levels inside": category_("levels", ["a", ["b"], "c"]),
    "levels equal": category_("levels", ["a", "a", "b"]),
    "levels lost": category_("levels", ["a"]),
    "pooled": category_("pooled", 1),
    "nan": array_("number_center", lambda a: a * np.nan),
    "zero scale": array_("number_scale", lambda a: a * 0),
    "negative scale": array_("level_scale", np.negative),
    "shape": array_("number_center", lambda a: a[:-1]),
    "dimensions": array_("number_center", lambda a: a[:, None]),
    "dtype": array_("number_center", lambda a: a.astype(np.float32)),
    "list": array_("missing_center", list),
    "columns list": array_("number_columns", list),
    "columns order": array_("number_columns", lambda a: a[::-1]),
    "columns range": array_("missing_columns", lambda a: a + 5),
    "columns negative": array_("number_columns", lambda a: a - 1),
    "columns scalar": array_("number_columns", lambda a: np.int64(0)),
    "usual": array_("usual_low", lambda a: a[1:]),
    "tasks": array_("task_center_scale", lambda a: a[1:]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_encoders_are_refused(damage):
    config, arrays = exported().to_dict()
    config, arrays = copy.deepcopy(config), dict(arrays)
    damage(config, arrays)
    with pytest.raises(ValueError, match="damaged TableEncoder state"):
        TableEncoder.from_dict(config, arrays)


@pytest.mark.parametrize("config", [None, [], "x"])
def test_foreign_objects_are_refused(config):
    with pytest.raises(ValueError, match="must be a dict"):
        TableEncoder.from_dict(config, {})
    with pytest.raises(ValueError, match="must be a dict"):
        TargetScaler.from_dict(config, {})


@pytest.mark.parametrize(
    ("config", "arrays"),
    [
        ({"n_targets": 2}, {"center": np.zeros(1), "scale": np.ones(1)}),
        ({"n_targets": 0}, {"center": np.zeros(0), "scale": np.ones(0)}),
        ({"n_targets": 1.0}, {"center": np.zeros(1), "scale": np.ones(1)}),
        ({"n_targets": 1}, {"center": np.zeros(1), "scale": np.zeros(1)}),
        ({"n_targets": 1}, {"center": np.full(1, np.inf), "scale": np.ones(1)}),
        ({"n_targets": 1}, {"center": np.zeros(1)}),
        ({}, {"center": np.zeros(1), "scale": np.ones(1)}),
    ],
)
def test_damaged_target_scalers_are_refused(config, arrays):
    with pytest.raises(ValueError, match="damaged TargetScaler state"):
        TargetScaler.from_dict(config, arrays)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, sklearn.preprocessing\n"
        "before = set(sys.modules)\n"  # scikit-learn itself may import pandas
        "import sklearn_meta.preprocessing\n"
        "assert not {'torch', 'pandas', 'polars'} & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
