"""The noise level is found from measurements alone."""

import numpy as np
import pytest
import torch

from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.learners.reconstruction._noise import (
    estimate_noise,
    noise_left,
    noise_of_images,
)
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
