"""The noise level is found from measurements alone."""

import numpy as np
import pytest
import torch

from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.learners.reconstruction._covariance import moments
from sklearn_meta.learners.reconstruction._factored import FactoredMixture
from sklearn_meta.learners.reconstruction._noise import (
    estimate_noise,
    noise_left,
    noise_of_images,
)
from sklearn_meta.learners.reconstruction._prior_noise import noise_of_measurements
from sklearn_meta.operators import Blur, RandomProjection


def noisy(y, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(size=tuple(y.shape))
    return y + sigma * torch.from_numpy(noise)


@pytest.fixture(scope="module")
def truth():
    return torch.from_numpy(make_dead_leaves(3, (48, 56), random_state=0)).double()


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_patches(truth, sigma):
    found = noise_of_images(noisy(truth, sigma))
    assert (found / sigma - 1).abs().max() < 0.25
    assert noise_of_images(torch.full((1, 30, 30), 0.3)) < 1e-6


def test_pure_noise():
    x = noisy(torch.zeros(2, 40, 40).double(), 3.0)
    assert (noise_of_images(x) / 3 - 1).abs().max() < 0.1
    assert (noise_left(x) / 3 - 1).abs().max() < 0.1


def test_what_an_operator_hides_shows_noise(truth):
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.8) ** 2)
    operator = Blur((48, 56), np.outer(kernel, kernel) / kernel.sum() ** 2, boundary="circular")
    y = noisy(operator(truth), 0.02)
    found = estimate_noise(operator, y)
    assert found.is_sure.all()
    assert found.is_local
    assert (found.sigma / 0.02 - 1).abs().max() < 0.15
    y[0, ::3] = torch.nan
    missing = estimate_noise(operator, y)
    assert (missing.sigma / 0.02 - 1).abs().max() < 0.3
    torch.testing.assert_close(missing.sigma[1:], found.sigma[1:])
    twice = estimate_noise(operator, 2 * y).sigma
    torch.testing.assert_close(twice, 2 * missing.sigma)


def test_projections_hide_noise(truth):
    operator = RandomProjection((48, 56), 600, kind="hadamard", random_state=0)
    found = estimate_noise(operator, noisy(operator(truth), 0.005))
    assert not found.is_sure.any()
    assert not found.is_local
    assert (found.sigma > 0.004).all()


@pytest.fixture(scope="module")
def told():
    """A prior that is not quite right: images are not normal, and their shape was guessed."""
    rng = np.random.default_rng(0)
    images = make_dead_leaves(1200, (8, 8), random_state=0).reshape(1200, -1).astype(float)
    images = torch.from_numpy(images)
    mixture = FactoredMixture.single(*moments(images[:300].reshape(-1, 8, 8), 0, 0.2))
    matrix = torch.from_numpy(rng.normal(size=(24, 64)) / 8)
    return mixture, matrix, images[300:] @ matrix.T


def noises(told, sigma, n, n_draws=20):
    mixture, matrix, clean = told
    rows = noisy(clean, sigma)
    draws = [rows[n * k : n * (k + 1)] for k in range(n_draws)]
    return np.array([noise_of_measurements(mixture, matrix, draw, 0.1) for draw in draws])


def test_few_measurements_of_the_same_noise_change_nothing(told):
    found = noises(told, 0.1, 5)
    assert np.abs(np.log(found / 0.1)).mean() < 0.05
    assert np.abs(np.log(found / 0.1)).max() < 0.3


@pytest.mark.parametrize("sigma", [0.025, 0.4])
def test_other_noise_tells(told, sigma):
    few, many = noises(told, sigma, 2), noises(told, sigma, 40)
    assert np.abs(np.log(many / sigma)).mean() < 0.3
    # Few measurements stay nearer to what the tasks told.
    assert np.abs(np.log(few / 0.1)).mean() < np.abs(np.log(many / 0.1)).mean() + 0.05


def test_noise_is_the_posterior_mean_for_a_prior_that_is_right():
    """One measurement of one pixel: the integral over the noise can be done by hand."""
    mixture = FactoredMixture.single(torch.zeros(1).double(), torch.eye(1).double())
    matrix, y = torch.eye(1).double(), 2.5
    found = noise_of_measurements(mixture, matrix, torch.full((1, 1), y).double(), 0.5)
    away = np.linspace(np.log(10**-3.5 / 0.5), np.log(1 / 0.5), 4001)
    spread = 1 + (0.5 * np.exp(away)) ** 2
    slab = np.exp(-0.5 * (away / 0.7) ** 2)
    # A single image is trusted by half.
    likelihood = np.exp(0.5 * -0.5 * (np.log(spread) + y**2 / spread))
    same = np.exp(0.5 * -0.5 * (np.log(1.25) + y**2 / 1.25))
    slab = 0.2 * slab / slab.sum() * likelihood
    expected = (slab * away).sum() / (slab.sum() + 0.8 * same)
    assert np.log(found / 0.5) == pytest.approx(expected, abs=0.03)
