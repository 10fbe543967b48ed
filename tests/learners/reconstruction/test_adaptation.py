"""Adaptation to an operator: what it is fitted by, and that it never harms."""

import numpy as np
import pytest
import torch

from sklearn_meta.learners.reconstruction import _adaptation
from sklearn_meta.learners.reconstruction import _fit_losses as fit
from sklearn_meta.learners.reconstruction._adaptation import Adaptation
from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._fine_tune import fine_tune
from sklearn_meta.learners.reconstruction._held_out_rows import (
    hide_rows,
    is_far_better,
    misfit_of_rows,
    share_on_rows,
)
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import (
    Scalars,
    learn_steps,
    simulated,
)
from sklearn_meta.learners.reconstruction.unrolled import Unrolled
from sklearn_meta.networks.denoiser import Denoiser
from sklearn_meta.operators import Blur, Identity, RandomProjection

from ._tiny import images, measured, start

SHAPE = (16, 16)
ROWS = RandomProjection(SHAPE, 120, random_state=0)
SIGMA = 0.02


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def module():
    return UnrolledModule(Denoiser((8, 8), (1, 1)), 4).eval().requires_grad_(False)


def setting(operator=ROWS):
    return fit.Setting(operator, SIGMA, 0.0, 2, Scalars())


def truth(n=4, seed=0):
    return torch.from_numpy(images(n, SHAPE, seed)).float()


def model():
    learned = start()
    return Unrolled(2).load(learned.facts, learned.weights, torch.device("cpu"))


# ---------------------------------------------------------------------- hidden rows


def test_hidden_rows_are_the_same_of_every_image_and_never_missing_ones():
    y = torch.randn(3, 200, generator=generator(), dtype=torch.float64)
    y[1, :50] = torch.nan
    kept, hidden = hide_rows(y, generator())
    assert not hidden[1, :50].any()
    assert torch.equal(hidden[0], hidden[2])
    assert 10 < hidden[0].sum() < 55
    assert kept[hidden].isnan().all()
    torch.testing.assert_close(kept[~hidden], y[~hidden], equal_nan=True)


