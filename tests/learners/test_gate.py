"""The gate, the episodes that it is trained on, and what of it is kept."""

import math

import numpy as np
import pytest
import torch

from sklearn_meta.learners import InContext, Signature, _gate_episodes
from sklearn_meta.learners._gate import N_FACTS, Gate, facts_of
from sklearn_meta.learners._gate_episodes import FEWEST_TABLES, N_QUERY, gate_episodes, unpack
from sklearn_meta.learners.experts import SLOTS
from sklearn_meta.preprocessing import OwnTableEncoder
from sklearn_meta.preprocessing._columns import read_table
from sklearn_meta.tasks._episodes import Rows, TaskBatch
from sklearn_meta.tasks._table_task import TableTask

KINDS = ("regression", "classification")
every_kind = pytest.mark.parametrize("kind", KINDS)


def make_gate(kind, seed=0):
    gate = Gate(kind, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in gate.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            parameter.add_(0.1 * noise)
    return gate


def inputs(gate, n_tables=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = -10 * torch.rand(n_tables, gate.n_variants, generator=generator)
    shares = None if gate.kind == "regression" else torch.full((n_tables, 2), 0.5)
    return scores, facts_of(20, 4, shares, torch.rand(n_tables, generator=generator))


def table(kind, seed, n_rows=30):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 2 + seed))
    y = X[:, 0] + 0.3 * rng.normal(size=n_rows)
    if kind == "classification":
        y = (y > 0).astype(np.int64)
    return TableTask(f"table {seed}", read_table(X), y, OwnTableEncoder())


def module_of(kind):
    signature = Signature(kind, 0, 1 if kind == "regression" else 2)
    module = InContext().build(signature, {}, torch.Generator().manual_seed(0))
    module.gate.start_here()
    return module


class TestGate:
    @every_kind
    def test_weights_sum_to_one(self, kind):
        gate = make_gate(kind)
        log_weight = gate(*inputs(gate))
        assert log_weight.shape == (3, gate.n_variants)
        torch.testing.assert_close(log_weight.exp().sum(-1), torch.ones(3))

    @every_kind
    def test_who_does_not_serve_gets_no_weight(self, kind):
        gate = make_gate(kind)
        scores, facts = inputs(gate)
        silent = gate.expert >= gate.n_experts - 2
        scores[:, silent] = -torch.inf
        log_weight = gate(scores, facts)
        assert (log_weight[:, silent].exp() == 0).all()
        torch.testing.assert_close(log_weight.exp().sum(-1), torch.ones(3))

    @every_kind
    def test_untrained_weights_are_posteriors_with_even_odds_of_experts(self, kind):
        gate = Gate(kind, torch.Generator().manual_seed(0))
        scores, facts = inputs(gate)
        sizes = torch.tensor([slot.n_variants for slot in SLOTS[kind]])
        prior = -sizes.double().log()[gate.expert]
        expected = (prior + scores.double()).log_softmax(-1)
        torch.testing.assert_close(gate(scores, facts).double(), expected, rtol=1e-4, atol=1e-5)
        even = gate(torch.zeros_like(scores), facts).exp()
        per_expert = torch.zeros(3, len(sizes)).index_add(1, gate.expert, even)
        torch.testing.assert_close(per_expert, torch.full_like(per_expert, 1 / len(sizes)))

    @every_kind
    def test_only_differences_of_scores_matter(self, kind):
        gate = make_gate(kind)
        scores, facts = inputs(gate)
        torch.testing.assert_close(gate(scores, facts), gate(scores - 7, facts))

    @every_kind
    def test_a_batch_equals_one_by_one(self, kind):
        gate = make_gate(kind)
        scores, facts = inputs(gate)
        one_by_one = torch.cat([gate(scores[[i]], facts[[i]]) for i in range(3)])
        torch.testing.assert_close(gate(scores, facts), one_by_one)

    def test_distance_from_the_start(self):
        gate = make_gate("regression")
        gate.start_here()
        assert gate.distance() == 0
        with torch.no_grad():
            gate.trust += 0.5
        assert float(gate.distance().detach()) == pytest.approx(0.25 * gate.n_experts)
        assert not any("start" in name for name in gate.state_dict())

    def test_facts(self):
        facts = facts_of(20, 4, torch.tensor([[0.5, 0.5]]), torch.tensor([7.0]))[0]
        n, p = math.log(20), math.log(4)
        expected = torch.tensor([n, n**2 / 10, p, n - p, math.log(2), math.log(2), 3.0])
        assert len(facts) == N_FACTS
        torch.testing.assert_close(facts, expected)


