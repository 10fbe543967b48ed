"""Non-linear data steps, their plans, and noise of laws and counts."""

from __future__ import annotations

import copy
import pickle
import threading
import time

import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_meta.learners.reconstruction import Noise
from sklearn_meta.learners.reconstruction._likelihood import (
    IntervalLikelihood,
    Linearization,
    truncated_moments,
)
from sklearn_meta.learners.reconstruction._nonlinear import reconstruct_nonlinear, simulate
from sklearn_meta.learners.reconstruction._nonlinear_noise import gain_of_counts, noise_of
from sklearn_meta.learners.reconstruction._nonlinear_plan import Plan, Plans, follow, plan
from sklearn_meta.learners.reconstruction._nonlinear_step import NonlinearTerm
from sklearn_meta.operators import (
    Blur,
    Gamma,
    Identity,
    PhaseRetrieval,
    Quantization,
    RandomProjection,
    Saturation,
    as_operator,
)

SHAPE = (16, 16)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def smooth_images(n: int, shape: tuple[int, int] = SHAPE, seed: int = 0) -> torch.Tensor:
    """Blobs on a grey ground, in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]] / shape[0]
    images = np.full((n, *shape), 0.3)
    for image in images:
        for _ in range(3):
            r, c = rng.uniform(0, 1, 2)
            image += rng.uniform(-0.3, 0.5) * ((rows - r) ** 2 + (columns - c) ** 2 < 0.08)
    return torch.from_numpy(images.clip(0, 1))


def box_filter(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Denoise by a mean of neighbours, the more so the more noise there is."""
    padded = torch.nn.functional.pad(x[:, None], (1, 1, 1, 1), mode="replicate")
    mean = torch.nn.functional.avg_pool2d(padded, 3, 1)[:, 0]
    share = level**2 / (level**2 + 0.01)
    return x + share * (mean - x)


@pytest.mark.parametrize("ends", [(-0.5, 1.2), (-np.inf, 0.4), (2.0, np.inf), (5.0, 5.5)])
def test_truncated_moments_are_those_of_scipy(ends):
    mean, sd = 0.3, 0.7
    reference = stats.truncnorm((ends[0] - mean) / sd, (ends[1] - mean) / sd, mean, sd)
    low, high = (torch.tensor([end], dtype=torch.float64) for end in ends)
    m, v = truncated_moments(torch.tensor([mean]).double(), torch.tensor([sd**2]), low, high)
    np.testing.assert_allclose(m.numpy(), reference.mean(), rtol=1e-6)
    np.testing.assert_allclose(v.numpy(), reference.var(), rtol=1e-4)


def test_truncated_moments_at_the_extremes():
    mean, variance = torch.zeros(4).double(), torch.ones(4).double()
    low = torch.tensor([0.5, -torch.inf, 60.0, -90.0]).double()
    high = torch.tensor([0.5, torch.inf, torch.inf, -80.0]).double()
    m, v = truncated_moments(mean, variance, low, high)
    torch.testing.assert_close(m[:2], torch.tensor([0.5, 0.0]).double())
    torch.testing.assert_close(v[:2], torch.tensor([0.0, 1.0]).double())
    assert 60 <= m[2] < 60.1 and -80.1 < m[3] <= -80
    assert (v[2:] > 0).all() and (v[2:] < 1e-3).all()


def test_interval_of_a_known_value_is_gaussian():
    operator = Saturation((1, 4), gain=2.0)
    y = torch.tensor([[[0.2, 0.4, 0.6, torch.nan]]], dtype=torch.float64)
    pseudo = IntervalLikelihood(operator, y, torch.tensor(0.02)).observe(torch.zeros(1, 1, 4), 0.1)
    torch.testing.assert_close(pseudo.target[..., :3], y[..., :3] / 2, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        pseudo.precision[..., :3], torch.full((1, 1, 3), 1e4).double(), rtol=1e-4, atol=0
    )
    assert pseudo.precision[..., 3] == 0


