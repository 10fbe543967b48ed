"""Tasks of image reconstruction in a store: sampling, fresh noise, whole tasks held out."""

import numpy as np
import pytest
import torch

from sklearn_meta._training_config import TrainingConfig, resolve
from sklearn_meta._training_split import episode_sampler, hold_out
from sklearn_meta.learners.reconstruction.unrolled import Unrolled
from sklearn_meta.operators import Blur, Identity, Mask
from sklearn_meta.tasks._image_store import ImageSampler, ImageStore, fixed_set


def store(n_tasks=6, n_images=5, make_operator=None):
    rng = np.random.default_rng(0)
    shapes = [(8, 8), (6, 10)]
    operators = [
        Blur(shapes[t % 2], np.ones((3, 3)) / 9) if t % 3 else Identity(shapes[t % 2])
        for t in range(n_tasks)
    ]
    images = [rng.random((n_images, *op.image_shape)) for op in operators]
    measurements = [
        None if t == 1 else op.forward(torch.from_numpy(x)).numpy() + 0.1
        for t, (op, x) in enumerate(zip(operators, images, strict=True))
    ]
    sigmas = [0.01 * (t + 1) for t in range(n_tasks)]
    names = [f"task {t}" for t in range(n_tasks)]
    return ImageStore(images, measurements, operators, sigmas, names, make_operator)


def sampler(store, seed=0, n_images=3, batch_size=2):
    return ImageSampler(store, n_images, batch_size, rng=np.random.default_rng(seed))


def test_every_task_is_visited_before_any_is_again():
    draw = sampler(store())
    for _ in range(3):
        seen = np.concatenate([draw.draw().task for _ in range(3)])
        assert sorted(seen) == list(range(6))


def test_sets_hold_what_their_operator_measures():
    s = store()
    batch = sampler(s, batch_size=6).draw()
    for one, t in zip(batch.sets, batch.task.tolist(), strict=True):
        assert one.operator is s.operators[t]
        assert one.sigma == s.sigmas[t]
        assert one.images.shape == (3, *one.operator.image_shape)
        noise = one.measurements - one.operator.forward(one.images)
        assert 0.5 * one.sigma < noise.std() < 1.5 * one.sigma


def test_images_are_turned_and_kept():
    s = store(2)
    square = np.sort(s.images[0].reshape(5, -1), axis=1)
    seen = set()
    draw = sampler(s, n_images=1, batch_size=1)
    for _ in range(60):
        batch = draw.draw()
        if batch.task == 0:
            image = batch.sets[0].images.numpy()
            assert (np.sort(image.ravel()) == square).all(1).any()
            seen.add(image.tobytes())
    assert len(seen) > 15  # of 5 images, 8 symmetries each


def test_operators_are_drawn_too():
    drawn = Identity((8, 8))
    s = store(make_operator=lambda rng, shape: drawn if shape == (8, 8) else Identity(shape))
    own = [any(o.operator is p for p in s.operators) for o in sampler(s, batch_size=60).draw().sets]
    assert 10 < sum(not one for one in own) < 35


def test_an_operator_of_each_image_keeps_its_measurements():
    masks = np.random.default_rng(0).random((4, 8, 8)) < 0.5
    x = np.random.default_rng(1).random((4, 8, 8))
    y = np.where(masks, x, 0.0) + 1.0
    s = ImageStore([x], [y], [Mask((8, 8), masks)], [0.1], ["a"])
    one = sampler(s, batch_size=1).draw().sets[0]
    torch.testing.assert_close(one.measurements, one.operator.forward(one.images) + 1.0)


def test_the_state_goes_on_where_it_was():
    s = store()
    first, second = sampler(s), sampler(s, seed=9)
    first.draw()
    second.load_state_dict(first.state_dict())
    for a, b in zip(first.draw().sets, second.draw().sets, strict=True):
        assert torch.equal(a.measurements, b.measurements)


def test_large_images_come_in_smaller_numbers():
    x = np.zeros((8, 96, 96))
    s = ImageStore([x], [None], [Identity((96, 96))], [0.1], ["a"])
    assert s.most_images(0, 4) == 1
    assert store().most_images(0, 4) == 4


def test_a_subset_is_of_those_tasks():
    s = store()
    part = s.subset([4, 1])
    assert part.names == ["task 4", "task 1"]
    assert part.images[0] is s.images[4]
    assert s.image_shape == (8, 10)


def test_no_tasks():
    with pytest.raises(ValueError, match="no tasks"):
        ImageStore([], [], [], [], [])


def test_given_measurements_are_judged_on():
    s = store()
    one = fixed_set(s, 0, np.arange(2), np.random.default_rng(0))
    torch.testing.assert_close(one.measurements, torch.from_numpy(s.measurements[0][:2]))


def test_whole_tasks_are_held_out():
    s = store()
    config = resolve(TrainingConfig(), s)
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    split = hold_out(Unrolled(), s, None, config, *rngs)
    assert split.kind == "tasks"
    held = [int(episode.task) for episode in split.episodes]
    assert sorted([*held, *split.train.tolist()]) == list(range(6))
    given = hold_out(Unrolled(), s, store(2), config, *rngs)
    assert given.kind == "given"
    assert [int(episode.task) for episode in given.episodes] == [-1, -1]
    assert isinstance(episode_sampler(s, config, rngs[0]), ImageSampler)


def test_defaults_are_those_of_long_steps():
    config = resolve(TrainingConfig(max_time=5), store())
    assert (config.shots, config.max_time, config.alpha) == ((0, 0), 5.0, 0.0)


def test_contents_tell_operators_apart():
    s, other = store(), store()
    other.operators[2] = Identity(other.operators[2].image_shape)
    same = [np.array_equal(a, b) for a, b in zip(s.contents(), store().contents(), strict=True)]
    changed = [np.array_equal(a, b) for a, b in zip(s.contents(), other.contents(), strict=True)]
    assert all(same)
    assert not all(changed)
