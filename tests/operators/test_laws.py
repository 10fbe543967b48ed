"""Non-linear operators: laws, intervals, projections on them, derivatives."""

import math
import pickle

import numpy as np
import pytest
import torch

from sklearn_meta.operators import Blur, Downsample, Mask
from sklearn_meta.operators.fourier import Fourier
from sklearn_meta.operators.gamma import Gamma
from sklearn_meta.operators.phase_retrieval import PhaseRetrieval
from sklearn_meta.operators.poisson_count import PoissonCount
from sklearn_meta.operators.projection import RandomProjection
from sklearn_meta.operators.quantization import Quantization
from sklearn_meta.operators.saturation import Saturation

SHAPE = (5, 6)
A = RandomProjection(SHAPE, 20, random_state=0)
DITHER = np.random.default_rng(0).uniform(-0.5, 0.5, SHAPE)
LAWS = {
    "saturation": Saturation(SHAPE, gain=1.7),
    "saturation of projections": Saturation(None, A, low=-0.4, high=0.5),
    "saturation above": Saturation(SHAPE, low=-math.inf, high=0.6),
    "gamma": Gamma(SHAPE),
    "gamma below one": Gamma(SHAPE, 0.5),
    "one bit": Quantization(SHAPE, 1, dither=DITHER),
    "two bits": Quantization(SHAPE, 2, gamma=2.2),
    "four bits of projections": Quantization(None, 4, operator=A),
    "three bits with dither": Quantization(SHAPE, 3, gamma=1.8, dither=DITHER),
    "signs lost": PhaseRetrieval(None, A),
    "fourier phase lost": PhaseRetrieval(SHAPE),
    "intensities": PhaseRetrieval(SHAPE, Fourier(SHAPE), power=2),
    "counts": PoissonCount(SHAPE, 10.0),
}


@pytest.fixture(params=LAWS, ids=str)
def operator(request):
    return LAWS[request.param]


