"""Every learner that takes networks: with images, and with a network of the user's own."""

import functools

import numpy as np
import pytest
import torch

from sklearn_meta._training import TrainingConfig, meta_train
from sklearn_meta.learners._state import map_tensors
from sklearn_meta.tasks._episodes import Rows

from ._families import N_INPUTS, all_cases, signatures, summary

CASES = [case for case in all_cases() if case.learner.takes_networks]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
both_rows = pytest.mark.parametrize("rows", ["images", "own"])


@functools.cache
def trained(case, rows):
    """Start and end of a few steps of meta-training, in float32; not to be changed."""
    learner, store, signature = case.learner, case.store(), signatures(case)[rows]
    rng = np.random.default_rng(0)
    prepared = learner.prepare(store, signature, rng)
    module = learner.build(signature, prepared, torch.Generator().manual_seed(0))
    start = {name: p.detach().clone() for name, p in module.named_parameters()}
    config = TrainingConfig(
        max_iter=5, batch_size=6, shots=(0, 8), n_query=10, early_stopping=False
    )
    store = store.replace(x=prepared.get("inputs"))
    module, history = meta_train(learner, module, store, config=config, rng=rng, device="cpu")
    assert np.isfinite(history.loss).all()
    return start, module.requires_grad_(False)


def query(case, n_tasks, n=6):
    x = np.random.default_rng(9).normal(size=(n_tasks, n, N_INPUTS)).astype(np.float32)
    return torch.from_numpy(x)


def predictions(case, module, support, x):
    with torch.inference_mode():
        state = case.learner.adapt(module, support)
        return summary(case.learner.predict(module, state, case.learner.inputs(module, x)))


@every_case
@both_rows
def test_meta_training_reaches_the_network(case, rows):
    start, module = trained(case, rows)
    name = "convolutions.0.weight" if rows == "images" else "module.0.weight"
    (weight,) = [n for n in start if n.endswith(name)]
    assert not torch.equal(dict(module.named_parameters())[weight], start[weight])


@every_case
@both_rows
def test_a_padded_batch_gives_the_numbers_of_the_unpadded(case, rows):
    _, module = trained(case, rows)
    counts, x = [4, 0, 9, 1], query(case, 4)
    support = case.support(module, counts, dtype=torch.float32)
    together = predictions(case, module, support, x)
    assert together.isfinite().all() and together.dtype == torch.float32
    for t, n in enumerate(counts):
        one = support.take(slice(t, t + 1))
        one = Rows(one.x[:, :n], one.y[:, :n], one.mask[:, :n], one.ways)
        alone = predictions(case, module, one, x[t : t + 1])
        torch.testing.assert_close(alone, together[t : t + 1], rtol=1e-3, atol=1e-4)


@every_case
@both_rows
def test_updates_embeddings_and_evidence(case, rows):
    learner, (_, module) = case.learner, trained(case, rows)
    support = case.support(module, [7, 7], dtype=torch.float32)
    with torch.inference_mode():
        first = Rows(support.x[:, :3], support.y[:, :3], support.mask[:, :3], support.ways)
        rest = Rows(support.x[:, 3:], support.y[:, 3:], support.mask[:, 3:], support.ways)
        state = learner.update(module, learner.adapt(module, first), rest)
        x = learner.inputs(module, query(case, 2))
        updated = summary(learner.predict(module, state, x))
        embedded, evidence = learner.embed(module, state, x), learner.evidence(module, state)
        map_tensors(state, lambda tensor: tensor.isfinite().all())
    expected = predictions(case, module, support, query(case, 2))
    torch.testing.assert_close(updated, expected, rtol=1e-3, atol=1e-4)
    assert embedded.shape[:2] == (2, 6) and embedded.isfinite().all()
    assert evidence.shape == (2,) and evidence.isfinite().all()


@every_case
@both_rows
def test_restored_weights_give_the_same_predictions(case, rows):
    _, module = trained(case, rows)
    weights = {name: t.numpy().copy() for name, t in module.state_dict().items()}
    restored = case.learner.restore(signatures(case)[rows], weights)
    results = [
        predictions(case, m, case.support(m, [0, 4], dtype=torch.float32), query(case, 2))
        for m in (module, restored)
    ]
    torch.testing.assert_close(*results, rtol=0, atol=0)


@every_case
@both_rows
def test_weights_that_do_not_fit_are_refused(case, rows):
    weights = {name: t.numpy().copy() for name, t in trained(case, rows)[1].state_dict().items()}
    (name,) = [n for n in weights if n.endswith("convolutions.0.weight") or "module.0.bias" in n]
    del weights[name]
    with pytest.raises(ValueError, match="the weights do not fit"):
        case.learner.restore(signatures(case)[rows], weights)
