import numpy as np
import pytest

from sklearn_meta.datasets import make_dead_leaves


@pytest.mark.parametrize("shape", [(16, 16), (9, 21), (12, 14, 3), (1, 1), (2, 7, 3)])
def test_shape_range_and_type(shape):
    images = make_dead_leaves(3, shape, random_state=0)
    assert images.shape == (3, *shape)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_same_seed_same_images():
    first, second = (make_dead_leaves(2, (16, 16), random_state=5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, make_dead_leaves(2, (16, 16), random_state=6))


def test_spectrum_falls_as_that_of_photographs():
    """Power falls as about frequency^-2 (amplitude^-1), as in Lee, Mumford and Huang (2001)."""
    images = make_dead_leaves(40, (64, 64), random_state=0)
    images = (images - images.mean(axis=(1, 2), keepdims=True)) * np.hanning(64) ** 0.5
    power = (np.abs(np.fft.fft2(images * np.hanning(64)[:, None] ** 0.5)) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2))
    band = (frequency > 0.04) & (frequency < 0.35)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert -3.0 < slope < -1.2


def test_edges_are_rare_and_large():
    """Differences of neighbours have heavy tails: flat regions, and edges between them."""
    d = np.diff(make_dead_leaves(30, (48, 48), random_state=1), axis=1)
    kurtosis = (d**4).mean() / (d**2).mean() ** 2
    assert kurtosis > 6  # 3 for Gaussian noise


def test_colour_planes_are_correlated():
    images = make_dead_leaves(20, (32, 32, 3), random_state=2).reshape(-1, 3)
    correlation = np.corrcoef(images.T)
    assert correlation[0, 1] > 0.5
    assert correlation[0, 1] < 0.999


@pytest.mark.parametrize("shape", [(8,), (8, 8, 2), (8, 8, 3, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="image_shape"):
        make_dead_leaves(1, shape)