def test_saturation_says_nothing_of_what_is_bright_enough():
    operator = Saturation((1, 2))
    likelihood = IntervalLikelihood(operator, torch.ones(1, 1, 2).double(), torch.tensor(0.01))
    x = torch.tensor([[[3.0, 0.5]]], dtype=torch.float64)
    pseudo = likelihood.observe(x, 0.01)
    assert pseudo.precision[0, 0, 0] < 1e-3 / 0.01
    assert pseudo.precision[0, 0, 1] > 1 / 0.01
    assert pseudo.target[0, 0, 1] > 0.95


def test_posterior_of_a_linear_operator_is_optimal():
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    operator = Blur(SHAPE, kernel)
    truth = smooth_images(2)
    sigma = torch.tensor(0.05).double()
    y = simulate(operator, truth, 0.05, 0.0, generator())
    term = NonlinearTerm(operator, y, sigma, generator(), max_iter=200)
    z = smooth_images(2, seed=1)
    x, left = term.posterior(z, 0.01, 0.01)
    gradient = operator.adjoint(operator.forward(x) - y) / 0.05**2 + (x - z) / 0.01
    assert left is None
    assert gradient.norm() < 1e-3 * ((z - x) / 0.01).norm()


def test_posterior_of_single_pixels_has_its_variance():
    term = NonlinearTerm(Identity(SHAPE), smooth_images(1), torch.tensor(0.1).double(), generator())
    _, left = term.posterior(smooth_images(1, seed=1), 0.04, 0.04)
    torch.testing.assert_close(left, torch.full_like(left, 1 / (1 / 0.01 + 1 / 0.04)))


def test_quantised_posterior_is_in_its_bins():
    operator = Quantization(SHAPE, 3)
    truth = smooth_images(2)
    y = operator.forward(truth)
    term = NonlinearTerm(operator, y, torch.tensor(0.0).double(), generator())
    x, _ = term.posterior(smooth_images(2, seed=1), 0.01, 0.01)
    low, high = operator.interval(y)
    assert ((x > low - 0.01) & (x < high + 0.01)).all()


def test_linearization_passes_the_dot_test():
    operator = Gamma(SHAPE, operator=RandomProjection(SHAPE, 20, random_state=0))
    x = smooth_images(2)
    slope = Linearization(operator, x)
    v, w = torch.randn(2, *SHAPE, generator=generator()).double(), torch.ones(2, 20).double()
    torch.testing.assert_close((slope.forward(v) * w).sum(), (v * slope.adjoint(w)).sum())
    torch.testing.assert_close(slope.forward(v), operator.jvp(x, v))
    torch.testing.assert_close(slope.adjoint(w), operator.vjp(x, w))
    torch.testing.assert_close(slope.value, operator.forward(x))


@pytest.mark.parametrize("name", ["saturation", "quantisation", "black box"])
def test_reconstruction_is_better_than_the_naive_inverse(name):
    shape = (24, 24)
    truth = smooth_images(3, shape)
    sigma = 0.02
    if name == "saturation":
        operator = Saturation(shape, gain=1.8)
        naive = operator.forward(truth) / 1.8
    elif name == "quantisation":
        dither = torch.rand(shape, generator=generator()).numpy() - 0.5
        operator, sigma = Quantization(shape, 2, dither=dither), 0.0
        naive = operator.forward(truth)
    else:
        operator = as_operator(lambda x: x + 0.4 * x.roll(1, -1) * x, shape)
        naive = operator.forward(truth)
    y = simulate(operator, truth, sigma, 0.0, generator())
    x = reconstruct_nonlinear(
        operator, y, Noise(sigma), box_filter, smooth_images(8, shape, 5), generator(), 3
    )
    assert (x - truth).square().mean() < 0.6 * (naive - truth).square().mean()


