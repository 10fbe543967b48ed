"""Deep kernel transfer: exact Gaussian processes with a meta-learned kernel."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal
from torch.nn.functional import one_hot

from sklearn_meta.learners._base import Learner, Signature
from sklearn_meta.learners._gaussian_process import Process, condition
from sklearn_meta.learners._kernels import KERNELS, Kernel
from sklearn_meta.learners._starts import logistic_start, ridge_start
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows, TaskBatch

MAX_ROWS = 2000  # of a support that are used: the work is their cube, the memory their square
SAMPLE_ROWS = 512  # on which the scale of a new network's features is measured
MIN_LOG_NOISE = -7.0  # of the standard deviation, in units of the scaled target
IMPOSSIBLE = -1e9


class DeepKernelModule(nn.Module):
    """Network, kernel, prior mean and noise.

    Parameters
    ----------
    signature : Signature
    kind : str
        Of the kernel.
    generator : torch.Generator
    """

    def __init__(self, signature: Signature, kind: str, generator: torch.Generator):
        super().__init__()
        self.network = signature.make_network(generator)
        self.n_columns = signature.n_inputs if signature.is_plain else 0
        n_features = self.network.n_features
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("spread", torch.ones(n_features))
        self.kernel = Kernel(kind, self.n_columns, n_features, generator)
        self.classes = signature.kind == "classification"
        knows_outputs = signature.shared_classes or not self.classes
        n_outputs = signature.n_outputs if knows_outputs else 1
        n_inputs = self.n_columns + n_features
        self.mean = nn.Parameter(torch.zeros(1 + n_inputs, n_outputs), knows_outputs)
        n_noises = 1 if self.classes else n_outputs
        self.log_noise = nn.Parameter(torch.full((n_noises,), 0.0 if self.classes else -1.0))
        # The scale of a single target, or of a latent function, is that of the kernel.
        self.log_output_scale = nn.Parameter(torch.zeros(n_outputs), n_noises > 1)
        self.log_temperature = nn.Parameter(torch.zeros(1), self.classes)
        self.log_moderation = nn.Parameter(torch.full((1,), -1.0), self.classes)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
        """Groups for the optimiser: the network learns more slowly, and only it decays."""
        network = list(self.network.parameters())
        own = {id(p) for p in network}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in own]
        return [
            {"params": network, "lr": 0.2 * learning_rate, "weight_decay": weight_decay},
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]

    def inputs(self, x: Tensor) -> Tensor:
        """Inputs (T, n, d) of the kernel: columns, features; float64 where the device has it.

        Kernel matrices of rows that are alike are too ill-conditioned for float32.
        """
        z = (self.network(x) - self.centre) / self.spread
        z = torch.cat([x[..., : self.n_columns], z], -1)
        return z if x.device.type == "mps" else z.double()

    def prior_mean(self, z: Tensor) -> Tensor:
        """Prior mean (T, n, k) of the targets, or log-odds of the classes, at inputs (T, n, d)."""
        mean = self.mean.to(z.dtype)
        return mean[0] + z @ mean[1:]


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
        """Find rows to scale features on, and pooled linear models as prior means.

        Raises
        ------
        ValueError
            If there is no such kernel.
        """
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel!r}, expected one of {KERNELS}.")
        n_rows = min(SAMPLE_ROWS, len(store.x))
        prepared = {"rows": store.x[rng.choice(len(store.x), n_rows, replace=False)]}
        if signature.is_plain and signature.kind == "regression":
            prepared["mean"] = ridge_start(store, ["linear"], 0)[0]
        elif signature.is_plain and signature.shared_classes:
            prepared["mean"] = logistic_start(store, ["linear"], 0, signature.n_outputs)[0]
        return prepared

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> nn.Module:
        module = DeepKernelModule(signature, self.kernel, generator)
        with torch.no_grad():
            if "rows" in prepared:
                features = module.network(torch.tensor(prepared["rows"]))
                module.centre.copy_(features.mean(0))
                module.spread.copy_(features.std(0, correction=0).clamp_min(1e-3))
            if "mean" in prepared:
                # The features come last and have no start of their own.
                start = torch.tensor(prepared["mean"])
                module.mean[: len(start)] = start
        return module

    def adapt(self, module: nn.Module, support: Rows) -> DeepKernelState:
        rows = dataclasses.replace(support, x=module.inputs(support.x))
        return _condition(module, _thinned(rows))

    def update(self, module: nn.Module, state: DeepKernelState, support: Rows) -> DeepKernelState:
        new = dataclasses.replace(support, x=module.inputs(support.x))
        old = Rows(state.process.z.to(new.x.dtype), state.y, state.process.mask, state.ways)
        return _condition(module, _thinned(old.extend(new)))

    def predict(self, module: nn.Module, state: DeepKernelState, x: Tensor) -> Distribution:
        z = module.inputs(x)
        mean, variance = state.process.moments(module.kernel, z)
        if module.classes:
            prior = _allowed(module.prior_mean(z), state.ways)
            logits = _logits(module, prior, mean, variance)
            return Categorical(logits=logits.to(x.dtype), validate_args=False)
        scale = module.log_output_scale.to(z.dtype).exp()
        std = scale * (variance + _noise(module, z)).sqrt()
        mean = module.prior_mean(z) + scale * mean
        return Normal(mean.to(x.dtype), std.to(x.dtype), validate_args=False)

    def embed(self, module: nn.Module, state: DeepKernelState, x: Tensor) -> Tensor:
        """Posterior means of the latent functions, then the network's features: (T, n, k + F)."""
        z = module.inputs(x)
        mean, _ = state.process.moments(module.kernel, z)
        scale = 1.0 if module.classes else module.log_output_scale.to(z.dtype).exp()
        posterior = module.prior_mean(z) + scale * mean
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

    def loss(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        """Return minus the log likelihood a row.

        In training it is that of all rows of an episode together, support and query: each row is
        foreseen from those before it, so that every number of shots counts.
        """
        if not module.training:
            return super().loss(module, episodes)
        rows = episodes.support.extend(episodes.query)
        state = self.adapt(module, rows)
        return -state.evidence.sum() / rows.mask.sum().clamp_min(1)


def _condition(module: DeepKernelModule, rows: Rows) -> DeepKernelState:
    """Condition on rows whose x are inputs of the kernel already."""
    z, prior = rows.x, module.prior_mean(rows.x)
    noise = _noise(module, z)
    if not module.classes:
        scale = module.log_output_scale.to(z.dtype).exp()
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
    logits = _logits(module, prior, mean, (variance - noise * ways[:, None, None]).clamp_min(0))
    foreseen = (logits.log_softmax(-1) * label).sum(-1)
    return DeepKernelState(process, rows.y, (foreseen * rows.mask).sum(-1), rows.ways)


def _noise(module: DeepKernelModule, like: Tensor) -> Tensor:
    """Variances (g,) of the noise, in units of the kernel."""
    return (2 * module.log_noise.to(like.dtype).clamp_min(MIN_LOG_NOISE)).exp()


def _allowed(prior: Tensor, ways: Tensor | None) -> Tensor:
    """Prior log-odds (T, n, C), those of classes beyond the ways of a task impossible."""
    if ways is None:
        return prior
    classes = torch.arange(int(ways.max()), device=prior.device)
    return (0 * prior).masked_fill((classes >= ways[:, None])[:, None], IMPOSSIBLE)


def _logits(module: DeepKernelModule, prior: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Log-odds (T, n, C): the less certain a latent function is, the less it changes."""
    moderation = module.log_moderation.to(prior.dtype).exp()
    temperature = module.log_temperature.to(prior.dtype).exp()
    return prior + temperature * mean / (1 + moderation * variance).sqrt()


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
    noise = _noise(module, z)
    own = noise[:, None].expand(-1, z.shape[1])
    # With the noise inside, the covariance is safely positive definite.
    root = torch.linalg.cholesky(covariance + torch.diag_embed(own))
    shape = (n_samples, *root.shape[:-1], 1)
    white = torch.randn(shape, generator=generator, dtype=z.dtype, device=z.device)
    scale = module.log_output_scale.to(z.dtype).exp()
    deviation = (root @ white)[..., 0].transpose(-1, -2)
    return (module.prior_mean(z) + scale * (mean + deviation)).to(x.dtype)


def _thinned(rows: Rows) -> Rows:
    """At most MAX_ROWS rows of each task, a sample that depends on nothing but their values.

    The rows with the smallest of pseudo-random keys are kept: as good as drawn at random, and rows
    that arrive in parts leave the same sample as all at once.
    """
    if rows.mask.shape[1] <= MAX_ROWS:
        return rows
    y = rows.y if rows.y.ndim == 3 else rows.y[..., None]
    values = torch.cat([rows.x, y.to(rows.x.dtype)], -1)
    direction = torch.arange(1, 1 + values.shape[-1], dtype=values.dtype, device=values.device)
    key = (1e4 * torch.sin(1e3 * (values @ direction.sqrt()))).frac().abs()
    key = key.masked_fill(~rows.mask, torch.inf)
    chosen = key.topk(MAX_ROWS, 1, largest=False).indices.sort(1).values  # in the order they came
    x = rows.x.take_along_dim(chosen[..., None], 1)
    y_index = chosen[..., None] if rows.y.ndim == 3 else chosen
    return Rows(x, rows.y.take_along_dim(y_index, 1), rows.mask.gather(1, chosen), rows.ways)
