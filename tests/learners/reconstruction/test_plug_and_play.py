"""PlugAndPlay: what it must do whatever the denoiser's weights are."""

import numpy as np
import pytest
import torch

from sklearn_meta.learners.reconstruction._base import ImageTask, Learned, Noise, Training
from sklearn_meta.learners.reconstruction._image_denoiser import (
    ImageDenoiser,
    turned,
    turned_back,
)
from sklearn_meta.learners.reconstruction.plug_and_play import PlugAndPlay
from sklearn_meta.networks.denoiser import Denoiser
from sklearn_meta.operators import Identity, Mask, PhaseRetrieval, RandomProjection, Saturation
from tests.learners.reconstruction._operators import dense


def smooth(x, sigma):
    """Denoiser of the tests: a mean over neighbours, the more the more noise."""
    kernel = x.new_tensor([0.25, 0.5, 0.25])
    kernel = (kernel[:, None] * kernel).expand(x.shape[1], 1, 3, 3)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    share = sigma / (sigma + 0.05)
    return (1 - share) * x + share * torch.nn.functional.conv2d(padded, kernel, groups=x.shape[1])


def images(shape, n=2, seed=0):
    rng = np.random.default_rng(seed)
    grid = np.mgrid[: shape[0], : shape[1]] / max(shape)
    waves = [np.sin(4 * rng.normal() * grid[0] + 4 * rng.normal() * grid[1]) for _ in range(3 * n)]
    x = 0.5 + 0.4 * np.stack(waves).reshape(n, 3, *shape[:2]).transpose(0, 2, 3, 1)
    return torch.from_numpy(np.ascontiguousarray(x if len(shape) == 3 else x[..., 0]))


def reconstruct(learner, operator, noise, y, model=None):
    model = learner.load({}, {}, torch.device("cpu")) if model is None else model
    state = learner.adapt(model, operator, noise, y, None)
    return learner.reconstruct(model, state, y)[0]


def weights():
    network = Denoiser((8, 8), (1, 1), generator=torch.Generator().manual_seed(0))
    return {name: t.numpy() for name, t in network.state_dict().items()}


def test_no_noise_and_an_invertible_operator():
    operator, truth = dense((4, 5), 20), images((4, 5))
    x = reconstruct(PlugAndPlay(smooth), operator, Noise(0.0), operator(truth))
    assert (x - truth).abs().max() < 2e-2
    x = reconstruct(PlugAndPlay(smooth), Identity((4, 5)), Noise(0.0), truth)
    torch.testing.assert_close(x, truth, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(24, 31), (17, 12, 3), (3, 2), (1, 1)])
def test_missing_pixels_of_any_shape(shape):
    truth = images(shape)
    y = truth.clone()
    hidden = torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    hidden.view(len(y), -1)[:, 0] = False
    y[hidden] = torch.nan
    x = reconstruct(PlugAndPlay(smooth), Identity(shape), Noise(0.01), y)
    assert x.shape == truth.shape
    assert x.isfinite().all()
    if min(shape[:2]) > 10:
        assert (x - truth).abs().max() < 0.2
        assert (x - truth).square().mean().sqrt() < 0.03


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e4])
@pytest.mark.parametrize("own", [True, False])
def test_constant_images(value, own):
    learner = PlugAndPlay(smooth if own else None, steps=3)
    model = learner.load({}, {} if own else weights(), torch.device("cpu"))
    y = torch.full((2, 9, 11), value, dtype=torch.float64)
    x = reconstruct(learner, Identity((9, 11)), Noise(None), y, model)
    torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-6)
    y[:, ::2] = torch.nan
    x = reconstruct(learner, Identity((9, 11)), Noise(None), y, model)
    torch.testing.assert_close(x, torch.full_like(x, value), rtol=1e-2, atol=1e-6)


def test_little_noise_is_not_taken_for_more():
    truth = images((48, 48), 2)
    truth += 0.2 * (truth > truth.mean())
    generator = torch.Generator().manual_seed(0)
    y = truth + 0.01 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    x = reconstruct(PlugAndPlay(smooth), Identity((48, 48)), Noise(None), y)
    given = reconstruct(PlugAndPlay(smooth), Identity((48, 48)), Noise(0.01), y)
    assert (x - truth).square().mean() < 1.3 * (given - truth).square().mean()


