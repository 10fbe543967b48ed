"""The rules that hold for every learner; a new one is tested by being in LEARNERS."""

import copy
import dataclasses
import gc

import numpy as np
import pytest
import torch

from sklearn_meta import MetaClassifier, MetaRegressor
from sklearn_meta.learners import LEARNERS, get_learner, learner_config
from sklearn_meta.learners._state import map_tensors, take
from sklearn_meta.tasks._episodes import EpisodeSampler, Rows

from ._families import N_CLASSES, all_cases, summary, train, trained

CASES = all_cases()
every_case = pytest.mark.parametrize("case", CASES, ids=str)
classification = pytest.mark.parametrize(
    "case", [c for c in CASES if c.kind == "classification"], ids=str
)
unshared = pytest.mark.parametrize(
    "case", [c for c in CASES if c.kind == "classification" and not c.shared], ids=str
)
shared = pytest.mark.parametrize(
    "case", [c for c in CASES if c.kind == "classification" and c.shared], ids=str
)


def predictions(case, module, support, query, through=None):
    state = case.learner.adapt(module, support)
    if through is not None:
        state = through(state)
    return summary(case.learner.predict(module, state, query))


def close(a, b, rtol=1e-7, atol=1e-8):
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def tensors_of(state):
    found = []
    map_tensors(state, lambda tensor: found.append(tensor) or tensor)
    return found


def trainable(case):
    """A module of its own to train, in float32."""
    module = copy.deepcopy(trained(case)).float().requires_grad_(True)
    if not list(module.parameters()):
        pytest.skip("has no weights")
    return module.train()


def episodes(case, module, seed=0, batch_size=4):
    store = case.store(6)
    with torch.no_grad():
        x = case.learner.inputs(module, torch.from_numpy(store.x)).numpy()
    rng = np.random.default_rng(seed)
    return EpisodeSampler(store.replace(x=x), (0, 8), 8, batch_size, rng=rng)


@unshared
def test_predictions_are_equivariant_to_a_permutation_of_the_labels(case):
    module = trained(case)
    support, query = case.support(module, [7, 12, 1]), case.query(module, 3)
    order = torch.tensor([2, 0, 1])
    renamed = dataclasses.replace(support, y=order[support.y])
    close(
        predictions(case, module, renamed, query)[..., order],
        predictions(case, module, support, query),
    )


@shared
def test_renaming_a_class_everywhere_renames_the_prediction(case):
    order = np.array([2, 0, 1])
    module, renamed = trained(case), train(case, rename=order).double()
    support, query = case.support(module, [0, 3, 8]), case.query(module, 3, n=30)
    plain = predictions(case, module, support, query)
    other_support = case.support(renamed, [0, 3, 8])
    other_support = dataclasses.replace(other_support, y=torch.from_numpy(order)[other_support.y])
    other = predictions(case, renamed, other_support, case.query(renamed, 3, n=30))[..., order]
    # Not to the last digit: boosted trees draw columns class by class, in the order of the codes.
    assert (plain - other).abs().mean() < 0.05


@every_case
def test_a_padded_batch_gives_the_numbers_of_the_unpadded(case):
    module, counts = trained(case), [4, 0, 9, 1]
    support, query = case.support(module, counts), case.query(module, 4)
    learner = case.learner
    state = learner.adapt(module, support)
    together = summary(learner.predict(module, state, query))
    embedded = learner.embed(module, state, query) if case.name != "support_only" else None
    evidence = learner.evidence(module, state)
    for t, n in enumerate(counts):
        one = support.take(slice(t, t + 1))
        one = Rows(one.x[:, :n], one.y[:, :n], one.mask[:, :n], one.ways)
        alone = learner.adapt(module, one)
        close(summary(learner.predict(module, alone, query[t : t + 1])), together[t : t + 1])
        close(learner.evidence(module, alone), evidence[t : t + 1])
        if embedded is not None:  # that of the support alone has a column for each of its rows
            close(learner.embed(module, alone, query[t : t + 1]), embedded[t : t + 1])


