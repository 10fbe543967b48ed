"""Noise of measurements by laws and of counts, where its level is not given."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._half_quadratic import smooth_start
from sklearn_meta.learners.reconstruction._noise import estimate_noise
from sklearn_meta.operators import Operator
from sklearn_meta.operators._pointwise import PointwiseLaw

_GUESS = 0.03  # of the size of measurements, where they do not tell
_STIFFNESS = 3.0  # of the squared norm of the operator: smooths noise away
_SOFTNESS = 0.3  # leaves noise in the misfit, and little else
_WHOLE = 0.01  # how far from whole numbers counts may be
_PARTS = 3  # from dark to bright
_BETWEEN = (0.68, 1.4)  # size of a misfit over that of counts; edges are in it as well
_EXACT = 1e-6  # of the size of measurements: rounding


def noise_of(operator: Operator, y: Tensor) -> Noise:
    """Estimate the noise of measurements by any operator but magnitudes.

    Parameters
    ----------
    operator : Operator
    y : Tensor of shape ``(n, *measurement_shape)``
        NaN where missing.

    Returns
    -------
    Noise
        One level for all images; with a gain where measurements are counts.
    """
    if operator.is_linear:
        gain = gain_of_counts(operator, y)
        if gain is not None:
            return Noise(0.0, gain)
        return Noise(float(estimate_noise(operator, y).sigma.median()))
    size = float(y.square().nanmean().sqrt())
    if isinstance(operator, PointwiseLaw):
        return Noise(_noise_before_law(operator, y))
    return Noise(_GUESS * size)


def gain_of_counts(operator: Operator, y: Tensor) -> float | None:
    """Return the step of measurements that are Poisson counts times it, or None.

    Counts are whole multiples of a step, and so are rounded measurements. Fresh counts of the
    smooth image that fits best tell them apart: they must leave as large a misfit as the
    measurements do, in the dark as in the light.

    Parameters
    ----------
    operator : Operator
        Linear.
    y : Tensor of shape ``(n, *measurement_shape)``
    """
    known = y[torch.isfinite(y)].double()
    values = known.unique()
    if len(values) < 2 or values[0] < 0:
        return None
    step = float(values.diff().amax() if len(values) == 2 else values.diff().amin())
    whole = (values / step).round()
    step = float((values * whole).sum() / whole.square().sum())
    if bool((values / step - whole).abs().amax() > _WHOLE):
        return None
    signal, _ = _smooth_fit(operator, y, _STIFFNESS)
    _, error = _smooth_fit(operator, y, _SOFTNESS)
    generator = torch.Generator().manual_seed(0)
    fresh = step * torch.poisson(signal.double().cpu().clamp(min=0) / step, generator).to(y)
    _, expected = _smooth_fit(operator, fresh.masked_fill(torch.isnan(y), torch.nan), _SOFTNESS)
    signal, error, expected = (t[torch.isfinite(y)] for t in (signal, error, expected))
    order = signal.argsort()
    ratios = [
        float(error[part].abs().mean() / expected[part].abs().mean().clamp(min=1e-30))
        for part in order.tensor_split(_PARTS)
    ]
    return step if all(_BETWEEN[0] < ratio < _BETWEEN[1] for ratio in ratios) else None


def _smooth_fit(operator: Operator, y: Tensor, stiffness: float) -> tuple[Tensor, Tensor]:
    """Measurements of the smooth image of least squares, and what they lack."""
    term = DataTerm(operator, y)
    smooth = smooth_start(term, stiffness * operator.norm() ** 2)
    return operator.forward(smooth), term.misfit(smooth)


def _noise_before_law(operator: PointwiseLaw, y: Tensor) -> float:
    """Noise where the law can be inverted, turned into that of measurements by its slope."""
    low, high = operator.interval(y)
    middle = (low + high) / 2
    inside = torch.isfinite(middle)
    size = float(y.square().nanmean().sqrt())
    given = operator.law(torch.where(inside, middle, 0.0))
    wide = (high - low) > _EXACT * (1 + middle.abs())
    if bool((wide & inside).any()):  # it rounds: noise is what the levels do not explain
        return float((given - y)[inside].square().mean().sqrt()) if bool(inside.any()) else 0.0
    if not bool(inside.any()):
        return 0.0
    inverted = torch.where(inside, middle, torch.nan)
    found = [estimate_noise(operator.inner, row[None]) for row in inverted]
    level = float(torch.cat([each.sigma for each in found]).median())
    reach = _EXACT**0.5 * size
    lower, higher = operator.interval(y, reach)
    slope = 2 * reach / (higher - lower)[inside & torch.isfinite(higher - lower)]
    sigma = level * float(slope.median())
    is_sure = found[0].is_local or all(bool(each.is_sure.all()) for each in found)
    return sigma if is_sure else min(sigma, _GUESS * size)
