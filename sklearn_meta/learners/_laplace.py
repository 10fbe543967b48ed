"""Laplace's approximation for classification with Gaussian priors, over batches of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution
from torch.nn.functional import logsigmoid, one_hot

from sklearn_meta.learners._linalg import cholesky, compress
from sklearn_meta.learners._state import on_axis

MIN_CURVATURE = 1e-4
STEP_LENGTHS = (1.0, 0.5, 0.2, 0.05)
CONVERGED = 1e-3  # change of a latent value
STEPS_WITH_GRADIENT = 2


@dataclass(frozen=True, eq=False, slots=True)
class LaplacePosterior:
    """Gaussian approximation of weights v of latent functions ``f_c(x) = offset_c + row . v_c``.

    The prior is ``v_c ~ N(0, I)``. Axes: H models, C classes, T tasks.

    Attributes
    ----------
    weights : Tensor of shape (H, C, T, m)
        Posterior mean of v.
    rows : Tensor of shape (H, C, T, n, m)
        Support rows times the root of their curvature: the precision is ``I + rows^T rows``.
    chol : Tensor of shape (H, C, T, n, n)
        Lower Cholesky factor of ``I + rows rows^T``.
    evidence : Tensor of shape (H, T)
        Approximate log marginal likelihood of the support.
    """

    weights: Tensor = on_axis(2)
    rows: Tensor = on_axis(2)
    chol: Tensor = on_axis(2)
    evidence: Tensor = on_axis(1)


def laplace(
    rows: Tensor,
    offset: Tensor,
    target: Tensor,
    mask: Tensor,
    ways: Tensor | None,
    n_steps: int,
    link: str = "softmax",
) -> LaplacePosterior:
    """Find the mode by Newton steps that treat classes one by one, and the curvature there.

    The curvature of class c is ``p_c (1 - p_c) C / (C - 1)``: exact for two classes with equal
    priors, and close for more, it keeps the classes apart, so that all systems are n x n.

    Parameters
    ----------
    rows : Tensor of shape (H, C or 1, T, n, m)
        Whitened support rows.
    offset : Tensor of shape (H, C, T, n)
        Prior mean of the latent functions.
    target : Tensor of shape (C, T, n)
        One-hot labels.
    mask : Tensor of shape (T, n)
    ways : Tensor of shape (T,), optional
        Number of classes of each task, the first ones; all where None.
    n_steps : int
        Newton steps with a line search, at most; two full ones with gradient follow.
    link : {"softmax", "sigmoid"}
        One class a row, or a set of labels: then each label is a problem of its own.
    """
    n, m = rows.shape[-2:]
    allowed = _allowed(offset, ways)
    factor = _curvature_factor(offset, ways, link)
    # f - offset = gram u, where u are the weights or, for few rows, their dual: weights = rows^T u.
    dual = n <= m
    gram = rows @ rows.transpose(-1, -2) if dual else rows

    def step(u: Tensor, gram: Tensor, offset: Tensor) -> Tensor:
        f = offset + _apply(gram, u)
        gap, root = _derivatives(f, target, mask, allowed, factor, link)
        pull = root.square() * (f - offset) + gap
        if dual:
            chol = cholesky(gram * root[..., None] * root[..., None, :] + _eye(n, gram))
            return pull - root * _solve(chol, root * _apply(gram, pull))
        transposed = gram.transpose(-1, -2)
        precision = transposed @ (gram * root.square()[..., None]) + _eye(m, gram)
        return _solve(cholesky(precision), _apply(transposed, pull))

    def objective(u: Tensor, f: Tensor) -> Tensor:
        fit = (_log_likelihood(f, target, allowed, link) * mask).sum((-1, -3))
        penalty = (u * (f - offset) if dual else u.square()).sum(-1)
        return fit - 0.5 * (penalty * allowed[..., 0]).sum(-2)

    with torch.no_grad():
        fixed_gram, fixed_offset = gram.detach(), offset.detach()
        u, f = offset.new_zeros(*offset.shape[:-1], n if dual else m), fixed_offset
        n_heads, _, n_tasks, _ = offset.shape
        moving = torch.ones(n_heads, n_tasks, dtype=torch.bool, device=offset.device)
        for _ in range(n_steps if n else 0):
            change = step(u, fixed_gram, fixed_offset) - u
            moved = _apply(fixed_gram, change)
            # A task that has arrived stays: its numbers must not depend on the rest of the batch.
            length = _line_search(objective, u, f, change, moved) * moving
            length = length[..., None, :, None]
            u, f = u + length * change, f + length * moved
            moving = (length * moved).abs().amax((-1, -3)) >= CONVERGED
            if not moving.any():
                break
    # From the mode, steps with gradient have the gradient of the mode itself (implicitly).
    for _ in range(STEPS_WITH_GRADIENT if n and torch.is_grad_enabled() else 0):
        u = step(u, gram, offset)

    v = _apply(rows.transpose(-1, -2), u) if dual else u
    f = offset + _apply(gram, u)
    _, root = _derivatives(f, target, mask, allowed, factor, link)
    scaled, _ = compress(rows.expand(*f.shape, m) * root[..., None], v.new_zeros(*f.shape, 0))
    chol = cholesky(scaled @ scaled.transpose(-1, -2) + _eye(scaled.shape[-2], rows))
    log_likelihood = (_log_likelihood(f, target, allowed, link) * mask).sum((-1, -3))
    half_log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    # Classes are one too many: the latent functions matter only up to a common shift.
    penalty = half_log_det / factor[..., 0] + 0.5 * v.square().sum(-1)
    evidence = log_likelihood - (penalty * allowed[..., 0]).sum(-2)
    return LaplacePosterior(v, scaled, chol, evidence)


def _line_search(
    objective: Callable[[Tensor, Tensor], Tensor],
    v: Tensor,
    f: Tensor,
    change: Tensor,
    moved: Tensor,
) -> Tensor:
    """Step lengths (H, T) that gain most; 0 where none gains."""
    # The candidates are one more leading axis: one pass over small tensors costs what four do.
    lengths = f.new_tensor((0.0, *STEP_LENGTHS))
    scaled = lengths.view(-1, *[1] * f.ndim)
    values = objective(v + scaled * change, f + scaled * moved)
    values[0] += 1e-5  # a step that gains less than this is rounding
    return lengths[values.argmax(0)]


def predictive_log_probabilities(
    posterior: LaplacePosterior,
    rows: Tensor,
    offset: Tensor,
    ways: Tensor | None,
    link: str = "softmax",
    moderation: Tensor | None = None,
) -> Tensor:
    """Log probabilities (H, C, T, q) of new rows, the latent uncertainty averaged over.

    With the sigmoid link they are the log-odds of the labels instead.

    Parameters
    ----------
    rows : Tensor of shape (H, C or 1, T, q, m)
    offset : Tensor of shape (H, C, T, q)
    moderation : Tensor of shape (H,), optional
        How much latent variance softens the probabilities. By default pi / 8, MacKay's
        approximation of the average of a logistic function over a Gaussian.
    """
    mean = offset + _apply(rows, posterior.weights)
    mixed = torch.linalg.solve_triangular(
        posterior.chol, posterior.rows @ rows.transpose(-1, -2), upper=False
    )
    var = (rows.square().sum(-1) - mixed.square().sum(-2)).clamp_min(0)
    if moderation is None:
        var = var * (math.pi / 8) * _curvature_factor(offset, ways, link)
    else:
        var = var * moderation[:, None, None, None]
    latent = mean / (1 + var).sqrt()
    return latent if link == "sigmoid" else _log_softmax(latent, _allowed(offset, ways))


def _derivatives(
    f: Tensor, target: Tensor, mask: Tensor, allowed: Tensor, factor: Tensor, link: str
) -> tuple[Tensor, Tensor]:
    """Gradient of the log likelihood and the root of its curvature, (H, C, T, n)."""
    p = f.sigmoid() if link == "sigmoid" else _log_softmax(f, allowed).exp()
    # The root is taken before the mask: that of 0 has no gradient.
    root = (p * (1 - p) * factor).clamp_min(MIN_CURVATURE).sqrt()
    return (target - p) * mask * allowed, root * mask * allowed


def _allowed(offset: Tensor, ways: Tensor | None) -> Tensor:
    """1 for the classes of each task and 0 for the others: (C, T, 1)."""
    classes = torch.arange(offset.shape[-3], device=offset.device)
    if ways is None:
        return offset.new_ones(len(classes), offset.shape[-2], 1)
    return (classes[:, None] < ways)[..., None].to(offset.dtype)


def _log_likelihood(f: Tensor, target: Tensor, allowed: Tensor, link: str) -> Tensor:
    if link == "sigmoid":
        return logsigmoid(f) * target + logsigmoid(-f) * (1 - target)
    return _log_softmax(f, allowed) * target


def _curvature_factor(offset: Tensor, ways: Tensor | None, link: str) -> Tensor:
    """C / (C - 1) of each task, (T, 1); a single class, or labels one by one, need none."""
    if link == "sigmoid":
        ways = torch.ones(offset.shape[-2], device=offset.device)
    elif ways is None:
        ways = torch.full((offset.shape[-2],), offset.shape[-3], device=offset.device)
    return (ways / (ways - 1).clamp_min(1)).to(offset.dtype)[:, None]


def _log_softmax(f: Tensor, allowed: Tensor) -> Tensor:
    return torch.log_softmax(f.masked_fill(allowed == 0, -1e9), -3)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _solve(chol: Tensor, vector: Tensor) -> Tensor:
    return torch.cholesky_solve(vector[..., None], chol)[..., 0]


def _eye(n: int, like: Tensor) -> Tensor:
    return torch.eye(n, dtype=like.dtype, device=like.device)


def one_hot_targets(y: Tensor, n_classes: int, link: str, like: Tensor) -> Tensor:
    """Targets (C, T, n) of codes (T, n), or of indicators (T, n, C) with the sigmoid link."""
    target = y if link == "sigmoid" else one_hot(y, n_classes)
    return target.movedim(-1, 0).to(like.dtype)


def row_log_likelihood(log_p: Tensor, y: Tensor, link: str) -> Tensor:
    """Log likelihood (H, T, q) of query rows under what `predictive_log_probabilities` gave.

    With the sigmoid link it is the mean over the labels.
    """
    if link == "sigmoid":
        target = y.movedim(-1, 0).to(log_p.dtype)
        return (logsigmoid(log_p) * target + logsigmoid(-log_p) * (1 - target)).mean(-3)
    code = y.expand(*log_p.shape[:-3], 1, *y.shape)
    return log_p.gather(-3, code).squeeze(-3)


def blended(log_p: Tensor, log_weight: Tensor, link: str) -> Distribution:
    """Mixture over the first axis of log probabilities (H, C, T, q), with weights (H, T)."""
    log_weight = log_weight[:, None, :, None]
    if link == "sigmoid":
        yes = torch.logsumexp(logsigmoid(log_p) + log_weight, 0)
        no = torch.logsumexp(logsigmoid(-log_p) + log_weight, 0)
        return Bernoulli(logits=(yes - no).movedim(0, -1), validate_args=False)
    mixture = torch.logsumexp(log_p + log_weight, 0)
    return Categorical(logits=mixture.movedim(0, -1), validate_args=False)


def link_of(kind: str) -> str:
    """Link of a kind of task: one class a row, or a set of labels."""
    return "sigmoid" if kind == "multilabel" else "softmax"
