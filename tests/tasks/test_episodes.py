import time
import tracemalloc

import numpy as np
import pytest
import torch

from sklearn_meta.tasks import EpisodeSampler, TaskStore, fixed_episodes, pad_rows
from sklearn_meta.tasks._sampling import distinct_rows


def make_store(counts, n_columns=2):
    """Make a store whose first column is the row's own number + 1, whose target is its task."""
    counts = np.asarray(counts)
    x = np.zeros((counts.sum(), n_columns), dtype=np.float32)
    x[:, 0] = np.arange(1, len(x) + 1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    y = np.repeat(np.arange(len(counts)), counts)
    return TaskStore(x, y, offsets, [str(t) for t in range(len(counts))])


def sampler(store, shots=(0, 5), seed=0, **params):
    return EpisodeSampler(store, shots, rng=np.random.default_rng(seed), **params)


def rows_of(rows, i):
    """Row numbers of task i of a batch, padding left out."""
    return rows.x[i, rows.mask[i], 0].to(torch.int64).numpy() - 1


def check_batch(batch, store, n_query):
    for i, t in enumerate(batch.task.tolist()):
        support, query = rows_of(batch.support, i), rows_of(batch.query, i)
        both = np.concatenate([support, query])
        assert len(set(both)) == len(both)  # disjoint, and no row twice
        valid = store.rows(t)
        assert ((valid.start <= both) & (both < valid.stop)).all()
        assert len(query) == min(n_query, store.counts[t] - len(support))
    for rows in (batch.support, batch.query):
        assert rows.mask.dtype == torch.bool
        assert rows.x.shape[:2] == rows.y.shape[:2] == rows.mask.shape
        assert rows.mask.sum(1).max() == rows.mask.shape[1]  # no wider than needed
        assert (rows.x[~rows.mask] == 0).all()
        expected = torch.as_tensor(store.y[[store.rows(t).start for t in batch.task]])
        assert (rows.y == expected[:, None]).all()  # targets came by the same rows


@pytest.mark.parametrize("seed", range(3))
def test_support_and_query_are_disjoint_rows_of_their_task(seed):
    store = make_store([1, 2, 3, 7, 40, 200, 500, 3000])
    episodes = sampler(store, (0, 12), seed, n_query=9, batch_size=5)
    for _ in range(50):
        check_batch(episodes.draw(), store, 9)


def test_subset_draws_its_own_rows_only():
    store = make_store([4, 5, 6, 7]).subset([3, 1])
    batch = sampler(store, batch_size=2).draw()
    check_batch(batch, store, 20)


def test_rows_are_drawn_uniformly():
    # The same rows, drawn by the shuffle (short tasks) and by rejection (long ones).
    for n_rows, width in [(12, 6), (30, 5), (9, 2)]:
        drawn = distinct_rows(np.full(20_000, n_rows), width, np.random.default_rng(0))
        assert (np.diff(np.sort(drawn), axis=1) > 0).all()
        for column in drawn.T:
            seen = np.bincount(column, minlength=n_rows)
            expected = len(drawn) / n_rows
            chi2 = ((seen - expected) ** 2 / expected).sum()
            assert chi2 < n_rows + 5 * np.sqrt(2 * n_rows)


def test_shots_cover_their_range_uniformly():
    episodes = sampler(make_store([30] * 50), (0, 9), batch_size=50)
    shots = torch.cat([episodes.draw().support.mask.sum(1) for _ in range(200)])
    share = np.bincount(shots, minlength=10) / len(shots)
    assert len(share) == 10
    np.testing.assert_allclose(share, 0.1, atol=0.015)


def test_shots_leave_a_query_row():
    episodes = sampler(make_store([4] * 50), (2, 100), batch_size=50)
    shots = torch.cat([episodes.draw().support.mask.sum(1) for _ in range(20)])
    assert set(shots.tolist()) == {2, 3}
    fixed = sampler(make_store([4] * 5), 10, batch_size=5).draw()
    assert (fixed.support.mask.sum(1) == 3).all() and (fixed.query.mask.sum(1) == 1).all()


def test_tasks_of_one_row_have_no_shots():
    batch = sampler(make_store([1] * 4), (1, 5), batch_size=4).draw()
    assert batch.support.x.shape == (4, 0, 2) and batch.support.y.shape == (4, 0)
    assert batch.query.mask.shape == (4, 1) and batch.query.mask.all()


@pytest.mark.parametrize(("n_tasks", "batch_size"), [(7, 3), (16, 16), (50, 16), (3, 8), (1, 2)])
def test_every_task_is_visited_in_every_epoch(n_tasks, batch_size):
    episodes = sampler(make_store([3] * n_tasks), batch_size=batch_size)
    batches = [episodes.draw().task.numpy() for _ in range(4 * n_tasks)]
    assert all(len(tasks) == batch_size for tasks in batches)
    if n_tasks >= batch_size:
        assert all(len(set(tasks)) == batch_size for tasks in batches)
    visits = np.concatenate(batches)
    for epoch in visits.reshape(-1, n_tasks):
        assert sorted(epoch) == list(range(n_tasks))


def test_targets_of_many_columns():
    store = make_store([5, 6])
    y = np.stack([store.y, -store.y], axis=1).astype(np.float32)
    batch = sampler(store.replace(y=y), (1, 2), batch_size=2).draw()
    assert batch.query.y.dtype == torch.float32
    assert (batch.query.y[..., 0] == -batch.query.y[..., 1]).all()
    assert (batch.query.y[..., 0] == batch.task[:, None]).all()


def test_rows_of_more_axes():
    store = make_store([5, 6])
    images = np.ones((11, 1, 4, 4), dtype=np.float32)
    batch = sampler(store.replace(x=images), (1, 3), n_query=2, batch_size=2).draw()
    assert batch.query.x.shape == (2, 2, 1, 4, 4)
    assert (batch.support.x.sum((2, 3, 4)) == 16 * batch.support.mask).all()


def test_same_seed_same_episodes():
    def draws(seed):
        episodes = sampler(make_store([9] * 30), seed=seed)
        return torch.cat([rows.reshape(-1) for _ in range(5) for rows in [episodes.draw().query.x]])

    def global_state():
        return [*np.random.get_state()[1], *torch.get_rng_state().tolist()]  # noqa: NPY002

    before = global_state()
    assert torch.equal(draws(1), draws(1))
    assert not torch.equal(draws(1)[:100], draws(2)[:100])
    assert global_state() == before


def test_state_resumes_in_the_middle_of_an_epoch():
    store = make_store([9] * 30)
    episodes = sampler(store, seed=1)
    episodes.draw()
    state = episodes.state_dict()
    expected = [episodes.draw() for _ in range(3)]
    resumed = sampler(store, seed=2)
    resumed.load_state_dict(state)
    for batch in expected:
        again = resumed.draw()
        assert torch.equal(batch.task, again.task)
        assert torch.equal(batch.support.x, again.support.x)


def test_read_only_rows_are_accepted_and_not_written():
    store = make_store([9] * 30)
    x = store.x.copy()
    store.x.flags.writeable = store.y.flags.writeable = False
    batch = sampler(store).draw()
    batch.query.x.zero_()
    np.testing.assert_array_equal(store.x, x)


def test_bad_parameters():
    store = make_store([3])
    for shots in (-1, (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="shots is "):
            sampler(store, shots)
    with pytest.raises(ValueError, match="n_query is 0"):
        sampler(store, n_query=0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        sampler(store, batch_size=0)


def test_fixed_episodes_hold_every_task_once_for_each_number_of_shots():
    store = make_store([1, 2, 10, 400])
    batches = fixed_episodes(store, [0, 1, 5], 20, np.random.default_rng(0))
    assert len(batches) == 3
    for batch, shots in zip(batches, [0, 1, 5], strict=True):
        assert batch.task.tolist() == [0, 1, 2, 3]
        assert batch.support.mask.sum(1).tolist() == np.minimum(shots, store.counts - 1).tolist()
        check_batch(batch, store, 20)


def test_fixed_episodes_of_some_tasks():
    batches = fixed_episodes(make_store([5] * 50), [0, 2], 20, np.random.default_rng(0), 10)
    chosen = batches[0].task
    assert len(set(chosen.tolist())) == 10 and torch.equal(chosen, chosen.sort().values)
    assert torch.equal(chosen, batches[1].task)


def test_batch_moves_and_splits():
    batch = sampler(make_store([9] * 10), batch_size=10).draw()
    wide = batch.to("cpu", torch.float64)
    assert wide.support.x.dtype == wide.query.x.dtype == torch.float64
    assert wide.query.y.dtype == torch.int64 and wide.query.mask.dtype == torch.bool
    assert batch.to().query.x.dtype == torch.float32

    parts = list(batch.chunk(4))
    assert [part.n_tasks for part in parts] == [4, 4, 2]
    assert [part.support.n_tasks for part in parts] == [4, 4, 2]
    for name in ("x", "y", "mask"):
        joined = torch.cat([getattr(part.query, name) for part in parts])
        assert torch.equal(joined, getattr(batch.query, name))


def test_floating_targets_move_with_their_rows():
    rows = pad_rows([np.ones((2, 3))], [np.ones((2, 1))]).to(dtype=torch.float32)
    assert rows.x.dtype == rows.y.dtype == torch.float32


@pytest.mark.parametrize("y_shape", [(), (2,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pad_rows(y_shape, dtype):
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(n, 3)).astype(dtype) for n in (2, 5, 1)]
    ys = [rng.normal(size=(n, *y_shape)) for n in (2, 5, 1)]
    rows = pad_rows(xs, ys)
    assert rows.n_tasks == 3 and rows.x.shape == (3, 5, 3) and rows.y.shape == (3, 5, *y_shape)
    assert rows.mask.sum(1).tolist() == [2, 5, 1]
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        assert rows.x.numpy().dtype == dtype
        np.testing.assert_array_equal(rows.x[i, : len(x)].numpy(), x)
        np.testing.assert_array_equal(rows.y[i, : len(y)].numpy(), y)
        assert (rows.x[i, len(x) :] == 0).all() and (rows.y[i, len(y) :] == 0).all()


def best_time(function, repeats=20):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def test_drawing_a_batch_is_fast():
    assert best_time(sampler(make_store([40] * 200, 20), (0, 20)).draw) < 2e-3  # about 0.15 ms


def test_long_tasks_cost_no_more_than_what_is_drawn():
    store = make_store([100_000] * 20)
    episodes = sampler(store, (0, 20))
    assert best_time(episodes.draw) < 5e-3  # about 0.2 ms
    tracemalloc.start()
    batch = episodes.draw()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000  # (16, 100_000) random numbers would be 6 MB
    check_batch(batch, store, 20)


def test_many_tasks_are_drawn_fast():
    store = make_store(np.full(100_000, 5))
    episodes = sampler(store, (0, 4))
    assert best_time(episodes.draw) < 5e-3  # an epoch's shuffle aside, no cost a task
    start = time.perf_counter()
    batches = fixed_episodes(store, [0, 1, 3], 20, np.random.default_rng(0))
    assert time.perf_counter() - start < 5  # about 0.2 s
    assert batches[0].n_tasks == 100_000
