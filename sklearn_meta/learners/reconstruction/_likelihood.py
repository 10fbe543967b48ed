"""What measurements say of the values before their law, as Gaussian pseudo-measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.operators import Operator

_LEAST_VARIANCE = 1e-4  # of what is left of a variance: a measurement without noise is no wall
_NEAR = 2.0  # standard deviations from a saturated value that count as saturated
_LEAST_SIGMA = 1e-3  # of the largest measurement


def truncated_moments(
    mean: Tensor, variance: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a normal distribution that is cut off outside of an interval.

    Parameters
    ----------
    mean, variance : Tensor
        Of the normal distribution.
    low, high : Tensor of the shape of `mean`
        ``low <= high``; infinite where there is no bound.

    Returns
    -------
    mean, variance : Tensor of the shape of `mean`

    References
    ----------
    N. L. Johnson, S. Kotz, N. Balakrishnan (1994), "Continuous univariate distributions", volume 1.
    """
    dtype, mean, variance = mean.dtype, mean.double(), variance.double()
    low, high = low.double(), high.double()
    scale = variance.sqrt()
    a, b = (low - mean) / scale, (high - mean) / scale
    # In the left tail the difference of two tails loses no digits.
    turned = a + b > 0
    a, b = torch.where(turned, -b, a), torch.where(turned, -a, b)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    log_mass = log_b + torch.log1p(-torch.exp((log_a - log_b).clamp(max=-1e-15)))
    density_a, density_b = (
        torch.exp(-0.5 * t.square() - 0.5 * math.log(2 * math.pi) - log_mass) for t in (a, b)
    )
    shift = density_a - density_b
    spread = 1 + _times(a, density_a) - _times(b, density_b) - shift.square()
    centre = mean + scale * torch.where(turned, -shift, shift)
    # Where an interval is narrow or far out, the formula is rounding; flat or exponential is not.
    width, far = b - a, b < -30
    flat = width < 1e-3
    centre = torch.where(
        flat, (low + high) / 2, torch.where(far & ~flat, _edge(mean, low, high), centre)
    )
    spread = torch.where(flat, width.square() / 12, spread)
    spread = torch.where(far & ~flat, 1 / b.square(), spread)
    centre = torch.minimum(torch.maximum(centre, low), high)
    return centre.to(dtype), (variance * spread.clamp(0, 1)).to(dtype)


def _times(t: Tensor, density: Tensor) -> Tensor:
    return torch.where(t.isinf(), 0.0, t * density)


