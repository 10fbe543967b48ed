"""The expert of names on a table of classes: normal classes whose means other tables promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners._class_prior import ClassPrior, ExpectedClasses
from sklearn_meta.learners.experts._expert import left_out_share
from sklearn_meta.preprocessing._column_names import EncodedColumn

#: Parts of its variance that are added to the covariance of each column; each is a variant.
RIDGES = (0.1, 1.0)
#: Rows of a class that its promised mean counts for; each is a variant.
PRIOR_ROWS = (0.1, 1.0, 8.0, 64.0)
#: Powers of the likelihood, as classes are never quite normal; each is a variant.
TEMPERS = (0.1, 0.3, 0.6, 1.0)
#: Rows that the promised scale of a column counts for.
ROWS_OF_SCALE = 10.0
CLIP = 5.0  # standard deviations
MOST_AT_ONCE = 2_000_000  # numbers
FARTHEST = 10.0  # in units of the encoder, which draws in what is far
SMALLEST_SCALE = 1e-9
SMALLEST_COUNT = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class NamedClasses:
    """What names promise of one table of classes.

    Attributes
    ----------
    expected : ExpectedClasses
    log_sd, clip : Tensor of shape (d,)
        Of the known columns, see `EncodedColumn`.
    """

    expected: ExpectedClasses
    log_sd: Tensor
    clip: Tensor

    @classmethod
    def of(
        cls, prior: ClassPrior, columns: Sequence[EncodedColumn], labels: Sequence[str]
    ) -> NamedClasses | None:
        """Ask a prior about a table; None where it does not know all labels or enough columns."""
        expected = prior.expect(columns, labels)
        if expected is None:
            return None
        facts = [(columns[j].log_sd, columns[j].clip) for j in expected.columns]
        return cls(expected, *torch.tensor(facts, dtype=torch.float64).unbind(1))

    @property
    def n_classes(self) -> int:
        """Number of classes, in the order of the labels."""
        return len(self.expected.means)

    def fit(self, x: Tensor, y: Tensor) -> tuple[Tensor, NamedClassesFit]:
        """Fit to rows (n, p) and codes (n,); forecasts (1, V, n, C) of rows from the others."""
        return NamedClassesFit.adapt(x, y, self.log_sd.to(x), self.clip.to(x), self.expected)


@dataclass(frozen=True, eq=False, slots=True)
class NamedClassesFit:
    """Normal classes of one covariance, given a support; V variants.

    The mean of a class is the promised one, plus a shift of the whole table, plus its own
    deviation; both are estimated as in a model of random effects, exactly.

    D. V. Lindley, A. F. M. Smith (1972). Bayes estimates for the linear model.

    Attributes
    ----------
    columns : int64 Tensor of shape (d,)
        Positions of the known columns.
    clip : Tensor of shape (d,)
        Beyond it their encoded values are drawn in, which is undone.
    center, weight : Tensor of shape (d,)
        They are centred and multiplied by a weight, 0 where they are constant.
    whiten : Tensor of shape (R, d, d)
        Turns rows into ones of unit covariance, for each of the ridges.
    means : Tensor of shape (R, K, C, d)
        Of the classes, turned, for each number of prior rows.
    log_share : Tensor of shape (C,)
        Of the classes.
    """

    columns: Tensor
    clip: Tensor
    center: Tensor
    weight: Tensor
    whiten: Tensor
    means: Tensor
    log_share: Tensor

    @classmethod
    def adapt(
        cls, x: Tensor, y: Tensor, log_sd: Tensor, clip: Tensor, expected: ExpectedClasses
    ) -> tuple[Tensor, NamedClassesFit]:
        """Condition on a support; also forecasts (1, V, n, C) of each row from the others.

        Parameters
        ----------
        x : Tensor of shape (n, p), float64
            Encoded rows, at least one.
        y : int64 Tensor of shape (n,)
            Codes of classes, in the order of the labels.
        log_sd, clip : Tensor of shape (d,)
        expected : ExpectedClasses
        """
        columns = torch.as_tensor(expected.columns, device=x.device)
        promised, within = (
            torch.as_tensor(a, dtype=x.dtype, device=x.device)
            for a in (expected.means, expected.within)
        )
        n_classes, z = len(promised), _unclipped(x[:, columns], clip)
        hot = torch.nn.functional.one_hot(y, n_classes).to(x.dtype)
        counts = hot.sum(0)
        center = z.mean(0)
        weight = _weight(z, log_sd, expected, promised, within.diagonal(), counts / len(y))
        whiten = _whitening(within)
        rows = ((z - center) * weight).clamp(-CLIP, CLIP) @ whiten
        promised = (promised * (weight > 0)) @ whiten
        errors = rows - promised[:, y]
        sums = hot.mT @ errors
        means = [promised + _deviation(counts, sums, k) for k in PRIOR_ROWS]
        log_share = ((counts + 1) / (len(y) + n_classes)).log()
        fit = cls(columns, clip, center, weight, whiten, torch.stack(means, 1), log_share)
        squares = [
            _left_out(rows[:, i], errors[:, i], hot[i], promised, counts, sums)
            for i in torch.arange(len(y)).split(max(1, MOST_AT_ONCE // promised.numel()))
        ]
        share = left_out_share(y[None], n_classes)[0].to(x.dtype)
        return _forecast(torch.cat(squares, 2), share.log()), fit

    def forecast(self, x: Tensor) -> Tensor:
        """Log probabilities (1, V, rows, C) of rows (rows, p)."""
        z = _unclipped(x[:, self.columns], self.clip)
        rows = ((z - self.center) * self.weight).clamp(-CLIP, CLIP) @ self.whiten
        squares = torch.cdist(
            rows[:, None].expand(-1, len(PRIOR_ROWS), -1, -1).contiguous(),
            self.means,
            compute_mode="donot_use_mm_for_euclid_dist",
        ).square()
        return _forecast(squares, self.log_share)


def _unclipped(z: Tensor, clip: Tensor) -> Tensor:
    """Encoded values (rows, d) without `soft_clip`: few rows tell badly what is far."""
    far = (z.abs() - clip).clamp(0, FARTHEST)
    return torch.where(far > 0, z.sign() * (clip.nan_to_num(posinf=0) + far.expm1()), z)


def _weight(
    z: Tensor,
    log_sd: Tensor,
    expected: ExpectedClasses,
    means: Tensor,
    within: Tensor,
    share: Tensor,
) -> Tensor:
    """Weights (d,) that bring columns to the units of the promised means."""
    known_log_sd, n_tables = (
        torch.as_tensor(a, dtype=z.dtype, device=z.device)
        for a in (expected.log_sd, expected.n_tables)
    )
    known = torch.where(log_sd.isfinite() & (n_tables > 0), ROWS_OF_SCALE, 0.0)
    promised = within + share @ (means - share @ means).square()
    variance = known * (2 * (known_log_sd - log_sd.nan_to_num())).exp()
    squares = (z - z.mean(0)).square().sum(0)
    variance = (variance + squares / promised) / (len(z) - 1 + known).clamp_min(SMALLEST_COUNT)
    varies = squares > SMALLEST_SCALE * max(len(z), 1)
    return torch.where(varies, variance.clamp_min(SMALLEST_SCALE**2).rsqrt(), 0.0)


def _whitening(within: Tensor) -> Tensor:
    """Matrices (R, d, d) that turn rows into ones of unit covariance."""
    ridges = torch.tensor(RIDGES, dtype=within.dtype, device=within.device)[:, None, None]
    lower = torch.linalg.cholesky(within + ridges * within.diagonal().diag())
    eye = torch.eye(len(within), dtype=within.dtype, device=within.device)
    return torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False).mT


def _left_out(
    rows: Tensor, errors: Tensor, hot: Tensor, promised: Tensor, counts: Tensor, sums: Tensor
) -> Tensor:
    """Squared distances (R, K, rows, C) of rows from the classes as the other rows tell them."""
    others, rest = counts - hot, sums[:, None] - hot[..., None] * errors[:, :, None]
    far = rows[:, :, None] - promised[:, None]
    squares = [(far - _deviation(others, rest, k)).square().sum(-1) for k in PRIOR_ROWS]
    return torch.stack(squares, 1)


def _deviation(counts: Tensor, sums: Tensor, prior_rows: float) -> Tensor:
    """Shift of the table and of each class (..., C, d).

    Parameters
    ----------
    counts : Tensor of shape (..., C)
        Rows of each class.
    sums : Tensor of shape (..., C, d)
        Of their differences from the promised means.
    prior_rows : float
        Inverse variance of the shifts of classes; that of the table is free.
    """
    shrink = (1 / (counts + prior_rows))[..., None]
    weights = prior_rows * counts[..., None] * shrink
    total = weights.sum(-2, keepdim=True).clamp_min(SMALLEST_COUNT)
    shift = (prior_rows * shrink * sums).sum(-2, keepdim=True) / total
    return shift + shrink * (sums - counts[..., None] * shift)


def _forecast(squares: Tensor, log_share: Tensor) -> Tensor:
    """Log probabilities (1, V, rows, C) by squared distances (R, K, rows, C)."""
    tempers = torch.tensor(TEMPERS, dtype=squares.dtype, device=squares.device)
    scores = -0.5 * tempers[:, None, None] * squares[:, :, None] + log_share
    return scores.log_softmax(-1).flatten(0, 2)[None]
