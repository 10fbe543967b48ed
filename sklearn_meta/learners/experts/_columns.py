"""The columns of a support as experts see them: standardised values, and ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CLIP = 4.0  # standard deviations
SMALLEST_SCALE = 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class Columns:
    """How the columns of supports are scaled and ranked; the batch of tasks comes first.

    Scales and ranks are those of the support, its left-out row included. A kernel without a bias
    would foresee a left-out row perfectly, since centred columns sum to zero: every expert has one.

    Attributes
    ----------
    center, scale : Tensor of shape (B, 1, p)
        The scale is 0 for a constant column, which becomes zeros.
    ordered : Tensor of shape (B, p, n)
        Values of the support in ascending order.
    """

    center: Tensor
    scale: Tensor
    ordered: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Columns:
        """Look at supports (B, n, p)."""
        center = x.mean(-2, keepdim=True)
        scale = x.std(-2, keepdim=True, unbiased=False)
        scale = torch.where(scale > SMALLEST_SCALE, 1 / scale, 0.0)
        return cls(center, scale, x.mT.sort(-1).values.contiguous())

    def values(self, x: Tensor) -> Tensor:
        """Standardised values and ranks (B, rows, 2 p) of rows (B, rows, p)."""
        z = ((x - self.center) * self.scale).clamp(-CLIP, CLIP)
        columns = x.mT.contiguous()
        below = torch.searchsorted(self.ordered, columns)
        up_to = torch.searchsorted(self.ordered, columns, right=True)
        ranks = (below + up_to).to(x.dtype) / (2 * self.ordered.shape[-1]) - 0.5
        return torch.cat([z, ranks.mT * math.sqrt(12)], -1)


def relevance(values: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """How much each column alone tells about the target, on average 1.

    Parameters
    ----------
    values : Tensor of shape (B, n, c)
    targets : Tensor of shape (B, n, m)
        Scores of the classes, or one number a row.
    weight : Tensor of shape (..., B, n)
        1 for rows that may be used, 0 for rows left out.

    Returns
    -------
    Tensor of shape (..., B, c)
        Squared correlation with the target that it is highest with, shrunken: what chance alone
        gives is taken off, then given to all columns alike.
    """
    w = weight[..., None]
    count = w.sum(-2, keepdim=True).clamp_min(1)

    def standardised(a: Tensor) -> Tensor:
        a = (a - (w * a).sum(-2, keepdim=True) / count) * w
        return a / a.square().sum(-2, keepdim=True).sqrt().clamp_min(SMALLEST_SCALE)

    squared = (standardised(values).mT @ standardised(targets)).square().amax(-1)
    chance = 1 / count[..., 0]
    squared = (squared - chance).clamp_min(0) + chance
    return squared / squared.mean(-1, keepdim=True)
