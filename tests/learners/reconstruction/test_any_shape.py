"""Gaussian priors of large images, and of images of several shapes."""

import math
import pickle

import numpy as np
import pytest
import torch

from sklearn_meta import MetaReconstructor, Task
from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.learners.reconstruction import (
    GaussianMixturePrior,
    GaussianPrior,
    ImageTask,
    Noise,
    Training,
)
from sklearn_meta.learners.reconstruction._factored import Conditioner, FactoredMixture
from sklearn_meta.learners.reconstruction._patch_mixture import NEGLIGIBLE, fit_patches
from sklearn_meta.learners.reconstruction._spectrum import Spectrum
from sklearn_meta.learners.reconstruction._stationary import BORDER
from sklearn_meta.learners.reconstruction._torus import Torus
from sklearn_meta.operators import Blur, Downsample, Identity, Mask, Saturation, as_operator

KERNEL = np.outer([1, 3, 2, 1], [2, 3, 1]) / 42
LEARNERS = [GaussianPrior(), GaussianMixturePrior(n_components=6)]


def image_tasks(channels=()):
    """Images of two shapes."""
    shapes = ((5, (40, 40)), (5, (28, 44)))
    groups = [
        make_dead_leaves(n, (*s, *channels), random_state=i) for i, (n, s) in enumerate(shapes)
    ]
    return [ImageTask(None, group, None, str(i)) for i, group in enumerate(groups)]


def learn(learner, tasks, **kwargs):
    learned = learner.learn(tasks, None, Training(np.random.default_rng(0), **kwargs))
    return learner.load(learned.facts, learned.weights, torch.device("cpu"))


@pytest.fixture(scope="module")
def models():
    return {repr(learner): learn(learner, image_tasks()) for learner in LEARNERS}


@pytest.fixture(scope="module")
def colour_models():
    return {repr(learner): learn(learner, image_tasks((3,))) for learner in LEARNERS}


def reconstruct(learner, model, operator, y, sigma, gain=0.0, **kwargs):
    state = learner.adapt(model, operator, Noise(sigma, gain), None, None)
    return learner.reconstruct(model, state, y, **kwargs)


def noisy(y, sigma, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return y + sigma * torch.randn(y.shape, generator=generator, dtype=y.dtype)


def leaves(n, shape):
    large = make_dead_leaves(n, (max(16, shape[0]), max(16, shape[1]), *shape[2:]), random_state=7)
    return torch.from_numpy(large[:, : shape[0], : shape[1]]).double()


def dense_posterior(model, operator, y, sigma, border):
    """Mean and standard deviation by a matrix of all pixels."""
    torus = Torus.of(model.spectrum, operator.image_shape, border, y)
    units = torch.eye(operator.n_pixels, dtype=torch.float64)
    matrix = operator.forward(units.reshape(-1, *operator.image_shape)).flatten(1).T
    mixture = FactoredMixture.single(*torus.moments())
    noise = matrix.new_full((len(matrix),), sigma**2)
    found = Conditioner(mixture, matrix, noise)(y.flatten(1))
    shape = (len(y), *operator.image_shape)
    return found.mean().reshape(shape), found.std().reshape(shape)


@pytest.mark.parametrize("shape", [(9, 12), (8, 7, 3)])
def test_wiener_filter_is_the_linear_estimator(shape, models, colour_models):
    learner = LEARNERS[0]
    model = (models if len(shape) == 2 else colour_models)[repr(learner)]
    for operator in (Identity(shape), Blur(shape, KERNEL)):
        y = noisy(operator.forward(leaves(3, shape)), 0.1)
        x, std = reconstruct(learner, model, operator, y, 0.1, return_std=True)
        expected = dense_posterior(model, operator, y, 0.1, 0.0)
        torch.testing.assert_close(x, expected[0])
        torch.testing.assert_close(std, expected[1])


@pytest.mark.parametrize("shape", [(14, 12), (9, 11, 3)])
def test_conjugate_gradients_find_the_linear_estimator(shape, models, colour_models):
    learner = LEARNERS[0]
    model = (models if len(shape) == 2 else colour_models)[repr(learner)]
    seen = np.random.default_rng(0).random(shape[:2]) < 0.5
    reflect = Blur(shape, KERNEL, boundary="reflect")
    for operator in (reflect, Mask(shape, seen), Downsample(shape, 2, np.ones((2, 2)) / 4)):
        y = noisy(operator.forward(leaves(2, shape)), 0.1)
        expected = dense_posterior(model, operator, y, 0.1, BORDER)
        x, _ = reconstruct(learner, model, operator, y, 0.1)
        torch.testing.assert_close(x, expected[0], atol=2e-3, rtol=0)
        x, std = reconstruct(learner, model, operator, y, 0.1, return_std=True)
        torch.testing.assert_close(x, expected[0])
        torch.testing.assert_close(std, expected[1])


def test_spectrum_is_that_of_the_field_at_any_size():
    rng = np.random.default_rng(0)

    def power(n, m):
        f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(m))
        return 1e-3 / (f**2 + 0.03**2)

    def field(n, m):
        white = np.fft.rfft2(rng.normal(size=(20, 256, 256)))
        return np.fft.irfft2(white * np.sqrt(power(256, 256)))[:, :n, :m] + 0.4

    spectrum = Spectrum.of([field(48, 64), field(90, 50)])
    assert float(spectrum.mean[0]) == pytest.approx(0.4, abs=0.05)
    for shape in ((40, 40), (100, 70)):
        ratio = spectrum.on_grid(*shape)[0].numpy() / power(*shape)
        assert np.abs(np.log(ratio)).mean() < 0.1
        assert np.abs(np.log(ratio)).max() < 1.0