class TestEpisodes:
    @every_kind
    def test_few_tables_are_cut_into_parts(self, kind):
        rng = np.random.default_rng(0)
        store = gate_episodes([table(kind, 1), table(kind, 3)], rng, n_episodes=2)
        parts = [name.rsplit(", ", 1) for name in store.names]
        assert {name for name, _ in parts} == {"table 1", "table 3"}
        assert len(parts) > FEWEST_TABLES // 2 and [int(i) for _, i in parts] == sorted(
            int(i) for _, i in parts
        )
        whole = table(kind, 3)
        for _ in range(10):
            part = whole.part(rng)
            assert (whole.X.n_columns + 1) // 2 <= part.X.n_columns <= whole.X.n_columns
            assert part.X.n_rows == part.n_rows <= whole.n_rows
            assert len(np.unique(part.y)) >= 2

    @every_kind
    def test_what_is_packed_is_what_the_gate_reads(self, kind, monkeypatch):
        monkeypatch.setattr(_gate_episodes, "FEWEST_TABLES", 0)
        tables = [table(kind, seed) for seed in (1, 3)]
        store = gate_episodes(tables, np.random.default_rng(0), n_episodes=3)
        assert store.names == ["table 1, 0", "table 3, 1"] and store.n_tasks == 2
        assert np.isfinite(store.x).all() and store.x.dtype == np.float32
        gate = make_gate(kind)
        facts, scores, log_scores, errors = unpack(torch.from_numpy(store.x), gate)
        v = gate.n_variants + 1
        assert facts.shape == (len(store.x), N_FACTS) and scores.shape == (len(store.x), v)
        assert log_scores.shape == errors.shape == (len(store.x), v, N_QUERY)
        again = [part.flatten(1) for part in (facts, scores, log_scores, errors)]
        np.testing.assert_array_equal(torch.cat(again, 1), store.x)
        columns = facts[:, 2].exp().round()
        assert set(columns.tolist()) == {3.0, 5.0}
        assert (errors == 0).all() == (kind == "classification")

    @every_kind
    def test_experts_that_do_not_serve_are_as_good_as_none(self, kind):
        store = gate_episodes([table(kind, 1)], np.random.default_rng(0), n_episodes=2)
        gate = make_gate(kind)
        facts, scores, log_scores, _ = unpack(torch.from_numpy(store.x), gate)
        slots = [slot.expert for slot in SLOTS[kind]]
        silent = gate.expert == slots.index("boosting")
        assert (log_scores[:, :-1][:, silent] == -30).all()
        assert (gate(scores[:, :-1], facts)[:, silent].exp() == 0).all()

    def test_the_generator_is_all_that_draws_depend_on(self):
        tables = [table("regression", 1)]
        one, other = (
            gate_episodes(tables, np.random.default_rng(5), n_episodes=2).x for _ in range(2)
        )
        np.testing.assert_array_equal(one, other)

    @every_kind
    def test_tables_without_two_values_are_left_out(self, kind, monkeypatch):
        monkeypatch.setattr(_gate_episodes, "FEWEST_TABLES", 0)
        good, bad = table(kind, 1), table(kind, 2)
        bad = TableTask("bad", bad.X, np.zeros_like(bad.y), bad.encoder)
        store = gate_episodes([bad, good], np.random.default_rng(0), n_episodes=2)
        assert store.names == ["table 1, 1"]
        with pytest.raises(ValueError, match="no task has rows of two classes"):
            gate_episodes([bad], np.random.default_rng(0), n_episodes=2)


class TestAccept:
    """Held-out tables on which the first variant is right and all others are wrong."""

    @staticmethod
    def held_out(gate, n_tables=6):
        v, generator = gate.n_variants + 1, torch.Generator().manual_seed(0)
        facts = facts_of(20, 4, torch.full((n_tables, 2), 0.5), torch.rand(n_tables))
        scores = torch.zeros(n_tables, v)
        scores[:, -1] = -1e6
        log_scores = -3 - torch.rand(n_tables, v, N_QUERY, generator=generator)
        log_scores[:, 0] = -0.1
        errors = torch.zeros_like(log_scores)
        x = torch.cat([facts, scores, log_scores.flatten(1), errors.flatten(1)], 1)[:, None]
        rows = Rows(x, torch.zeros(n_tables, 1), torch.ones(n_tables, 1, dtype=torch.bool))
        return [TaskBatch(rows, rows, torch.arange(n_tables))]

    @every_kind
    def test_what_is_worse_is_forgotten_and_what_is_better_is_kept(self, kind):
        for sign, kept in ((-1.0, 0.0), (1.0, 1.0)):
            module = module_of(kind)
            start = [p.clone() for p in module.gate.start]
            with torch.no_grad():
                module.gate.bias[0] += sign * 5
            learned = [p.detach().clone() for p in module.gate.parameters()]
            module.accept(self.held_out(module.gate))
            expected = learned if kept else start
            for parameter, value in zip(module.gate.parameters(), expected, strict=True):
                torch.testing.assert_close(parameter.detach(), value)

    def test_a_step_too_far_is_taken_half(self):
        module = module_of("classification")
        start = module.gate.names.detach().clone()
        batch = self.held_out(module.gate)
        v = module.gate.n_variants + 1
        scores = slice(N_FACTS, N_FACTS + v)
        batch[0].query.x[..., scores] = 0.0
        # All others are as good as the expert of names, on average over rows, where that is even.
        log_scores = torch.full((6, v, N_QUERY), -3.0)
        log_scores[:, :-1, ::2] = log_scores[:, -1:, 1::2] = -0.1
        start_of = N_FACTS + v
        batch[0].query.x[:, 0, start_of : start_of + v * N_QUERY] = log_scores.flatten(1)
        with torch.no_grad():
            module.gate.names -= 2 * start  # from log odds 3 to -3: 0 is best
        module.accept(batch)
        torch.testing.assert_close(module.gate.names.detach()[0], torch.tensor(0.0))

    def test_too_few_tables_tell_nothing(self):
        module = module_of("regression")
        with torch.no_grad():
            module.gate.bias[0] += 5
        module.accept(self.held_out(module.gate, 3))
        assert module.gate.distance() == 0

    def test_loss_is_the_log_score_of_the_mixture_and_its_squared_error(self):
        module = module_of("regression")
        gate, rows = module.gate, self.held_out(module.gate)[0].query.x[:, 0]
        facts, scores, log_scores, errors = unpack(rows, gate)
        errors.fill_(0.5)
        weight = gate(scores[:, :-1], facts).exp()
        score = (weight[..., None] * log_scores[:, :-1].exp()).sum(1).log().mean(-1)
        torch.testing.assert_close(module.gate_loss(rows), 0.5 * 0.25 - score, rtol=1e-4, atol=1e-5)
