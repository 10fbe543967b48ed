"""What every expert is, and what it is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sklearn_meta.learners.experts._columns import Columns, relevance

#: Up to so many rows experts whose columns are weighted by the target leave out one at a time.
MAX_SINGLE_FOLDS = 16
N_FOLDS = 8
#: Of more rows than this there are fewer folds, for time.
MANY_ROWS = 64
N_FOLDS_OF_MANY = 5
#: With more rows than landmarks, and so many for each column, nothing is left out: it is dear, and
#: the relevance of a column hardly depends on a single row.
ROWS_A_COLUMN = 4
#: Up to so many rows all are compared with all; of more, with so many landmarks among them.
MAX_LANDMARKS = 128
N_LANDMARKS = 192
#: Rows that the noise is estimated with beforehand, at the variance of the target.
PRIOR_ROWS = 0.5
SMALLEST_SQUARE = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """Supports of one shape, with a single target: what experts are fitted to.

    Attributes
    ----------
    columns : Columns
    values : Tensor of shape (B, n, c)
        Standardised values and ranks.
    targets : Tensor of shape (B, n, m)
        One number a row; or for classes the indicators of each, centred.
    codes : int64 Tensor of shape (B, n), or None
        Codes of the classes.
    order : int64 Tensor of shape (B, n)
        The rows in an order that depends neither on that in which they came, nor on that of columns
        and labels.
    held : Tensor of shape (F, B, n), or None
        1 where a fold leaves out a row, which is once a row; None where rows are so many, and
        columns so few, that a row has little say in their relevance.
    landmarks : int64 Tensor of shape (B, m), or None
        Positions of some rows, where there are too many to compare all with all.
    relevance : Tensor of shape (B, c)
        See `relevance`; of all rows.
    """

    columns: Columns
    values: Tensor
    targets: Tensor
    codes: Tensor | None
    order: Tensor
    held: Tensor | None
    landmarks: Tensor | None
    relevance: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, n_classes: int | None = None) -> Table:
        """Prepare supports.

        Parameters
        ----------
        x : Tensor of shape (B, n, p)
        y : Tensor of shape (B, n)
            Numbers, or codes of classes.
        n_classes : int, optional
            Number of classes; None for regression.
        """
        columns = Columns.of(x)
        values = columns.values(x)
        if n_classes is None:
            codes, targets, plain = None, y[..., None], y
        else:
            hot = one_hot(y, n_classes)
            codes, targets = y, hot.to(x.dtype) - 1 / n_classes
            plain = hot.sum(1).gather(1, y)
        weight = relevance(values, targets, torch.ones_like(values[..., 0]))
        order = _order(values, targets, plain)
        if n_classes is None:
            rank = order.gather(1, y.gather(1, order).argsort(dim=1, stable=True)).argsort(1)
        else:
            within = one_hot(y.gather(1, order), n_classes).cumsum(1)
            rank = within.gather(2, y.gather(1, order)[..., None])[..., 0] - 1
            rank = rank.gather(1, order.argsort(1))
        n, landmarks = x.shape[1], None
        n_folds = N_FOLDS if n <= MANY_ROWS else N_FOLDS_OF_MANY
        if n <= MAX_SINGLE_FOLDS:
            rank, n_folds = order.argsort(1), n
        elif n > MAX_LANDMARKS:
            m = min(n, N_LANDMARKS)
            position = torch.arange(m, device=x.device) * n // m
            landmarks = order[:, position]
        fold = torch.arange(n_folds, device=x.device)[:, None, None]
        held = (rank % n_folds == fold).to(x.dtype)
        if n > max(MAX_LANDMARKS, ROWS_A_COLUMN * x.shape[2]):
            held = None
        return cls(columns, values, targets, codes, order, held, landmarks, weight)

    def at_landmarks(self, values: Tensor) -> Tensor:
        """Rows (B, m, c) of the landmarks."""
        if self.landmarks is None:
            return values
        return values.take_along_dim(self.landmarks[..., None], 1)


def _order(values: Tensor, targets: Tensor, plain: Tensor) -> Tensor:
    """Positions (B, n) of rows, from the middle of the table outwards.

    Rows as far out as each other, such as all of those of balanced binary columns, are told apart
    by what the columns have to do with the targets, and rows that are equal by numbers (B, n).
    """
    share = (values.mT @ targets).abs().amax(-1) / values.shape[1]
    size = (values * (values + share[:, None])).sum(-1)
    order = plain.argsort(1)
    return order.gather(1, size.gather(1, order).argsort(dim=1, stable=True))


def noise_of(errors: Tensor, targets: Tensor) -> Tensor:
    """Variance of the noise, estimated from errors of rows left out and from prior rows.

    Targets that are all the same say nothing of their scale: it is then 1, as scaled targets have.

    Parameters
    ----------
    errors : Tensor of shape (B, ..., n)
        Squared.
    targets : Tensor of shape (B, n, 1)

    Returns
    -------
    Tensor of shape (B, ...)
    """
    square = targets.square().mean((1, 2))
    square = torch.where(square > SMALLEST_SQUARE, square, 1.0)
    start = (PRIOR_ROWS * square).view(-1, *(1,) * (errors.ndim - 2))
    return (errors.sum(-1) + start) / (errors.shape[-1] + PRIOR_ROWS)


def left_out_share(codes: Tensor, n_classes: int) -> Tensor:
    """Share (B, n, C) of each class among the other rows, one more of each added."""
    hot = one_hot(codes, n_classes)
    others = hot.sum(1, keepdim=True) - hot
    return (others + 1) / (codes.shape[1] - 1 + n_classes)


def log_score(forecast: Tensor, y: Tensor) -> Tensor:
    """Log density, or log probability, of what happened.

    Parameters
    ----------
    forecast : Tensor of shape (B, V, n, C) or (B, V, n, 2)
        Log probabilities of classes; or mean and log variance of a number.
    y : Tensor of shape (B, n)

    Returns
    -------
    Tensor of shape (B, V, n)
    """
    if not y.is_floating_point():
        index = y[:, None, :, None].expand(-1, forecast.shape[1], -1, 1)
        return forecast.gather(-1, index)[..., 0]
    mean, log_variance = forecast.unbind(-1)
    error = (y[:, None] - mean).square() / log_variance.exp()
    return -0.5 * (error + log_variance + math.log(2 * math.pi))


class Expert:
    """A closed-form model of one table, in several variants.

    Attributes
    ----------
    n_variants : dict of str to int
        Number of its variants by kind of target, "regression" and "classification"; 0 where the
        expert has nothing to say.
    warps : bool
        Whether it is fitted to the logarithm of a number too, see `Warp`.
    """

    n_variants: dict[str, int]
    warps: bool = False

    def serves(self, n_rows: int) -> bool:
        """Whether the expert has something to say on so many rows."""
        return True

    def fit(self, table: Table) -> tuple[Tensor, Any]:
        """Fit to supports; forecast each row from the others, (B, V, n, ...), and a state."""
        raise NotImplementedError

    def predict(self, state: Any, values: Tensor, kept: Tensor) -> Tensor:
        """Forecast (B, V', rows, ...) of rows (B, rows, c) by the variants in `kept`."""
        raise NotImplementedError