def test_spectrum_knows_directions():
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(30, 32, 1)), 32, axis=2)
    spectrum = Spectrum.of([rows + 0.1 * rng.normal(size=(30, 32, 32))]).on_grid(32, 32)[0]
    assert spectrum[8, 0] > 30 * spectrum[0, 8]


def test_one_component_is_a_wiener_filter_of_patches():
    images = make_dead_leaves(4, (34, 40), random_state=3)
    mixture = fit_patches([images], 1, np.random.default_rng(0), torch.device("cpu"))
    side, level = mixture.side, 0.1
    plane = noisy(leaves(1, (13, 11)), level)[0].float()
    basis = mixture.bases[0]
    seen = mixture.variances[0] > NEGLIGIBLE * level**2
    covariance = (basis * mixture.variances[0] * seen) @ basis.T
    gain = covariance @ torch.linalg.inv(covariance + level**2 * torch.eye(side**2))
    total, count = torch.zeros(13, 11), torch.zeros(13, 11)
    for i in range(13 - side + 1):
        for j in range(11 - side + 1):
            patch = plane[i : i + side, j : j + side].flatten()
            clean = patch.mean() + gain @ (patch - patch.mean())
            total[i : i + side, j : j + side] += clean.reshape(side, side)
            count[i : i + side, j : j + side] += 1
    found = mixture.denoise(plane[None], torch.tensor([level]))[0]
    torch.testing.assert_close(found, total / count, atol=1e-4, rtol=0)


