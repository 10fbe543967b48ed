"""ImageEncoder: channels scaled over all tasks, images that stay images, and a plain state."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_meta.preprocessing import ImageEncoder, TableEncoder
from sklearn_meta.preprocessing._pixels import ROWS_AT_ONCE
from sklearn_meta.preprocessing._registry import export_encoder, import_encoder

SHAPE = (3, 4, 5)


def images(n, seed=0):
    """Channels in very different units."""
    rng = np.random.default_rng(seed)
    units = np.array([1.0, 100.0, 1e-3])[:, None]
    return (rng.normal(2.0, 1.0, (n, 3, 20)) * units).reshape(n, -1)


@pytest.fixture
def tasks():
    return [images(n, seed=n) for n in (30, 7, 1)]


@pytest.fixture
def encoder(tasks):
    return ImageEncoder(SHAPE).fit(tasks)


def test_channels_are_centred_and_scaled_over_all_rows(encoder, tasks):
    Z, offsets = encoder.transform_many(tasks)
    assert Z.dtype == np.float32 and Z.shape == (38, 60)
    assert offsets.tolist() == [0, 30, 37, 38]
    channels = Z.reshape(38, 3, 20).astype(float)
    np.testing.assert_allclose(channels.mean(axis=(0, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(channels.std(axis=(0, 2)), 1, rtol=1e-6)
    np.testing.assert_array_equal(Z[30:37], encoder.transform(tasks[1]))


def test_pieces_of_a_large_array_give_the_moments_of_the_whole():
    X = images(2 * ROWS_AT_ONCE + 5)
    X[::7, 3] = np.nan
    encoder = ImageEncoder(SHAPE).fit([X])
    pixels = X.reshape(-1, 3, 20)
    np.testing.assert_allclose(encoder.center_, np.nanmean(pixels, axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(encoder.scale_, np.nanstd(pixels, axis=(0, 2)), rtol=1e-12)
    assert encoder.transform(X).shape == X.shape


def test_missing_pixels_become_the_mean_and_no_column_is_dropped(tasks):
    tasks[0][:, 5] = np.nan
    tasks[1][:, 6] = 7.0
    encoder = ImageEncoder(SHAPE).fit(tasks)
    Z = encoder.transform(tasks[0])
    assert Z.shape == (30, 60) and encoder.n_features_out_ == encoder.n_features_in_ == 60
    assert np.isfinite(Z).all() and (Z[:, 5] == 0).all()


def test_constant_and_empty_channels_are_zero():
    X = images(9)
    X[:, :20], X[:, 20:40] = 5.0, np.nan
    Z = ImageEncoder(SHAPE).fit([X]).transform(X)
    assert (Z[:, :40] == 0).all() and (Z[:, 40:] != 0).all()


def test_extreme_values_stay_finite_and_in_order(encoder):
    X = np.tile(images(1), (3, 1))
    X[:, 0] = [1e10, 1e30, -1e38]
    Z = encoder.transform(X)
    assert np.isfinite(Z).all() and Z[2, 0] < 0 < Z[0, 0] < Z[1, 0] < 200


def test_novelty_is_zero_within_the_range_and_large_in_other_units(encoder, tasks):
    Z, offsets = encoder.transform_many(tasks)
    assert (encoder.novelty(Z[offsets[0] : offsets[1]]) == 0).all()
    assert encoder.novelty(encoder.transform(255 * tasks[0])).max() > 20
    assert encoder.novelty(Z[None, :5]).shape == (1, 60)
    assert (encoder.novelty(Z[:0]) == 0).all()


def test_frames_are_matched_by_name(tasks):
    names = [f"p{i}" for i in range(60)]
    frame = pd.DataFrame(tasks[0], columns=names)
    encoder = ImageEncoder(SHAPE).fit([frame])
    assert encoder.get_feature_names_out().tolist() == encoder.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(encoder.transform(frame[names[::-1]]), encoder.transform(frame))
    assert not hasattr(encoder.fit(tasks), "feature_names_in_")
    assert encoder.get_feature_names_out()[1] == "x1"


@pytest.mark.parametrize(
    "shape",
    [(8, 9), (60,), (1, 3, 4, 5), (-6, -10), (0, 60), 60, None, "66", (6.0, 10), (True, 60)],
)
def test_shapes_that_cannot_be_are_refused(shape, tasks):
    with pytest.raises(ValueError, match="image_shape is"):
        ImageEncoder(shape).fit(tasks)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.zeros((2, 59)), "X has 59 features, but ImageEncoder is expecting 60"),
        (np.full((2, 60), np.inf), "contains infinity"),
        (np.full((2, 60), "a", dtype=object), "a pixel is a number"),
    ],
)
def test_rows_that_are_no_such_images_are_refused(encoder, X, match):
    with pytest.raises(ValueError, match=match):
        encoder.transform(X)
    with pytest.raises(ValueError, match="task 'second': .*"):
        encoder.transform_many([images(2), X], names=["first", "second"])


def test_not_fitted():
    with pytest.raises(NotFittedError, match="Call fit first"):
        ImageEncoder(SHAPE).transform(images(1))


def test_clone_keeps_the_shape(encoder):
    assert clone(encoder).get_params() == {"image_shape": SHAPE}


@pytest.mark.parametrize("encoder_class", [lambda: ImageEncoder(SHAPE), TableEncoder])
def test_the_registry_makes_the_right_encoder_again(encoder_class, tasks):
    encoder = encoder_class().fit(tasks)
    again = import_encoder(*export_encoder(encoder))
    assert type(again) is type(encoder)
    np.testing.assert_array_equal(again.transform(tasks[0]), encoder.transform(tasks[0]))
    Z = encoder.transform(3 * tasks[0])
    np.testing.assert_array_equal(again.novelty(Z), encoder.novelty(Z))


def test_an_unknown_encoder_is_refused(encoder):
    config, arrays = export_encoder(encoder)
    with pytest.raises(ValueError, match="no encoder 'Other'"):
        import_encoder(config | {"name": "Other"}, arrays)


@pytest.mark.parametrize(
    ("config", "arrays"),
    [
        ({"image_shape": [3, 20]}, {}),
        ({"image_shape": [3, -4, 5]}, {}),
        ({"image_shape": "abc"}, {}),
        ({"feature_names_in": ["a"]}, {}),
        ({"feature_names_in": 3}, {}),
        ({"more": 1}, {}),
        ({}, {"scale": np.zeros(3)}),
        ({}, {"center": np.full(3, np.nan)}),
        ({}, {"center": np.zeros(3, np.float32)}),
        ({}, {"low": np.full(3, 100.0)}),
        ({}, {"more": np.zeros(3)}),
    ],
)
def test_a_damaged_state_is_refused(encoder, config, arrays):
    good, good_arrays = encoder.to_dict()
    with pytest.raises(ValueError, match="damaged ImageEncoder state"):
        ImageEncoder.from_dict(good | config, good_arrays | arrays)
