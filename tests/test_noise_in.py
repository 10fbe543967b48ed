"""The parameter `noise`."""

import numpy as np
import pytest

from sklearn_meta._noise_in import check_noise_fits, read_noise
from sklearn_meta.learners.reconstruction import Noise


@pytest.mark.parametrize(
    ("noise", "sigma", "gain"),
    [
        ("auto", None, 0.0),
        (0, 0.0, 0.0),
        (np.float32(0.5), 0.5, 0.0),
        (("poisson", 20), 0.0, 0.05),
        (Noise(0.1, 0.2), 0.1, 0.2),
        (Noise(None, 0.2), None, 0.2),
    ],
)
def test_forms_of_noise(noise, sigma, gain):
    assert read_noise(noise) == Noise(sigma, gain)


def test_a_level_for_each_image():
    read = read_noise([0.1, 0.2])
    np.testing.assert_array_equal(read.sigma, [0.1, 0.2])
    check_noise_fits(read, 2)
    with pytest.raises(ValueError, match="but X has 1 row;"):
        check_noise_fits(read, 1)


@pytest.mark.parametrize(
    "noise",
    [-0.1, np.nan, np.inf, None, True, "high", "0.1", [[0.1]], [0.1, -1], ("poisson", 0)]
    + [("poisson", "x"), Noise(-1.0), Noise(0.1, -1.0), Noise(0.1, "x"), object()],
)
def test_other_noise_is_refused(noise):
    with pytest.raises(ValueError, match="noise"):
        read_noise(noise)
