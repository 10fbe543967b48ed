"""What the guard does with supports before it weighs: which rows it judges, and in which folds."""

import dataclasses

import numpy as np
import pytest
import torch

from sklearn_meta._guard import (
    MAX_ROWS_TO_JUDGE,
    MIN_ROWS_TO_JUDGE,
    N_FOLDS,
    Guard,
    Side,
    _folds,
    _folds_to_judge,
    _some,
    _with_company,
    to_judge,
)
from sklearn_meta.learners import BayesianLinear, PrototypicalNetwork
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners.support_only import SupportOnly
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows


def rows(counts, ways=None, y=None, seed=0):
    """Rows whose column 0 is their own number + 1."""
    rng = np.random.default_rng(seed)
    n = max(counts)
    mask = torch.arange(n) < torch.tensor(counts)[:, None]
    x = torch.from_numpy(rng.normal(size=(len(counts), n, 3)))
    x[..., 0] = torch.arange(1, n + 1)
    if y is None:
        y = x[..., 1:2] + 0.1 * x[..., 2:] if ways is None else torch.arange(n) % ways
        y = y if ways is None else y.expand(len(counts), n).clone()
    ways = None if ways is None else torch.full((len(counts),), ways)
    return Rows(x * mask[..., None], y, mask, ways)


def test_every_row_is_held_out_once_and_seen_in_all_other_folds():
    support = rows([23, 20])
    seen, held = _folds(support)
    for t, n in enumerate([23, 20]):
        fold_seen = [seen.x[f * 2 + t, seen.mask[f * 2 + t], 0] for f in range(N_FOLDS)]
        fold_held = [held.x[f * 2 + t, held.mask[f * 2 + t], 0] for f in range(N_FOLDS)]
        assert sorted(torch.cat(fold_held).tolist()) == list(range(1, n + 1))
        for a, b in zip(fold_seen, fold_held, strict=True):
            assert sorted(torch.cat([a, b]).tolist()) == list(range(1, n + 1))


def test_a_row_alone_in_its_class_is_not_judged():
    y = torch.tensor([[0, 1, 1, 2, 2, 2, 3] + [4] * 20])
    support = rows([27], ways=5, y=y)
    assert (
        _with_company(support)[0].tolist()
        == [False, True, True, True, True, True, False] + [True] * 20
    )
    seen, held = _folds_to_judge(support)
    judged = held.y[held.mask]
    assert judged.bincount(minlength=5).tolist() == [0, 2, 3, 0, 20]
    # Of each class that is judged some row is seen in the same fold.
    for f in range(N_FOLDS):
        assert set(held.y[f][held.mask[f]].tolist()) <= set(seen.y[f][seen.mask[f]].tolist())


def test_of_many_classes_of_two_rows_those_judged_are_in_company():
    seen, held = _folds_to_judge(rows([100], ways=50))
    assert held.mask.sum() == MAX_ROWS_TO_JUDGE
    assert (held.y[held.mask].bincount() % 2 == 0).all()


def test_one_shot_is_never_judged():
    n = MIN_ROWS_TO_JUDGE + 5
    assert not to_judge(rows([n], ways=n)).any()
    assert to_judge(rows([n], ways=5)).all()
    assert to_judge(rows([MIN_ROWS_TO_JUDGE, MIN_ROWS_TO_JUDGE - 1])).tolist() == [True, False]


def test_of_many_rows_some_of_every_class_are_judged():
    support = rows([500], ways=10)
    some = _some(support)
    assert some.mask.sum() == MAX_ROWS_TO_JUDGE
    assert some.y[0].bincount().tolist() == [6] * 10


@pytest.mark.parametrize("ways", [None, 4])
def test_adapting_with_the_folds_in_one_batch_changes_nothing(ways):
    counts = [25, 40, 7]
    support = rows(counts, ways)
    kind = "regression" if ways is None else "classification"
    learner = BayesianLinear() if ways is None else PrototypicalNetwork()
    signature = Signature(kind, 3, 1 if ways is None else ways, hidden=(4, 2))
    y = support.y[support.mask].numpy()
    offsets = np.cumsum([0, *counts])
    classes = None if ways is None else np.full(3, ways)
    store = TaskStore(support.x[support.mask].numpy(), y, offsets, ["a", "b", "c"], classes)
    prepared = learner.prepare(store, signature, np.random.default_rng(0))
    module = learner.build(signature, prepared, torch.Generator().manual_seed(0))
    module = module.double().eval().requires_grad_(False)
    alone = SupportOnly()
    guard = Guard(
        Side(learner, module, kind), Side(alone, alone.restore(signature, {}).double(), kind)
    )
    inputs = dataclasses.replace(support, x=learner.inputs(module, support.x))
    state, other, weight = guard.adapt(inputs, support)
    torch.testing.assert_close(guard.weight(state, other, inputs, support), weight)
    plain = learner.adapt(module, inputs)
    both = (learner.predict(module, s, inputs.x) for s in (state, plain))
    summary = "mean" if ways is None else "probs"
    torch.testing.assert_close(*(getattr(d, summary) for d in both))
    for t, n in enumerate(counts):  # and each task is judged by itself
        one = slice(t, t + 1)
        own = [
            Rows(r.x[one, :n], r.y[one, :n], r.mask[one, :n], None if ways is None else r.ways[one])
            for r in (inputs, support)
        ]
        torch.testing.assert_close(guard.adapt(*own)[2], weight[one], rtol=1e-5, atol=1e-7)
