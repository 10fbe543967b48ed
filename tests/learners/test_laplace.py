"""Laplace's approximation against dense solutions and numerical integration."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit

from sklearn_meta.learners._laplace import laplace, predictive_log_probabilities

STEPS = 30


def problem(n=12, m=3, n_classes=2, seed=0, link="softmax", scale=1.0):
    """Rows (1, 1, 1, n, m), offsets, targets and mask of one task."""
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(scale * rng.normal(size=(1, 1, 1, n, m)))
    offset = torch.from_numpy(0.3 * rng.normal(size=(1, n_classes, 1, n)))
    if link == "sigmoid":
        target = torch.from_numpy(rng.integers(2, size=(n_classes, 1, n)).astype(float))
    else:
        code = torch.from_numpy(rng.integers(n_classes, size=(1, n)))
        target = torch.nn.functional.one_hot(code, n_classes).movedim(-1, 0).double()
    return rows, offset, target, torch.ones(1, n, dtype=torch.bool)


def log_posterior(weights, rows, offset, target, link):
    """Of weights (C, m), up to a constant."""
    f = offset[0, :, 0] + weights @ rows[0, 0, 0].T
    if link == "sigmoid":
        fit = -torch.nn.functional.binary_cross_entropy_with_logits(
            f, target[:, 0], reduction="sum"
        )
    else:
        fit = (f.log_softmax(0) * target[:, 0]).sum()
    return fit - 0.5 * weights.square().sum()


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("n", "m"), [(5, 8), (30, 4)])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_log_posterior_has_no_slope_at_the_mode(link, n, m, n_classes):
    rows, offset, target, mask = problem(n, m, n_classes, link=link)
    posterior = laplace(rows, offset, target, mask, None, STEPS, link)
    weights = posterior.weights[0, :, 0].clone().requires_grad_(True)
    log_posterior(weights, rows, offset, target, link).backward()
    # Exact Newton steps for two classes and for labels; for more classes, close to them.
    assert weights.grad.abs().max() < (1e-2 if link == "softmax" and n_classes > 2 else 1e-5)


def test_two_classes_equal_a_dense_newton_solution():
    rows, offset, target, mask = problem()
    posterior = laplace(rows, offset, target, mask, None, STEPS)
    x, shift = rows[0, 0, 0].numpy(), (offset[0, 1] - offset[0, 0])[0].numpy()
    y = target[1, 0].numpy()
    w = np.zeros(x.shape[1])
    for _ in range(50):  # w = v_1 - v_0 has variance 2
        p = expit(shift + x @ w)
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + np.eye(len(w)) / 2
        w += np.linalg.solve(hessian, x.T @ (y - p) - w / 2)
    difference = posterior.weights[0, 1, 0] - posterior.weights[0, 0, 0]
    np.testing.assert_allclose(difference, w, atol=1e-5)
    # The same evidence as that of the one latent function between the two classes.
    p = expit(shift + x @ w)
    fit = np.log(np.where(y == 1, p, 1 - p)).sum()
    half_log_det = 0.5 * np.linalg.slogdet(2 * hessian)[1]
    expected = fit - w @ w / 4 - half_log_det
    assert posterior.evidence.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_the_space_of_the_weights_and_that_of_the_rows_agree(link):
    rows, offset, target, mask = problem(n=6, m=4, n_classes=3, link=link)
    # Columns of zeros change no model, but make the rows the fewer.
    wide = torch.nn.functional.pad(rows, (0, 10))
    query = torch.from_numpy(np.random.default_rng(3).normal(size=(1, 1, 1, 5, 4)))
    at = torch.zeros(1, 3, 1, 5, dtype=torch.float64)
    results = []
    for own, other in ((rows, query), (wide, torch.nn.functional.pad(query, (0, 10)))):
        posterior = laplace(own, offset, target, mask, None, STEPS, link)
        log_p = predictive_log_probabilities(posterior, other, at, None, link)
        results.append((log_p, posterior.evidence, posterior.weights[..., :4]))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("n", [1, 4, 25])
def test_evidence_is_close_to_the_integral(link, n):
    rows, offset, target, mask = problem(n, 1, 2, link=link)
    x, y = rows[0, 0, 0, :, 0].numpy(), target[:, 0].numpy()
    shift = offset[0, :, 0].numpy()

    def integral(shift, label, variance):
        def density(w):
            p = expit(w * x + shift)
            return np.prod(np.where(label == 1, p, 1 - p)) * math.exp(-0.5 * w * w / variance)

        return math.log(quad(density, -12, 12)[0] / math.sqrt(2 * math.pi * variance))

    if link == "softmax":  # one function between the two classes, of twice the variance
        exact = integral(shift[1] - shift[0], y[1], 2.0)
    else:
        exact = sum(integral(s, label, 1.0) for s, label in zip(shift, y, strict=True))
    posterior = laplace(rows, offset, target, mask, None, STEPS, link)
    assert posterior.evidence.item() == pytest.approx(exact, abs=0.1)


def test_labels_of_a_set_are_problems_of_their_own():
    rows, offset, target, mask = problem(n_classes=3, link="sigmoid")
    together = laplace(rows, offset, target, mask, None, STEPS, "sigmoid")
    total = 0.0
    for c in range(3):
        one = laplace(rows, offset[:, c : c + 1], target[c : c + 1], mask, None, STEPS, "sigmoid")
        torch.testing.assert_close(one.weights[:, 0], together.weights[:, c], rtol=1e-5, atol=1e-6)
        total += one.evidence
        x, y = rows[0, 0, 0].numpy(), target[c, 0].numpy()
        shift = offset[0, c, 0].numpy()

        def loss(w, x=x, y=y, shift=shift):
            f = shift + x @ w
            return np.logaddexp(0, f).sum() - y @ f + 0.5 * w @ w

        np.testing.assert_allclose(one.weights[0, 0, 0], minimize(loss, np.zeros(3)).x, atol=1e-4)
    torch.testing.assert_close(total, together.evidence, rtol=1e-6, atol=1e-6)


def test_far_out_rows_are_predicted_with_moderation():
    rows, offset, target, mask = problem()
    posterior = laplace(rows, offset, target, mask, None, STEPS)
    direction = posterior.weights[0, 1, 0] - posterior.weights[0, 0, 0]
    query = direction.expand(1, 1, 1, 1, -1) * 100
    at = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    p = predictive_log_probabilities(posterior, query, at, None).exp()[0, 1, 0, 0]
    no = torch.zeros(1, dtype=torch.float64)
    bold = predictive_log_probabilities(posterior, query, at, None, moderation=no).exp()
    assert 0.6 < p < 0.999 < bold[0, 1, 0, 0]


def test_the_gradient_through_the_mode_is_that_of_the_solution():
    rows, offset, target, mask = problem(n=6, m=2)

    def mode(scale):
        return laplace(rows * scale, offset, target, mask, None, STEPS).weights.square().sum()

    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    mode(scale).backward()
    difference = (mode(scale.detach() + 1e-4) - mode(scale.detach() - 1e-4)) / 2e-4
    assert scale.grad.item() == pytest.approx(difference.item(), rel=1e-2)
