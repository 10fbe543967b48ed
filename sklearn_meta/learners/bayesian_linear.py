"""Bayesian linear regression on learned features, with a meta-learned prior, in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, StudentT

from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._ensemble import HeadLearner
from sklearn_meta.learners._heads import Heads, times
from sklearn_meta.learners._linalg import cholesky, compress
from sklearn_meta.learners._starts import ridge_start
from sklearn_meta.learners._state import on_axis
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows

MIN_LOG_NOISE = -6.0  # of the standard deviation, in units of the scaled target
MIN_DOF = 2.1  # fewer degrees of freedom have no variance
ROWS_AT_ONCE = 4096


class BayesianLinearModule(Heads):
    """Heads with noise whose level depends on the row, and a scale of its own for every task.

    The scale multiplies all deviations from the prior mean, those of the weights and the noise;
    its square is inverse gamma with mean about 1. What a task's rows say of it is conjugate too:
    predictions are Student's t, and a task with wild rows does not discredit the prior.

    Parameters
    ----------
    n_targets : int
    **heads
        As in `Heads`.
    """

    feature_axis = {**Heads.feature_axis, "noise_slope": 1}

    def __init__(self, n_targets: int, **heads):
        super().__init__(**heads)
        n_heads, n_features = self.mask.shape
        with torch.no_grad():
            self.factor /= math.sqrt(self.n_inputs)
        self.log_noise = nn.Parameter(torch.full((n_heads,), -1.0))
        self.log_dof = nn.Parameter(torch.full((n_heads,), math.log(8.0)))
        self.noise_slope = nn.Parameter(torch.zeros(n_heads, n_features))
        # Targets share one covariance up to their scales.
        self.log_output_scale = nn.Parameter(
            torch.zeros(n_heads, n_targets), requires_grad=n_targets > 1
        )

    def _start_scale(self) -> Tensor:
        """Functions that vary by about 0.2 beforehand, however many the columns."""
        scale = torch.full(self.mask.shape, -1.5)
        scale[:, 0] = -1.0
        scale[:, 1 : 1 + self.n_inputs] -= 0.5 * math.log(self.n_inputs)
        scale[:, scale.shape[1] - self.n_learned :] = -2.0
        return scale

    @property
    def dof(self) -> Tensor:
        """Degrees of freedom (n_heads,) of the tasks' scales."""
        return MIN_DOF + self.log_dof.exp()

    def log_noise_of(self, features: Tensor) -> Tensor:
        """Log standard deviation (n_heads, T, n) of the noise at rows with these features."""
        slope = (features @ self.noise_slope[:, None, :, None])[..., 0]
        # Bounded: far from the data the noise is no wilder than a factor of e^2.
        level = self.log_noise[:, None, None] + 2 * torch.tanh(slope / 2)
        return level.clamp_min(MIN_LOG_NOISE)


@dataclass(frozen=True, eq=False, slots=True)
class Posterior:
    """What adaptation learned: whitened support rows, solved.

    With features f, prior ``w ~ N(m, R R^T)`` and noise s, a row is ``f R / s`` and its residual
    ``(y - f m) / s``: the model of whitened rows is ``residual = row v + unit noise, v ~ N(0, I)``.
    Rows beyond the number of columns are compressed without loss, so that a state never grows.

    Attributes
    ----------
    rows : Tensor of shape (n_heads, T, n, F + R)
    residual : Tensor of shape (n_heads, T, n, k)
    log_noise : Tensor of shape (n_heads, T)
        Sum over the support.
    count : Tensor of shape (T,)
        Number of support rows.
    chol : Tensor of shape (n_heads, T, n, n)
        Lower Cholesky factor of ``rows rows^T + I``.
    solved : Tensor of shape (n_heads, T, n, k)
        ``chol^-1 residual``.
    dof : Tensor of shape (n_heads, T)
        Degrees of freedom of the task's scale.
    scale : Tensor of shape (n_heads, T, k)
        Square of the task's scale, for Student's t with these degrees of freedom.
    evidence : Tensor of shape (n_heads, T)
        Log marginal likelihood of the support.
    """

    rows: Tensor = on_axis(1)
    residual: Tensor = on_axis(1)
    log_noise: Tensor = on_axis(1)
    count: Tensor
    chol: Tensor = on_axis(1)
    solved: Tensor = on_axis(1)
    dof: Tensor = on_axis(1)
    scale: Tensor = on_axis(1)
    evidence: Tensor = on_axis(1)