def test_patches_take_their_likeliest_component():
    rng = np.random.default_rng(0)
    flat, rough = 0.01 * rng.normal(size=(20, 32, 32)), rng.normal(size=(20, 32, 32))
    mixture = fit_patches([flat, rough], 2, np.random.default_rng(0), torch.device("cpu"))
    variances = mixture.variances.mean(1).sort().values.tolist()
    assert variances[0] < 2e-3 and variances[1] == pytest.approx(1.0, rel=0.1)
    torch.testing.assert_close(mixture.weights, torch.tensor([0.5, 0.5]), atol=0.03, rtol=0)
    plane = torch.from_numpy(rough[:1]).float()
    found = mixture.denoise(plane, torch.tensor([0.1]))
    torch.testing.assert_close(found, plane, atol=0.1, rtol=0)


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
@pytest.mark.parametrize("shape", [(40, 40), (33, 70), (20, 31, 3)])
def test_noise_and_blur_are_taken_away_at_any_shape(learner, shape, models, colour_models):
    truth = leaves(3, shape)
    model = (models if len(shape) == 2 else colour_models)[repr(learner)]
    for operator in (Identity(shape), Blur(shape, KERNEL, boundary="reflect")):
        y = noisy(operator.forward(truth), 0.1)
        for sigma in (0.1, None):
            x, _ = reconstruct(learner, model, operator, y, sigma)
            assert x.shape == truth.shape and x.dtype == torch.float64
            assert (x - truth).square().mean() < 0.6 * (y - truth).square().mean()


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_grey_images_teach_colour(learner, models):
    truth = leaves(2, (24, 30, 3))
    y = noisy(truth, 0.15)
    x, _ = reconstruct(learner, models[repr(learner)], Identity((24, 30, 3)), y, 0.15)
    assert (x - truth).square().mean() < 0.6 * (y - truth).square().mean()


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_batch_is_one_by_one(learner, models):
    model, shape = models[repr(learner)], (18, 21)
    operator = Blur(shape, KERNEL, boundary="reflect")
    y = noisy(operator.forward(leaves(3, shape)), 0.05)
    y[1, 3:6, 4] = torch.nan
    for sigma in (None, 0.05, np.array([0.03, 0.05, 0.1])):
        x, _ = reconstruct(learner, model, operator, y, sigma)
        assert x.isfinite().all()
        for i in range(3):
            own = float(sigma[i]) if isinstance(sigma, np.ndarray) else sigma
            one, _ = reconstruct(learner, model, operator, y[i : i + 1], own)
            torch.testing.assert_close(one[0], x[i], atol=1e-4, rtol=0)


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_each_image_may_have_its_own_mask(learner, models):
    model, shape = models[repr(learner)], (20, 18)
    truth = leaves(3, shape)
    seen = np.random.default_rng(0).random((3, *shape)) < 0.6
    both = Mask(shape, seen)
    y = both.forward(truth)
    x, _ = reconstruct(learner, model, both, y, 0.02)
    assert (x - truth).square().mean() < 0.2 * truth.var()
    missing = y.masked_fill(torch.from_numpy(~seen), torch.nan)
    hidden, _ = reconstruct(learner, model, Identity(shape), missing, 0.02)
    torch.testing.assert_close(hidden, x, atol=0.02, rtol=0)


def test_no_noise_gives_back_the_image(models):
    truth = leaves(2, (21, 24))
    blur = Blur((21, 24), KERNEL + np.eye(4, 3))
    x, _ = reconstruct(LEARNERS[0], models[repr(LEARNERS[0])], blur, blur.forward(truth), 0.0)
    torch.testing.assert_close(x, truth, atol=1e-5, rtol=0)
    for learner in LEARNERS:
        x, _ = reconstruct(learner, models[repr(learner)], Identity((21, 24)), truth, 0.0)
        torch.testing.assert_close(x, truth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_counts_are_weighed(learner, models):
    truth = leaves(3, (32, 32))
    counts = np.random.default_rng(0).poisson(20 * truth.numpy()) / 20
    operator, y = Identity((32, 32)), torch.from_numpy(counts)
    x, _ = reconstruct(learner, models[repr(learner)], operator, y, 0.0, 1 / 20)
    assert (x - truth).square().mean() < 0.5 * (y - truth).square().mean()


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_noise_of_pairs_and_state_pickles(learner, models):
    model, operator = models[repr(learner)], Blur((24, 24), KERNEL, boundary="reflect")
    truth = leaves(4, (24, 24))
    y = noisy(operator.forward(truth), 0.07)
    state = learner.adapt(model, operator, Noise(None), y, truth)
    assert state.noise.sigma == pytest.approx(0.07, rel=0.1)
    x, _ = learner.reconstruct(model, state, y)
    again = pickle.loads(pickle.dumps(state))
    assert torch.equal(learner.reconstruct(model, again, y)[0], x)


def test_std_is_the_error_of_gaussian_images():
    rng = np.random.default_rng(0)
    power = 1 / (np.hypot(np.fft.fftfreq(48)[:, None], np.fft.rfftfreq(48)) + 0.03) ** 2
    fields = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(40, 48, 48))) * np.sqrt(power)) / 10
    learner = GaussianPrior()
    model = learn(learner, [ImageTask(None, fields[:20], None, "0")])
    truth = torch.from_numpy(fields[20:])
    operator = Blur((48, 48), KERNEL)
    y = noisy(operator.forward(truth), 0.3)
    x, std = reconstruct(learner, model, operator, y, 0.3, return_std=True)
    spread = float(((x - truth) / std).square().mean().sqrt())
    assert spread == pytest.approx(1.0, abs=0.05)


