import pickle

import numpy as np
import pytest
import torch

from sklearn_meta.learners.reconstruction import (
    GaussianMixturePrior,
    GaussianPrior,
    ImageTask,
    Noise,
    Training,
    regress_operator,
)
from sklearn_meta.operators import Blur, Mask, Saturation, as_operator

SHAPE = (6, 5)
LEARNERS = [GaussianPrior(), GaussianMixturePrior(), GaussianMixturePrior(n_components=3)]


def draw_images(n, seed=0):
    """Two kinds of smooth images."""
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    kind = rng.integers(2, size=n)
    phase = rng.normal(size=(n, 2))
    waves = np.sin(0.7 * np.where(kind[:, None, None] == 1, i, j) + phase[:, 0, None, None])
    noise = 0.05 * rng.normal(size=(n, *SHAPE))
    return 0.5 + 0.3 * waves + 0.1 * phase[:, 1, None, None] + noise


def learn(learner, tasks=None, seed=0, **kwargs):
    tasks = [ImageTask(None, draw_images(150), None, "0")] if tasks is None else tasks
    learned = learner.learn(tasks, None, Training(np.random.default_rng(seed), **kwargs))
    return learner.load(learned.facts, learned.weights, torch.device("cpu")), learned


@pytest.fixture
def operator():
    return as_operator(np.random.default_rng(1).normal(size=(9, 30)), SHAPE)


@pytest.fixture
def measured(operator):
    images = torch.from_numpy(draw_images(8, seed=2))
    draws = torch.randn(8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return images, operator.forward(images) + 0.05 * draws


def reconstruct(learner, model, operator, y, sigma=0.05, **kwargs):
    state = learner.adapt(model, operator, Noise(sigma), None, None)
    return learner.reconstruct(model, state, y, **kwargs)


def test_gaussian_is_the_linear_estimator(operator, measured):
    learner = GaussianPrior()
    model, _ = learn(learner)
    mean, covariance = model.mixture.moments()
    a = operator.matrix
    gain = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T + 0.05**2 * torch.eye(9))
    x, std = reconstruct(learner, model, operator, measured[1], return_std=True)
    expected = mean + (measured[1] - a @ mean) @ gain.T
    torch.testing.assert_close(x.flatten(1), expected)
    left = (covariance - gain @ a @ covariance).diagonal().sqrt()
    torch.testing.assert_close(std.flatten(1), left.expand(8, -1))


def test_a_mixture_of_one_is_the_gaussian(operator, measured):
    learners = GaussianPrior(), GaussianMixturePrior(n_components=1)
    a, b = (reconstruct(one, learn(one)[0], operator, measured[1])[0] for one in learners)
    torch.testing.assert_close(a, b)


def test_components_that_differ_reconstruct_better(operator, measured):
    errors = []
    for learner in LEARNERS:
        x, _ = reconstruct(learner, learn(learner)[0], operator, measured[1])
        errors.append(float((x - measured[0]).square().mean()))
    assert errors[2] < errors[0]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_batch_is_one_by_one(learner, operator, measured):
    model, _ = learn(learner)
    x, std = reconstruct(learner, model, operator, measured[1], return_std=True)
    for i, y in enumerate(measured[1]):
        one, spread = reconstruct(learner, model, operator, y[None], return_std=True)
        torch.testing.assert_close(one[0], x[i])
        torch.testing.assert_close(spread[0], std[i])


def test_missing_measurements_are_rows_that_are_not_there(operator, measured):
    learner = GaussianMixturePrior(n_components=3)
    model, _ = learn(learner)
    y = measured[1].clone()
    y[:, :4], y[0, 6] = torch.nan, torch.nan
    x, _ = reconstruct(learner, model, operator, y)
    fewer = as_operator(operator.matrix[4:].numpy(), SHAPE)
    torch.testing.assert_close(x[1:], reconstruct(learner, model, fewer, y[1:, 4:])[0])
    y[0] = torch.nan
    mean, _ = model.mixture.moments()
    x, _ = reconstruct(learner, model, operator, y)
    torch.testing.assert_close(x[0].flatten(), mean)


def test_each_image_may_have_its_own_noise_and_mask():
    learner = GaussianMixturePrior(n_components=3)
    model, _ = learn(learner)
    images = torch.from_numpy(draw_images(3, seed=2))
    masks = np.random.default_rng(0).random((3, *SHAPE)) < 0.5
    sigma = np.array([0.1, 0.2, 0.3])
    both = Mask(SHAPE, masks)
    y = both.forward(images)
    x, _ = reconstruct(learner, model, both, y, sigma)
    for i in range(3):
        one, _ = reconstruct(learner, model, both.select([i]), y[i : i + 1], float(sigma[i]))
        torch.testing.assert_close(one[0], x[i])


