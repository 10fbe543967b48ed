"""A network of the user's own: copied, trained as part of the prior, never part of its file."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from torch import nn

from sklearn_meta import MetaClassifier, MetaRegressor, Prior

NEW = 10_000


class Wide(nn.Module):
    """A module with running statistics, of the user's own class."""

    def __init__(self, width=8):
        super().__init__()
        self.first, self.norm = nn.Linear(3, width), nn.BatchNorm1d(width)
        self.second = nn.Linear(width, 4)

    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x))))


@pytest.fixture(scope="module")
def network():
    generator = torch.Generator().manual_seed(0)
    network = Wide()
    with torch.no_grad():
        for p in network.parameters():
            p.normal_(0, 0.5, generator=generator)
    return network


def new_meta(network, **parameters):
    parameters = {"max_iter": 30, "random_state": 0, "shared_classes": True, **parameters}
    return MetaClassifier(network=network, **parameters)


@pytest.fixture(scope="module")
def meta(network, classification_family):
    return new_meta(network).fit_tasks(classification_family.tasks(12))


@pytest.fixture(scope="module")
def new_task(classification_family):
    return classification_family.task(NEW, 12)


@pytest.fixture(scope="module")
def query(classification_family):
    return classification_family.task(NEW + 1, 20)[0]


@pytest.fixture(scope="module")
def expected(meta, new_task, query):
    return meta.adapt(*new_task).predict_proba(query)


def test_the_module_is_trained_as_a_copy(network, classification_family):
    before = copy.deepcopy(network.state_dict())
    meta = new_meta(network).fit_tasks(classification_family.tasks(6))
    meta.adapt(*classification_family.task(NEW))
    assert all(torch.equal(before[name], w) for name, w in network.state_dict().items())
    assert network.training and all(
        p.requires_grad and p.grad is None for p in network.parameters()
    )
    trained = meta.prior_.weights["network.module.first.weight"]
    assert not np.array_equal(trained, before["first.weight"].numpy())


def test_what_the_prior_says_of_it(meta, network):
    n_weights = sum(w.numel() for w in network.state_dict().values())
    described = meta.prior_.meta["meta_parameters"]["network"]
    assert described == {"name": "Wide", "params": {"n_weights": n_weights}}
    assert meta.prior_.learner_config["name"] == "prototypical"
    assert meta.prior_.signature["own_network"] is True


def test_what_happens_to_the_module_later_does_not_reach_the_prior(
    classification_family, new_task, query
):
    network = Wide()
    meta = new_meta(network, max_iter=2).fit_tasks(classification_family.tasks(6))
    expected = meta.adapt(*new_task).predict_proba(query)
    network.second = nn.Identity()
    again = pickle.loads(pickle.dumps(meta.prior_))
    model = MetaClassifier(prior=again).fit(*new_task)
    np.testing.assert_array_equal(model.predict_proba(query), expected)


def test_clone_parameters_and_repr(meta, network, new_task, query, expected):
    copied = clone(meta)
    assert copied.prior is meta.prior_ and isinstance(copied.network, Wide)
    assert copied.network is not network and meta.get_params()["network"] is network
    assert "network=Wide(" in repr(meta) and "Wide(" in repr(clone(copied))
    np.testing.assert_array_equal(copied.fit(*new_task).predict_proba(query), expected)
    assert cross_val_score(meta, *new_task, cv=2).shape == (2,)


@pytest.mark.parametrize("through", ["pickle", "joblib"])
def test_pickles_hold_the_module(through, meta, new_task, query, expected):
    model = meta.adapt(*new_task)
    if through == "pickle":
        again = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        joblib.dump(model, file)
        again = joblib.load(file)
    np.testing.assert_array_equal(again.predict_proba(query), expected)
    np.testing.assert_array_equal(again.adapt(*new_task).predict_proba(query), expected)


def test_a_file_holds_all_but_the_module(meta, network, new_task, query, expected, tmp_path):
    path = tmp_path / "prior.safetensors"
    meta.prior_.save(path)
    prior = Prior.load(path, network=Wide())
    assert prior == meta.prior_
    model = MetaClassifier(prior=prior).fit(*new_task)
    np.testing.assert_array_equal(model.predict_proba(query), expected)
    with pytest.raises(ValueError, match=r"load it by Prior.load\(path, network=module\)"):
        Prior.load(path)
    with pytest.raises(ValueError, match=r"load it by Prior.load\(path, network=module\)"):
        MetaClassifier(prior=path).fit(*new_task)
    with pytest.raises(TypeError, match="must be a torch.nn.Module, got str"):
        Prior.load(path, network="Wide")


