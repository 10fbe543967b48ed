"""Torch functions: what they compute is found, and what cannot be used is refused."""

import math

import pytest
import torch
from torch import nn

from sklearn_meta.operators import Blur, PhaseRetrieval, Saturation
from sklearn_meta.operators._dense import Dense
from sklearn_meta.operators._function_operators import (
    LinearFunction,
    NonlinearFunction,
    Shifted,
)
from sklearn_meta.operators._monotone import Monotone
from sklearn_meta.operators._probe import probe

SHAPE = (6, 7)
N = 42


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


MATRIX = torch.randn((30, N), generator=generator(), dtype=torch.float64) / 6
OTHER = torch.randn((30, N), generator=generator(1), dtype=torch.float64) / 6
DITHER = torch.rand(SHAPE, generator=generator(2), dtype=torch.float64) - 0.5
KERNEL = torch.rand((3, 3), generator=generator(3), dtype=torch.float64) - 0.4


def images(n=4, shape=SHAPE, seed=5):
    return torch.rand((n, *shape), generator=generator(seed), dtype=torch.float64)


def linear(x):
    return x.flatten(1) @ MATRIX.T.to(x)


def imaginary(x):
    return x.flatten(1) @ OTHER.T.to(x)


def convolution(x):
    transfer = torch.fft.rfft2(KERNEL.to(x), s=x.shape[1:])
    return torch.fft.irfft2(torch.fft.rfft2(x) * transfer, s=x.shape[1:])


def camera(bits, dither=0.0):
    q = 2**bits - 1

    def measure(x):
        curve = x.clamp(1e-4, 1) ** (1 / 2.2)
        return ((curve * q + dither).round().clamp(0, q) / q).flatten(1)

    return measure


def agrees(operator, function, shape=SHAPE):
    x = images(shape=shape)
    y = function(x)
    assert operator.image_shape == shape
    assert operator.measurement_shape == tuple(y.shape[1:])
    torch.testing.assert_close(operator.forward(x), y, rtol=1e-9, atol=1e-9)


def test_small_linear_function_becomes_its_matrix():
    operator = probe(linear, SHAPE)
    assert isinstance(operator, Dense)
    torch.testing.assert_close(operator.matrix, MATRIX)
    agrees(operator, linear)


def test_convolution_is_solved_by_fourier_transform():
    operator = probe(lambda x: convolution(x).flatten(1), SHAPE)
    assert isinstance(operator.operator, Blur)
    agrees(operator, lambda x: convolution(x).flatten(1))
    assert operator.gram_solver() is not None


def test_large_linear_function_keeps_its_form_and_has_its_adjoint():
    def cumulate(x):
        return x.cumsum(2).cumsum(1)

    operator = probe(cumulate, (64, 65))
    assert isinstance(operator, LinearFunction)
    agrees(operator, cumulate, (64, 65))
    x, y = images(shape=(64, 65)), images(shape=(64, 65), seed=6)
    torch.testing.assert_close((operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum())


def test_linear_function_is_differentiable_twice_on_both_sides():
    operator = LinearFunction(linear, SHAPE, (30,))
    x, y = images(1).requires_grad_(), torch.rand((1, 30)).double().requires_grad_()
    for side, value in ((operator.forward, x), (operator.adjoint, y)):
        assert torch.autograd.gradcheck(side, value, fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda v, f=side: f(v) ** 2, value, fast_mode=True)


def test_linear_function_without_derivative_becomes_its_matrix():
    def by_numpy(x):
        return torch.from_numpy(x.numpy().reshape(len(x), -1) @ MATRIX.numpy().T)

    operator = probe(lambda x: by_numpy(x.double()).to(x), SHAPE)
    torch.testing.assert_close(operator.matrix, MATRIX)


def test_linear_function_plus_a_constant():
    def function(x):
        return linear(x) + 0.25

    operator = probe(function, SHAPE)
    assert isinstance(operator, Shifted)
    agrees(operator, function)
    torch.testing.assert_close(operator.inner.matrix, MATRIX)
    low, high = operator.interval(function(images()))
    torch.testing.assert_close(low, linear(images()))
    assert torch.equal(low, high)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-0.1, 0.3), (0.0, math.inf), (-math.inf, 0.2), (-0.4, 0.0)]
)
@pytest.mark.parametrize("part", [linear, convolution], ids=["matrix", "blur"])
def test_clipped_linear_function(low, high, part):
    def function(x):
        return (2 * part(x)).clamp(low, high)

    operator = probe(function, SHAPE)
    assert isinstance(operator, Saturation)
    assert (operator.low, operator.high) == pytest.approx((low, high))
    agrees(operator, function)
    torch.testing.assert_close(operator.inner.forward(images()), 2 * part(images()))
    x, y = images(), torch.rand_like(function(images()))
    back = operator.inner.adjoint(y)
    torch.testing.assert_close((operator.inner.forward(x) * y).sum(), (x * back).sum())


def test_relu_is_clipping_on_one_side():
    operator = probe(lambda x: torch.relu(linear(x)), SHAPE)
    assert isinstance(operator, Saturation)
    torch.testing.assert_close(operator.inner.matrix, MATRIX)


