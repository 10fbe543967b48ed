"""Kernel ridge regression, also of class indicators: Gaussian processes in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.experts._columns import relevance
from sklearn_meta.learners.experts._expert import Expert, Table, noise_of
from sklearn_meta.learners.experts._kernels import BIAS
from sklearn_meta.learners.experts._ridge import NOISES, Directions, left_out, ridge

#: What the scores of classes are multiplied with before the softmax.
SHARPNESS = (1.0, 2.0, 3.5, 6.0, 10.0)


@dataclass(frozen=True, eq=False, slots=True)
class RidgeState:
    """Fitted kernel ridge; see `Directions`."""

    weight: Tensor  # (B, 1, c): columns are multiplied by it
    landmarks: Tensor  # (B, m, c)
    turn: Tensor  # (B, m, r)
    coefficients: Tensor  # (B, L, r, k)
    shrink: Tensor  # (B, L, r)
    noise: Tensor | None  # (B, L): variance of the noise, for regression


class KernelRidge(Expert):
    """Ridge regression with a kernel, on numbers or on class indicators.

    Parameters
    ----------
    kernel : callable
        Similarities of rows to rows.
    power : float, default=0.0
        Columns are weighted by this power of their `relevance` to the target, which is then
        estimated without the rows left out: 1 doubts columns that tell little, 2 nearly drops them.
    max_rows : int, optional
        Of more rows the expert says nothing.
    """

    warps = True

    def __init__(
        self,
        kernel: Callable[[Tensor, Tensor], Tensor],
        power: float = 0.0,
        max_rows: int | None = None,
    ):
        self.kernel, self.power, self.max_rows = kernel, power, max_rows
        n_noises = len(NOISES)
        self.n_variants = {
            "regression": n_noises,
            "classification": n_noises * len(SHARPNESS),
        }

    def serves(self, n_rows: int) -> bool:
        return self.max_rows is None or n_rows <= self.max_rows

    def fit(self, table: Table) -> tuple[Tensor, RidgeState]:
        values, targets = table.values, table.targets
        weight = torch.ones_like(values[:, :1])
        if self.power:
            weight = self._weight(table.relevance)
        directions, landmarks = self._directions(table, weight)
        coefficients, shrink = ridge(directions, targets)
        if self.power and table.held is not None:
            folds = self._folds if table.landmarks is None else self._folds_of_relevance
            mean, variance = folds(table)
        else:
            mean, leverage = left_out(directions, targets)
            variance = 1 / (1 - leverage)
        noise = None
        if table.codes is None:
            errors = (targets[:, None] - mean)[..., 0].square() / variance
            noise = noise_of(errors, targets)
        state = RidgeState(weight, landmarks, directions.turn, coefficients, shrink, noise)
        return _forecast(mean, variance, noise), state

    def predict(self, state: RidgeState, values: Tensor, kept: Tensor) -> Tensor:
        rows = values * state.weight
        similar = self.kernel(rows, state.landmarks) + BIAS
        turned = similar @ state.turn
        mean = turned[:, None] @ state.coefficients
        variance = None
        if state.noise is not None:
            own = self._own(rows)
            variance = _relative_variance(turned, own, state.shrink)
        return _forecast(mean, variance, state.noise)[:, kept]

    def _directions(self, table: Table, weight: Tensor) -> tuple[Directions, Tensor]:
        """Directions of rows whose columns are weighted, and the landmarks (B, m, c)."""
        rows = table.values * weight
        landmarks = table.at_landmarks(rows)
        kernel = self.kernel(rows, landmarks) + BIAS
        if table.landmarks is None:
            return Directions.of_all(kernel), landmarks
        among = self.kernel(landmarks, landmarks) + BIAS
        return Directions.of_landmarks(kernel, among), landmarks

    def _weight(self, relevance: Tensor) -> Tensor:
        """Square roots (..., 1, c) of the columns' weights, which are 1 on average."""
        weight = relevance**self.power
        return (weight / weight.mean(-1, keepdim=True)).sqrt()[..., None, :]

    def _own(self, rows: Tensor) -> Tensor:
        """Similarity of each row to itself."""
        one = rows[..., None, :]
        return (self.kernel(one, one) + BIAS)[..., 0, 0]

    def _folds(self, table: Table) -> tuple[Tensor, Tensor]:
        """Mean (B, L, n, k) and relative variance (B, L, n) of rows from the other folds."""
        held = table.held
        used = 1 - held
        weight = self._weight(relevance(table.values, table.targets, used))
        rows = table.values * weight  # (F, B, n, c)
        similar = self.kernel(rows, rows) + BIAS
        directions = Directions.of_all(similar * used[..., :, None] * used[..., None, :])
        coefficients, shrink = ridge(directions, table.targets * used[..., None])
        turned = (similar * used[..., None, :]) @ directions.turn
        mean = turned[..., None, :, :] @ coefficients
        own = similar.diagonal(dim1=-2, dim2=-1)
        variance = _relative_variance(turned, own, shrink)
        mine = held[..., None, :]
        return (mean * mine[..., None]).sum(0), (variance * mine).sum(0)

    def _folds_of_relevance(self, table: Table) -> tuple[Tensor, Tensor]:
        """The same where rows are many: only the relevance is that of the other folds.

        The row itself is then left out in closed form.
        """
        mean = variance = 0.0
        for held in table.held:
            weight = self._weight(relevance(table.values, table.targets, 1 - held))
            own, leverage = left_out(self._directions(table, weight)[0], table.targets)
            mean = mean + own * held[:, None, :, None]
            variance = variance + held[:, None] / (1 - leverage)
        return mean, variance


def _relative_variance(turned: Tensor, own: Tensor, shrink: Tensor) -> Tensor:
    """Variance (..., L, rows) of a new observation, in units of the noise."""
    squares = turned.square()
    noise = torch.tensor(NOISES, dtype=own.dtype, device=own.device)[:, None]
    outside = (own - squares.sum(-1)).clamp_min(0)[..., None, :]
    return 1 + shrink @ squares.mT + outside / noise


def _forecast(mean: Tensor, variance: Tensor | None, noise: Tensor | None) -> Tensor:
    if noise is not None:
        return torch.stack([mean[..., 0], (variance * noise[..., None]).log()], -1)
    sharpness = torch.tensor(SHARPNESS, dtype=mean.dtype, device=mean.device)
    return (sharpness[:, None, None] * mean[:, :, None]).log_softmax(-1).flatten(1, 2)