def test_another_module_does_not_fit_the_weights(meta, new_task, tmp_path):
    path = tmp_path / "prior.safetensors"
    meta.prior_.save(path)
    for other in (Wide(9), nn.Linear(3, 4)):
        prior = Prior.load(path, network=other)
        with pytest.raises(ValueError, match="the weights do not fit .* with a (Wide|Linear) for"):
            MetaClassifier(prior=prior).fit(*new_task)
    with pytest.raises(ValueError, match="network is a Linear that does not take rows"):
        MetaClassifier(prior=Prior.load(path, network=nn.Linear(4, 4))).fit(*new_task)


def test_equal_weights_in_another_module_are_not_mistaken(
    classification_family, new_task, query, tmp_path
):
    """Priors are equal whatever the module, so that what is kept for one must not serve another."""
    smooth, rough = (nn.Sequential(nn.Linear(3, 4), f) for f in (nn.Tanh(), nn.ReLU()))
    meta = new_meta(smooth, max_iter=2).fit_tasks(classification_family.tasks(6))
    expected = meta.adapt(*new_task).predict_proba(query)
    meta.prior_.save(tmp_path / "p.safetensors")
    other = Prior.load(tmp_path / "p.safetensors", network=rough)
    assert other == meta.prior_
    changed = MetaClassifier(prior=other).fit(*new_task).predict_proba(query)
    assert np.abs(changed - expected).max() > 1e-3
    np.testing.assert_array_equal(meta.adapt(*new_task).predict_proba(query), expected)


def test_a_prior_of_the_librarys_network_takes_no_module(classifier, tmp_path):
    path = tmp_path / "prior.safetensors"
    classifier.prior_.save(path)
    with pytest.raises(ValueError, match="a network of the library's own"):
        Prior.load(path, network=Wide())


def test_another_network_than_the_priors_is_refused(meta, new_task):
    for network in (Wide(9), nn.Linear(3, 4), (8, 4)):
        with pytest.raises(ValueError, match="network=.* has no effect.*network=Wide"):
            MetaClassifier(prior=meta.prior_, network=network).fit(*new_task)
    MetaClassifier(prior=meta.prior_, network=Wide()).fit(*new_task)


@pytest.mark.parametrize("network", [nn.Linear(4, 2), nn.Conv2d(1, 2, 3)])
def test_modules_that_do_not_take_the_rows_are_refused(network, classification_family):
    with pytest.raises(ValueError, match="does not take rows of shape .* as the encoder gives"):
        new_meta(network).fit_tasks(classification_family.tasks(4))


def test_frozen_layers_stay_and_modules_may_have_no_weights(classification_family):
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
    network[0].requires_grad_(False)
    meta = new_meta(network).fit_tasks(classification_family.tasks(6))
    weights = meta.prior_.weights
    np.testing.assert_array_equal(weights["network.module.0.weight"], network[0].weight.numpy())
    second = network[2].weight.detach().numpy()
    assert not np.array_equal(weights["network.module.2.weight"], second)
    meta = new_meta(nn.Flatten(), max_iter=2).fit_tasks(classification_family.tasks(6))
    assert meta.adapt(*classification_family.task(NEW)).novelty_ >= 0


def test_double_precision_is_trained_in_single(classification_family, new_task):
    meta = new_meta(Wide().double(), max_iter=2).fit_tasks(classification_family.tasks(6))
    assert meta.prior_.weights["network.module.first.weight"].dtype == np.float32
    assert np.isfinite(meta.adapt(*new_task).predict_proba(new_task[0])).all()


def test_regression(regression_family):
    network = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 8))
    meta = MetaRegressor(network=network, random_state=0, max_iter=100)
    meta.fit_tasks(regression_family.tasks(20))
    assert meta.prior_.learner_config["name"] == "deep_kernel"
    X, y = regression_family.task(NEW, 60)
    assert meta.adapt(X[:10], y[:10]).score(X[10:], y[10:]) > 0.5


def test_learners_with_networks_of_their_own_refuse_it(classification_family):
    with pytest.raises(ValueError, match="cannot learn from a network of your own; .*prototypical"):
        new_meta(Wide(), learner="bayesian_logistic").fit_tasks(classification_family.tasks(4))
