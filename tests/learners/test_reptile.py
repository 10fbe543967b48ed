"""Reptile: where its start moves, and that this is of use."""

import dataclasses

import numpy as np
import pytest
import torch

from sklearn_meta import MetaRegressor
from sklearn_meta.learners import Reptile
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._gradient import negative_log_likelihood
from sklearn_meta.tasks._episodes import EpisodeSampler

from .test_maml import CASES as MAML_CASES
from .test_maml import sinusoids

CASES = [dataclasses.replace(case, name="reptile") for case in MAML_CASES]
every_kind = pytest.mark.parametrize("case", CASES, ids=str)


def parts(case, seed=0):
    learner = Reptile(inner_steps=3, inner_learning_rate=0.05)
    signature = Signature(case.kind, 3, case.n_outputs, case.shared, hidden=(5, 4))
    generator = torch.Generator().manual_seed(seed)
    module = learner.build(signature, {}, generator).double()
    sampler = EpisodeSampler(case.store(6), (1, 6), 8, 4, rng=np.random.default_rng(seed))
    return learner, module, sampler.draw().to("cpu", torch.float64)


@every_kind
def test_the_start_moves_along_the_way_of_the_tasks_descents(case):
    learner, module, episodes = parts(case)
    learner.loss(module.train(), episodes).backward()
    everything = episodes.support.extend(episodes.query)
    with torch.no_grad():
        start = module.start(episodes.support)
        (reached,) = learner.descend_from(module, start, everything)
        weight = episodes.query.mask.sum(1).double()
        weight = weight / weight.sum() / (3 * 0.05)
        for name, p in module.common_start().items():
            expected = torch.tensordot(weight, start[name] - reached[name], 1)
            torch.testing.assert_close(p.grad, expected)


@every_kind
def test_the_value_is_the_query_loss_and_scales_follow_its_gradient(case):
    learner, module, episodes = parts(case)
    loss = learner.loss(module.train(), episodes)
    scales = {name: p for name, p in module.named_parameters() if name.startswith("log_")}
    gradients = torch.autograd.grad(loss, list(scales.values())) if scales else ()
    with torch.no_grad():
        assert loss.item() == pytest.approx(learner.loss(module.eval(), episodes).item())
        state = learner.adapt(module, episodes.support)
        total = negative_log_likelihood(module, module.adapted(state.parameters), episodes)
        assert loss.item() == pytest.approx((total / episodes.query.mask.sum()).item())
    if case.kind == "regression":  # the noise enters after the descent: its gradient is exact
        with torch.no_grad():
            ends = []
            for step in (1e-6, -1e-6):
                module.log_noise += step
                ends.append(learner.loss(module, episodes).item())
                module.log_noise -= step
        assert gradients[0].sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


@every_kind
def test_memory_is_bounded_by_parts_of_a_batch_with_the_same_gradient(case, monkeypatch):
    learner, module, episodes = parts(case)
    gradients = []
    for limit in (2**27, 1):
        monkeypatch.setattr("sklearn_meta.learners._gradient.NUMBERS_AT_ONCE", limit)
        module.zero_grad()
        learner.loss(module.train(), episodes).backward()
        gradients.append([p.grad for p in module.parameters()])
    torch.testing.assert_close(*gradients)


def test_sinusoids_are_learned_from_ten_rows():
    rng = np.random.default_rng(0)
    meta = MetaRegressor(
        learner=Reptile(), network=(40, 40), max_iter=250, use_prior=True, random_state=0
    ).fit_tasks(sinusoids(300, 30, rng))
    errors = []
    for X, y in sinusoids(40, 60, rng):
        errors.append(np.mean((meta.adapt(X[:10], y[:10]).predict(X[10:]) - y[10:]) ** 2))
    assert np.mean(errors) < 2.0  # the variance of the targets is above 4