@every_case
def test_what_a_padded_row_holds_does_not_matter(case):
    module = trained(case)
    support, query = case.support(module, [4, 9]), case.query(module, 2)
    x = support.x.clone()
    x[~support.mask] = 1.0
    close(
        predictions(case, module, dataclasses.replace(support, x=x), query),
        predictions(case, module, support, query),
    )


@every_case
def test_no_graph_is_kept_and_all_is_finite(case):
    learner, module = case.learner, copy.deepcopy(trained(case)).requires_grad_(True)
    support, query = case.support(module, [5, 8]), case.query(module, 2)
    with torch.no_grad():
        state = learner.adapt(module, support)
        predicted = summary(learner.predict(module, state, query))
        embedded, evidence = learner.embed(module, state, query), learner.evidence(module, state)
    outputs = [predicted, embedded, evidence]
    assert all(not t.requires_grad and t.isfinite().all() for t in tensors_of(state) + outputs)


@every_case
def test_shapes(case):
    learner, module = case.learner, trained(case)
    state = learner.adapt(module, case.support(module, [5, 8]))
    predicted = learner.predict(module, state, case.query(module, 2))
    expected = {"regression": (2, 6, 1), "classification": (2, 6), "multilabel": (2, 6, 2)}
    assert predicted.batch_shape == expected[case.kind]
    embedded = learner.embed(module, state, case.query(module, 2))
    assert embedded.shape[:2] == (2, 6) and embedded.ndim == 3
    assert learner.evidence(module, state).shape == (2,)


@every_case
def test_float32_and_float64_agree(case):
    module = trained(case)
    single = copy.deepcopy(module).float()
    counts = [5, 8, 0]
    double = predictions(case, module, case.support(module, counts), case.query(module, 3))
    other = predictions(
        case,
        single,
        case.support(single, counts, dtype=torch.float32),
        case.query(single, 3, dtype=torch.float32),
    )
    assert other.dtype == torch.float32
    close(other.double(), double, rtol=1e-3, atol=1e-3)


@every_case
def test_same_seed_same_bits(case):
    first, again = train(case, max_iter=5).state_dict(), train(case, max_iter=5).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


@every_case
def test_supports_of_no_row_and_of_one(case):
    module = trained(case)
    for n in (0, 1):
        support = case.support(module, [n, n])
        assert predictions(case, module, support, case.query(module, 2)).isfinite().all()


@unshared
def test_without_support_classes_are_equally_likely(case):
    module = trained(case)
    p = predictions(case, module, case.support(module, [0]), case.query(module, 1))
    close(p, torch.full_like(p, 1 / N_CLASSES))


@classification
def test_one_class_supports_give_probabilities_of_all_classes(case):
    module = trained(case)
    support = case.support(module, [6, 6])
    support = dataclasses.replace(support, y=torch.ones_like(support.y))
    p = predictions(case, module, support, case.query(module, 2))
    close(p.sum(-1), torch.ones(2, 6, dtype=p.dtype))
    assert (p > 0).all() and (p < 1).all()
    assert p[..., 1].mean() > 1 / N_CLASSES


@unshared
def test_classes_beyond_the_ways_of_a_task_are_impossible(case):
    module = trained(case)
    support, query = case.support(module, [6, 6]), case.query(module, 2)
    fewer = dataclasses.replace(
        support, y=support.y.clamp_max(1), ways=torch.tensor([2, N_CLASSES])
    )
    p = predictions(case, module, fewer, query)
    assert (p[0, :, 2] < 1e-12).all() and (p[1, :, 2] > 0).all()
    one = fewer.take(slice(0, 1))
    close(predictions(case, module, one, query[:1]), p[:1, :, :2])


@every_case
@pytest.mark.parametrize("start", [0, 1, 5])
def test_update_equals_adapt_on_all_rows(case, start):
    learner, module = case.learner, trained(case)
    support, query = case.support(module, [12, 12]), case.query(module, 2)

    def part(rows):
        return Rows(support.x[:, rows], support.y[:, rows], support.mask[:, rows], support.ways)

    state = learner.adapt(module, part(slice(0, start)))
    state = learner.update(module, state, part(slice(start, 9)))
    state = learner.update(module, state, part(slice(9, 12)))
    everything = learner.adapt(module, support)
    close(
        summary(learner.predict(module, state, query)),
        summary(learner.predict(module, everything, query)),
        rtol=1e-6,
    )
    close(learner.evidence(module, state), learner.evidence(module, everything), rtol=1e-6)


