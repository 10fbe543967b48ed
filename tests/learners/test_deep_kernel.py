"""Exact Gaussian processes against scikit-learn's, their evidence, draws and bounds."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from sklearn_meta import MetaClassifier, MetaRegressor
from sklearn_meta.learners import DeepKernelGP
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._gaussian_process import thinned
from sklearn_meta.learners._kernels import KERNELS, Kernel
from sklearn_meta.tasks._episodes import Rows

from ._families import Case, trained

REGRESSION = Case("deep_kernel", "regression", False)
SHARED = Case("deep_kernel", "classification", True)
UNSHARED = Case("deep_kernel", "classification", False)
CLASSIFICATION = pytest.mark.parametrize("case", [SHARED, UNSHARED], ids=str)


def make_module(n_targets=1, kernel="rbf", seed=0):
    """A module of 2 columns and 3 features, with random parameters."""
    signature = Signature("regression", 2, n_targets, hidden=(4, 3))
    learner = DeepKernelGP(kernel)
    generator = torch.Generator().manual_seed(seed)
    module = learner.build(signature, {}, generator).double().eval().requires_grad_(False)
    for p in (module.mean, module.log_noise, module.log_output_scale, module.kernel.log_rate):
        p += 0.3 * torch.randn(p.shape, generator=generator)
    if n_targets == 1:
        module.log_output_scale.zero_()
    module.kernel.log_scale[1:] = -0.7  # scikit-learn's has one scale for all inputs
    return learner, module


def make_rows(n, n_targets=1, n_tasks=1, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n_tasks, n, 2)), rng.normal(size=(n_tasks, n, n_targets))
    mask = torch.ones(n_tasks, n, dtype=torch.bool)
    return Rows(torch.from_numpy(x), torch.from_numpy(y), mask)


def scikit_learn_of(module, target, z, y):
    """scikit-learn's process of one target, fitted on inputs (n, d) and scaled residuals (n,)."""
    kernel = module.kernel
    constant, slope = kernel.log_scale[:2].exp().tolist()
    trend = ConstantKernel(slope**2) * DotProduct(constant / slope)
    total = trend
    for log_amplitude, log_rate in zip(kernel.log_amplitude, kernel.log_rate, strict=True):
        length = (-log_rate).exp().numpy()
        total = total + ConstantKernel((2 * log_amplitude).exp().item()) * RBF(length)
    noise = (2 * module.log_noise[target]).exp().item()
    return GaussianProcessRegressor(total, alpha=noise, optimizer=None).fit(z, y)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_posterior_and_evidence_are_those_of_scikit_learn(kernel, n_targets):
    learner, module = make_module(n_targets, kernel)
    support, query = make_rows(12, n_targets), make_rows(5, n_targets, seed=1).x
    state = learner.adapt(module, support)
    predicted = learner.predict(module, state, query)
    z, z_query = module.inputs(support.x), module.inputs(query)
    scale = module.output_scale(z)
    residual = ((support.y - module.prior_mean(z)) / scale)[0]
    evidence = 0.0
    for j in range(n_targets):
        other = scikit_learn_of(module, j, z[0].numpy(), residual[:, j].numpy())
        mean, std = other.predict(z_query[0].numpy(), return_std=True)
        expected = module.prior_mean(z_query)[0, :, j].numpy() + scale[j].item() * mean
        np.testing.assert_allclose(predicted.mean[0, :, j], expected, rtol=1e-8)
        variance = (std**2 + other.alpha) * scale[j].item() ** 2
        np.testing.assert_allclose(predicted.variance[0, :, j], variance, rtol=1e-8)
        evidence += other.log_marginal_likelihood() - 12 * np.log(scale[j].item())
    np.testing.assert_allclose(learner.evidence(module, state), [evidence], rtol=1e-8)


