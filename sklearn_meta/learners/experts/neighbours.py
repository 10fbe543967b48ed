"""Soft nearest neighbours: the average of the others, weighted by how near they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.experts._expert import Expert, Table, noise_of

#: Widths of the neighbourhood, in units of the mean distance of two rows.
WIDTHS = (0.03, 0.06, 0.12, 0.25, 0.5)
#: Weight of the average of all rows, in units of a row at no distance.
BACKGROUND = (0.05, 0.5)


@dataclass(frozen=True, eq=False, slots=True)
class NeighbourState:
    """The rows, and what is known of them."""

    rows: Tensor  # (B, m, c)
    targets: Tensor  # (B, m, k): indicators of the classes, or numbers
    mean: Tensor  # (B, 1, k)
    distance: Tensor  # (B,): mean distance of two rows
    noise: Tensor | None  # (B, V)


class Neighbours(Expert):
    """Kernel regression on distances.

    E. A. Nadaraya (1964). On estimating regression. G. S. Watson (1964). Smooth regression
    analysis.
    """

    warps = True

    def __init__(self) -> None:
        n = len(WIDTHS) * len(BACKGROUND)
        self.n_variants = {"regression": n, "classification": n}

    def fit(self, table: Table) -> tuple[Tensor, NeighbourState]:
        n = table.values.shape[1]
        known = table.targets
        if table.codes is not None:
            known = known + 1 / known.shape[-1]
        rows = table.values
        near = table.at_landmarks(rows)
        apart = torch.cdist(rows, near, p=1.0)
        distance = apart.sum((1, 2)) / (apart.shape[1] * max(apart.shape[2] - 1, 1))
        distance = torch.where(distance > 0, distance, 1.0)
        total = known.sum(1, keepdim=True)
        n_classes = known.shape[-1] if table.codes is not None else 0
        left_mean = (total - known + bool(n_classes)) / max(n - 1 + n_classes, 1)
        mean = (total + bool(n_classes)) / (n + n_classes)
        if table.landmarks is None:
            itself = torch.eye(n, dtype=apart.dtype, device=apart.device).expand_as(apart)
        else:
            itself = torch.zeros_like(apart).scatter(1, table.landmarks[:, None], 1.0)
        targets = table.at_landmarks(known)
        estimate = _average(apart, distance, targets, left_mean, 1 - itself)
        noise = None
        if table.codes is None:
            errors = (known[:, None] - estimate)[..., 0].square()
            noise = noise_of(errors, known)
        state = NeighbourState(near, targets, mean, distance, noise)
        return _forecast(estimate, noise), state

    def predict(self, state: NeighbourState, values: Tensor, kept: Tensor) -> Tensor:
        apart = torch.cdist(values, state.rows, p=1.0)
        everyone = torch.ones_like(apart)
        estimate = _average(apart, state.distance, state.targets, state.mean, everyone)
        return _forecast(estimate, state.noise)[:, kept]


def _average(
    apart: Tensor, distance: Tensor, targets: Tensor, mean: Tensor, used: Tensor
) -> Tensor:
    """Estimates (B, V, n, k) from distances (B, n, m)."""
    relative = apart / distance[:, None, None]
    out = []
    for width in WIDTHS:
        similar = torch.exp(relative / -width) * used
        product, weight = similar @ targets, similar.sum(-1, keepdim=True)
        for background in BACKGROUND:
            out.append((product + background * mean) / (weight + background))
    return torch.stack(out, 1)


def _forecast(estimate: Tensor, noise: Tensor | None) -> Tensor:
    if noise is None:
        return estimate.clamp_min(1e-9).log()
    log_variance = noise.log()[..., None].expand_as(estimate[..., 0])
    return torch.stack([estimate[..., 0], log_variance], -1)
