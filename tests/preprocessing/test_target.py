"""Target scaling against StandardScaler and TransformedTargetRegressor's inverse."""

import json

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from sklearn_meta.preprocessing import TargetScaler


def targets(k=2, n=300):
    return np.random.default_rng(0).normal(size=(n, k)) * [3, 0.01][:k] + [100, 5][:k]


def test_equals_standard_scaler_over_all_rows():
    y = targets()
    scaler, expected = TargetScaler().fit([y[:50], y[50:]]), StandardScaler().fit(y)
    np.testing.assert_allclose(scaler.center_, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale_, expected.scale_, rtol=1e-12)
    np.testing.assert_allclose(scaler.transform(y), expected.transform(y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2])
def test_inverse(k):
    y = targets(k)
    scaler = TargetScaler().fit([y])
    z = scaler.transform(y)
    np.testing.assert_allclose(scaler.inverse_transform(z), y, rtol=1e-12)
    mean, std = scaler.inverse_transform(z, np.ones_like(z))
    np.testing.assert_allclose(mean, y, rtol=1e-12)
    np.testing.assert_allclose(std, np.broadcast_to(scaler.scale_, y.shape), rtol=1e-12)


def test_one_dimensional_targets_keep_their_shape():
    y = targets(1)[:, 0]
    scaler = TargetScaler().fit([y[:9], y[9:, None]])
    assert scaler.transform(y).shape == y.shape
    assert scaler.transform(y[:, None]).shape == (300, 1)
    assert scaler.inverse_transform(y).shape == y.shape


def test_constant_targets_have_scale_one():
    scaler = TargetScaler().fit([np.full(5, 3.0), np.full(2, 3.0)])
    assert scaler.scale_ == 1 and (scaler.transform(np.full(4, 3.0)) == 0).all()
    assert (scaler.inverse_transform(np.zeros(4)) == 3).all()


@pytest.mark.parametrize("n", [30, 5000])
def test_an_extreme_row_does_not_set_the_scale(n):
    y = np.random.default_rng(0).normal(size=n)
    y[0] = 1e9
    scaler = TargetScaler().fit([y])
    assert abs(scaler.center_[0]) < 1 and 0.5 < scaler.scale_[0] < 1.5


def test_rare_events_are_no_extreme_tail():
    y = (np.arange(500) < 1).astype(float)
    np.testing.assert_allclose(TargetScaler().fit([y]).scale_, y.std())


def test_tiny_units_are_scaled():
    y = targets(1) * 1e-20
    np.testing.assert_allclose(TargetScaler().fit([y]).transform(y).std(), 1)


def test_round_trip():
    y = targets()
    scaler = TargetScaler().fit([y])
    config, arrays = scaler.to_dict()
    again = TargetScaler.from_dict(json.loads(json.dumps(config)), arrays)
    assert again.transform(y).tobytes() == scaler.transform(y).tobytes()


def test_faults():
    scaler = TargetScaler()
    with pytest.raises(NotFittedError):
        scaler.transform([1.0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        scaler.fit([np.array([np.nan])])
    with pytest.raises(ValueError, match="as many targets"):
        scaler.fit([np.zeros(3), np.zeros((3, 2))])
    with pytest.raises(ValueError, match="at least one target row"):
        scaler.fit([])
    with pytest.raises(ValueError, match=r"shape \(n,\) or \(n, k\)"):
        scaler.fit([np.zeros((2, 2, 2))])
    scaler.fit([targets()])
    with pytest.raises(ValueError, match="y has 1 targets, but TargetScaler is expecting 2"):
        scaler.transform(np.zeros(3))
    with pytest.raises(ValueError, match="std must have the shape of mean"):
        scaler.inverse_transform(np.zeros((3, 2)), np.zeros((2, 2)))
