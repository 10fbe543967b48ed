"""Unrolled half-quadratic splitting: meta-training, schedules, reconstruction."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_meta.learners.reconstruction._base import ImageTask, Noise
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import (
    Problem,
    Scalars,
    diagonal_of_misfit,
    find_schedule,
    learn_steps,
    run_steps,
    simulated,
)
from sklearn_meta.learners.reconstruction.unrolled import Unrolled
from sklearn_meta.networks.denoiser import Denoiser
from sklearn_meta.operators import Blur, Gamma, Identity, Mask, RandomProjection

from ._tiny import images, measured, start, task, training

CPU = torch.device("cpu")
SHAPE = (16, 16)
BLUR = Blur(SHAPE, np.ones((3, 3)) / 9)


def half_mask(shape=SHAPE, seed=0):
    return Mask(shape, np.random.default_rng(seed).random(shape[:2]) < 0.5)


def model_of(learned=None, learner=None):
    learned = start() if learned is None else learned
    return (learner or Unrolled(4)).load(learned.facts, learned.weights, CPU)


def module():
    return UnrolledModule(Denoiser((8, 8), (1, 1)), 4).eval().requires_grad_(False)


# ---------------------------------------------------------------------- steps


def test_the_schedule_of_images_gives_what_their_truth_gave():
    x = torch.from_numpy(images(4)).float()
    problem = simulated(BLUR, x, 0.02, torch.Generator().manual_seed(0))
    _, image, calibrated = learn_steps(module(), problem, x, 3, Scalars())
    torch.testing.assert_close(run_steps(module(), problem, calibrated, Scalars()), image)


def test_more_steps_only_where_simulation_gains_by_them():
    x = torch.from_numpy(images(4)).float()
    problem = simulated(BLUR, x, 0.02, torch.Generator().manual_seed(0))

    def error(n_steps):
        image = learn_steps(module(), problem, x, n_steps, Scalars())[1]
        return float((image - x).square().flatten(1).mean(1).log().mean())

    found = find_schedule(module(), problem, x, (1, 2, 4), Scalars())
    n_steps = len(found.schedule.levels)
    tried = [n for n in (1, 2, 4) if n <= n_steps]
    assert all(error(b) < error(a) - 0.02 for a, b in zip(tried, tried[1:], strict=False))
    if n_steps < 4:
        assert error(2 * n_steps) > error(n_steps) - 0.02


def test_one_denoising_where_every_pixel_is_seen():
    x = torch.from_numpy(images(2)).float()
    problem = Problem(Identity(SHAPE), x, 0.1)
    assert problem.is_denoising
    denoised, image, calibrated = learn_steps(module(), problem, x, 5, Scalars())
    assert calibrated is None
    assert len(denoised) == 1
    torch.testing.assert_close(image, module().denoise(x, torch.tensor(0.1)))


def test_diagonal_is_that_of_masks_and_of_missing_measurements():
    operator = half_mask()
    y = operator.forward(torch.from_numpy(images(2)))
    y[1, 3, 4] = torch.nan
    diagonal = diagonal_of_misfit(Problem(operator, y, 0.1).term)
    expected = operator.mask.double().expand(2, -1, -1).clone()
    expected[1, 3, 4] = 0
    torch.testing.assert_close(diagonal, expected)
    blurred = Problem(BLUR, BLUR.forward(y.nan_to_num()), 0.1)
    assert blurred.diagonal is None


def test_factors_between_the_learned_ones():
    net = module()
    net.log_factors.copy_(torch.tensor([0.0, 1.0, 2.0, 5.0]))
    torch.testing.assert_close(net.factors(4).log(), net.log_factors)
    torch.testing.assert_close(net.factors(2).log(), torch.tensor([0.0, 5.0]))
    torch.testing.assert_close(net.factors(1).log(), torch.tensor([5.0]))
    torch.testing.assert_close(net.factors(3).log(), torch.tensor([0.0, 1.5, 5.0]))


@pytest.mark.parametrize("image_shape", [(12, 9), (12, 9, 1), (12, 9, 3), (12, 9, 2)])
def test_denoising_planes_is_homogeneous(image_shape):
    x = torch.from_numpy(images(2, (12, 9))).float()
    x = x.reshape(2, 12, 9, *[1] * (len(image_shape) - 2)).expand(2, *image_shape)
    level = torch.full((2, *image_shape), 0.1)
    z = module().denoise(x, level)
    assert z.shape == x.shape
    torch.testing.assert_close(module().denoise(3 * x, 3 * level), 3 * z)


# ---------------------------------------------------------------------- meta-training


def test_meta_training_across_operators_and_sizes_helps():
    tasks = [
        task(half_mask(), name="mask"),
        task(Blur((12, 20), np.ones((3, 3)) / 9), name="blur", seed=1),
        task(RandomProjection((16, 16), 100, random_state=0), name="rows", seed=2),
        ImageTask(None, images(5, (16, 16), 3), BLUR, "simulated"),
        ImageTask(None, images(5, (16, 16), 4), None, "images alone"),
    ]
    learner = Unrolled(3)
    learned = learner.learn(tasks, None, training(max_iter=30, learning_rate_init=3e-3))
    assert learned.history.validation == "tasks"
    assert learned.history.best_score < learned.history.validation_loss[0] + 1e-9
    assert learned.weights["calibration"].dtype == np.uint8
    before, after = (
        psnr_of(learner, model_of(learned_or_start, learner))
        for learned_or_start in (None, learned)
    )
    assert after > before


def psnr_of(learner, model, sigma=0.02):
    x = images(6, SHAPE, 9)
    state = learner.adapt(model, BLUR, Noise(sigma), None, None)
    found, _ = learner.reconstruct(model, state, measured(BLUR, x, sigma))
    return -10 * float((found - torch.from_numpy(x)).square().mean().log10())


def test_a_start_that_cannot_be_bettered_is_kept():
    learned = Unrolled(2).learn(
        [task(BLUR, seed=s, name=str(s)) for s in range(5)],
        None,
        training(max_iter=3, learning_rate_init=1e3),
    )
    assert learned.history.best_iteration == 0
    for name, value in start().weights.items():
        if name != "calibration":
            np.testing.assert_array_equal(learned.weights[name], value)


def test_the_same_seed_gives_the_same_weights():
    tasks = [task(half_mask(seed=s), seed=s, name=str(s)) for s in range(4)]
    first, second = (Unrolled(2).learn(tasks, None, training(max_iter=5)) for _ in range(2))
    for name in first.weights:
        np.testing.assert_array_equal(first.weights[name], second.weights[name])


def test_noise_is_learned_from_pairs():
    tasks = [task(half_mask(seed=s), 8, 0.1, seed=s, name=str(s)) for s in range(4)]
    learned = Unrolled(2).learn(tasks, None, training(max_iter=2))
    # half of the measurements of a mask are 0 without noise in neither
    assert learned.facts["sigma"] == pytest.approx(0.1, rel=0.05)


def test_refuses_what_it_cannot_learn_from():
    no_images = ImageTask(task(BLUR).measurements, None, BLUR, "a")
    with pytest.raises(ValueError, match="no task has any"):
        Unrolled().learn([no_images], None, training())
    bent = Gamma(SHAPE, 2.0)
    with pytest.raises(ValueError, match="task 'b'.*linear"):
        Unrolled().learn([ImageTask(None, images(), bent, "b")], None, training())
    with pytest.raises(ValueError, match="linear"):
        Unrolled().adapt(model_of(), bent, Noise(0.1), None, None)
    with pytest.raises(ValueError, match="steps is 0, expected 'auto' or an int"):
        Unrolled(0).adapt(model_of(), BLUR, Noise(0.1), None, None)
    with pytest.raises(ValueError, match="do not fit"):
        Unrolled().load({}, {"log_factors": np.zeros(3)}, CPU)


# ---------------------------------------------------------------------- reconstruction


def operators():
    return {
        "mask": half_mask(),
        "blur": BLUR,
        "identity": Identity(SHAPE),
        "rows": RandomProjection(SHAPE, 120, random_state=0),
        "colour": half_mask((*SHAPE, 3)),
    }


@pytest.mark.parametrize("name", operators())
def test_batched_and_one_by_one_are_the_same(name):
    operator, learner, model = operators()[name], Unrolled(3), model_of()
    y = measured(operator, images(3, operator.image_shape), 0.05)
    y.flatten(1)[1, :7] = torch.nan
    state = learner.adapt(model, operator, Noise(0.05), None, None)
    found, std = learner.reconstruct(model, state, y)
    assert std is None
    assert found.dtype == torch.float64
    state = pickle.loads(pickle.dumps(state))
    one_by_one = [learner.reconstruct(model, state, one[None])[0] for one in y]
    torch.testing.assert_close(torch.cat(one_by_one), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unit", [256.0, 2.0**-12])
def test_units_of_images_and_measurements_do_not_matter(unit):
    learner, model = Unrolled(3), model_of()
    y = measured(BLUR, images(2), 0.05)
    state = learner.adapt(model, BLUR, Noise(0.05), None, None)
    expected, _ = learner.reconstruct(model, state, y)
    state = learner.adapt(model, BLUR, Noise(0.05 * unit), None, None)
    found, _ = learner.reconstruct(model, state, unit * y)
    torch.testing.assert_close(found / unit, expected, rtol=1e-5, atol=1e-6)


def test_noise_that_nobody_gave_is_estimated():
    operator = Identity((32, 32))
    learner, model = Unrolled(3), model_of()
    y = measured(operator, images(4, (32, 32)), 0.1)
    state = learner.adapt(model, operator, Noise(None), y, None)
    assert state.noise.sigma == pytest.approx(0.1, rel=0.2)
    later = learner.adapt(model, operator, Noise(None), None, None)
    assert later.noise.sigma is None
    found, _ = learner.reconstruct(model, later, y)
    expected, _ = learner.reconstruct(model, state, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_noise_of_each_image():
    learner, model = Unrolled(3), model_of()
    y = measured(BLUR, images(2), 0.05)
    both = learner.adapt(model, BLUR, Noise(np.array([0.02, 0.2])), None, None)
    found, _ = learner.reconstruct(model, both, y)
    for k, sigma in enumerate((0.02, 0.2)):
        alone = learner.adapt(model, BLUR, Noise(np.array([sigma, 1.0])), None, None)
        expected, _ = learner.reconstruct(model, alone, torch.stack([y[k], y[k]]))
        torch.testing.assert_close(found[k], expected[0], rtol=1e-4, atol=1e-5)


def test_masks_of_each_image():
    masks = np.random.default_rng(0).random((3, *SHAPE)) < 0.6
    operator, learner, model = Mask(SHAPE, masks), Unrolled(2), model_of()
    y = measured(operator, images(3), 0.02)
    state = learner.adapt(model, operator, Noise(0.02), None, None)
    assert learner.reconstruct(model, state, y)[0].shape == (3, *SHAPE)


def test_poisson_counts():
    learner, model = Unrolled(3), model_of()
    y = measured(BLUR, images(2), 0.05)
    state = learner.adapt(model, BLUR, Noise(0.01, gain=0.02), None, None)
    assert torch.isfinite(learner.reconstruct(model, state, y)[0]).all()


def test_has_no_standard_deviation():
    learner, model = Unrolled(), model_of()
    state = learner.adapt(model, BLUR, Noise(0.1), None, None)
    with pytest.raises(ValueError, match="standard deviation"):
        learner.reconstruct(model, state, measured(BLUR, images(1), 0.1), return_std=True)


def test_no_noise_and_an_operator_with_an_inverse_give_back_the_image():
    operator = RandomProjection(SHAPE, 256, "orthogonal", random_state=0)
    x = torch.from_numpy(images(2, SHAPE))
    learner, model = Unrolled(2), model_of()
    state = learner.adapt(model, operator, Noise(0.0), None, None)
    found, _ = learner.reconstruct(model, state, operator.forward(x))
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)


def test_images_of_one_grey_are_learned_from():
    flat = ImageTask(None, np.full((6, *SHAPE), 0.5), BLUR, "0")
    learned = Unrolled(2).learn([flat, replace(flat, name="1")], None, training(max_iter=2))
    assert all(np.isfinite(w).all() for w in learned.weights.values())
