"""Every learner on the accelerators that are here: the CPU's numbers, and nothing stays behind."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_meta import MetaClassifier, MetaRegressor, Prior
from sklearn_meta._training import TrainingConfig, meta_train
from sklearn_meta.learners import LEARNERS, get_learner
from sklearn_meta.learners._state import map_tensors

from ._families import N_INPUTS, all_cases, own_network, signatures, summary, trained

every_case = pytest.mark.parametrize("case", all_cases(), ids=str)


ACCELERATORS = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
NONE = pytest.param("none", marks=pytest.mark.skip(reason="there is no accelerator here"))


@pytest.fixture(params=[name for name, is_here in ACCELERATORS.items() if is_here()] or [NONE])
def device(request):
    return request.param


def precision(device):
    return torch.float32 if device == "mps" else torch.float64


def close(there, here, device):
    assert there.device.type == device
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if device == "mps" else {"rtol": 1e-6, "atol": 1e-7}
    torch.testing.assert_close(there.cpu(), here, **tolerance)


@every_case
def test_the_numbers_are_those_of_the_cpu(case, device):
    dtype, learner = precision(device), case.learner
    here = copy.deepcopy(trained(case)).to(dtype)
    there = copy.deepcopy(here).to(device)
    support = case.support(here, [7, 0, 12], dtype=dtype)
    query = case.query(here, 3, dtype=dtype)
    with torch.inference_mode():
        state, far_state = learner.adapt(here, support), learner.adapt(there, support.to(device))
        map_tensors(far_state, lambda t: _assert_on(t, device))
        query_there = query.to(device)
        predicted = summary(learner.predict(here, state, query))
        close(summary(learner.predict(there, far_state, query_there)), predicted, device)
        close(learner.evidence(there, far_state), learner.evidence(here, state), device)
        assert learner.embed(there, far_state, query_there).device.type == device
        far_state = learner.update(there, far_state, support.to(device))
        map_tensors(far_state, lambda t: _assert_on(t, device))
        state = learner.update(here, state, support)
        close(
            summary(learner.predict(there, far_state, query_there)),
            summary(learner.predict(here, state, query)),
            device,
        )
        if case.kind == "regression":
            generator = torch.Generator(device=device).manual_seed(0)
            drawn = learner.sample(there, far_state, query_there, 5, generator)
            assert drawn.shape == (5, 3, 6, 1) and drawn.isfinite().all()


@every_case
@pytest.mark.parametrize("rows", ["table", "images", "own"])
def test_meta_training_leaves_no_tensor_behind(case, rows, device):
    signature = signatures(case).get(rows)
    if signature is None:
        pytest.skip("has a network of its own")
    learner, store, rng = case.learner, case.store(), np.random.default_rng(0)
    prepared = learner.prepare(store, signature, rng)
    module = learner.build(signature, prepared, torch.Generator().manual_seed(0))
    if not any(p.requires_grad for p in module.parameters()):
        pytest.skip("has no weights")
    store = store.replace(x=prepared.get("inputs"))
    config = TrainingConfig(max_iter=5, batch_size=6, shots=(0, 8), n_query=10)
    module, history = meta_train(learner, module, store, config=config, rng=rng, device=device)
    for tensor in [*module.parameters(), *module.buffers()]:
        _assert_on(tensor, device)
    assert np.isfinite(history.loss).all()
    weights = {name: t.cpu().numpy() for name, t in module.state_dict().items()}
    assert learner.restore(signature, weights).state_dict().keys() == weights.keys()


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "support_only"])
@pytest.mark.parametrize("rows", ["table", "images", "own"])
def test_estimators_train_there_and_go_on_here(name, rows, device, tmp_path, request):
    learner = get_learner(name)
    if rows != "table" and not learner.takes_networks:
        pytest.skip("has a network of its own")
    network = own_network() if rows == "own" else "auto"
    parameters = {"learner": name, "network": network, "max_iter": 5, "random_state": 0}
    if rows == "images":
        parameters |= {"image_shape": (1, N_INPUTS), "network": (8,)}
    serves = [kind for kind in ("regression", "classification") if kind in learner.kinds]
    for kind in serves:
        family = request.getfixturevalue(f"{kind}_family")
        estimator = MetaRegressor if kind == "regression" else MetaClassifier
        meta = estimator(device=device, **parameters).fit_tasks(family.tasks(8))
        X, y = family.task(10_000)
        model = meta.adapt(X[:25], y[:25])
        expected = predictions(model, X)
        assert isinstance(expected, np.ndarray) and np.isfinite(expected).all()
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_allclose(predictions(again, X), expected, rtol=1e-5, atol=1e-6)
        meta.prior_.save(tmp_path / "prior.safetensors")
        prior = Prior.load(tmp_path / "prior.safetensors", None if rows != "own" else network)
        assert prior == meta.prior_
        here = estimator(prior=prior, device="cpu").fit(X[:25], y[:25])
        assert here._adapted.model.device.type == "cpu"
        np.testing.assert_allclose(predictions(here, X), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_pickle_from_a_device_that_is_not_here_loads_on_the_cpu(kind, request):
    meta = request.getfixturevalue("regressor" if kind == "regression" else "classifier")
    X, y = request.getfixturevalue(f"{kind}_family").task(10_000, 12)
    model = clone(meta).set_params(device="cpu").fit(X, y)
    expected = predictions(model, X)
    made_there = model._adapted.__getstate__() | {"device": "cuda:99"}
    for side in ("state", "alone"):
        map_tensors(made_there[side], _assert_array)
    adapted = object.__new__(type(model._adapted))
    adapted.__setstate__(made_there)
    assert adapted.model.device.type == "cpu"
    model._adapted = adapted
    np.testing.assert_array_equal(predictions(model, X), expected)


def predictions(model, X):
    return model.predict(X) if isinstance(model, MetaRegressor) else model.predict_proba(X)


def _assert_on(tensor, device):
    assert tensor.device.type == device
    return tensor


def _assert_array(array):
    assert isinstance(array, np.ndarray)
    return array