class BayesianLinear(HeadLearner):
    """Bayesian linear regression with a meta-learned prior on learned features.

    Each head is a Bayesian linear model on features ``[1, x, trees, network(x)]``: the prior mean
    and covariance of its weights, its noise and its network are meta-learned by the predictive
    likelihood of query rows over random numbers of shots, zero included. A linear mixed model with
    random intercepts and slopes is the special case without network and trees; beyond it, noise
    depends on the row and every task has a scale of its own, so that predictions are Student's t.
    Adaptation is exact and in closed form. Heads with different features are blended for each task.

    Parameters
    ----------
    heads : tuple of str, default=("linear", "deep", "tree_linear", "tree_deep", "tree")
        Features of the heads.
    n_members : int, default=2
        Number of times that each head is trained, on different tasks.

    References
    ----------
    J. Harrison, A. Sharma, M. Pavone (2018). Meta-learning priors for efficient online Bayesian
    regression (ALPaCA).

    A. Shah, A. Wilson, Z. Ghahramani (2014). Student-t processes as alternatives to Gaussian
    processes.

    N. M. Laird, J. H. Ware (1982). Random-effects models for longitudinal data.
    """

    kinds = ("regression",)

    def make_module(self, signature: Signature, **heads) -> BayesianLinearModule:
        return BayesianLinearModule(n_targets=signature.n_outputs, **heads)

    def start(
        self, store: TaskStore, signature: Signature, kinds: Sequence[str], n_trees: int
    ) -> np.ndarray:
        """Prior means at which meta-training starts: pooled ridge for heads without network."""
        return ridge_start(store, kinds, n_trees)

    def adapt(self, module: nn.Module, support: Rows) -> Posterior:
        first, *others = _split(support)
        state = _solve(module, *_whiten(module, first))
        for part in others:
            state = self.update(module, state, part)
        return state

    def update(self, module: nn.Module, state: Posterior, support: Rows) -> Posterior:
        for part in _split(support):
            rows, residual, log_noise, count = _whiten(module, part)
            state = _solve(
                module,
                torch.cat([state.rows, rows], 2),
                torch.cat([state.residual, residual], 2),
                state.log_noise + log_noise,
                state.count + count,
            )
        return state

    def predict(self, module: nn.Module, state: Posterior, x: Tensor) -> Distribution:
        mean, scale = self.predict_heads(module, state, x)
        dof = state.dof[:, :, None, None].expand(mean.shape)
        heads = StudentT(*(t.movedim(0, -1) for t in (dof, mean, scale)), validate_args=False)
        logits = module.blend(state.evidence).T[:, None, None, :].expand(heads.loc.shape)
        return MixtureSameFamily(
            Categorical(logits=logits, validate_args=False), heads, validate_args=False
        )

    def predict_heads(
        self, module: nn.Module, state: Posterior, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Location and scale of Student's t, each (n_heads, T, n, k), of every head by itself."""
        features = module.features(x)
        rows = module.whiten(features)
        mixed = torch.linalg.solve_triangular(
            state.chol, state.rows @ rows.transpose(-1, -2), upper=False
        )
        scale = module.log_output_scale.exp()[:, None, None]
        mean = times(features, module.mean) + scale * (mixed.transpose(-1, -2) @ state.solved)
        noise = (2 * module.log_noise_of(features)).exp()
        # Rounding may leave a tiny negative variance of the function; the noise stays.
        var = (rows.square().sum(-1) - mixed.square().sum(-2)).clamp_min(0) + noise
        return mean, scale * (var[..., None] * state.scale[:, :, None]).sqrt()

    def log_prob_heads(self, module: nn.Module, state: Posterior, query: Rows) -> Tensor:
        mean, scale = self.predict_heads(module, state, query.x)
        dof = state.dof[:, :, None, None]
        return StudentT(dof, mean, scale, validate_args=False).log_prob(query.y).mean(-1)

    def embed(self, module: nn.Module, state: Posterior, x: Tensor) -> Tensor:
        """Contributions of the features to the mean prediction: those of a target add up to it.

        Returns
        -------
        Tensor of shape (T, n, k * F)
        """
        weight = module.blend(state.evidence).exp()[..., None, None]
        contribution = (
            module.features(x)[..., None] * (weight * _mean_weights(module, state))[:, :, None]
        )
        return contribution.sum(0).transpose(-1, -2).flatten(-2)

    def sample(
        self,
        module: nn.Module,
        state: Posterior,
        x: Tensor,
        n_samples: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Draw whole functions with noise: (n_samples, T, n, k), jointly over the rows."""
        features = module.features(x)
        rows = module.whiten(features)
        mean, _ = self.predict_heads(module, state, x)
        n_heads, n_tasks, n, k = mean.shape
        draw = {"generator": generator, "device": x.device}
        weight = module.blend(state.evidence).exp().T
        head = torch.multinomial(weight, n_samples, True, generator=generator)
        # numpy has gamma variates from a local generator, torch has not.
        rng = np.random.default_rng(torch.randint(2**62, (1,), **draw).item())
        noise = module.log_noise_of(features).exp()[..., None]
        scale = module.log_output_scale.exp()[:, None, None]
        samples = x.new_empty(n_samples, n_tasks, n, k)
        for i in range(n_samples):
            # Matheron's rule: a draw from the prior, less what the support says it should be.
            v = torch.randn(n_heads, n_tasks, rows.shape[-1], k, dtype=x.dtype, **draw)
            e = torch.randn(state.residual.shape, dtype=x.dtype, **draw)
            gap = state.rows @ v + e
            v = v - state.rows.transpose(-1, -2) @ torch.cholesky_solve(gap, state.chol)
            white = torch.randn(n_heads, n_tasks, n, k, dtype=x.dtype, **draw)
            dof = state.dof[..., None, None].expand(-1, -1, 1, k)
            gamma = torch.from_numpy(rng.gamma(dof.cpu().numpy() / 2)).to(x)
            spread = (state.scale[:, :, None] * dof / (2 * gamma)).sqrt()
            function = mean + scale * spread * (rows @ v + noise * white)
            samples[i] = function[head[:, i], torch.arange(n_tasks, device=x.device)]
        return samples


def _split(support: Rows) -> list[Rows]:
    """Blocks of rows that bound the memory; most supports are one block."""
    if support.x.shape[1] <= ROWS_AT_ONCE:
        return [support]
    parts = (t.split(ROWS_AT_ONCE, dim=1) for t in (support.x, support.y, support.mask))
    return [Rows(*part) for part in zip(*parts, strict=True)]


def _whiten(module: BayesianLinearModule, support: Rows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows and residuals in units of the prior and of the noise; padding becomes 0."""
    features = module.features(support.x)
    log_noise = module.log_noise_of(features)
    precision = (-log_noise).exp() * support.mask
    rows = module.whiten(features) * precision[..., None]
    scale = module.log_output_scale.exp()[:, None, None]
    residual = (support.y - times(features, module.mean)) / scale * precision[..., None]
    return rows, residual, (log_noise * support.mask).sum(-1), support.mask.sum(-1)


def _solve(
    module: BayesianLinearModule,
    rows: Tensor,
    residual: Tensor,
    log_noise: Tensor,
    count: Tensor,
) -> Posterior:
    rows, residual = compress(rows, residual)
    identity = torch.eye(rows.shape[2], dtype=rows.dtype, device=rows.device)
    chol = cholesky(rows @ rows.transpose(-1, -2) + identity)
    solved = torch.linalg.solve_triangular(chol, residual, upper=False)
    half_log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1) + log_noise
    misfit = solved.square().sum(-2)
    before = module.dof[:, None]
    dof = before + count
    evidence = (
        torch.lgamma(dof / 2)
        - torch.lgamma(before / 2)
        - 0.5 * count * (math.pi * before).log()
        - half_log_det
    )[..., None] - 0.5 * dof[..., None] * torch.log1p(misfit / before[..., None])
    scale = (before[..., None] + misfit) / dof[..., None]
    return Posterior(rows, residual, log_noise, count, chol, solved, dof, scale, evidence.sum(-1))


def _mean_weights(module: BayesianLinearModule, state: Posterior) -> Tensor:
    """Posterior mean (n_heads, T, F, k) of the weights."""
    v = state.rows.transpose(-1, -2) @ torch.linalg.solve_triangular(
        state.chol.transpose(-1, -2), state.solved, upper=True
    )
    n_features = module.n_features
    own, shared = v[..., :n_features, :], v[..., n_features:, :]
    change = module.log_scale.exp()[:, None, :, None] * own + module.factor[:, None] @ shared
    scale = module.log_output_scale.exp()[:, None, None]
    return module.mean[:, None] + scale * change * module.mask[:, None, :, None]
