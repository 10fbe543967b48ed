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

#: Deviation of the logarithm of a task's noise from that of the prior's tasks.
LOG_SPREAD = 0.7

#: Measurements that are looked at, noise levels that are tried, as shares of the signal.
MOST_ROWS, LEVELS = 40, torch.logspace(-3.5, 0, 22, dtype=torch.float64)

#: Levels that are judged by all components.
MOST_EXACT = 8


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
    """Noise under which the prior foresees measurements best.

    Parameters
    ----------
    mixture : FactoredMixture
    matrix : Tensor of shape (m, n_pixels)
    rows : Tensor of shape (N, m)
        Rows or columns that miss a value are left out, whichever leaves more.
    sigma : float or None
        Of the prior's tasks: the logarithm is normal around that of theirs.
    """
    matrix, rows = _complete(matrix, rows[:MOST_ROWS])
    mean, covariance = mixture.moments()
    values, vectors = torch.linalg.eigh(matrix @ covariance @ matrix.T)
    values = values.clamp(min=0.0)
    energy = ((rows - matrix @ mean) @ vectors).square().mean(0)
    scale = math.sqrt(float(values.mean() + (matrix @ mean).square().mean())) or 1.0
    levels = LEVELS.to(rows) * scale
    if sigma:
        levels = torch.cat([levels, levels.new_tensor([sigma])])
    spread = values + levels[:, None].square()
    score = -0.5 * len(rows) * (spread.log() + energy / spread).sum(1)
    if len(mixture.weights) > 1:
        # Components see more structure than their common covariance: they judge the best few.
        exact = torch.full_like(score, -torch.inf)
        for i in score.topk(MOST_EXACT).indices.tolist():
            noise = levels[i].square().expand(len(matrix))
            exact[i] = Conditioner(mixture, matrix, noise)(rows).log_evidence.logsumexp(1).sum()
        score = exact
    if sigma:
        score = score - 0.5 * (torch.log(levels / sigma) / LOG_SPREAD).square()
    return float(levels[score.argmax()])


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
