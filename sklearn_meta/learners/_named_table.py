"""The expert of names on one table, in the units in which the other experts see the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners._column_prior import ColumnPrior, Expected
from sklearn_meta.learners._named_gp import NamedGP
from sklearn_meta.preprocessing._column_names import EncodedColumn


@dataclass(frozen=True, eq=False, slots=True)
class NamedTable:
    """What names promise of one table.

    Attributes
    ----------
    expected : Expected
    log_sd : Tensor of shape (d,)
        See `EncodedColumn`.
    center, scale : float
        A target is ``center + scale * y`` in units that it shares with other tables.
    """

    expected: Expected
    log_sd: Tensor
    center: float
    scale: float

    @classmethod
    def of(
        cls, prior: ColumnPrior, columns: Sequence[EncodedColumn], center: float, scale: float
    ) -> NamedTable:
        """Ask a prior about the columns of a table."""
        log_sd = torch.tensor([column.log_sd for column in columns], dtype=torch.float64)
        return cls(prior.expect(columns), log_sd, center, scale)

    def fit(self, x: Tensor, y: Tensor) -> tuple[Tensor, NamedFit]:
        """Fit to rows (n, d) and targets (n,); forecasts (1, V, n, 2) of rows from the others."""
        y = self.center + self.scale * y
        fit = NamedFit(
            NamedGP.adapt(x, y, self.log_sd.to(x), self.expected), self.center, self.scale
        )
        return fit.in_units(fit.gp.left_out), fit


@dataclass(frozen=True, eq=False, slots=True)
class NamedFit:
    """A fitted `NamedGP`; see `NamedTable`."""

    gp: NamedGP
    center: float
    scale: float

    def forecast(self, x: Tensor) -> Tensor:
        """Forecasts (1, V, rows, 2) of rows (rows, d)."""
        return self.in_units(self.gp.predict(x))

    def in_units(self, forecast: Tensor) -> Tensor:
        """Mean and log variance (1, V, rows, 2) in units of the other experts."""
        mean, log_variance = forecast.unbind(-1)
        mean = (mean - self.center) / self.scale
        return torch.stack([mean, log_variance - 2 * math.log(self.scale)], -1)[None]
