"""The logarithm of a skewed target, and the way back."""

import pytest
import torch

from sklearn_meta.learners.experts import Warp
from sklearn_meta.learners.experts._warp import BEYOND, SMALLEST_DEVIATION


def skewed(n_rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, n_rows, generator=generator, dtype=torch.float64).exp()


def sure(mean):
    """Forecasts (B, 1, n, 2) of a mean that is certain."""
    return torch.stack([mean, torch.full_like(mean, -60.0)], -1)[:, None]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_there_and_back(sign):
    y = sign * skewed()
    warp = Warp.of(y)
    assert (warp.sign == sign).all()
    torch.testing.assert_close(warp.back(sure(warp.forward(y)))[:, 0, :, 0], y)


def test_logarithms_are_standardised_and_less_skewed():
    y = skewed()
    log = Warp.of(y).forward(y)
    torch.testing.assert_close(log.mean(1), torch.zeros(3).double())
    torch.testing.assert_close(log.square().mean(1), torch.ones(3).double())
    standard = (y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True)
    assert (log.pow(3).mean(1).abs() < standard.pow(3).mean(1).abs()).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_order_of_forecasts_is_kept_or_turned(sign):
    warp = Warp.of(sign * skewed())
    log = torch.linspace(-5, 5, 101, dtype=torch.float64).expand(3, 101)
    for log_variance in (-60.0, -2.0, 1.0):
        forecast = torch.stack([log, torch.full_like(log, log_variance)], -1)[:, None]
        step = warp.back(forecast)[:, 0, :, 0].diff(dim=-1)
        assert (sign * step >= -1e-12).all() and (sign * step > 0).any()


def test_a_long_tail_on_the_left_is_the_mirror_image():
    y = skewed()
    right, left = Warp.of(y), Warp.of(-y)
    torch.testing.assert_close(right.forward(y), left.forward(-y))
    generator = torch.Generator().manual_seed(1)
    forecast = torch.randn(3, 2, 9, 2, generator=generator, dtype=torch.float64)
    one, other = right.back(forecast), left.back(forecast)
    torch.testing.assert_close(one[..., 0], -other[..., 0])
    torch.testing.assert_close(one[..., 1], other[..., 1])


def test_units_have_no_say():
    y = skewed()
    torch.testing.assert_close(Warp.of(y).forward(y), Warp.of(50 * y - 7).forward(50 * y - 7))


def test_forecasts_stay_near_the_support():
    y = skewed()
    warp, room = Warp.of(y), BEYOND * (y.amax(1) - y.amin(1))
    far = torch.tensor([-1e3, 1e3], dtype=torch.float64).expand(3, 2)
    out = warp.back(torch.stack([far, torch.full_like(far, 3.0)], -1)[:, None])
    assert (out[:, 0, :, 0].amin(1) >= y.amin(1) - room).all()
    assert (out[:, 0, :, 0].amax(1) <= y.amax(1) + room).all()
    assert out.isfinite().all()


def test_the_spread_is_that_of_one_standard_deviation_and_never_nothing():
    y = skewed()
    warp = Warp.of(y)
    log = torch.zeros(3, 1, dtype=torch.float64)
    variance = 0.04
    out = warp.back(torch.stack([log, torch.full_like(log, variance).log()], -1)[:, None])
    ends = [warp.back(sure(log + step * variance**0.5))[..., 0] for step in (-1.0, 1.0)]
    torch.testing.assert_close((out[..., 1] / 2).exp(), (ends[1] - ends[0]) / 2)
    least = (warp.back(sure(log))[:, 0, 0, 1] / 2).exp()
    torch.testing.assert_close(
        least, SMALLEST_DEVIATION * (warp.high - warp.low)[:, 0], rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("y", [[[0.0]], [[0.0, 0.0, 0.0]], [[-1.0, 1.0]]])
def test_hardly_a_value(y):
    y = torch.tensor(y, dtype=torch.float64)
    warp = Warp.of(y)
    out = warp.back(sure(warp.forward(y)))
    assert out.isfinite().all()
    torch.testing.assert_close(out[:, 0, :, 0], y)