def test_nan_is_a_mask():
    truth = images((16, 16))
    seen = torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) < 0.6
    by_nan = torch.where(seen, truth, torch.nan)
    learner = PlugAndPlay(smooth, steps=4)
    x = reconstruct(learner, Identity((16, 16)), Noise(0.02), by_nan)
    operator = Mask((16, 16), mask=seen.numpy())
    by_mask = reconstruct(learner, operator, Noise(0.02), operator(truth))
    torch.testing.assert_close(x, by_mask, atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(12, 13), (12, 13, 3)])
@pytest.mark.parametrize("own", [True, False])
def test_any_range_of_values(shape, own):
    learner = PlugAndPlay(smooth if own else None, steps=4)
    model = learner.load({}, {} if own else weights(), torch.device("cpu"))
    y = images(shape)
    y[:, 3:6, 2:9] = torch.nan
    x = reconstruct(learner, Identity(shape), Noise(0.05), y, model)
    larger = reconstruct(learner, Identity(shape), Noise(50.0), 1000 * y, model)
    torch.testing.assert_close(larger, 1000 * x, rtol=0, atol=0.5)


def test_batched_equals_one_by_one():
    operator, truth = dense((8, 9), 40), images((8, 9), 3)
    y = operator(truth) + 0.05
    y[1, 5] = torch.nan
    learner = PlugAndPlay(smooth, steps=5)
    for noise in (Noise(0.1), Noise(None)):
        model = learner.load({}, {}, torch.device("cpu"))
        state = learner.adapt(model, operator, noise, None, None)
        together, _ = learner.reconstruct(model, state, y)
        for k in range(3):
            alone, _ = learner.reconstruct(model, state, y[k : k + 1])
            torch.testing.assert_close(alone, together[k : k + 1], rtol=0, atol=1e-3)


def test_learns_nothing_but_takes_the_bundled_weights():
    own = weights()
    bundled = {f"denoiser.{name}": w for name, w in own.items()} | {"log_factors": np.zeros(3)}
    training = Training(np.random.default_rng(0), start=Learned(bundled, {}))
    learned = PlugAndPlay().learn([], None, training)
    assert set(learned.weights) == set(own)
    model = PlugAndPlay().load(learned.facts, learned.weights, torch.device("cpu"))
    assert set(model.denoise.state_dict()) == set(own)
    with pytest.raises(ValueError, match="no bundled one"):
        PlugAndPlay().learn([], None, Training(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="do not fit PlugAndPlay"):
        PlugAndPlay().load({}, {"a": np.zeros(2)}, torch.device("cpu"))


def test_pairs_never_make_them_worse():
    operator, truth = dense((10, 10), 60), images((10, 10), 4)
    generator = torch.Generator().manual_seed(0)
    y = operator(truth)
    y = y + 0.05 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    learner = PlugAndPlay(smooth, steps=4)
    model = learner.load({}, {}, torch.device("cpu"))
    before = learner.adapt(model, operator, Noise(0.05), None, None)
    after = learner.adapt(model, operator, Noise(0.05), y, truth)

    def error(state):
        return (learner.reconstruct(model, state, y)[0] - truth).square().mean()

    assert error(after) <= 1.001 * error(before)


def test_errors():
    learner, y = PlugAndPlay(smooth), torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match="no standard deviation"):
        learner.reconstruct(None, None, y, return_std=True)
    with pytest.raises(ValueError, match="steps is 0"):
        PlugAndPlay(smooth, 0).adapt(None, Identity((2, 2)), Noise(0.1), None, None)
    model = learner.load({}, {}, torch.device("cpu"))
    with pytest.raises(ValueError, match="no measurement in row 1: all"):
        learner.adapt(
            model,
            Identity((1, 2)),
            Noise(None),
            torch.tensor([[[0.5, torch.nan]], [[torch.nan] * 2]]),
            None,
        )
    state = learner.adapt(model, Saturation((2, 2)), Noise(0.1), None, None)
    with pytest.raises(ValueError, match="on images of the kind, and has none"):
        learner.reconstruct(model, state, y)