def images(n=3, seed=0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((n, *shape), generator=generator, dtype=torch.float64)


def size_of(operator, z):
    if operator.is_complex:
        return torch.linalg.vector_norm(z, dim=1)
    return z.abs() if operator.is_even else z


def test_the_interval_holds_the_truth(operator):
    z = operator.inner.forward(images())
    low, high = operator.interval(operator.law(z))
    size = size_of(operator, z)
    assert low.shape == high.shape == (3, *operator.measurement_shape)
    assert ((low <= size + 1e-9) & (size <= high + 1e-9)).all()


def test_nearest_is_consistent_and_a_projection(operator):
    y = operator.forward(images())
    other = torch.randn_like(operator.inner.forward(images())) * 0.5
    nearest = operator.nearest(other, y)
    inside = nearest + 1e-9 * torch.sign(operator.inner.forward(images()) - nearest)
    if not operator.is_even:
        torch.testing.assert_close(operator.law(inside), y, rtol=0, atol=1e-5)
    else:
        torch.testing.assert_close(operator.law(nearest), y)
    torch.testing.assert_close(operator.nearest(nearest, y), nearest)
    truth = operator.inner.forward(images())
    # an obtuse angle, where the set is convex
    if not operator.is_even:
        assert (((other - nearest) * (truth - nearest)).sum() <= 1e-9).all()


def test_slack_widens(operator):
    y = operator.forward(images())
    low, high = operator.interval(y)
    wide_low, wide_high = operator.interval(y, 0.05)
    assert ((wide_low <= low) & (wide_high >= high)).all()
    each = operator.interval(y, torch.full_like(y, 0.05))
    assert torch.equal(each[0], wide_low)
    assert torch.equal(each[1], wide_high)


def test_slack_of_a_point_is_the_noise_of_z():
    operator = Gamma(SHAPE, 2.0)
    y = operator.forward(images() + 0.2)
    low, high = operator.interval(y, 1e-6)
    torch.testing.assert_close((high - low) / 2e-6, 2 * y, rtol=1e-4, atol=0)


def test_missing_measurements_say_nothing(operator):
    y = operator.forward(images())
    y[0] = math.nan
    low, high = operator.interval(y)
    assert (low[0] == -math.inf).all()
    assert (high[0] == math.inf).all()
    z = operator.inner.forward(images(seed=1))
    torch.testing.assert_close(operator.nearest(z, y)[0], z[0])


def test_single_precision_and_pickle(operator):
    x = images()
    y = operator.forward(x.float())
    assert y.dtype == torch.float32
    assert all(end.dtype == torch.float32 for end in operator.interval(y))
    copy = pickle.loads(pickle.dumps(operator))
    assert torch.equal(copy.forward(x), operator.forward(x))


@pytest.mark.parametrize("name", [n for n in LAWS if "bit" not in n])
def test_derivatives(name):
    operator = LAWS[name]
    x = (images(1) + 0.01).requires_grad_()
    assert torch.autograd.gradcheck(operator.forward, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator.forward, x, fast_mode=True)


def test_jvp_and_vjp_are_adjoint(operator):
    x, v = images() + 0.01, images(seed=1)
    w = torch.randn((3, *operator.measurement_shape), dtype=torch.float64)
    torch.testing.assert_close((operator.jvp(x, v) * w).sum(), (v * operator.vjp(x, w)).sum())


def test_quantization_bins_without_dither():
    operator = Quantization((1, 4), 2)
    y = torch.tensor([[[0.0, 1 / 3, 2 / 3, 1.0]]], dtype=torch.float64)
    low, high = operator.interval(y)
    torch.testing.assert_close(low[0, 0], torch.tensor([-math.inf, 1 / 6, 1 / 2, 5 / 6]).double())
    torch.testing.assert_close(high[0, 0], torch.tensor([1 / 6, 1 / 2, 5 / 6, math.inf]).double())
    # a measurement with noise, or from single precision, means the nearest level
    assert torch.equal(operator.interval(y.float().double() + 0.02)[0], low)


def test_one_bit_with_dither():
    operator = Quantization((1, 3), 1, dither=[[0.25, 0.25, -0.25]])
    x = torch.tensor([[[0.1, 0.3, 0.6]]], dtype=torch.float64)
    y = operator.forward(x)
    assert y.flatten().tolist() == [0, 1, 0]
    low, high = operator.interval(y)
    assert low.flatten().tolist() == [-math.inf, 0.25, -math.inf]
    assert high.flatten().tolist() == [0.25, math.inf, 0.75]


def test_derivative_of_quantization_is_that_of_its_curve():
    x, v = images(), images(seed=1)
    rounded, smooth = Quantization(SHAPE, 2, gamma=2.2), Gamma(SHAPE, 2.2)
    torch.testing.assert_close(rounded.jvp(x, v), smooth.jvp(x, v))


def test_second_derivative_of_quantization_is_that_of_its_curve():
    x = images().requires_grad_()
    seconds = []
    for operator in (Quantization(SHAPE, 2, gamma=2.2), Gamma(SHAPE, 2.2)):
        (first,) = torch.autograd.grad(operator.forward(x).sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.sum(), x)[0])
    torch.testing.assert_close(*seconds)
    torch.testing.assert_close(seconds[1], (1 / 2.2) * (1 / 2.2 - 1) * x.detach() ** (1 / 2.2 - 2))


