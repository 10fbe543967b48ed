"""Deep kernel transfer: exact Gaussian processes with a meta-learned kernel."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal
from torch.nn.functional import one_hot

from sklearn_meta.learners._base import IMPOSSIBLE, Learner, Signature
from sklearn_meta.learners._deep_kernel_module import DeepKernelModule
from sklearn_meta.learners._gaussian_process import MAX_ROWS, Process, condition, thinned
from sklearn_meta.learners._kernels import KERNELS
from sklearn_meta.learners._linalg import cholesky
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows

SAMPLE_ROWS = 512  # on which the scale of a new network's features is measured


@dataclass(frozen=True, eq=False, slots=True)
class DeepKernelState:
    """Processes that have seen their supports.

    Attributes
    ----------
    process : Process
    y : Tensor of shape (T, n) or (T, n, k)
        Targets of the support rows that are used.
    evidence : Tensor of shape (T,)
        Log likelihood of the support.
    ways : Tensor of shape (T,) or None
        Number of classes of each task, where they mean nothing beyond it.
    """

    process: Process
    y: Tensor
    evidence: Tensor
    ways: Tensor | None = None


class DeepKernelGP(Learner):
    """Deep kernel transfer: a Gaussian process whose kernel on learned features is meta-learned.

    The network, the kernel, the prior mean and the noise are shared by all tasks and maximise the
    likelihood of the tasks; adaptation is exact inference in a Gaussian process, nothing else.
    Every kernel has a linear trend beside what its name says, and on a table it sees the encoded
    columns beside the features. Several targets share a kernel up to their scales, and each has a
    noise of its own.

    Classes are regressed on, one latent function each: the targets are the labels less the prior
    probabilities, as in a first step of Fisher scoring, and a learned temperature and a learned
    weight of the posterior variance turn latent functions into probabilities. Where labels mean
    nothing beyond a task, predictions do not depend on how they are numbered.

    Of a support of more than 2,000 rows, 2,000 are used, chosen by a hash of their values.

    Parameters
    ----------
    kernel : {"rbf", "spectral_mixture", "linear"}, default="rbf"
        What the kernel has beside the linear trend.

    References
    ----------
    M. Patacchiola, J. Turner, E. J. Crowley, M. O'Boyle, A. Storkey (2020). Bayesian meta-learning
    for the few-shot setting via deep kernels. https://arxiv.org/abs/1910.05199
    """

    kinds = ("regression", "classification")

    def __init__(self, kernel: str = "rbf"):
        self.kernel = kernel

    def prepare(
        self, store: TaskStore, signature: Signature, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Choose rows on which the features of the new network are scaled.

        Raises
        ------
        ValueError
            If there is no such kernel.
        """
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel!r}, expected one of {KERNELS}.")
        n_rows = min(SAMPLE_ROWS, len(store.x))
        return {"rows": store.x[rng.choice(len(store.x), n_rows, replace=False)]}

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> nn.Module:
        module = DeepKernelModule(signature, self.kernel, generator)
        if "rows" in prepared:
            with torch.no_grad():
                features = module.network(torch.tensor(prepared["rows"]))
                module.centre.copy_(features.mean(0))
                module.spread.copy_(features.std(0, correction=0).clamp_min(1e-3))
        return module

    def adapt(self, module: nn.Module, support: Rows) -> DeepKernelState:
        rows = dataclasses.replace(support, x=module.inputs(support.x))
        return _condition(module, thinned(rows))

    def update(self, module: nn.Module, state: DeepKernelState, support: Rows) -> DeepKernelState:
        new = dataclasses.replace(support, x=module.inputs(support.x))
        old = Rows(state.process.z.to(new.x.dtype), state.y, state.process.mask, state.ways)
        return _condition(module, thinned(old.extend(new)))

    def predict(self, module: nn.Module, state: DeepKernelState, x: Tensor) -> Distribution:
        z = module.inputs(x)
        mean, variance = state.process.moments(module.kernel, z)
        if module.classes:
            prior = _allowed(module.prior_mean(z), state.ways)
            logits = module.logits(prior, mean, variance)
            return Categorical(logits=logits.to(x.dtype), validate_args=False)
        scale = module.output_scale(z)
        std = scale * (variance + module.noise(z)).sqrt()
        mean = module.prior_mean(z) + scale * mean
        return Normal(mean.to(x.dtype), std.to(x.dtype), validate_args=False)

    def embed(self, module: nn.Module, state: DeepKernelState, x: Tensor) -> Tensor:
        """Posterior means of the latent functions, then the network's features: (T, n, k + F)."""
        z = module.inputs(x)
        mean, _ = state.process.moments(module.kernel, z)
        posterior = module.prior_mean(z) + module.output_scale(z) * mean
        return torch.cat([posterior, z[..., module.n_columns :]], -1).to(x.dtype)

    def evidence(self, module: nn.Module, state: DeepKernelState) -> Tensor:
        """Return the log likelihood (T,) of the support.

        For regression it is the exact marginal likelihood; for classification the log probability
        of the labels, each foreseen from the rows before it, which is exact too and depends a
        little on the order of the rows.
        """
        return state.evidence

    def sample(
        self,
        module: nn.Module,
        state: DeepKernelState,
        x: Tensor,
        n_samples: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Draw noisy targets (n_samples, T, n, k), jointly over each MAX_ROWS rows."""
        parts = [
            _draw(module, state, rows, n_samples, generator) for rows in x.split(MAX_ROWS, dim=1)
        ]
        return torch.cat(parts, 2)


def _condition(module: DeepKernelModule, rows: Rows) -> DeepKernelState:
    """Condition on rows whose x are inputs of the kernel already."""
    z, prior = rows.x, module.prior_mean(rows.x)
    noise = module.noise(z)
    if not module.classes:
        scale = module.output_scale(z)
        residual = (rows.y.to(z.dtype) - prior) / scale
        process = condition(module.kernel, z, residual, noise[None], rows.mask)
        log_likelihood = process.log_likelihood() - rows.mask.sum(1, keepdim=True) * scale.log()
        return DeepKernelState(process, rows.y, log_likelihood.sum(-1))
    prior = _allowed(prior, rows.ways)
    n_classes = prior.shape[-1]
    label = one_hot(rows.y, n_classes).to(z.dtype)
    # Around equal probabilities, a step of Fisher scoring has these targets and this noise.
    ways = prior.new_full((z.shape[0],), n_classes) if rows.ways is None else rows.ways.to(z.dtype)
    residual = ways[:, None, None] * (label - prior.softmax(-1))
    process = condition(module.kernel, z, residual, noise * ways[:, None], rows.mask)
    mean, variance = process.foreseen()
    logits = module.logits(prior, mean, (variance - noise * ways[:, None, None]).clamp_min(0))
    foreseen = (logits.log_softmax(-1) * label).sum(-1)
    return DeepKernelState(process, rows.y, (foreseen * rows.mask).sum(-1), rows.ways)


def _allowed(prior: Tensor, ways: Tensor | None) -> Tensor:
    """Prior log-odds (T, n, C), those of classes beyond the ways of a task impossible."""
    if ways is None:
        return prior
    classes = torch.arange(int(ways.max()), device=prior.device)
    return (0 * prior).masked_fill((classes >= ways[:, None])[:, None], IMPOSSIBLE)


def _draw(
    module: DeepKernelModule,
    state: DeepKernelState,
    x: Tensor,
    n_samples: int,
    generator: torch.Generator,
) -> Tensor:
    z = module.inputs(x)
    mean, _ = state.process.moments(module.kernel, z)
    covariance = state.process.covariance(module.kernel, z)
    noise = module.noise(z)
    own = noise[:, None].expand(-1, z.shape[1])
    root = cholesky(covariance + torch.diag_embed(own))
    shape = (n_samples, *root.shape[:-1], 1)
    white = torch.randn(shape, generator=generator, dtype=z.dtype, device=z.device)
    scale = module.output_scale(z)
    deviation = (root @ white)[..., 0].transpose(-1, -2)
    return (module.prior_mean(z) + scale * (mean + deviation)).to(x.dtype)