@pytest.mark.parametrize(
    ("denoiser", "error", "message"),
    [
        (lambda x, sigma: torch.nan * x, ValueError, "returned NaN or infinite values at sigma="),
        (lambda x, sigma: x / 0, ValueError, "returned NaN or infinite values at sigma="),
        (
            lambda x, sigma: x[0],
            ValueError,
            r"returned a tensor of shape \(3, 6, 5\), expected .*\(1, 3, 6, 5\)",
        ),
        (lambda x, sigma: x[..., 1:], ValueError, r"returned a tensor of shape \(1, 3, 6, 4\)"),
        (lambda x, sigma: x.numpy(), TypeError, "returned ndarray, expected .*torch.from_numpy"),
        (lambda x, sigma: None, TypeError, r"returned NoneType, expected a tensor of shape \(1"),
        ("smooth", TypeError, "is 'smooth', expected a callable"),
        (3, TypeError, r"is 3, expected a callable \(x, sigma\) -> z"),
    ],
)
@pytest.mark.parametrize("operator", [Identity((6, 5, 3)), Saturation((6, 5, 3))])
def test_a_denoiser_that_cannot_be_used_is_named(denoiser, error, message, operator):
    truth = images((6, 5, 3))
    learner = PlugAndPlay(denoiser, steps=2)
    with pytest.raises(error, match=f"^denoiser {message}"):
        weights = {"calibration": (255 * truth.numpy()).astype(np.uint8)}
        model = learner.load({}, weights, torch.device("cpu"))
        reconstruct(learner, operator, Noise(0.1), operator.forward(truth), model)


def test_a_denoiser_may_return_another_precision():
    truth = images((6, 5))
    given = [
        reconstruct(PlugAndPlay(f), Identity((6, 5)), Noise(0.1), truth)
        for f in (smooth, lambda x, sigma: smooth(x, sigma).double())
    ]
    torch.testing.assert_close(*given)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("scale", [1.0, 50.0])
@pytest.mark.parametrize("shape", [(20, 24), (16, 17, 3)])
def test_operators_that_are_not_linear_by_images_of_the_tasks(own, scale, shape):
    truth = images(shape, 6) * scale
    learner = PlugAndPlay(smooth if own else None, steps=2)
    operator = Saturation(shape, gain=1.5, high=scale)
    training = Training(np.random.default_rng(0), start=None if own else Learned(weights(), {}))
    task = ImageTask(None, truth[:4].numpy(), operator, "0")
    learned = learner.learn([task], None, training)
    model = learner.load(learned.facts, learned.weights, torch.device("cpu"))
    clean = operator(truth[4:])
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * scale * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    y = clean + noise
    state = learner.adapt(model, operator, Noise(0.1 * scale), y, None)
    x, _ = learner.reconstruct(model, state, y)
    naive = y / 1.5
    assert (x - truth[4:]).square().mean() < 0.7 * (naive - truth[4:]).square().mean()
    assert len(state.plans) == 1
    again, _ = learner.reconstruct(model, state, y)
    torch.testing.assert_close(again, x)
    alone, _ = learner.reconstruct(model, state, y[1:])
    torch.testing.assert_close(alone, x[1:], rtol=0, atol=1e-4 * scale)


def test_missing_measurements_of_a_law():
    shape = (20, 24)
    truth = images(shape, 4)
    learner, operator = PlugAndPlay(smooth, steps=2), Saturation(shape, gain=1.5)
    learned = learner.learn(
        [ImageTask(None, truth.numpy(), operator, "0")], None, Training(np.random.default_rng(0))
    )
    model = learner.load(learned.facts, learned.weights, torch.device("cpu"))
    y = operator(truth[:2])
    y[:, ::2, 1::2] = torch.nan
    state = learner.adapt(model, operator, Noise(0.01), y, None)
    x, _ = learner.reconstruct(model, state, y)
    assert (x - truth[:2]).square().mean().sqrt() < 0.05


def test_magnitudes_without_noise():
    truth = images((5, 6), 4).clamp(0, 1)
    projection = RandomProjection((5, 6), 120, random_state=0)
    operator = PhaseRetrieval((5, 6), operator=projection)
    learner, training = PlugAndPlay(smooth, steps=1), Training(np.random.default_rng(0))
    learned = learner.learn([ImageTask(None, truth.numpy(), operator, "0")], None, training)
    model = learner.load(learned.facts, learned.weights, torch.device("cpu"))
    x = reconstruct(learner, operator, Noise(None), operator(truth[:2]), model)
    torch.testing.assert_close(x, truth[:2], rtol=0, atol=1e-3)