@pytest.mark.parametrize("power", [1, 2])
def test_modulus_of_a_real_matrix(power):
    def function(x):
        return linear(x).abs() ** power

    operator = probe(function, SHAPE)
    assert isinstance(operator, PhaseRetrieval)
    assert not operator.is_complex
    assert operator.power == power
    agrees(operator, function)
    rows = operator.inner.matrix
    torch.testing.assert_close(rows * torch.sign((rows * MATRIX).sum(1, keepdim=True)), MATRIX)


@pytest.mark.parametrize("power", [1, 2])
def test_modulus_of_a_complex_matrix(power):
    def function(x):
        return torch.complex(linear(x), imaginary(x)).abs() ** power

    operator = probe(function, SHAPE)
    assert isinstance(operator, PhaseRetrieval)
    assert operator.is_complex
    agrees(operator, function)
    # rows up to a phase: the same projector
    first, second = operator.inner.matrix.reshape(2, 30, N)
    found = first[:, :, None] * first[:, None] + second[:, :, None] * second[:, None]
    truth = MATRIX[:, :, None] * MATRIX[:, None] + OTHER[:, :, None] * OTHER[:, None]
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("norm", ["ortho", "backward"])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_fourier_magnitudes(norm, factor):
    def function(x):
        size = (factor * SHAPE[0], factor * SHAPE[1])
        return torch.fft.fft2(x, s=size, norm=norm).abs().flatten(1)

    operator = probe(function, SHAPE)
    assert operator.is_even
    assert operator.is_complex
    assert operator.inner.gram_solver() is not None
    agrees(operator, function)


def test_shifted_fourier_magnitudes_are_a_complex_matrix():
    def function(x):
        return torch.fft.fftshift(torch.fft.fft2(x, s=(12, 14)), (1, 2)).abs()

    operator = probe(function, SHAPE)
    assert isinstance(operator, PhaseRetrieval)
    agrees(operator, function)


def test_large_modulus_is_even():
    big = torch.randn((1100, 64 * 64), generator=generator()).double()

    def function(x):
        return (x.flatten(1) @ big.T.to(x)).abs()

    operator = probe(function, (64, 64))
    assert isinstance(operator, NonlinearFunction)
    assert operator.is_even


@pytest.mark.parametrize(
    ("bits", "dither"), [(1, DITHER), (1, 0.0), (2, 0.0), (2, DITHER), (4, 0.0)]
)
def test_camera_of_few_bits(bits, dither):
    def function(x):
        return camera(bits, dither if isinstance(dither, float) else dither.to(x))(x)

    operator = probe(function, SHAPE)
    assert isinstance(operator, Monotone)
    assert not operator.is_smooth
    agrees(operator, function)
    x = images()
    y = function(x)
    low, high = operator.interval(y)
    q = 2**bits - 1
    ends = (y.reshape(x.shape) * q + torch.tensor([-0.5, 0.5])[:, None, None, None] - dither) / q
    ends = ends.clamp(0, 1).pow(2.2).flatten(2)
    flat = x.flatten(1)
    assert ((low <= flat) & (flat <= high)).all()
    is_bound = low.isfinite()
    torch.testing.assert_close(low[is_bound], ends[0][is_bound], rtol=0, atol=1e-7)
    is_bound = high.isfinite()
    torch.testing.assert_close(high[is_bound], ends[1][is_bound], rtol=0, atol=1e-7)
    assert (y[low == -math.inf] == y.min()).all() or isinstance(dither, torch.Tensor)


def test_a_found_law_goes_after_a_linear_operator():
    blur = Blur(SHAPE, KERNEL.abs() / KERNEL.abs().sum())
    operator = probe(camera(2), SHAPE) @ blur
    y = operator.forward(images())
    torch.testing.assert_close(y, camera(2)(blur.forward(images())))
    low, high = operator.interval(y)
    z = blur.forward(images()).flatten(1)
    assert ((low <= z + 1e-7) & (z <= high + 1e-7)).all()


