"""Estimate the noise of measurements that come without its level."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._half_quadratic import smooth_start
from sklearn_meta.operators import Operator

_STIFFNESS = tuple(10.0 ** (k / 2) for k in range(-8, 3))  # relative to the squared norm
_MEDIAN = 0.6745  # of the modulus of a standard normal number


def noise_level(operator: Operator, measurements: Tensor) -> Tensor:
    """Estimate the standard deviation of the noise of each image's measurements.

    Of smooth images of least squares the one is taken that foretells measurements best by
    generalised cross-validation; its misfit, divided by the share of the measurements that it
    leaves free, is noise, and edges. The median bears the latter.

    Parameters
    ----------
    operator : Operator
        Linear.
    measurements : Tensor of shape (n, *measurement_shape)
        NaN where one is missing.

    Returns
    -------
    Tensor of shape (n,)

    References
    ----------
    G. Wahba (1983), "Bayesian 'confidence intervals' for the cross-validated smoothing spline",
    Journal of the Royal Statistical Society B.
    """
    term = DataTerm(operator, measurements)
    known = ~torch.isnan(measurements)
    count = known.flatten(1).sum(1).clamp_min(1)
    generator = torch.Generator().manual_seed(0)
    probe = torch.randint(0, 2, measurements.shape, generator=generator) * 2.0 - 1.0
    probe = probe.to(measurements).masked_fill(~known, 0.0)
    white = DataTerm(operator, probe.masked_fill(~known, torch.nan))
    best = torch.full((len(measurements),), torch.inf).to(measurements)
    level = best.clone()
    norm = operator.norm() ** 2
    for stiffness in _STIFFNESS:
        misfit = term.misfit(smooth_start(term, stiffness * norm))
        kept = (probe * operator.forward(smooth_start(white, stiffness * norm))).flatten(1).sum(1)
        free = (1 - kept / count).clamp_min(1e-3)
        score = misfit.square().flatten(1).sum(1) / count / free**2
        modulus = misfit.abs().masked_fill(~known, torch.nan).flatten(1)
        found = modulus.nanmedian(1).values / _MEDIAN / free.sqrt()
        level = torch.where(score < best, found, level)
        best = torch.minimum(score, best)
    return level