def test_counts():
    shape = (24, 24)
    truth = images(shape, 6)
    learner = PlugAndPlay(smooth, steps=3)
    learned = learner.learn(
        [ImageTask(None, truth[:4].numpy(), None, "0")], None, Training(np.random.default_rng(0))
    )
    model = learner.load(learned.facts, learned.weights, torch.device("cpu"))
    y = torch.poisson(20 * truth[4:], torch.Generator().manual_seed(0)) / 20
    state = learner.adapt(model, Identity(shape), Noise(0.0, 1 / 20), y, None)
    x, _ = learner.reconstruct(model, state, y)
    assert (x - truth[4:]).square().mean() < 0.5 * (y - truth[4:]).square().mean()


@pytest.mark.parametrize("turn", range(8))
def test_turns_are_undone(turn):
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    torch.testing.assert_close(turned_back(turned(x, turn), turn), x)


def test_turns_are_eight():
    x = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(turned(x, t).flatten().tolist()) for t in range(8)}) == 8


def test_tiles_give_what_the_whole_image_gives():
    x = torch.from_numpy(images((700, 530), 1).numpy()).float()

    def blur(planes, levels):
        return torch.nn.functional.avg_pool2d(planes, 5, 1, 2, count_include_pad=False) + levels

    clean = ImageDenoiser(blur, x, own=False)
    whole = blur(x[:, None], torch.full_like(x[:, None], 0.1))[:, 0]
    torch.testing.assert_close(clean(x, torch.tensor(0.1)), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma", [None, 0.05, np.array([0.0, 0.05, 0.05])])
@pytest.mark.parametrize("denoiser", [smooth, None])
def test_an_image_does_not_depend_on_the_others_of_its_batch(denoiser, sigma):
    shape = (24, 20)
    y = images(shape, 3) + 0.05 * torch.randn((3, *shape), generator=torch.Generator())
    y[2, 5, 5] = torch.nan
    learner, facts = PlugAndPlay(denoiser, steps=3), {} if denoiser else weights()
    model = learner.load({}, facts, torch.device("cpu"))
    for operator in (Identity(shape), dense(shape, 300)):
        seen = operator(torch.nan_to_num(y)).flatten(1)
        seen[2, 7] = torch.nan
        seen = seen.reshape(3, *operator.measurement_shape)
        together = reconstruct(learner, operator, Noise(sigma), seen, model)
        for k, row in enumerate(seen):
            noise = Noise(sigma[k : k + 1] if isinstance(sigma, np.ndarray) else sigma)
            alone = reconstruct(learner, operator, noise, row[None], model)
            torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-5, atol=1e-6)


def test_few_pairs_leave_the_scalars_as_they_are():
    operator, truth = dense((6, 5), 20), images((6, 5), 3)
    learner = PlugAndPlay(smooth, steps=2)
    model = learner.load({}, {}, torch.device("cpu"))
    y = operator(truth)
    state = learner.adapt(model, operator, Noise(0.01), y, truth)
    assert state.scalars == learner.adapt(model, operator, Noise(0.01), None, None).scalars


def test_counts_are_weighed_by_the_light_that_is_expected():
    operator = Mask((20, 20), np.random.default_rng(0).random((20, 20)) < 0.7)
    truth, gain = images((20, 20), 2).clamp_min(0.02), 1 / 20
    y = gain * torch.poisson(operator(truth) / gain, torch.Generator().manual_seed(0))
    learner = PlugAndPlay(smooth, steps=8)
    x = reconstruct(learner, operator, Noise(0.0, gain), y)
    white = Noise(float((gain * truth.mean()) ** 0.5))
    assert (x - truth).abs().mean() < (
        reconstruct(learner, operator, white, y) - truth
    ).abs().mean()


def test_counts_of_nothing_but_darkness_give_darkness():
    y = torch.zeros((1, 12, 12), dtype=torch.float64)
    x = reconstruct(PlugAndPlay(smooth, steps=2), Identity((12, 12)), Noise(0.0, 0.1), y)
    torch.testing.assert_close(x, y, atol=1e-4, rtol=0)