def test_spectral_mixture_is_its_formula_and_positive_definite():
    kernel = Kernel("spectral_mixture", 1, 2, torch.Generator().manual_seed(0)).double()
    kernel.requires_grad_(False)
    kernel.log_rate += torch.randn(
        kernel.log_rate.shape, generator=torch.Generator().manual_seed(1)
    )
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 30, 3)))
    gap = z[0, :, None] - z[0]
    expected = kernel.log_scale[0].exp() ** 2 + torch.einsum(
        "id,d,jd->ij", z[0], (2 * kernel.log_scale[1:]).exp(), z[0]
    )
    for a, w, m in zip(kernel.log_amplitude, kernel.log_rate, kernel.frequency, strict=True):
        distance = (gap * w.exp()).square().sum(-1)
        expected += (2 * a).exp() * (-0.5 * distance).exp() * torch.cos(gap @ m)
    matrix = kernel(z, z)[0]
    torch.testing.assert_close(matrix, expected)
    torch.testing.assert_close(kernel.variance(z)[0], matrix.diagonal())
    assert torch.linalg.eigvalsh(matrix).min() > -1e-10


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_rows_never_make_a_prediction_less_certain(kernel):
    learner, module = make_module(kernel=kernel)
    rows, query = make_rows(20), make_rows(6, seed=1).x
    std = []
    for n in (0, 1, 5, 20):
        some = Rows(rows.x[:, :n], rows.y[:, :n], rows.mask[:, :n])
        std.append(learner.predict(module, learner.adapt(module, some), query).stddev)
    for before, after in zip(std, std[1:], strict=False):
        assert (after <= before + 1e-12).all()
    assert (std[-1] < std[0]).all()


@CLASSIFICATION
def test_evidence_of_labels_is_the_sum_of_predictions_one_row_after_the_other(case):
    learner, module = case.learner, trained(case)
    support = case.support(module, [10])
    state, total = learner.adapt(module, case.support(module, [0])), 0.0
    for i in range(10):
        row = dataclasses.replace(
            support, **{name: getattr(support, name)[:, i : i + 1] for name in ("x", "y", "mask")}
        )
        total += learner.predict(module, state, row.x).log_prob(row.y).item()
        state = learner.update(module, state, row)
    evidence = learner.evidence(module, learner.adapt(module, support))
    assert evidence.item() == pytest.approx(total, rel=1e-8)


def test_draws_are_joint_over_rows():
    learner, module = make_module(2)
    state = learner.adapt(module, make_rows(4, 2))
    x = make_rows(3, seed=1).x
    drawn = learner.sample(module, state, x, 20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, 1, 3, 2)
    predicted = learner.predict(module, state, x)
    z = module.inputs(x)
    function = state.process.covariance(module.kernel, z)[0]
    for j in range(2):
        expected = function[j] + module.noise(z)[j] * torch.eye(3)
        expected = expected * module.output_scale(z)[j] ** 2
        found = np.cov(drawn[:, 0, :, j].T.numpy())
        np.testing.assert_allclose(found, expected, atol=0.04 * expected.max().item())
        torch.testing.assert_close(expected.diagonal(), predicted.variance[0, :, j])
    torch.testing.assert_close(drawn.mean(0), predicted.mean, atol=0.03, rtol=0)