def test_derivatives_of_a_modulus_of_zero_are_zero():
    operator = PhaseRetrieval(SHAPE)
    x = torch.zeros((1, *SHAPE), dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(operator.forward(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert not first.any()
    assert not second.any()


def test_gamma_is_the_power_and_straight_below():
    operator = Gamma((1, 3), 2.0)
    y = operator.forward(torch.tensor([[[0.25, 0.0, -1e-4]]], dtype=torch.float64))
    torch.testing.assert_close(y[0, 0], torch.tensor([0.5, 0.0, -0.01]).double())


def test_fourier_magnitudes():
    x = images()
    expected = np.abs(np.fft.fft2(x.numpy(), s=(10, 12), norm="ortho"))
    np.testing.assert_allclose(PhaseRetrieval(SHAPE).forward(x).numpy(), expected, atol=1e-12)


def test_nearest_phase_keeps_the_phase():
    operator = PhaseRetrieval(SHAPE)
    z = operator.inner.forward(images())
    nearest = operator.nearest(3.0 * z, operator.law(z))
    torch.testing.assert_close(nearest, z)
    real = PhaseRetrieval(None, A)
    z = A.forward(images())
    torch.testing.assert_close(real.nearest(-2.0 * z, real.law(z)), -z)


def test_counts_are_linear_with_the_noise_of_counts():
    operator = PoissonCount(SHAPE, 5.0, operator=Mask(SHAPE, DITHER > 0))
    assert operator.is_linear
    assert operator.noise_gain == 0.2
    generator = torch.Generator().manual_seed(0)
    x = images(1).expand(4000, *SHAPE)
    y = operator.sample(x, generator)
    mean = operator.forward(x)[0]
    torch.testing.assert_close(y.mean(0), mean, rtol=0, atol=0.04)
    torch.testing.assert_close(y.var(0), mean / 5, rtol=0, atol=0.02)
    assert torch.equal(y * 5, (y * 5).round())
    torch.testing.assert_close(operator.adjoint(mean[None]), operator.inner.adjoint(mean[None]))


def test_select_takes_the_samples_of_the_operator_inside():
    masks = np.random.default_rng(0).random((3, *SHAPE)) < 0.5
    operator = Saturation(None, Mask(SHAPE, masks))
    assert operator.n_samples == 3
    x = images()
    some = operator.select([2, 0])
    torch.testing.assert_close(some.forward(x[[2, 0]]), operator.forward(x)[[2, 0]])
    assert LAWS["gamma"].select([0]) is LAWS["gamma"]


@pytest.mark.parametrize("name", ["saturation", "gamma", "three bits with dither", "counts"])
def test_after_a_linear_operator_the_law_stays(name):
    blur = Blur(SHAPE, [[0.2, 0.5, 0.3]])
    law = LAWS[name]
    operator = law @ blur
    assert type(operator) is type(law)
    assert operator.inner is blur
    x = images()
    y = operator.forward(x)
    torch.testing.assert_close(y, law.forward(blur.forward(x)))
    low, high = operator.interval(y)
    assert ((low <= blur.forward(x) + 1e-9) & (blur.forward(x) <= high + 1e-9)).all()
    assert law.inner is not blur


def test_after_two_linear_operators_and_shapes():
    operator = Saturation(None, A, high=0.5) @ Downsample((10, 12), 2)
    assert operator.image_shape == (10, 12)
    x = images(shape=(10, 12))
    expected = A.forward(Downsample((10, 12), 2).forward(x)).clamp(0, 0.5)
    torch.testing.assert_close(operator.forward(x), expected)
    np.testing.assert_allclose(operator @ x.numpy(), expected.numpy())
    with pytest.raises(ValueError, match="takes images of shape"):
        Saturation(SHAPE) @ Downsample((10, 10), 2)


def test_norm_of_counts_is_that_of_their_operator():
    counts = PoissonCount(SHAPE, 4.0)
    assert counts.norm() == pytest.approx(1.0)
    blur = Blur(SHAPE, [[1.0, 2.0, 1.0]])
    assert (counts @ blur).norm() == pytest.approx(blur.norm())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Saturation(SHAPE, gain=0), "gain must be a positive"),
        (lambda: Saturation(SHAPE, low=1, high=0), "low must be below"),
        (lambda: Saturation((4, 4), A), "differs from that of the operator"),
        (lambda: Saturation(5, A), "image_shape must be"),
        (lambda: Saturation(SHAPE, Gamma(SHAPE)), "has to be linear"),
        (lambda: Gamma(SHAPE, -1), "gamma must be"),
        (lambda: Quantization(SHAPE, 0), "bits must be"),
        (lambda: Quantization(SHAPE, 1, dither=np.zeros((7, 7))), "does not fit"),
        (lambda: PoissonCount(SHAPE, math.inf), "peak must be"),
        (lambda: PhaseRetrieval(SHAPE, power=3), "power must be"),
        (lambda: PhaseRetrieval(None, A, is_complex=True), "real and imaginary"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_only_operators_go_inside():
    with pytest.raises(TypeError, match="takes an Operator"):
        Saturation(SHAPE, np.eye(30))
