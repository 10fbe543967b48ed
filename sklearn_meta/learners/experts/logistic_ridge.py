"""Logistic regression with a ridge, one class against the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.experts._columns import relevance
from sklearn_meta.learners.experts._expert import Expert, Table
from sklearn_meta.learners.experts._kernels import BIAS, linear
from sklearn_meta.learners.experts._ridge import Directions

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
MAX_RANK = 32
NEWTON_STEPS = 8
SMALLEST_CURVATURE = 1e-4


@dataclass(frozen=True, eq=False, slots=True)
class LogisticState:
    """Fitted logistic regressions of all penalties."""

    weight: Tensor  # (B, 1, c)
    landmarks: Tensor  # (B, m, c)
    turn: Tensor  # (B, m, r)
    coefficients: Tensor  # (B, L, C, r)


class LogisticRidge(Expert):
    """Linear logistic regression on columns weighted by their relevance."""

    def __init__(self) -> None:
        self.n_variants = {"regression": 0, "classification": len(PENALTIES)}

    def fit(self, table: Table) -> tuple[Tensor, LogisticState]:
        values, targets = table.values, table.targets
        positive = targets + 1 / targets.shape[-1]
        everyone = torch.ones_like(values[..., 0])
        weight = table.relevance.sqrt()[:, None]
        directions, landmarks = _directions(table, weight)
        coefficients, left_out = _newton(directions.rows, positive, everyone)
        if table.held is not None:
            folds = self._folds if table.landmarks is None else self._folds_of_relevance
            left_out = folds(table, positive)
        state = LogisticState(weight, landmarks, directions.turn, coefficients)
        return _log_shares(left_out), state

    def predict(self, state: LogisticState, values: Tensor, kept: Tensor) -> Tensor:
        turned = (linear(values * state.weight, state.landmarks) + BIAS) @ state.turn
        return _log_shares(state.coefficients[:, kept] @ turned[:, None].mT)

    def _folds(self, table: Table, positive: Tensor) -> Tensor:
        used = 1 - table.held
        rows = table.values * relevance(table.values, table.targets, used).sqrt()[..., None, :]
        similar = linear(rows, rows) + BIAS
        directions = _leading(Directions.of_all(similar * used[..., :, None] * used[..., None, :]))
        coefficients, _ = _newton(
            directions.rows, positive.expand(len(used), *positive.shape), used
        )
        turned = (similar * used[..., None, :]) @ directions.turn
        scores = coefficients @ turned[..., None, :, :].mT
        return (scores * table.held[..., None, None, :]).sum(0)

    def _folds_of_relevance(self, table: Table, positive: Tensor) -> Tensor:
        """The same where rows are many: only the relevance is that of the other folds."""
        scores = 0.0
        for held in table.held:
            weight = relevance(table.values, table.targets, 1 - held).sqrt()[:, None]
            rows = _directions(table, weight)[0].rows
            left_out = _newton(rows, positive, torch.ones_like(held))[1]
            scores = scores + left_out * held[:, None, None]
        return scores


def _directions(table: Table, weight: Tensor) -> tuple[Directions, Tensor]:
    """Leading directions of rows whose columns are weighted, and the landmarks (B, m, c)."""
    rows = table.values * weight
    landmarks = table.at_landmarks(rows)
    kernel = linear(rows, landmarks) + BIAS
    if table.landmarks is None:
        return _leading(Directions.of_all(kernel)), landmarks
    among = linear(landmarks, landmarks) + BIAS
    return _leading(Directions.of_landmarks(kernel, among)), landmarks


def _leading(directions: Directions) -> Directions:
    """The directions in which rows vary most; `eigh` sorts them in ascending order."""
    rank = slice(-MAX_RANK, None)
    return Directions(
        directions.rows[..., rank], directions.squares[..., rank], directions.turn[..., rank]
    )


def _newton(rows: Tensor, positive: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (..., L, C, r) and approximate left-out scores (..., L, C, n).

    The latter take one Newton step away from each row: K. R. Rad, A. Maleki (2020). A scalable
    estimate of the out-of-sample prediction error via approximate leave-one-out.
    """
    n_classes, r = positive.shape[-1], rows.shape[-1]
    if n_classes == 2:
        positive = positive[..., 1:]  # the scores of the other are their negatives
    truth = positive.mT[..., None, :, :]
    used = used[..., None, None, :]
    penalty = torch.tensor(PENALTIES, dtype=rows.dtype, device=rows.device)[:, None, None]
    identity = torch.eye(r, dtype=rows.dtype, device=rows.device)
    rows = rows[..., None, None, :, :]
    coefficients = rows.new_zeros(*truth.shape[:-3], len(PENALTIES), truth.shape[-2], r)
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid((coefficients[..., None, :] @ rows.mT)[..., 0, :])
        curvature = (p * (1 - p)).clamp_min(SMALLEST_CURVATURE) * used
        hessian = rows.mT @ (curvature[..., None] * rows) + penalty[..., None] * identity
        slope = ((p - truth) * used)[..., None, :] @ rows
        gradient = slope[..., 0, :] + penalty * coefficients
        factor = torch.linalg.cholesky_ex(hessian).L
        coefficients = coefficients - torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    scores = (coefficients[..., None, :] @ rows.mT)[..., 0, :]
    p = torch.sigmoid(scores)
    curvature = (p * (1 - p)).clamp_min(SMALLEST_CURVATURE)
    spread = torch.linalg.solve_triangular(
        factor, rows.mT.expand(*factor.shape[:-1], -1), upper=False
    )
    spread = spread.square().sum(-2)
    left_out = scores + spread / (1 - curvature * spread).clamp_min(1e-2) * (p - truth)
    if n_classes == 2:
        return torch.cat([-coefficients, coefficients], -2), torch.cat([-left_out, left_out], -2)
    return coefficients, left_out


def _log_shares(scores: Tensor) -> Tensor:
    """Log probabilities (B, L, n, C) from one score a class (B, L, C, n)."""
    log_p = torch.nn.functional.logsigmoid(scores).mT
    return log_p - log_p.logsumexp(-1, keepdim=True)
