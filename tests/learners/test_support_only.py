"""The model of the support alone is an average of Gaussian processes."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import multivariate_t
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from sklearn_meta.learners import SupportOnly, support_only
from sklearn_meta.learners._base import Signature
from sklearn_meta.tasks._episodes import Rows

D = 3
A, B = support_only.NOISE_SHAPE, support_only.NOISE_SCALE


def build(kind="regression", n_outputs=1):
    learner = SupportOnly()
    return learner, learner.restore(Signature(kind, D, n_outputs, True), {})


def make_rows(n, kind="regression", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D))
    latent = np.sin(2 * x[:, 0]) + x[:, 1]
    y = {
        "regression": (latent + 0.1 * rng.normal(size=n))[:, None],
        "classification": (latent > 0).astype(int),
        "multilabel": np.column_stack([latent > 0, x[:, 2] > 0]).astype(int),
    }[kind]
    mask = torch.ones(1, n, dtype=torch.bool)
    return Rows(torch.from_numpy(x)[None], torch.from_numpy(y)[None], mask)


def kernels():
    """Of the components in their order: every kernel at each strength, in units of the noise."""
    for strength in support_only.STRENGTHS["regression"]:
        intercept = ConstantKernel(support_only.INTERCEPT)
        yield strength * (intercept + DotProduct(1e-9) * (1 / D))
        for length in support_only.LENGTH_SCALES:
            yield strength * (intercept + RBF(length * np.sqrt(D)))


@pytest.mark.parametrize("n", [1, 12])
def test_regression_averages_gaussian_processes_by_their_evidence(n):
    learner, module = build()
    rows, query = make_rows(n), make_rows(6, seed=1)
    x, y, at = rows.x[0].numpy(), rows.y[0, :, 0].numpy(), query.x[0].numpy()
    evidence, mean, second = [], [], []
    for kernel in kernels():
        # With unknown noise the support is Student's t.
        shape = B / A * (kernel(x) + np.eye(n))
        evidence.append(multivariate_t(np.zeros(n), shape, df=2 * A).logpdf(y))
        process = GaussianProcessRegressor(kernel, alpha=1.0, optimizer=None).fit(x, y)
        m, std = process.predict(at, return_std=True)
        misfit = y @ np.linalg.solve(kernel(x) + np.eye(n), y)
        noise = (B + misfit / 2) / (A + n / 2 - 1)
        mean.append(m)
        second.append((std**2 + 1) * noise + m**2)
    weight = softmax(evidence)
    state = learner.adapt(module, rows)
    predicted = learner.predict(module, state, query.x)
    np.testing.assert_allclose(state.evidence[:, 0], evidence, rtol=1e-5)
    np.testing.assert_allclose(predicted.mean[0, :, 0], weight @ mean, rtol=1e-5, atol=1e-6)
    variance = weight @ second - (weight @ mean) ** 2
    np.testing.assert_allclose(predicted.variance[0, :, 0], variance, rtol=1e-5)
    total = np.log(np.mean(np.exp(evidence)))
    assert learner.evidence(module, state).item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("kind", ["regression", "classification", "multilabel"])
def test_more_rows_are_better_from_none_to_hundreds(kind):
    learner, module = build(kind, 1 if kind == "regression" else 2)
    query = make_rows(200, kind, seed=7)
    losses = []
    for n in (0, 1, 5, 60, 500):  # the last is beyond the number of landmarks
        predicted = learner.predict(module, learner.adapt(module, make_rows(n, kind)), query.x)
        y = query.y.double() if kind == "multilabel" else query.y
        log_prob = predicted.log_prob(y)
        assert log_prob.isfinite().all()
        losses.append(-log_prob.mean().item())
    assert losses[4] < losses[3] < losses[2] < losses[0]
    assert losses[1] < losses[0] + 0.25  # one row of one class is taken seriously
    if kind == "regression":
        residual = predicted.mean - query.y
        assert residual.square().mean() < 0.1 * query.y.var()
    else:
        assert (
            (predicted.probs.argmax(-1) if kind == "classification" else predicted.probs > 0.5)
            == query.y
        ).double().mean() > 0.9


def test_nothing_is_known_without_rows():
    learner, module = build("classification", 4)
    query = make_rows(5)
    nothing = make_rows(0, "classification")
    p = learner.predict(module, learner.adapt(module, nothing), query.x).probs
    torch.testing.assert_close(p, torch.full_like(p, 0.25))
    learner, module = build()
    predicted = learner.predict(module, learner.adapt(module, make_rows(0)), query.x)
    torch.testing.assert_close(predicted.mean, torch.zeros_like(predicted.mean))
    assert predicted.stddev.min() > 0.3


def test_two_targets_are_two_models_on_the_same_kernels():
    learner, module = build(n_outputs=2)
    rows, query = make_rows(15), make_rows(5, seed=1)
    both = Rows(rows.x, torch.cat([rows.y, 3 * rows.y], -1), rows.mask)
    predicted = learner.predict(module, learner.adapt(module, both), query.x)
    torch.testing.assert_close(predicted.mean[..., 1], 3 * predicted.mean[..., 0])


def test_landmarks_are_spread_over_the_rows_of_each_task():
    rows = make_rows(900)
    mask = torch.ones(2, 900, dtype=torch.bool)
    mask[1, 7:] = False
    both = Rows(rows.x.expand(2, -1, -1), rows.y.expand(2, -1, -1), mask)
    landmarks, own = support_only._landmarks(both, 300)
    torch.testing.assert_close(landmarks[0], rows.x[0, ::3])
    torch.testing.assert_close(landmarks[1, :7], rows.x[0, :7])
    assert own[0].all() and own[1].sum() == 7


@pytest.mark.parametrize("kind", ["regression", "classification", "multilabel"])
def test_anchors_of_the_linear_kernel_give_the_numbers_of_all_columns(kind, monkeypatch):
    n_wide = support_only.MAX_LANDMARKS[kind] + 50
    learner = SupportOnly()
    module = learner.restore(Signature(kind, n_wide, 2, True), {})
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(2, 12, n_wide)))
    y = torch.from_numpy(rng.integers(2, size=(2, 12, 2)))
    y = {"regression": y.double(), "classification": y[..., 0], "multilabel": y}[kind]
    mask = torch.tensor([[True] * 12, [True] * 7 + [False] * 5])
    support = Rows(x * mask[..., None], y, mask)
    new = torch.cat([x[:, :3], torch.from_numpy(rng.normal(size=(2, 4, n_wide)))], 1)

    def numbers():
        state = learner.adapt(module, support)
        predicted = learner.predict(module, state, new)
        if kind != "regression":
            return predicted.probs, learner.evidence(module, state)
        return predicted.mean, predicted.stddev, learner.evidence(module, state)

    anchored = numbers()
    monkeypatch.setitem(support_only.MAX_LANDMARKS, kind, n_wide)
    for one, other in zip(anchored, numbers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
