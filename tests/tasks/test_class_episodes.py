import numpy as np
import pytest
import torch

from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._class_episodes import ClassEpisodeSampler
from sklearn_meta.tasks._class_index import class_index, has_class_episodes, split_labels
from sklearn_meta.tasks._images import distorted, turned

SHAPE = (3, 3)


def make_store(counts, disjoint=False, image_shape=SHAPE):
    """Images whose pixels hold their own row number + 1; ``counts`` of each class of each task."""
    codes = np.concatenate([np.repeat(np.arange(len(c)), c) for c in counts])
    offsets = np.cumsum([0] + [sum(c) for c in counts])
    order = np.random.default_rng(0).permutation
    codes = np.concatenate(
        [order(codes[a:b]) for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    )
    x = np.repeat(np.arange(1, len(codes) + 1, dtype=np.float32)[:, None], 9, 1)
    ways = np.array([len(c) for c in counts])
    names = [str(t) for t in range(len(counts))]
    task = np.repeat(np.arange(len(counts)), [sum(c) for c in counts])
    labels = codes + 100 * task if disjoint else codes
    return TaskStore(x, codes, offsets, names, ways, labels=labels, image_shape=image_shape)


def sampler(store, shots=(1, 2), n_query=3, n_ways=3, batch_size=4, augment=False, seed=0):
    rng = np.random.default_rng(seed)
    return ClassEpisodeSampler(store, shots, n_query, n_ways, batch_size, rng=rng, augment=augment)


def test_the_index_holds_every_row_once_by_its_class():
    store = make_store([[3, 1, 2], [2, 4]]).subset([1, 0])
    index = class_index(store)
    assert sorted(index.rows) == list(range(12))
    assert index.count.tolist() == [2, 4, 3, 2] and index.task.tolist() == [0, 0, 1, 1]
    assert index.label.tolist() == [0, 1, 0, 2]  # that of one row is out
    for start, n, label in zip(index.first, index.count, index.label, strict=True):
        assert set(store.y[index.rows[start : start + n]]) == {label}


@pytest.mark.parametrize("disjoint", [False, True])
def test_an_episode_has_as_many_rows_of_each_of_its_classes(disjoint):
    store = make_store([[4, 5, 6, 7], [3, 9, 5], [8, 2]], disjoint)
    task_of_row, drawn = store.task_of_row, sampler(store)
    mixed = False
    for _ in range(20):
        batch = drawn.draw()
        for i in range(4):
            rows = {}
            for name in ("support", "query"):
                part = getattr(batch, name)
                number = part.x[i, part.mask[i], 0].long().numpy() - 1
                rows[name] = (number, part.y[i, part.mask[i]].numpy())
            (s, ys), (q, yq) = rows["support"], rows["query"]
            both = np.concatenate([s, q])
            assert len(set(both)) == len(both)
            ways = int(batch.support.ways[i])
            assert 2 <= ways <= 3 and set(ys) == set(yq) == set(range(ways))
            # One class of the episode is one class of one task.
            pairs = {(c, task_of_row[r], store.y[r]) for r, c in zip(both, [*ys, *yq], strict=True)}
            assert len(pairs) == ways
            tasks = {t for _, t, _ in pairs}
            mixed |= len(tasks) > 1
            shots = np.bincount(ys)
            assert shots.max() <= 2 and np.bincount(yq).max() <= 3
    assert mixed == disjoint


def test_padding_is_zero():
    drawn = sampler(make_store([[2, 9, 3], [7, 7]]), shots=(1, 5))
    for _ in range(10):
        batch = drawn.draw()
        for rows in (batch.support, batch.query):
            assert (rows.x[~rows.mask] == 0).all() and rows.mask.any(1).all()


def test_same_seed_same_episodes_and_a_state_goes_on():
    store = make_store([[4, 5, 6], [5, 5]])
    first, again = (sampler(store, augment=True) for _ in range(2))
    assert torch.equal(first.draw().support.x, again.draw().support.x)
    state = first.state_dict()
    expected = first.draw().query.x
    again.load_state_dict(state)
    assert torch.equal(again.draw().query.x, expected)


def test_what_has_no_classes_to_draw_from():
    assert has_class_episodes(make_store([[2, 2], [1, 1]]))
    assert not has_class_episodes(make_store([[5], [5]]))
    assert has_class_episodes(make_store([[5], [5]], disjoint=True))
    assert not has_class_episodes(make_store([[1, 1], [1, 1]], disjoint=True))
    assert not has_class_episodes(make_store([[2, 2]], image_shape=None))
    store = make_store([[1, 5]])
    assert class_index(store).pools() == []
    with pytest.raises(ValueError, match="two classes of at least two rows"):
        sampler(store)


@pytest.mark.parametrize("disjoint", [False, True])
def test_a_label_that_is_held_out_is_held_out_of_every_task(disjoint):
    store = make_store([[4, 5, 6, 7], [3, 9, 5, 4], [8, 2, 2, 3]], disjoint)
    kept, held = split_labels(store, 1 / 4, np.random.default_rng(0))
    assert len(held.kept_labels) == (3 if disjoint else 2)
    assert not set(kept.kept_labels) & set(held.kept_labels)
    for view in (kept, held):
        drawn = sampler(view).draw()
        for rows in (drawn.support, drawn.query):
            numbers = rows.x[..., 0][rows.mask].long().numpy() - 1
            assert set(store.labels[numbers]) <= set(view.kept_labels)
    assert split_labels(make_store([[3, 3, 3]]), 1 / 4, np.random.default_rng(0)) is None


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4)])
def test_quarter_turns(shape):
    x = torch.rand(8, int(np.prod(shape)), generator=torch.Generator().manual_seed(0))
    quarters = np.array([0, 1, 2, 3, 0, 1, 2, 3])
    result = turned(x, quarters, shape).reshape(-1, *shape)
    for image, k, plain in zip(result, quarters, x.reshape(-1, *shape), strict=True):
        assert torch.equal(image, torch.rot90(plain, int(k), (-2, -1)))
    back = turned(turned(x, quarters, shape), (4 - quarters) % 4, shape)
    assert torch.equal(back, x)


@pytest.mark.parametrize("shape", [(12, 12), (3, 9, 14)])
def test_distortion_keeps_range_and_moves_little(shape):
    generator = torch.Generator().manual_seed(0)
    height, width = shape[-2:]
    ramp = torch.linspace(-1, 1, width).expand(shape).reshape(1, -1).repeat(50, 1)
    moved = distorted(ramp, shape, np.random.default_rng(0))
    assert moved.shape == ramp.shape and moved.dtype == ramp.dtype
    assert moved.min() >= -1 and moved.max() <= 1  # nothing from beyond the border
    change = (moved - ramp).abs()
    assert 0.01 < change.mean() < 0.3
    flat = torch.rand(5, 1, generator=generator).expand(5, int(np.prod(shape)))
    torch.testing.assert_close(distorted(flat.clone(), shape, np.random.default_rng(1)), flat)