def test_what_is_not_served_is_refused(models, colour_models):
    gaussian, mixture = LEARNERS
    model = models[repr(gaussian)]
    large = Blur((40, 40), KERNEL, boundary="reflect")
    y = large.forward(leaves(1, (40, 40)))
    with pytest.raises(ValueError, match="standard deviation of a stationary"):
        reconstruct(gaussian, model, large, y, 0.1, return_std=True)
    with pytest.raises(ValueError, match="has no standard deviation"):
        reconstruct(mixture, models[repr(mixture)], large, y, 0.1, return_std=True)
    with pytest.raises(ValueError, match="8 x 8"):
        mixture.adapt(models[repr(mixture)], Identity((5, 40)), Noise(0.1), None, None)
    with pytest.raises(ValueError, match="3 channels"):
        gaussian.adapt(colour_models[repr(gaussian)], large, Noise(0.1), None, None)
    for learner in LEARNERS:
        with pytest.raises(ValueError, match="not linear"):
            learner.adapt(models[repr(learner)], Saturation((40, 40)), Noise(0.1), None, None)
        grey = ImageTask(None, np.ones((2, 40, 40)), None, "0")
        with pytest.raises(ValueError, match="as many channels"):
            learn(learner, [grey, ImageTask(None, np.ones((2, 40, 40, 3)), None, "1")])
        with pytest.raises(ValueError, match="8 x 8"):
            learn(learner, [grey, ImageTask(None, np.ones((2, 40, 4)), None, "1")])


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_constant_images_are_learned(learner):
    model = learn(learner, [ImageTask(None, np.full((2, 40, 40), 0.5), None, "0")])
    x, _ = reconstruct(
        learner,
        model,
        Identity((16, 16)),
        noisy(torch.full((1, 16, 16), 0.5, dtype=torch.float64), 0.1),
        0.1,
    )
    assert float((x - 0.5).abs().max()) < 0.1


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_estimator_learns_and_serves_other_shapes(learner, tmp_path):
    tasks = [Task(y=task.images) for task in image_tasks()]
    meta = MetaReconstructor(learner=learner, random_state=0).fit_tasks(tasks)
    meta.prior_.save(tmp_path / "prior.safetensors")
    operator = Blur((30, 26), KERNEL, boundary="valid")
    truth = leaves(2, (30, 26)).numpy()
    y = noisy(operator.forward(torch.from_numpy(truth)), 0.02).numpy()
    loaded = MetaReconstructor(prior=tmp_path / "prior.safetensors")
    x = loaded.adapt(operator=operator).predict_images(y)
    np.testing.assert_array_equal(x, meta.adapt(operator=operator).predict_images(y))
    assert -10 * math.log10(np.square(x - truth).mean()) > 20
    matrix = np.random.default_rng(0).normal(size=(200, 300)) / 300**0.5
    mixed = as_operator(matrix, (15, 20))
    found = loaded.adapt(operator=mixed).predict_images(mixed @ leaves(2, (15, 20)).numpy())
    assert found.shape == (2, 15, 20) and np.isfinite(found).all()
