import pickle

import numpy as np
import pytest
import torch

from sklearn_meta.learners.reconstruction import Noise, regress_operator
from sklearn_meta.learners.reconstruction._row_families import dense_rows, families, kernel_places
from sklearn_meta.operators import Blur, Downsample

SHAPE = (9, 8)
SIGMA = 0.02
KERNEL = np.outer([0.2, 0.5, 0.3], [0.1, 0.6, 0.3])


def pairs(operator, n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, *SHAPE))
    y = operator(torch.from_numpy(x)).numpy()
    return x, y + SIGMA * rng.normal(size=y.shape)


def dense(x):
    matrix = torch.from_numpy(np.random.default_rng(5).normal(size=(20, 72)) / np.sqrt(20))
    return x.flatten(1) @ matrix.T


def zero_padded(x):
    kernel = torch.from_numpy(KERNEL)[None, None]
    return torch.nn.functional.conv2d(x[:, None], kernel, padding="same")[:, 0]


def seen_pixels(x):
    return x.flatten(1)[:, torch.arange(0, 72, 3)]


def test_dense_rows_are_bayesian_regression():
    x, y = pairs(dense, 15)
    images, measurements = torch.from_numpy(x).flatten(1), torch.from_numpy(y)
    found = dense_rows(images, measurements, SHAPE, SIGMA**2)
    # The posterior covariance tells the scale of the prior that was found.
    direction = torch.linalg.svd(images).Vh[-1]
    scale = float(direction @ found.covariance @ direction)
    precision = images.T @ images / SIGMA**2 + torch.eye(72) / scale
    covariance = torch.linalg.inv(precision)
    torch.testing.assert_close(found.covariance, covariance, rtol=1e-6, atol=1e-9)
    expected = measurements.T @ images @ covariance / SIGMA**2
    torch.testing.assert_close(found.matrix, expected, rtol=1e-5, atol=1e-7)
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(15, dtype=torch.float64),
        scale * images @ images.T + SIGMA**2 * torch.eye(15),
    )
    assert found.log_evidence == pytest.approx(float(marginal.log_prob(measurements.T).sum()))


@pytest.mark.parametrize("border", ["circular", "reflect", "valid", "zero"])
def test_a_convolution_is_found_from_two_pairs(border):
    measure = zero_padded if border == "zero" else Blur(SHAPE, KERNEL, boundary=border).forward
    x, y = pairs(measure, 2)
    found = regress_operator(y, x, Noise(SIGMA))
    new = torch.from_numpy(np.random.default_rng(9).random((5, *SHAPE)))
    error = (found.forward(new) - measure(new)).square().mean().sqrt()
    assert error < 3 * SIGMA


def test_downsampling_is_a_kernel_every_few_pixels():
    operator = Downsample((8, 8), 2)
    x = np.random.default_rng(0).random((4, 8, 8))
    y = operator.forward(torch.from_numpy(x))
    found = regress_operator(y.numpy(), x, Noise(SIGMA))
    new = torch.from_numpy(np.random.default_rng(9).random((5, 8, 8)))
    error = (found.forward(new) - operator.forward(new)).square().mean().sqrt()
    assert error < 2 * SIGMA


def test_pixels_are_recognised():
    x, y = pairs(seen_pixels, 10)
    found = regress_operator(y, x, Noise(SIGMA))
    expected = seen_pixels(torch.eye(72, dtype=torch.float64).reshape(72, *SHAPE)).T
    torch.testing.assert_close(found.matrix, expected, atol=1e-6, rtol=0)


def test_dense_operators_are_found_from_many_pairs_only():
    few, many = (regress_operator(*pairs(dense, n)[::-1], Noise(SIGMA)) for n in (20, 300))
    truth = dense(torch.eye(72, dtype=torch.float64).reshape(72, *SHAPE)).T
    assert (many.matrix - truth).square().mean() < 0.01 * truth.square().mean()
    assert (few.matrix - truth).square().mean() > 0.1 * truth.square().mean()
    moment = torch.eye(72, dtype=torch.float64)
    assert (few.excess(moment) > 10 * many.excess(moment)).all()


@pytest.mark.parametrize("measure", [dense, seen_pixels, Blur(SHAPE, KERNEL).forward])
def test_excess_is_the_spread_of_measurements(measure):
    """Measurements of new images lie around the mean operator's as the posterior says."""
    x, y = pairs(measure, 30, seed=1)
    found = regress_operator(y, x, Noise(SIGMA))
    new, measured = pairs(measure, 400, seed=2)
    flat = torch.from_numpy(new).flatten(1)
    away = found.forward(torch.from_numpy(new)).numpy() - measured
    expected = found.excess(flat.T @ flat / 400).mean() + SIGMA**2
    assert np.mean(away**2) == pytest.approx(float(expected), rel=0.35)


def test_noise_is_found_from_enough_pairs():
    x, y = pairs(Blur(SHAPE, KERNEL).forward, 5)
    assert regress_operator(y, x).sigma == pytest.approx(SIGMA, rel=1.0)


def test_noise_that_is_known_later_is_as_if_known_before():
    x, y = pairs(dense, 10)
    later = regress_operator(y, x, Noise(0.3)).with_noise(SIGMA)
    assert torch.equal(later.matrix, regress_operator(y, x, Noise(SIGMA)).matrix)


def test_pairs_that_miss_a_measurement_are_left_out():
    x, y = pairs(dense, 6)
    y[2, 3] = np.nan
    kept = np.arange(6) != 2
    found = regress_operator(y, x, Noise(SIGMA))
    assert torch.equal(found.matrix, regress_operator(y[kept], x[kept], Noise(SIGMA)).matrix)
    with pytest.raises(ValueError, match="whole pairs"):
        regress_operator(np.full_like(y, np.nan), x)


def test_operator_pickles_and_is_linear():
    x, y = pairs(dense, 6)
    found = pickle.loads(pickle.dumps(regress_operator(y, x, Noise(SIGMA))))
    u, v = torch.from_numpy(x[:1]), torch.from_numpy(y[:1])
    left, right = (found.forward(u) * v).sum(), (u * found.adjoint(v)).sum()
    torch.testing.assert_close(left, right)


def test_families_take_any_shape():
    rng = np.random.default_rng(0)
    for shape in [(1, 7), (3, 4, 3), (5, 5), (2, 9)]:
        x = torch.from_numpy(rng.random((3, int(np.prod(shape)))))
        for m in (1, x.shape[1]):
            y = torch.from_numpy(rng.random((3, m)))
            for found in families(x, y, shape, SIGMA**2):
                assert found.matrix.shape == (m, x.shape[1])
                assert np.isfinite(found.log_evidence)
                assert (found.excess(x.T @ x) >= 0).all()


def test_places_are_those_of_the_measurements():
    places = list(kernel_places((6, 6), 9))
    assert {len(index) for index in places} == {9}
    assert len(places) == 3
    # Places outside are the pixel that follows the last one.
    assert sorted(int(index.max()) for index in places) == [35, 35, 36]
