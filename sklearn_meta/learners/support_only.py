"""A model of the support alone: what to beat, and what to fall back on."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal
from torch.nn.functional import pad

from sklearn_meta.learners._base import Learner, Signature
from sklearn_meta.learners._laplace import (
    LaplacePosterior,
    blended,
    laplace,
    link_of,
    one_hot_targets,
    predictive_log_probabilities,
)
from sklearn_meta.learners._linalg import cholesky, compress
from sklearn_meta.learners._state import on_axis
from sklearn_meta.tasks._episodes import Rows

LENGTH_SCALES = (0.5, 1.5)  # of the radial kernels, in units of sqrt(n_inputs)
STRENGTHS = {  # variance of the function; for regression in units of the noise
    "regression": (0.03, 0.3, 3.0, 30.0, 300.0),
    "classification": (0.3, 3.0, 30.0),
    "multilabel": (0.3, 3.0, 30.0),
}
INTERCEPT = 3.0  # how much more a constant varies than the function around it
NOISE_SHAPE, NOISE_SCALE = 1.5, 0.2  # inverse gamma prior of the noise variance
MAX_LANDMARKS = {"regression": 300, "classification": 100, "multilabel": 100}
NEWTON_STEPS = 8


class SupportOnlyModule(nn.Module):
    """No weights: only what goes in and comes out."""

    def __init__(self, signature: Signature):
        super().__init__()
        self.kind, self.n_classes = signature.kind, signature.n_outputs
        self.link = link_of(signature.kind)


@dataclass(frozen=True, eq=False, slots=True)
class Alone:
    """Models of one support, one a kernel and strength ("component").

    Attributes
    ----------
    support : Rows
        All rows so far.
    landmarks, landmark_mask : Tensor of shape (T, m, d) and (T, m)
        Rows on which the radial kernels are anchored: all, or evenly spread ones.
    whiten : Tensor of shape (n_anchored, T, m, m)
        Lower Cholesky factors of the radial kernels at the landmarks; where rows are wider than
        there are landmarks, of the linear kernel before them.
    weights : Tensor of shape (n_components, T, m', k)
        Posterior mean of the weights (regression).
    rows, chol : Tensor of shape (n_components, T, n', m') and (n_components, T, n', n')
        The posterior precision of the weights is ``I + rows^T rows`` (regression).
    noise : Tensor of shape (n_components, T, k)
        Mean of the noise variance (regression).
    posterior : LaplacePosterior or None
        The same for classification.
    evidence : Tensor of shape (n_components, T)
    """

    support: Rows
    landmarks: Tensor
    landmark_mask: Tensor
    whiten: Tensor = on_axis(1)
    evidence: Tensor = on_axis(1)
    weights: Tensor | None = dataclasses.field(default=None, metadata={"task_axis": 1})
    rows: Tensor | None = dataclasses.field(default=None, metadata={"task_axis": 1})
    chol: Tensor | None = dataclasses.field(default=None, metadata={"task_axis": 1})
    noise: Tensor | None = dataclasses.field(default=None, metadata={"task_axis": 1})
    posterior: LaplacePosterior | None = None


class SupportOnly(Learner):
    """Gaussian processes on the support alone, averaged by their evidence.

    Linear and radial kernels of several strengths are each solved in closed form (regression, with
    a conjugate prior of the noise) or by Laplace's approximation (classification), and averaged by
    their marginal likelihoods. Nothing is meta-learned. It serves where there is no prior, and as
    the safeguard against a prior that misleads. Radial kernels of large supports are anchored on
    a few hundred of their rows; so is the linear kernel where rows are wide, as images are.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams (2006). Gaussian processes for machine learning.
    """

    takes_networks = False

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> nn.Module:
        return SupportOnlyModule(signature)

    def adapt(self, module: nn.Module, support: Rows) -> Alone:
        landmarks, landmark_mask = _landmarks(support, MAX_LANDMARKS[module.kind])
        wide = support.x.shape[-1] > MAX_LANDMARKS[module.kind]
        whiten = _whiteners(landmarks, landmark_mask, wide)
        bases = _bases(support.x, landmarks, landmark_mask, whiten) * support.mask[..., None]
        anchors = {
            "support": support,
            "landmarks": landmarks,
            "landmark_mask": landmark_mask,
            "whiten": whiten,
        }
        if module.kind != "regression":
            rows = _components(bases, module.kind)
            n_classes = module.n_classes if support.ways is None else int(support.ways.max())
            target = one_hot_targets(support.y, n_classes, module.link, rows)
            offset = rows.new_zeros(len(rows), *target.shape)
            posterior = laplace(
                rows[:, None], offset, target, support.mask, support.ways, NEWTON_STEPS, module.link
            )
            return Alone(**anchors, posterior=posterior, evidence=posterior.evidence)
        bases, y = compress(
            bases, (support.y * support.mask[..., None]).expand(len(bases), -1, -1, -1)
        )
        rows = _components(bases, module.kind)
        y = y.repeat(len(rows) // len(bases), 1, 1, 1)
        chol = cholesky(
            rows @ rows.transpose(-1, -2) + torch.eye(rows.shape[2], dtype=y.dtype, device=y.device)
        )
        solved = torch.linalg.solve_triangular(chol, y, upper=False)
        weights = rows.transpose(-1, -2) @ torch.linalg.solve_triangular(
            chol.transpose(-1, -2), solved, upper=True
        )
        half_n = support.mask.sum(-1)[:, None].to(y.dtype) / 2
        shape, scale = NOISE_SHAPE + half_n, NOISE_SCALE + solved.square().sum(-2) / 2
        half_log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)[..., None]
        evidence = (
            torch.lgamma(shape)
            - math.lgamma(NOISE_SHAPE)
            + NOISE_SHAPE * math.log(NOISE_SCALE)
            - shape * scale.log()
            - half_n * math.log(2 * math.pi)
            - half_log_det
        ).sum(-1)
        noise = scale / (shape - 1)
        return Alone(
            **anchors, evidence=evidence, weights=weights, rows=rows, chol=chol, noise=noise
        )

    def update(self, module: nn.Module, state: Alone, support: Rows) -> Alone:
        return self.adapt(module, state.support.extend(support))

    def predict(self, module: nn.Module, state: Alone, x: Tensor) -> Distribution:
        bases = _bases(x, state.landmarks, state.landmark_mask, state.whiten, new=True)
        log_weight = torch.log_softmax(state.evidence, 0)
        rows = _components(bases, module.kind)
        if module.kind != "regression":
            n_classes = state.posterior.weights.shape[1]
            offset = rows.new_zeros(len(rows), n_classes, *x.shape[:2])
            log_p = predictive_log_probabilities(
                state.posterior, rows[:, None], offset, state.support.ways, module.link
            )
            return blended(log_p, log_weight, module.link)
        mean = rows @ state.weights
        mixed = torch.linalg.solve_triangular(
            state.chol, state.rows @ rows.transpose(-1, -2), upper=False
        )
        spread = (rows.square().sum(-1) - mixed.square().sum(-2)).clamp_min(0) + 1
        # What the anchors do not span of a radial kernel varies as the prior says.
        rest = (1 - bases[1:, ..., 1:].square().sum(-1)).clamp_min(0)
        rest = torch.cat([torch.zeros_like(rest[:1]), rest])
        strengths = rest.new_tensor(STRENGTHS[module.kind])
        spread = spread + (strengths[:, None, None, None] * rest).flatten(0, 1)
        std = (spread[..., None] * state.noise[:, :, None]).sqrt()
        components = Normal(mean.movedim(0, -1), std.movedim(0, -1), validate_args=False)
        logits = log_weight.T[:, None, None, :].expand(components.loc.shape)
        return MixtureSameFamily(
            Categorical(logits=logits, validate_args=False), components, validate_args=False
        )

    def embed(self, module: nn.Module, state: Alone, x: Tensor) -> Tensor:
        """Kernel features of all kernels, weighed by their evidence: (T, n, width)."""
        bases = _bases(x, state.landmarks, state.landmark_mask, state.whiten)
        share = torch.softmax(state.evidence, 0).view(-1, len(bases), len(x)).sum(0)
        return (bases * share[..., None, None].sqrt()).movedim(0, -2).flatten(-2)

    def evidence(self, module: nn.Module, state: Alone) -> Tensor:
        return torch.logsumexp(state.evidence, 0) - math.log(len(state.evidence))


def _landmarks(support: Rows, most: int) -> tuple[Tensor, Tensor]:
    """Rows (T, m, d) to anchor kernels on, and which of them are rows of the task (T, m)."""
    n = support.x.shape[1]
    if n <= most:
        return support.x, support.mask
    count = support.mask.sum(1)
    position = torch.arange(most, device=count.device)
    # Few rows: all of them. Many: spread evenly, so that sorted rows are covered too.
    index = (position * count[:, None].clamp_min(most) // most).clamp_max(n - 1)
    landmarks = support.x.take_along_dim(index[..., None], 1)
    return landmarks, position < count[:, None]


def _kernels(a: Tensor, b: Tensor, wide: bool) -> Tensor:
    """Kernels (n_anchored, T, n, m) between rows: linear where rows are wide, then radial."""
    if wide:
        linear = [a @ b.transpose(-1, -2) / a.shape[-1]]
        squares = [rows.square().mean(-1) for rows in (a, b)]
        distance = (squares[0][..., None] + squares[1][..., None, :] - 2 * linear[0]).clamp_min(0)
    else:
        linear, distance = [], torch.cdist(a, b).square() / a.shape[-1]
    radial = [torch.exp(-0.5 * distance / scale**2) for scale in LENGTH_SCALES]
    return torch.stack(linear + radial)


def _whiteners(landmarks: Tensor, mask: Tensor, wide: bool) -> Tensor:
    both = mask[:, :, None] & mask[:, None, :]
    identity = torch.eye(landmarks.shape[1], dtype=landmarks.dtype, device=landmarks.device)
    jitter = 1e-8 if landmarks.dtype == torch.float64 else 1e-4
    return cholesky(_kernels(landmarks, landmarks, wide) * both + identity * (~both + jitter))


def _bases(x: Tensor, landmarks: Tensor, mask: Tensor, whiten: Tensor, new: bool = False) -> Tensor:
    """Orthonormal features (1 + n_radial, T, n, m') of the linear and the radial kernels.

    Of ``new`` rows, what the anchors of a linear kernel do not span is a feature of its own.
    """
    wide = len(whiten) > len(LENGTH_SCALES)
    anchored = torch.linalg.solve_triangular(
        whiten, (_kernels(x, landmarks, wide) * mask[:, None, :]).transpose(-1, -2), upper=False
    ).transpose(-1, -2)
    linear, radial = (x / math.sqrt(x.shape[-1]))[None], anchored
    if wide:
        rest = (linear.square().sum(-1) - anchored[:1].square().sum(-1)).clamp_min(0).sqrt()
        linear, radial = torch.cat([anchored[:1], rest[..., None] * new], -1), anchored[1:]
    width = max(radial.shape[-1], linear.shape[-1])
    bases = [pad(part, (0, width - part.shape[-1])) for part in (linear, radial)]
    bases = torch.cat(bases)
    constant = torch.full_like(bases[..., :1], math.sqrt(INTERCEPT))
    return torch.cat([constant, bases], -1)


def _components(bases: Tensor, kind: str) -> Tensor:
    """Rows of every kernel at every strength, strengths first."""
    strengths = torch.tensor(STRENGTHS[kind], dtype=bases.dtype, device=bases.device)
    scaled = bases * strengths.sqrt()[:, None, None, None, None]
    return scaled.flatten(0, 1)