def test_a_large_support_is_thinned_in_the_same_way_however_it_arrives(monkeypatch):
    monkeypatch.setattr("sklearn_meta.learners._gaussian_process.MAX_ROWS", 8)
    learner, module = make_module()
    rows = make_rows(30, n_tasks=2)
    rows.mask[1, 5:] = False
    kept = thinned(rows)
    assert kept.mask.sum(1).tolist() == [8, 5]
    position = [rows.x[0].tolist().index(x) for x in kept.x[0].tolist()]
    assert position == sorted(position) and len(set(position)) == 8
    query = make_rows(4, n_tasks=2, seed=1).x
    together = learner.adapt(module, rows)
    state = learner.adapt(module, Rows(rows.x[:, :3], rows.y[:, :3], rows.mask[:, :3]))
    for part in (slice(3, 14), slice(14, 30)):
        more = Rows(rows.x[:, part], rows.y[:, part], rows.mask[:, part])
        state = learner.update(module, state, more)
    predicted = [learner.predict(module, s, query) for s in (together, state)]
    torch.testing.assert_close(predicted[0].mean, predicted[1].mean)
    torch.testing.assert_close(predicted[0].stddev, predicted[1].stddev)
    torch.testing.assert_close(together.evidence, state.evidence)


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_that_are_all_alike_are_no_trouble_in_single_precision(kernel):
    learner, module = make_module(kernel=kernel)
    module = copy.deepcopy(module).float()
    module.log_noise.fill_(-20.0)
    x, y = torch.zeros(1, 100, 2), torch.ones(1, 100, 1)
    state = learner.adapt(module, Rows(x, y, torch.ones(1, 100, dtype=torch.bool)))
    predicted = learner.predict(module, state, x[:, :1])
    torch.testing.assert_close(predicted.mean, y[:, :1], atol=1e-3, rtol=0)
    assert predicted.stddev.isfinite().all() and state.evidence.isfinite().all()


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_rows_may_be_images(kind):
    signature = Signature(kind, 64, 1 if kind == "regression" else 5, False, (4, 4), (8, 8))
    learner = DeepKernelGP()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((2, 6, 64), dtype=np.float32))
    module = learner.build(signature, {"rows": x[0].numpy()}, torch.Generator().manual_seed(0))
    y = torch.randn(2, 6, 1) if kind == "regression" else torch.arange(6).expand(2, 6) % 3
    ways = None if kind == "regression" else torch.tensor([3, 3])
    support = Rows(x, y, torch.ones(2, 6, dtype=torch.bool), ways)
    predicted = learner.predict(module, learner.adapt(module, support), x)
    if kind == "regression":
        assert predicted.mean.dtype == torch.float32 and predicted.mean.isfinite().all()
        return
    own = predicted.probs.gather(-1, y[..., None])
    assert own.dtype == torch.float32 and (own > 1 / 3).all()


def test_a_kernel_that_does_not_exist_is_refused():
    X = np.zeros((4, 1))
    with pytest.raises(ValueError, match="kernel is 'matern', expected one of"):
        MetaRegressor(learner=DeepKernelGP("matern")).fit_tasks([(X, X[:, 0])] * 2)


@pytest.mark.parametrize("kernel", KERNELS)
def test_meta_regressor_learns_with_it(kernel):
    rng = np.random.default_rng(0)
    tasks = []
    for amplitude, phase in rng.uniform((0.5, 0), (2, 3), size=(40, 2)):
        X = rng.uniform(-3, 3, size=(25, 1))
        tasks.append((X, amplitude * np.sin(X[:, 0] + phase)))
    meta = MetaRegressor(
        learner=DeepKernelGP(kernel), max_iter=300, network=(32, 16), random_state=0
    ).fit_tasks(tasks[:30])
    errors = []
    for X, y in tasks[30:]:
        model = meta.adapt(X[:5], y[:5])
        errors.append(np.mean((model.predict(X[8:]) - y[8:]) ** 2) / np.var(y))
        model.partial_fit(X[5:8], y[5:8])
        both = meta.adapt(X[:8], y[:8])
        np.testing.assert_allclose(model.predict(X), both.predict(X), rtol=1e-6, atol=1e-8)
    assert np.median(errors) < 0.1


@CLASSIFICATION
def test_meta_classifier_learns_with_it(case):
    rng = np.random.default_rng(0)
    tasks = [case.task(rng, 25) for _ in range(24)]
    meta = MetaClassifier(
        learner=DeepKernelGP(),
        shared_classes=case.shared,
        max_iter=60,
        network=(8, 4),
        random_state=0,
    ).fit_tasks(tasks[:12])
    scores = []
    for x, y in tasks[12:]:
        p = meta.adapt(x[:8], y[:8], classes=range(3)).predict_proba(x[8:])
        scores.append(np.log(p[np.arange(17), y[8:]]).mean())
    assert np.mean(scores) > np.log(1 / 3) + 0.2