def test_misfit_counts_hidden_rows_only():
    x = truth(2).double()
    y = ROWS.forward(x)
    hidden = torch.zeros(y.shape, dtype=torch.bool)
    hidden[:, :3] = True
    y[:, 5] = torch.nan
    y[0, 1] += 3.0
    expected = torch.tensor([3.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(misfit_of_rows(ROWS, x, y, hidden), expected)


def test_share_is_half_of_the_best_of_two():
    x, other = truth(3).double(), truth(3, 1).double()
    y = ROWS.forward(x + 0.25 * (other - x))
    hidden = torch.ones(y.shape, dtype=torch.bool)
    share = share_on_rows(ROWS, x, other, y, hidden)
    torch.testing.assert_close(share, torch.full((3,), 0.125, dtype=torch.float64))
    beyond = share_on_rows(ROWS, x, other, ROWS.forward(x - (other - x)), hidden)
    assert (beyond == 0).all()
    assert (share_on_rows(ROWS, x, x, y, hidden) == 0).all()


def test_share_is_less_where_hidden_measurements_are_few():
    x, other = (truth(1, seed).double().expand(100, *SHAPE) for seed in (0, 1))
    y = measured(ROWS, 0.5 * (x + other), 10 * SIGMA)
    hidden = torch.ones(y.shape, dtype=torch.bool)
    few = hidden.clone()
    few[:, 8:] = False
    shares = [share_on_rows(ROWS, x, other, y, rows).mean() for rows in (few, hidden)]
    assert shares[0] < shares[1] < 0.25


def test_never_all_of_an_image_is_hidden():
    y = torch.full((1, 40), torch.nan, dtype=torch.float64)
    y[0, 3] = 1.0
    for seed in range(20):
        kept, hidden = hide_rows(y, torch.Generator().manual_seed(seed))
        assert kept[0, 3] == 1.0 and not hidden.any()


def test_far_better_is_by_two_decibels_beyond_its_error():
    before = torch.tensor([1.0, 2.0, 1.0, 2.0])
    assert is_far_better(before, 0.5 * before)
    assert not is_far_better(before, 0.8 * before)
    assert not is_far_better(before, before * torch.tensor([0.01, 2.0, 2.0, 0.5]))


# ---------------------------------------------------------------------- fitting


def test_fitting_takes_the_error_down_and_leaves_the_prior():
    prior = module()
    before = [p.clone() for p in prior.parameters()]
    loss = fit.supervised_loss(setting(), truth(2), 2, generator())
    fixed = fit.supervised_loss(setting(), truth(2), 2, generator(1))
    for scales_only, rate in ((True, 3e-2), (False, 1e-2)):
        fitted = fine_tune(prior, [loss], 30, rate, scales_only=scales_only)
        with torch.no_grad():
            start_loss, end_loss = (
                np.mean([float(fixed(m)) for _ in range(8)]) for m in (prior, fitted)
            )
        assert end_loss < start_loss
    for old, new in zip(before, prior.parameters(), strict=True):
        assert torch.equal(old, new)


def test_scales_multiply_each_channel():
    loss = fit.supervised_loss(setting(), truth(2), 2, generator())
    prior = module()
    fitted = fine_tune(prior, [loss], 3, 0.1, scales_only=True)
    for name, axis in (("head", 0), ("finer.0", 1)):
        old = prior.denoiser.get_submodule(name).weight.movedim(axis, 0).flatten(1)
        new = fitted.denoiser.get_submodule(name).weight.movedim(axis, 0).flatten(1)
        ratio = (new * old).sum(1) / old.square().sum(1)
        torch.testing.assert_close(new, ratio[:, None] * old)
        assert not torch.allclose(ratio, torch.ones_like(ratio), atol=1e-3)


def test_an_anchor_holds_the_weights():
    moved = []
    for anchor in (0.0, 1e4):
        loss = fit.supervised_loss(setting(), truth(2), 2, generator())
        fitted = fine_tune(module(), [loss], 10, 1e-3, anchor=anchor)
        pairs = zip(fitted.parameters(), module().parameters(), strict=True)
        moved.append(float(sum((a - b).square().sum() for a, b in pairs)))
    assert moved[1] < 0.5 * moved[0]


def test_sure_estimates_the_error_of_the_measurements():
    operator, sigma = Identity((32, 32)), 0.2
    x = torch.from_numpy(images(16, (32, 32))).double()
    y = measured(operator, x, sigma)
    net = module()
    at = fit.Setting(operator, sigma, 0.0, 1, Scalars())
    with torch.no_grad():
        estimate = float(fit.sure_loss(at, None, y, 16, generator())(net))
        error = (net.denoise(y, torch.tensor(sigma)) - x).square().mean() / sigma**2
    assert estimate == pytest.approx(float(error), abs=0.1)


@pytest.mark.parametrize("name", ["splitting_loss", "sure_loss", "equivariance_loss"])
def test_losses_of_measurements_alone_have_a_gradient(name):
    net, y = module(), measured(ROWS, truth(), SIGMA).float()
    problem = simulated(ROWS, truth(), SIGMA, generator())
    calibrated = learn_steps(net, problem, truth(), 2, Scalars())[2]
    net.requires_grad_()
    getattr(fit, name)(setting(), calibrated, y, 2, generator())(net).backward()
    assert net.denoiser.tail.weight.grad.abs().sum() > 0


# ---------------------------------------------------------------------- acceptance


def test_what_is_not_better_is_refused(monkeypatch):
    def worse(given, losses, *args, **kwargs):
        spoiled = UnrolledModule(Denoiser((8, 8), (1, 1), generator(5)), 4)
        with torch.no_grad():
            spoiled.denoiser.tail.weight.mul_(30)
        return spoiled.eval().requires_grad_(False)

    monkeypatch.setattr(_adaptation, "fine_tune", worse)
    x, y = truth(), measured(ROWS, truth(), SIGMA).float()
    prior = module()
    for fitted in (
        Adaptation(setting(), truth(8, 2), generator(), (2,)).from_pairs(prior, y, x),
        Adaptation(setting(), truth(8, 2), generator(), (2,)).from_measurements(prior, y),
    ):
        assert fitted.module is prior


@pytest.mark.parametrize("operator", [ROWS, Blur(SHAPE, np.ones((3, 3)) / 9), Identity(SHAPE)])
@pytest.mark.parametrize("pairs", [True, False])
def test_adapted_is_no_worse_on_other_images(operator, pairs):
    learner, prior = Unrolled(2), model()
    x = torch.from_numpy(images(4, SHAPE, 3))
    y = measured(operator, x, SIGMA)
    test = torch.from_numpy(images(6, SHAPE, 7))
    seen = measured(operator, test, SIGMA, 5)
    errors = []
    for support in ((None, None), (y, x if pairs else None)):
        state = learner.adapt(prior, operator, Noise(SIGMA), *support)
        found, _ = learner.reconstruct(prior, state, seen)
        errors.append(10 * (found - test).square().mean().log10())
    assert errors[1] < errors[0] + 0.05
    if pairs and operator is ROWS:
        assert state.is_adapted
        assert errors[1] < errors[0] - 0.5


def test_noise_is_found_from_pairs():
    x = torch.from_numpy(images(4, SHAPE, 3))
    state = Unrolled(2).adapt(model(), ROWS, Noise(None), measured(ROWS, x, 0.07), x)
    assert state.noise.sigma == pytest.approx(0.07, rel=0.1)