def _edge(mean: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.where(mean < low, low, high)


@dataclass(frozen=True)
class Pseudo:
    """Gaussian measurements ``target = A x + n`` that stand for others.

    Attributes
    ----------
    operator : Operator
        The linear A.
    target, precision : Tensor of shape (n, *operator.measurement_shape)
        Precision is the reciprocal of the variance of n; 0 where nothing is known.
    """

    operator: Operator
    target: Tensor
    precision: Tensor

    def term(self, max_iter: int = 60) -> DataTerm:
        """Return the misfit of them."""
        return DataTerm(self.operator, self.target, self.precision, max_iter, tol=1e-4)


class IntervalLikelihood:
    """Likelihood of a pointwise law: ``A x`` plus noise lies between two ends.

    Moments of the truncated normal distribution take the place of the interval, divided by what
    was known before (expectation propagation), so that a measurement that was expected says
    little, and one at the wrong side of a threshold says where the threshold is.

    Parameters
    ----------
    operator : PointwiseLaw
        Not `is_even`.
    y : Tensor of shape ``(n, *measurement_shape)``
        NaN where missing.
    sigma : Tensor that broadcasts to `y`
        Noise of the measurements.

    References
    ----------
    T. Minka (2001), "Expectation propagation for approximate Bayesian inference", UAI.
    """

    def __init__(self, operator: Operator, y: Tensor, sigma: Tensor):
        self.operator = operator
        low, high = operator.interval(y)
        lower, higher = operator.interval(y, sigma)
        below, above = (low - lower).nan_to_num(0.0, 0.0, 0.0), (higher - high)
        above = above.nan_to_num(0.0, 0.0, 0.0)
        self.softness = torch.maximum(below, above).square()
        lowest, highest = operator.interval(y, _NEAR * sigma)
        self.low = torch.where(lowest.isinf(), lowest, low)
        self.high = torch.where(highest.isinf(), highest, high)

    def observe(self, x: Tensor, variance: float) -> Pseudo:
        """Return what the measurements add to an estimate.

        Parameters
        ----------
        x : Tensor of shape ``(n, *image_shape)``
        variance : float
            Of the error of ``A x``.
        """
        p = self.operator.inner.forward(x)
        total = (variance + self.softness).expand_as(p)
        mean, left = truncated_moments(p, total, self.low, self.high)
        gain = variance / total
        mean = p + gain * (mean - p)
        left = variance - gain.square() * (total - left)
        left = left.clamp(min=_LEAST_VARIANCE * variance)
        precision = (1 / left - 1 / variance).clamp(min=0)
        known = precision > 1e-6 / variance
        step = torch.where(known, (mean - p) / (left * precision).clamp(min=1e-12), 0.0)
        return Pseudo(self.operator.inner, p + step, torch.where(known, precision, 0.0))


class LinearLikelihood:
    """Likelihood of linear measurements with white noise.

    Parameters
    ----------
    operator : Operator
        Linear.
    y : Tensor of shape ``(n, *measurement_shape)``
    sigma : Tensor that broadcasts to `y`
    """

    def __init__(self, operator: Operator, y: Tensor, sigma: Tensor):
        self.measured = Pseudo(operator, y, 1 / sigma.square().expand_as(y))

    def observe(self, x: Tensor, variance: float) -> Pseudo:
        """Return the measurements, whatever the estimate."""
        return self.measured


class SmoothLikelihood:
    """Likelihood of ``y = F(x)`` plus white noise, F smooth: Gauss-Newton.

    Parameters
    ----------
    operator : Operator
    y : Tensor of shape ``(n, *measurement_shape)``
    sigma : Tensor that broadcasts to `y`

    References
    ----------
    J. Nocedal, S. Wright (2006), "Numerical optimization", chapter 10.
    """

    def __init__(self, operator: Operator, y: Tensor, sigma: Tensor):
        self.operator, self.y = operator, y
        floor = _LEAST_SIGMA * float(y.nan_to_num().abs().max())
        self.precision = 1 / sigma.clamp(min=floor).square()

    def observe(self, x: Tensor, variance: float) -> Pseudo:
        """Return the measurements of the operator's derivative at x."""
        slope = Linearization(self.operator, x)
        target = self.y - slope.value + slope.forward(x)
        return Pseudo(slope, target, self.precision.expand_as(target))


class Linearization(Operator):
    """The derivative of an operator at images, one derivative an image of the batch.

    The graph of `forward` and of its derivative is recorded once, for all products.
    """

    def __init__(self, operator: Operator, x: Tensor):
        self.set_shapes(operator.image_shape, operator.measurement_shape)
        with torch.inference_mode(False), torch.enable_grad():
            self._x = x.detach().clone().requires_grad_()
            self._y = operator.forward(self._x)
            # The gradient is linear in the dummy: its own derivative is the product from the left.
            self._dummy = torch.zeros_like(self._y, requires_grad=True)
            (self._back,) = torch.autograd.grad(self._y, self._x, self._dummy, create_graph=True)

    @property
    def value(self) -> Tensor:
        """What the operator gives of the images."""
        return self._y.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the derivative."""
        return self._product(self._back, self._dummy, x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply its adjoint."""
        return self._product(self._y, self._x, y)

    @staticmethod
    def _product(of: Tensor, at: Tensor, v: Tensor) -> Tensor:
        with torch.inference_mode(False):
            (product,) = torch.autograd.grad(of, at, v.clone(), retain_graph=True)
        return product