def test_noise_on_levels_means_the_nearest_one():
    operator = probe(camera(2), SHAPE)
    y = operator.forward(images())
    exact, noisy = operator.interval(y), operator.interval(y + 0.1 * DITHER.flatten())
    torch.testing.assert_close(noisy[0], exact[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(noisy[1], exact[1], rtol=0, atol=1e-6)


def test_slope_of_a_rounded_law_is_that_from_step_to_step():
    operator = probe(lambda x: (x * 4).round() / 4, SHAPE)
    x, v = 0.2 + 0.6 * images(), images(seed=8)
    torch.testing.assert_close(operator.jvp(x, v), v, rtol=1e-4, atol=1e-6)


def test_smooth_law_keeps_its_derivative():
    def function(x):
        return x.clamp(min=1e-4).pow(1 / 2.2)

    operator = probe(function, SHAPE)
    assert isinstance(operator, Monotone)
    assert operator.is_smooth
    low, high = operator.interval(function(images()))
    torch.testing.assert_close(low, images(), rtol=0, atol=1e-6)
    torch.testing.assert_close(high, images(), rtol=0, atol=1e-6)
    x, v = images() + 0.1, images(seed=8)
    torch.testing.assert_close(operator.jvp(x, v), v * x ** (1 / 2.2 - 1) / 2.2)


def test_decreasing_law():
    def function(x):
        return torch.exp(-3 * x)

    operator = probe(function, SHAPE)
    low, high = operator.interval(function(images()), 0.0)
    torch.testing.assert_close((low + high) / 2, images(), rtol=0, atol=1e-6)
    wide = operator.interval(function(images()), 0.01)
    assert ((wide[0] < low) & (wide[1] > high)).all()


def test_law_that_exists_on_the_unit_interval_only():
    operator = probe(lambda x: x.sqrt(), SHAPE)
    low, high = operator.interval(images().sqrt())
    torch.testing.assert_close((low + high) / 2, images(), rtol=0, atol=1e-6)


def test_anything_else_is_differentiated():
    def function(x):
        return torch.tanh(linear(x)) + imaginary(x) ** 2

    operator = probe(function, SHAPE)
    assert isinstance(operator, NonlinearFunction)
    assert not operator.is_even
    agrees(operator, function)
    x, v, w = images(), images(seed=8), torch.ones((4, 30)).double()
    torch.testing.assert_close((operator.jvp(x, v) * w).sum(), (operator.vjp(x, w) * v).sum())


def test_module_in_single_precision():
    torch_linear = nn.utils.skip_init(nn.Linear, N, 30, bias=False)
    with torch.no_grad():
        torch_linear.weight.copy_(MATRIX)
    module = nn.Sequential(nn.Flatten(), torch_linear)
    operator = probe(module, SHAPE)
    assert isinstance(operator, Dense)
    torch.testing.assert_close(operator.forward(images()), linear(images()), rtol=1e-5, atol=1e-5)
    clipped = probe(nn.Sequential(module, nn.ReLU()), SHAPE)
    assert isinstance(clipped, Saturation)
    smooth = probe(nn.Sequential(module, nn.Softplus()), SHAPE)
    assert not smooth.forward(images()).requires_grad


def test_colour():
    def function(x):
        return (1.5 * x.mean(3)).clamp(0, 1)

    operator = probe(function, (5, 4, 3))
    assert isinstance(operator, Saturation)
    agrees(operator, function, (5, 4, 3))


def noisy(x, source=generator(0)):  # noqa: B008
    return x + torch.randn(x.shape, generator=source, dtype=x.dtype)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x / 0 - x / 0, ValueError, "NaN"),
        (lambda x: x.log(), ValueError, "NaN or infinity"),
        (lambda x: x[:1], ValueError, "for each image"),
        (lambda x: x.sum(), ValueError, "for each image"),
        (lambda x: x.flatten(), ValueError, "for each image"),
        (noisy, ValueError, "is random"),
        (lambda x: x - x.mean(), ValueError, "depends on its batch"),
        (lambda x: torch.zeros_like(x), ValueError, "does not depend on the image"),
        (lambda x: torch.fft.fft2(x), TypeError, "complex"),
        (lambda x: x.numpy(), TypeError, "returned ndarray"),
        (lambda x: x @ torch.eye(9), ValueError, "failed on a batch of shape"),
        (
            nn.Conv2d(1, 1, 3),
            ValueError,
            r"\(2, 6, 7\) \(channels, if any, come last.* to have 1 channels, but got 2",
        ),
        (lambda x: (linear(x) ** 2 + x.sum((1, 2))[:, None]).detach(), ValueError, "differentiate"),
    ],
)
def test_what_is_no_operator_is_refused(function, error, message):
    with pytest.raises(error, match=message):
        probe(function, SHAPE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_function_may_work_in_place(dtype):
    flat = nn.utils.skip_init(nn.Linear, N, 30, bias=False, dtype=dtype)
    with torch.no_grad():
        flat.weight.copy_(MATRIX)
    operator = probe(nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Flatten(), flat), SHAPE)
    x = (images() - 0.5).to(dtype)
    before = x.clone()
    expected = linear(torch.where(x < 0, 0.1 * x, x))
    torch.testing.assert_close(operator.forward(x), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, before)
    double = probe(lambda z: z.mul_(2.0), SHAPE)
    torch.testing.assert_close(double.forward(x), 2.0 * before)


def test_a_function_sees_the_usual_layout():
    operator = probe(lambda x: torch.tanh(x.view(len(x), -1)).cumsum(1), SHAPE)
    x = images(shape=SHAPE[::-1]).transpose(1, 2)
    torch.testing.assert_close(operator.forward(x), torch.tanh(x.flatten(1)).cumsum(1))


def test_zero_derivative_is_told():
    with pytest.warns(UserWarning, match="derivative of the operator is zero"):
        probe(lambda x: (3 * linear(x) + 0.4).round().clamp(0, 2), SHAPE)


def test_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    probe(camera(2), SHAPE)
    probe(linear, SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
