"""The Bayesian logistic learner: its latent model, links and what it knows of classes."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical

from sklearn_meta.learners import BayesianLogistic
from sklearn_meta.learners._base import Signature
from sklearn_meta.tasks._episodes import Rows

N_INPUTS = 2


def make_module(kind="classification", n_classes=2, shared=True, intercepts=None):
    """One linear head whose prior means are `intercepts`."""
    signature = Signature(kind, N_INPUTS, n_classes, shared, hidden=(4, 2))
    learner = BayesianLogistic(heads=("linear",), anonymous_heads=("linear",), n_members=1)
    mean = np.zeros((1, 1 + N_INPUTS, n_classes if shared else 1))
    if intercepts is not None:
        mean[0, 0] = intercepts
    prepared = {"kind": np.zeros(1, int), "member": np.zeros(1, int), "mean": mean}
    module = learner.build(signature, prepared, torch.Generator().manual_seed(0)).double()
    return learner, module.eval().requires_grad_(False)


def rows(x, y, ways=None):
    x, y = torch.tensor(x, dtype=torch.float64)[None], torch.tensor(y)[None]
    ways = None if ways is None else torch.tensor([ways])
    return Rows(x, y, torch.ones(x.shape[:2], dtype=torch.bool), ways)


NOTHING = rows(np.zeros((0, N_INPUTS)), np.zeros(0, int))


def test_rows_of_the_latent_functions_have_the_covariance_of_the_prior():
    _, module = make_module(n_classes=3)
    module.scale_change.copy_(torch.linspace(-1, 1, module.scale_change.numel()).view(1, 3, -1))
    module.factor_change.fill_(0.2)
    x = torch.randn(1, 5, N_INPUTS, generator=torch.Generator().manual_seed(1)).double()
    whitened, _ = module.latent(x, 3)
    f = torch.cat([torch.ones(5, 1), x[0]], 1)
    for c in range(3):
        scale = (module.log_scale[0] + module.scale_change[0, c]).exp()
        scale[0] = module.log_intercept[0, c].exp()
        factor = module.factor[0] + module.factor_change[0, c]
        covariance = f @ (scale.square().diag() + factor @ factor.T) @ f.T
        own = whitened[0, c, 0]
        torch.testing.assert_close(own @ own.T, covariance)


def test_without_support_the_prior_means_speak():
    intercepts = np.array([-1.0, 1.0])
    learner, module = make_module(intercepts=intercepts)
    state = learner.adapt(module, NOTHING)
    module.log_moderation.fill_(-math.inf)  # nothing but the means
    p = learner.predict(module, state, torch.zeros(1, 1, N_INPUTS, dtype=torch.float64)).probs
    expected = np.exp(intercepts) / np.exp(intercepts).sum()
    np.testing.assert_allclose(p[0, 0], expected)


def test_moderation_draws_uncertain_rows_towards_equal_probabilities():
    learner, module = make_module(intercepts=[-1.0, 1.0])
    state = learner.adapt(module, NOTHING)
    near, far = (torch.full((1, 1, N_INPUTS), s).double() for s in (0.0, 50.0))
    p = [learner.predict(module, state, x).probs[0, 0, 1] for x in (near, far)]
    assert p[0] > p[1] > 0.5


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_more_rows_of_a_class_make_it_likelier(kind):
    learner, module = make_module(kind)
    last = 0.0
    for n in (0, 1, 5, 20):
        y = np.ones(n, int) if kind == "classification" else np.tile([0, 1], (n, 1))
        state = learner.adapt(module, rows(np.zeros((n, N_INPUTS)), y))
        p = learner.predict(module, state, torch.zeros(1, 1, N_INPUTS).double()).probs[0, 0, 1]
        assert last < p < 1.0
        last = p


def test_label_sets_are_predicted_label_by_label():
    learner, module = make_module("multilabel", n_classes=3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, N_INPUTS))
    y = np.column_stack([x[:, 0] > 0, x[:, 1] > 0, np.ones(20)]).astype(int)
    predicted = learner.predict(module, learner.adapt(module, rows(x, y)), rows(x, y).x)
    assert isinstance(predicted, Bernoulli)
    assert ((predicted.probs[0] > 0.5).numpy() == y).mean() > 0.8


def test_classes_without_meaning_have_the_same_prior():
    learner, module = make_module(n_classes=3, shared=False)
    rng = np.random.default_rng(0)
    y = np.arange(12) % 3
    x = rng.normal(size=(12, N_INPUTS)) + 2 * rng.normal(size=(3, N_INPUTS))[y]
    support = rows(x, y, ways=3)
    predicted = learner.predict(module, learner.adapt(module, support), support.x)
    assert isinstance(predicted, Categorical)
    assert (predicted.probs[0].argmax(-1).numpy() == y).mean() > 0.6


def test_embedding_is_centred_and_orders_classes_as_the_probabilities_do():
    learner, module = make_module()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(15, N_INPUTS))
    support = rows(x, (x[:, 0] > 0).astype(int))
    state = learner.adapt(module, support)
    latent = learner.embed(module, state, support.x)
    torch.testing.assert_close(latent.sum(-1), torch.zeros(1, 15).double())
    p = learner.predict(module, state, support.x).probs
    assert torch.equal(latent.argmax(-1), p.argmax(-1))


def test_default_heads_serve_every_kind_and_a_single_task():
    from sklearn_meta.tasks import TaskStore

    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, N_INPUTS))
    targets = {"classification": (x[:, 0] > 0).astype(int), "multilabel": (x > 0).astype(int)}
    for kind, y in targets.items():
        for offsets in ([0, 12], [0, 6, 12]):
            store = TaskStore(x, y, np.array(offsets), ["a", "b"][: len(offsets) - 1])
            signature = Signature(kind, N_INPUTS, 2, True, hidden=(4, 2))
            learner = BayesianLogistic()
            prepared = learner.prepare(store, signature, np.random.default_rng(0))
            module = learner.build(signature, prepared, torch.Generator().manual_seed(0))
            assert module.n_heads >= 1