def test_noise_is_estimated(operator):
    images = torch.from_numpy(draw_images(60, seed=2))
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(60, 9, generator=generator, dtype=torch.float64)
    y = operator.forward(images) + 0.2 * draws
    for learner in LEARNERS:
        model, _ = learn(learner)
        pairs = learner.adapt(model, operator, Noise(None), y, images)
        assert pairs.noise.sigma == pytest.approx(0.2, rel=0.1)
        alone = learner.adapt(model, operator, Noise(None), y, None)
        assert alone.noise.sigma == pytest.approx(0.2, rel=0.5)


def test_noise_of_the_tasks_is_kept(operator, measured):
    task = ImageTask(measured[1].numpy(), measured[0].numpy(), operator, "0")
    model, learned = learn(GaussianPrior(), [task])
    assert learned.facts["sigma"] == pytest.approx(0.05, rel=0.3)
    assert (
        GaussianPrior().adapt(model, operator, Noise(None), None, None).noise.sigma
        == (learned.facts["sigma"])
    )


def test_counts_are_noisier_where_images_are_bright():
    learner = GaussianPrior()
    model, _ = learn(learner)
    operator = as_operator(np.eye(30), SHAPE)
    y = torch.from_numpy(draw_images(2, seed=3))
    state = learner.adapt(model, operator, Noise(0.0, 0.1), None, None)
    mean, covariance = model.mixture.moments()
    total = covariance + torch.diag(0.1 * mean.clamp(min=0))
    expected = mean + (y.flatten(1) - mean) @ torch.linalg.solve(total, covariance)
    x, _ = learner.reconstruct(model, state, y.flatten(1))
    torch.testing.assert_close(x.flatten(1), expected)


def test_state_pickles(operator, measured):
    learner = GaussianMixturePrior(n_components=3)
    model, _ = learn(learner)
    state = learner.adapt(model, operator, Noise(0.05), None, None)
    x, _ = learner.reconstruct(model, state, measured[1])
    again = pickle.loads(pickle.dumps(state))
    assert torch.equal(learner.reconstruct(model, again, measured[1])[0], x)


def test_same_seed_same_weights():
    first, second = (learn(GaussianMixturePrior(), seed=4)[1] for _ in range(2))
    assert first.facts == second.facts
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name])


def test_measurements_alone_teach_the_moments():
    images = draw_images(240)
    rng = np.random.default_rng(1)
    tasks = []
    for part in np.split(images, 8):
        keep = rng.random(part.shape) < 0.7
        y = np.where(keep, part, np.nan).reshape(len(part), -1)
        tasks.append(ImageTask(y, None, as_operator(np.eye(30), SHAPE), "0"))
    model, _ = learn(GaussianPrior(), tasks, noise=Noise(0.01))
    mean, covariance = model.mixture.moments()
    flat = images.reshape(240, -1)
    np.testing.assert_allclose(mean, flat.mean(0), atol=0.03)
    away = np.abs(covariance.numpy() - np.cov(flat.T))
    assert away.max() < 0.2 * np.cov(flat.T).diagonal().max()


def test_unusable_tasks_and_operators_are_refused(operator):
    learner = GaussianMixturePrior()
    with pytest.raises(ValueError, match="no task has any"):
        learn(learner, [ImageTask(np.ones((3, 9)), None, operator, "0")])
    other = [ImageTask(None, np.ones((3, 4, 4)), None, "1")]
    with pytest.raises(ValueError, match="one shape"):
        learn(learner, [ImageTask(None, draw_images(3), None, "0"), *other])
    model, _ = learn(learner)
    with pytest.raises(ValueError, match="not linear"):
        learner.adapt(model, Saturation(SHAPE, operator), Noise(None), None, None)
    with pytest.raises(ValueError, match="serves no others"):
        learner.adapt(model, Blur((8, 8), np.ones((3, 3)) / 9), Noise(None), None, None)


def test_unknown_operator_widens_the_posterior(operator, measured):
    learner = GaussianMixturePrior(n_components=3)
    model, _ = learn(learner)
    images = draw_images(10, seed=5)
    y = operator.forward(torch.from_numpy(images)).numpy()
    found = regress_operator(y, images, Noise(0.05))
    _, known = reconstruct(learner, model, operator, measured[1], return_std=True)
    _, unknown = reconstruct(learner, model, found, measured[1], return_std=True)
    assert (unknown.mean(0) > known.mean(0)).all()


@pytest.mark.parametrize("n_components", [0, -1, 2.7, 3.0, True, None, "x", np.array([1, 2])])
@pytest.mark.parametrize("shape", [SHAPE, (40, 40)])
def test_numbers_of_components_that_are_none(n_components, shape):
    tasks = [ImageTask(None, np.random.default_rng(0).random((20, *shape)), None, "0")]
    with pytest.raises(ValueError, match="n_components is .* expected 'auto' or an int"):
        learn(GaussianMixturePrior(n_components), tasks)


def test_more_components_than_images():
    tasks = [ImageTask(None, draw_images(50), None, "0")]
    with pytest.raises(ValueError, match="n_components is 51, but there are 50 images"):
        learn(GaussianMixturePrior(51), tasks)
    assert learn(GaussianMixturePrior(np.int64(50)), tasks)[1].facts["n_components"] == 50
