"""One linear head with a prior set by hand is Bayesian linear regression, and nothing else."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, multivariate_t
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct, WhiteKernel

from sklearn_meta.learners import BayesianLinear
from sklearn_meta.learners._base import Signature
from sklearn_meta.tasks._episodes import Rows

N_INPUTS, NOISE = 3, 0.3
GAUSSIAN = 1e9  # so many degrees of freedom that Student's t is normal


def make_module(n_targets=1, rank=2, seed=0, dof=GAUSSIAN, row_noise=False):
    """One head with random prior mean and covariance and known noise."""
    rng = np.random.default_rng(seed)
    signature = Signature("regression", N_INPUTS, n_targets, hidden=(4, 2))
    learner = BayesianLinear(heads=("linear",), n_members=1)
    prepared = {
        "kind": np.zeros(1, int),
        "member": np.zeros(1, int),
        "mean": rng.normal(size=(1, 1 + N_INPUTS, n_targets)),
    }
    module = learner.build(signature, prepared, torch.Generator().manual_seed(0)).double()
    module.requires_grad_(False)
    module.log_scale.copy_(torch.from_numpy(0.3 * rng.normal(size=module.log_scale.shape)))
    module.factor.zero_()
    module.factor[..., :rank] = torch.from_numpy(rng.normal(size=(1, 1 + N_INPUTS, rank)))
    module.log_noise.fill_(math.log(NOISE))
    module.log_dof.fill_(math.log(dof))
    if n_targets > 1:
        module.log_output_scale.copy_(torch.from_numpy(rng.normal(size=(1, n_targets))))
    if row_noise:
        module.noise_slope.copy_(torch.from_numpy(0.5 * rng.normal(size=(1, 1 + N_INPUTS))))
    return learner, module.eval()


def make_rows(n, n_targets=1, n_tasks=1, seed=1):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n_tasks, n, N_INPUTS)), rng.normal(size=(n_tasks, n, n_targets))
    mask = torch.ones(n_tasks, n, dtype=torch.bool)
    return Rows(torch.from_numpy(x), torch.from_numpy(y), mask)


def design(rows):
    """Features [1, x] of the first task as numpy has them."""
    x = rows.x[0].numpy()
    return np.column_stack([np.ones(len(x)), x])


def prior_of(module):
    """Mean (F, k) and covariance (F, F) of the weights."""
    factor, scale = module.factor[0].numpy(), module.log_scale[0].exp().numpy()
    return module.mean[0].numpy(), np.diag(scale**2) + factor @ factor.T


def posterior_of(module, rows):
    """Mean (F, 1) and covariance of the weights by the textbook, in the space of the features."""
    mean, covariance = prior_of(module)
    f = design(rows)
    precision = np.linalg.inv(covariance) + f.T @ f / NOISE**2
    gap = rows.y[0].numpy() - f @ mean
    return mean + np.linalg.solve(precision, f.T @ gap) / NOISE**2, np.linalg.inv(precision)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_equals_a_gaussian_process_with_the_linear_kernel(n):
    learner, module = make_module()
    module.mean.zero_()
    module.factor.zero_()
    module.log_scale.fill_(math.log(1.5))
    rows, query = make_rows(n), make_rows(7, seed=2)
    # (1 + x . x') 1.5^2, and noise that predictions contain.
    kernel = 1.5**2 * DotProduct(sigma_0=1.0) + WhiteKernel(NOISE**2)
    process = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0)
    process.fit(rows.x[0].numpy(), rows.y[0, :, 0].numpy())
    mean, std = process.predict(query.x[0].numpy(), return_std=True)
    state = learner.adapt(module, rows)
    predicted = learner.predict(module, state, query.x)
    np.testing.assert_allclose(predicted.mean[0, :, 0], mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(predicted.stddev[0, :, 0], std, rtol=1e-6)
    evidence = process.log_marginal_likelihood_value_
    assert learner.evidence(module, state).item() == pytest.approx(evidence, rel=1e-6)


@pytest.mark.parametrize("n", [0, 2, 50])
def test_equals_the_posterior_in_the_space_of_the_weights(n):
    learner, module = make_module()
    rows, query = make_rows(n), make_rows(5, seed=3)
    weights, covariance = posterior_of(module, rows)
    f = design(query)
    predicted = learner.predict(module, learner.adapt(module, rows), query.x)
    np.testing.assert_allclose(predicted.mean[0], f @ weights, rtol=1e-6, atol=1e-8)
    var = np.einsum("nf,fg,ng->n", f, covariance, f) + NOISE**2
    np.testing.assert_allclose(predicted.variance[0, :, 0], var, rtol=1e-6)


def test_the_log_posterior_has_no_slope_at_the_posterior_mean():
    learner, module = make_module()
    rows = make_rows(6)
    # Columns of the identity read the weights off the predictions: f(x) - f(0), and f(0).
    basis = torch.cat([torch.zeros(1, N_INPUTS), torch.eye(N_INPUTS)]).double()[None]
    f = learner.predict(module, learner.adapt(module, rows), basis).mean[0, :, 0]
    weights = torch.cat([f[:1], f[1:] - f[0]]).requires_grad_(True)
    mean, covariance = (torch.from_numpy(part) for part in prior_of(module))
    gap = weights - mean[:, 0]
    residual = rows.y[0, :, 0] - torch.from_numpy(design(rows)) @ weights
    log_posterior = -0.5 * gap @ torch.linalg.solve(covariance, gap)
    log_posterior = log_posterior - 0.5 * residual.square().sum() / NOISE**2
    log_posterior.backward()
    assert weights.grad.abs().max() < 1e-6


@pytest.mark.parametrize("n", [1, 4, 30])
def test_evidence_is_the_density_of_the_support(n):
    rows = make_rows(n)
    f, y = design(rows), rows.y[0, :, 0].numpy()
    for dof, density in ((GAUSSIAN, multivariate_normal), (5.0, multivariate_t)):
        learner, module = make_module(dof=dof)
        mean, covariance = prior_of(module)
        marginal = f @ covariance @ f.T + NOISE**2 * np.eye(n)
        more = {} if density is multivariate_normal else {"df": module.dof.item()}
        expected = density(f @ mean[:, 0], marginal, **more).logpdf(y)
        state = learner.adapt(module, rows)
        assert learner.evidence(module, state).item() == pytest.approx(expected, rel=1e-6)


def test_evidence_is_the_sum_of_predictions_one_row_after_the_other():
    learner, module = make_module(dof=4.0, row_noise=True)
    rows, total = make_rows(20), 0.0
    state = learner.adapt(module, make_rows(0))
    for i in range(20):
        one = Rows(*(t[:, i : i + 1] for t in (rows.x, rows.y, rows.mask)))
        total += learner.predict(module, state, one.x).log_prob(one.y).sum().item()
        state = learner.update(module, state, one)
    assert learner.evidence(module, state).item() == pytest.approx(total, rel=1e-8)
    together = learner.evidence(module, learner.adapt(module, rows)).item()
    assert together == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_a_state_does_not_grow_and_loses_nothing(n_targets):
    learner, module = make_module(n_targets, dof=6.0)
    rows, query = make_rows(300, n_targets), make_rows(4, n_targets, seed=4)
    state = learner.adapt(module, make_rows(0, n_targets))
    for part in zip(*(t.split(30, 1) for t in (rows.x, rows.y, rows.mask)), strict=True):
        state = learner.update(module, state, Rows(*part))
    n_columns = module.n_features + module.factor.shape[2]
    assert state.rows.shape[2] <= n_columns + n_targets
    once = learner.predict(module, learner.adapt(module, rows), query.x)
    predicted = learner.predict(module, state, query.x)
    torch.testing.assert_close(predicted.mean, once.mean, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(predicted.variance, once.variance, rtol=1e-8, atol=1e-10)


def test_each_of_several_targets_is_a_model_of_its_own_scale():
    learner, both = make_module(n_targets=2, dof=6.0)
    rows, query = make_rows(8, 2), make_rows(5, seed=3)
    together = learner.predict(both, learner.adapt(both, rows), query.x)
    total = 0.0
    for j in range(2):
        _, one = make_module(dof=6.0)
        for name in ("log_scale", "factor"):
            getattr(one, name).copy_(getattr(both, name))
        one.mean.copy_(both.mean[..., j : j + 1])
        one.log_output_scale.copy_(both.log_output_scale[:, j : j + 1])
        # A density of y / scale is one of y times scale.
        state = learner.adapt(one, dataclasses.replace(rows, y=rows.y[..., j : j + 1]))
        alone = learner.predict(one, state, query.x)
        torch.testing.assert_close(alone.mean[..., 0], together.mean[..., j])
        torch.testing.assert_close(alone.variance[..., 0], together.variance[..., j])
        total += learner.evidence(one, state)
    torch.testing.assert_close(learner.evidence(both, learner.adapt(both, rows)), total)


def test_samples_have_the_moments_of_the_prediction():
    learner, module = make_module()
    rows, query = make_rows(3), make_rows(4, seed=2)
    state = learner.adapt(module, rows)
    generator = torch.Generator().manual_seed(0)
    drawn = learner.sample(module, state, query.x, 8000, generator)[:, 0, :, 0].numpy()
    weights, covariance = posterior_of(module, rows)
    f = design(query)
    joint = f @ covariance @ f.T + NOISE**2 * np.eye(4)
    std = np.sqrt(joint.diagonal())
    np.testing.assert_array_less(np.abs(drawn.mean(0) - (f @ weights)[:, 0]) / std, 0.05)
    np.testing.assert_allclose(
        np.cov(drawn.T) / np.outer(std, std), joint / np.outer(std, std), atol=0.06
    )


def test_samples_come_from_the_generator_alone():
    learner, module = make_module(dof=4.0)
    state, x = learner.adapt(module, make_rows(3)), make_rows(4).x
    first, again = (
        learner.sample(module, state, x, 3, torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert torch.equal(first, again)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_columns_of_the_embedding_add_up_to_the_mean(n_targets):
    learner, module = make_module(n_targets)
    state = learner.adapt(module, make_rows(6, n_targets))
    x = make_rows(5).x
    columns = learner.embed(module, state, x).unflatten(-1, (n_targets, -1))
    mean = learner.predict(module, state, x).mean
    torch.testing.assert_close(columns.sum(-1), mean)
