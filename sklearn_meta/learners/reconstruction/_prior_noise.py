"""Noise of measurements, where nobody gave it: from pairs, or as a prior of images foresees it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._base import ImageTask
from sklearn_meta.learners.reconstruction._factored import Conditioner, FactoredMixture

#: Residuals that the noise of the prior's tasks counts for.
PRIOR_COUNT = 100.0

#: Probability that the noise of a task is that of the prior's tasks; deviation of its logarithm
#: from theirs where it is not.
SAME, LOG_SPREAD = 0.8, 0.7

#: Measurements that are looked at; lowest and highest noise that is tried, as shares of the signal,
#: and the steps of its logarithm.
MOST_ROWS, LEVELS, STEP = 40, (10**-3.5, 1.0), 0.3

#: Levels that are judged by all components.
EXACT = 9

#: How much more the slopes of likelihoods vary than they should, and images that this counts for.
DIFFERENCE, COUNTS_FOR = 2.0, 2.0


def noise_of_pairs(residual: Tensor, sigma: float | None) -> float:
    """Noise of pairs under a known operator, shrunken to that of the prior's tasks.

    Parameters
    ----------
    residual : Tensor of shape (n, m)
        Measurements less ``A x``; NaN where missing.
    sigma : float or None
        Of the prior's tasks.
    """
    known = residual[~residual.isnan()]
    count, total = float(len(known)), float(known.square().sum())
    if sigma is not None:
        count, total = count + PRIOR_COUNT, total + PRIOR_COUNT * sigma**2
    return math.sqrt(total / max(count, 1.0))


def noise_of_tasks(tasks: Sequence[ImageTask]) -> float | None:
    """Median over tasks of the noise of their pairs; None where no task tells."""
    found = []
    for task in tasks:
        if task.images is None or task.measurements is None or task.operator is None:
            continue
        images, measured = (torch.from_numpy(a).double() for a in (task.images, task.measurements))
        residual = task.operator.forward(images) - measured
        found.append(noise_of_pairs(residual.flatten(1), None))
    return float(torch.tensor(found, dtype=torch.float64).median()) if found else None


def noise_of_measurements(
    mixture: FactoredMixture, matrix: Tensor, rows: Tensor, sigma: float | None
) -> float:
    """Noise under which the prior foresees measurements, given that of the prior's tasks.

    It is the same as theirs with the probability `SAME`, else its logarithm is normal around that
    of theirs. So few measurements of the same noise change next to nothing.

    Parameters
    ----------
    mixture : FactoredMixture
    matrix : Tensor of shape (m, n_pixels)
    rows : Tensor of shape (N, m)
        Rows or columns that miss a value are left out, whichever leaves more.
    sigma : float or None
        Of the prior's tasks; None: the level of largest likelihood is returned, else the
        posterior mean of the logarithm.
    """
    matrix, rows = _complete(matrix, rows[:MOST_ROWS])
    mean, covariance = mixture.moments()
    values, vectors = torch.linalg.eigh(matrix @ covariance @ matrix.T)
    values = values.clamp(min=0.0)
    scale = math.sqrt(float(values.mean() + (matrix @ mean).square().mean())) or 1.0
    centre = sigma or scale
    lowest, highest = (math.log(share * scale / centre) / STEP for share in LEVELS)
    ends = min(math.floor(lowest), 0), max(math.ceil(highest), 0) + 1
    steps = torch.arange(*ends, device=rows.device)
    away = STEP * steps.to(rows)
    levels = centre * away.exp()
    slab = torch.log_softmax(-0.5 * (away / LOG_SPREAD).square(), 0)
    prior = slab if sigma else torch.zeros_like(slab)

    spread = values + levels[:, None].square()
    energy = ((rows - matrix @ mean) @ vectors).square()
    scores = -0.5 * (spread.log().sum(1) + energy @ (1 / spread).T)  # (N, levels)
    if len(mixture.weights) > 1:
        # Components see more structure than their common covariance: they judge the best few.
        middle = int((scores.sum(0) + prior).argmax())
        judged = (steps - steps[middle]).abs() <= EXACT // 2
        judged[steps == 0] |= bool(sigma)
        levels, away, prior, steps = levels[judged], away[judged], prior[judged], steps[judged]
        noises = (level.square().expand(len(matrix)) for level in levels)
        exact = [Conditioner(mixture, matrix, noise)(rows).log_evidence for noise in noises]
        scores = torch.stack([log.logsumexp(1) for log in exact], 1)
    if not sigma:
        return float(levels[scores.sum(0).argmax()])
    share = (1 - SAME) * prior.exp() + SAME * (steps == 0)
    log = share.log() + _trust(scores, prior, away) * scores.sum(0)
    return sigma * math.exp(float(log.softmax(0) @ away))


def _trust(scores: Tensor, prior: Tensor, away: Tensor) -> float:
    """Power of the likelihood at which it is as wide as it should be.

    A prior that is not quite right foresees some images too well and others badly: likelihoods of
    images (N, levels) then differ more in their slopes than their curvature says. At first images
    are taken to do so by `DIFFERENCE`.

    References
    ----------
    M. Ribatet, D. Cooley, A. C. Davison (2012), "Bayesian inference from composite likelihoods,
    with an application to spatial extremes", Statistica Sinica.
    """
    n, n_levels = scores.shape
    total = scores.sum(0) + prior
    i = min(max(int(total.argmax()), 1), n_levels - 2)
    before, after = away[i] - away[i - 1], away[i + 1] - away[i]
    slope = (scores[:, i + 1] - scores[:, i - 1]) / (before + after)
    rise = (scores[:, i] - scores[:, i - 1]) / before
    rise_after = (scores[:, i + 1] - scores[:, i]) / after
    curvature = 2 * float((rise - rise_after).sum() / (before + after))
    if curvature <= 0:
        return 1 / DIFFERENCE
    known = n * float((slope - slope.mean()).square().sum())
    variance = (known + COUNTS_FOR * DIFFERENCE * curvature) / (n - 1 + COUNTS_FOR)
    return min(1.0, curvature / variance)


def _complete(matrix: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of measurements without NaN."""
    known = ~rows.isnan()
    whole, always = known.all(1), known.all(0)
    if int(whole.sum()) * rows.shape[1] >= len(rows) * int(always.sum()) and whole.any():
        return matrix, rows[whole]
    if not always.any():
        always = known[known.sum(1).argmax()]
        rows = rows[known[:, always].all(1)]
    return matrix[always], rows[:, always]