@every_case
def test_a_state_can_be_cut_into_tasks_and_mapped(case):
    module = trained(case)
    support, query = case.support(module, [5, 8, 3]), case.query(module, 3)
    everything = predictions(case, module, support, query)
    for t in range(3):
        one = slice(t, t + 1)
        cut = predictions(case, module, support, query[one], lambda s, one=one: take(s, one))
        close(cut, everything[one])
    there_and_back = lambda s: map_tensors(  # noqa: E731
        map_tensors(s, lambda t: t.numpy().copy()), torch.from_numpy
    )
    close(predictions(case, module, support, query, there_and_back), everything, 0, 0)


@every_case
def test_restored_weights_give_the_same_predictions(case):
    module = train(case)
    weights = {name: t.numpy().copy() for name, t in module.state_dict().items()}
    restored = case.learner.restore(case.signature, weights).double()
    assert not restored.training and not any(p.requires_grad for p in restored.parameters())
    module = module.double()
    results = [
        predictions(case, m, case.support(m, [0, 4]), case.query(m, 2)) for m in (module, restored)
    ]
    close(*results, 0, 0)


@every_case
def test_weights_that_do_not_fit_are_refused(case):
    weights = {name: t.numpy().copy() for name, t in trained(case).state_dict().items()}
    if not weights:
        pytest.skip("has no weights")
    weights.popitem()
    with pytest.raises(ValueError, match="the weights do not fit"):
        case.learner.restore(case.signature, weights)


@every_case
def test_evidence_is_higher_for_tasks_of_the_family(case):
    learner, module = case.learner, trained(case)
    like = case.support(module, [12] * 30)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    unlike = dataclasses.replace(like, y=like.y[:, order])
    evidence, other = (learner.evidence(module, learner.adapt(module, s)) for s in (like, unlike))
    assert evidence.isfinite().all() and other.isfinite().all()
    assert evidence.mean() > other.mean() + 1.0


@every_case
def test_evidence_of_nothing_is_zero(case):
    module = trained(case)
    evidence = case.learner.evidence(module, case.learner.adapt(module, case.support(module, [0])))
    close(evidence, torch.zeros_like(evidence), atol=1e-6)


@every_case
def test_loss_is_one_value_or_one_a_member(case):
    module = trainable(case)
    batch = episodes(case, module).draw()
    for mode in (module.train(), module.eval()):
        loss = case.learner.loss(mode, batch)
        assert loss.requires_grad
        assert loss.isfinite().all()
        n_members = 1
        if hasattr(module, "members"):
            n_members = max(int(owner.max()) for owner in module.members.values()) + 1
        assert loss.numel() == n_members


@every_case
def test_memory_does_not_grow_with_the_number_of_episodes(case):
    module = trainable(case)
    sampler, learner = episodes(case, module), case.learner

    def count(n):
        for _ in range(n):
            loss = learner.loss(module, sampler.draw()).sum()
            loss.backward()
        del loss
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    assert count(2) == count(6)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_is_made_again_from_its_configuration(name):
    learner = get_learner(name)
    again = get_learner(**learner_config(learner))
    assert type(again) is type(learner) and again.get_params() == learner.get_params()


@pytest.mark.parametrize("name", LEARNERS)
def test_kinds_that_a_learner_does_not_serve_are_refused(name):
    X = np.random.default_rng(0).normal(size=(8, 3))
    estimators = {
        "regression": (MetaRegressor, X[:, 0]),
        "classification": (MetaClassifier, (X[:, 0] > 0).astype(int)),
        "multilabel": (MetaClassifier, (X[:, :2] > 0).astype(int)),
    }
    for kind in estimators.keys() - set(get_learner(name).kinds):
        estimator, y = estimators[kind]
        with pytest.raises(ValueError, match="serves.*choose another learner"):
            estimator(learner=name).fit_tasks([(X, y), (X, y)])