def test_batch_and_one_by_one_agree():
    operator = Saturation(SHAPE, Blur(SHAPE, np.ones((3, 3)) / 9), gain=1.5)
    y = simulate(operator, smooth_images(3), 0.01, 0.0, generator())
    reference = smooth_images(4, seed=7)

    def run(rows):
        return reconstruct_nonlinear(
            operator, rows, Noise(0.01), box_filter, reference, generator(), 2
        )

    torch.testing.assert_close(run(y)[1:2], run(y[1:2]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma", [None, 0.01])
def test_phases_of_a_batch_and_one_by_one_agree(sigma):
    shape = (8, 8)
    matrix = torch.randn((192, 64), generator=generator()).numpy() / 8
    operator = PhaseRetrieval(None, as_operator(matrix, shape))
    truth = smooth_images(3, shape)
    y = simulate(operator, truth, 0.01, 0.0, generator())
    y[0] += 0.05 * torch.randn(y[0].shape, generator=generator())
    reference = smooth_images(4, shape, seed=7)

    def run(rows):
        return reconstruct_nonlinear(
            operator, rows, Noise(sigma), box_filter, reference, generator(), 2
        )

    together = run(y)
    for k in range(3):
        torch.testing.assert_close(together[k : k + 1], run(y[k : k + 1]), rtol=0, atol=1e-4)
    assert (together - truth)[1:].square().mean() < 1e-3


def simulated_term(n: int = 6) -> tuple[NonlinearTerm, torch.Tensor]:
    operator, truth = Saturation(SHAPE, gain=1.5), smooth_images(n)
    y = simulate(operator, truth, 0.03, 0.0, generator())
    return NonlinearTerm(operator, y, torch.tensor(0.03).double(), generator()), truth


@pytest.mark.parametrize("n", [1, 6])
def test_a_plan_reaches_the_error_that_it_tells(n):
    term, truth = simulated_term(n)
    found = plan(term, box_filter, truth, 3)
    error = (follow(term, box_filter, found) - truth).square().mean().sqrt()
    assert float(error) == pytest.approx(found.error, rel=1e-6)
    assert 1 <= len(found.steps) <= 3


def test_most_candidates_are_tried_on_few_images():
    term, truth = simulated_term(16)
    seen = []

    def denoise(x, level):
        seen.append(len(x))
        return box_filter(x, level)

    n_steps = len(plan(term, denoise, truth, 4).steps)
    assert sum(seen) < 16 * 8 * (n_steps + 1)


def test_a_denoiser_that_returns_nan_is_told():
    term, truth = simulated_term()
    with pytest.raises(ValueError, match="no step of the reconstruction gave finite images"):
        plan(term, lambda x, level: torch.full_like(x, torch.nan), truth)


def test_threads_make_a_plan_once():
    plans, made = Plans(), []

    def find():
        made.append(0)
        time.sleep(0.05)
        return Plan(0.0, 1.0, 1.0, (), 0.0)

    threads = [threading.Thread(target=plans.get, args=("key", find)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_plans_are_copied_without_their_lock(copied):
    plans = Plans()
    kept = plans.get("key", lambda: Plan(0.0, 1.0, 1.0, (), 0.0))
    other = copied(plans)
    assert other.get("key", lambda: None) == kept
    other.get("more", lambda: None)
    assert plans.get("more", lambda: kept) is kept


@pytest.mark.parametrize("peak", [5, 40])
def test_counts_are_recognised(peak):
    truth = smooth_images(2, (48, 48))
    y = torch.poisson(peak * truth, generator()) / peak
    assert gain_of_counts(Identity((48, 48)), y) == pytest.approx(1 / peak)


def test_rounded_images_are_no_counts():
    truth = smooth_images(2, (48, 48))
    noise = torch.randn(truth.shape, generator=generator()).double()
    y = ((truth + 0.03 * noise).clamp(0, 1) * 255).round() / 255
    assert gain_of_counts(Identity((48, 48)), y) is None
    assert noise_of(Identity((48, 48)), y).gain == 0


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_noise_before_a_law_is_found(sigma):
    operator = Saturation((48, 48), gain=1.4)
    y = simulate(operator, smooth_images(2, (48, 48)), sigma, 0.0, generator()).clamp(0, 1)
    assert noise_of(operator, y).sigma == pytest.approx(sigma, rel=0.4)


def test_rounding_is_no_noise():
    operator = Quantization(SHAPE, 2, gamma=2.2)
    assert noise_of(operator, operator.forward(smooth_images(2))).sigma < 1e-6
