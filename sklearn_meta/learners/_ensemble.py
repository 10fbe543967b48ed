"""Cross-fitted ensembles of heads: how they are prepared, built, judged and blended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_meta.learners._base import Learner, Signature
from sklearn_meta.learners._heads import FEATURE_SETS, KINDS, N_FOURIER, RANK, Heads, assign_folds
from sklearn_meta.learners._trees import TreeFeatures, out_of_fold_boosting
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import Rows, TaskBatch

MIN_WEIGHT = 0.02  # heads that weigh less on held-out tasks are not kept


class HeadLearner(Learner):
    """What learners made of `Heads` share; a subclass brings the likelihood.

    Every kind of head is trained ``n_members`` times. Several members are each trained on all but
    one fold of the tasks and judged on that fold, so that all rows are used and every number by
    which heads are stopped and weighed comes from tasks that they have not seen.

    Parameters
    ----------
    heads : tuple of str
    n_members : int
    """

    takes_networks = False  # heads share columns and trees, and bring networks of their own

    def __init__(
        self,
        heads: tuple[str, ...] = ("linear", "deep", "tree_linear", "tree_deep", "tree"),
        n_members: int = 2,
    ):
        self.heads = heads
        self.n_members = n_members

    @property
    def cross_fitted(self) -> bool:
        return self.n_members > 1

    def make_module(self, signature: Signature, **heads: Any) -> Heads:
        """Make the module of this likelihood; `heads` are the arguments of `Heads`."""
        raise NotImplementedError

    def kinds_of(self, signature: Signature) -> list[str]:
        """Kinds of heads for these tasks."""
        return list(self.heads)

    def start(
        self, store: TaskStore, signature: Signature, kinds: Sequence[str], n_trees: int
    ) -> np.ndarray:
        """Prior means (n_kinds, 1 + n_columns, n_latents) at which meta-training starts."""
        raise NotImplementedError

    def log_prob_heads(self, module: nn.Module, state: Any, query: Rows) -> Tensor:
        """Log likelihood (n_heads, T, n) of query rows under every head by itself."""
        raise NotImplementedError

    def prepare(
        self, store: TaskStore, signature: Signature, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        self._check_parameters()
        prepared: dict[str, np.ndarray] = {}
        kinds, n_trees = self.kinds_of(signature), 0
        # Trees need a second task to be left out of, and labels that mean the same in all tasks.
        n_classes = signature.n_outputs if signature.kind == "classification" else 0
        comparable = signature.kind == "regression" or (n_classes and signature.shared_classes)
        if store.n_tasks > 1 and comparable and any(FEATURE_SETS[kind][1] for kind in kinds):
            features, trees = out_of_fold_boosting(store, n_classes, rng)
            prepared |= {f"trees.{key}": array for key, array in trees.items()}
            prepared["inputs"] = np.concatenate([store.x, features], axis=1)
            store, n_trees = store.replace(x=prepared["inputs"]), features.shape[1]
        else:
            kinds = [kind.removeprefix("tree_") for kind in kinds if kind != "tree"]
            kinds = list(dict.fromkeys(kinds)) or ["linear"]
        member = np.arange(self.n_members)
        if self.cross_fitted and store.n_tasks > 1:
            prepared["fold"] = assign_folds(store.n_tasks, rng)
            member %= prepared["fold"].max() + 1
        prepared["n_tasks"] = np.array(store.n_tasks)
        prepared["member"] = np.repeat(member, len(kinds))
        prepared["kind"] = np.tile([KINDS.index(kind) for kind in kinds], self.n_members)
        prepared["mean"] = np.tile(
            self.start(store, signature, kinds, n_trees), (self.n_members, 1, 1)
        )
        return prepared

    def build(
        self,
        signature: Signature,
        prepared: dict[str, np.ndarray],
        generator: torch.Generator,
    ) -> Heads:
        trees = None
        if "trees.feature" in prepared:
            arrays = {key: prepared[f"trees.{key}"] for key in TreeFeatures.ARRAYS}
            n_classes = signature.n_outputs if signature.kind == "classification" else 0
            trees = TreeFeatures(arrays, n_classes)
        module = self.make_module(
            signature,
            kinds=[KINDS[i] for i in prepared["kind"]],
            member=prepared["member"],
            n_inputs=signature.n_inputs,
            trees=trees,
            hidden=signature.hidden,
            mean=prepared["mean"],
            rank=prepared["factor"].shape[2] if "factor" in prepared else RANK,
            generator=generator,
        )
        module.signature = signature
        module.n_tasks = int(prepared.get("n_tasks", 1))
        if "fold" in prepared:
            module.fold = torch.tensor(prepared["fold"])
        return module

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        return x if module.trees is None else torch.cat([x, module.trees(x)], -1)

    def evidence(self, module: nn.Module, state: Any) -> Tensor:
        return torch.logsumexp(module.log_weight[:, None] + state.evidence, 0)

    def loss(self, module: nn.Module, episodes: TaskBatch) -> Tensor:
        """Negative predictive log likelihood of the query, one value a head."""
        state = self.adapt(module, episodes.support)
        log_prob = self.log_prob_heads(module, state, episodes.query)
        counted = episodes.query.mask & module.judged(episodes.task)[..., None]
        loss = -(log_prob * counted).sum((1, 2)) / counted.sum((1, 2)).clamp_min(1)
        return loss + module.penalty() if module.training else loss

    def finish(self, module: nn.Module, held_out: Sequence[TaskBatch]) -> Heads:
        """Weigh the kinds of heads by the tasks that their members held out; drop the feeble."""
        if not held_out:
            return self._keep(module, torch.ones(module.n_heads, dtype=torch.bool))
        parts = []
        for member in module.member.unique():
            # Heads of a member are in the same order of kinds as those of another.
            heads = (module.member == member).nonzero()[:, 0]
            parts += [self._held_out_scores(module, heads, episodes) for episodes in held_out]
        share = stack(*(torch.cat(part) for part in zip(*parts, strict=True)))
        n_members = module.n_heads // len(share)
        weight = share.repeat(n_members) / n_members
        module.log_weight.copy_(weight.log())
        keep = weight * n_members >= MIN_WEIGHT
        return self._keep(module, keep)

    def _held_out_scores(
        self, module: Heads, heads: Tensor, episodes: TaskBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log likelihoods and evidences (rows, heads) of query rows, and the rows' weights."""
        judged = module.judged(episodes.task)[heads[0]]
        support, query = episodes.support.take(judged), episodes.query.take(judged)
        state = self.adapt(module, support)
        log_prob = self.log_prob_heads(module, state, query)[heads]
        evidence = state.evidence[heads][..., None].expand_as(log_prob)
        # Rows of one episode say much the same: an episode counts as one row.
        weight = query.mask / query.mask.sum(1, keepdim=True).clamp_min(1)
        # On the CPU: some devices have no float64.
        flat = (t.movedim(0, -1)[query.mask].cpu().double() for t in (log_prob, evidence))
        return *flat, weight[query.mask].cpu().double()

    def _keep(self, module: Heads, keep: Tensor) -> Heads:
        """Return a module with some of the heads of another."""
        heads_of = module.heads_of
        learned = max(
            (
                h
                for h, heads in (
                    (module.signature.hidden[-1], module.deep),
                    (N_FOURIER, module.fourier),
                )
                if keep[heads].any()
            ),
            default=0,
        )
        width = module.n_features - module.n_learned + learned
        kept = {}
        for name, array in module.state_dict().items():
            if name in heads_of:
                array = array[keep[heads_of[name]]]
                if not len(array):
                    continue
                axis = module.feature_axis.get(name)
                if axis is not None:
                    array = array.narrow(axis, 0, width)
            kept[name] = array
        kept["log_weight"] = torch.log_softmax(kept["log_weight"], 0)
        weights = {name: t.cpu().numpy() for name, t in kept.items()}
        return self.restore(module.signature, weights).to(module.log_weight.device)

    def _check_parameters(self) -> None:
        unknown = set(self.heads) - set(FEATURE_SETS)
        if not self.heads or unknown:
            raise ValueError(
                f"heads is {self.heads!r}, expected at least one of {tuple(FEATURE_SETS)}."
            )
        if self.n_members < 1:
            raise ValueError(f"n_members is {self.n_members!r}, expected at least 1.")


def stack(log_prob: Tensor, evidence: Tensor, weight: Tensor, prior_count: float = 1.0) -> Tensor:
    """Weights of heads that maximise the likelihood of their blend, by expectation maximisation.

    Parameters
    ----------
    log_prob, evidence : Tensor of shape (n_rows, n_heads)
    weight : Tensor of shape (n_rows,)
    prior_count : float
        Rows that each head is given beforehand: the fewer the tasks, the more equal the weights.

    Returns
    -------
    Tensor of shape (n_heads,)
        Positive, with sum 1.
    """
    n_heads = log_prob.shape[1]
    start = torch.full((n_heads,), 1 / n_heads, dtype=log_prob.dtype)
    for _ in range(100):
        blend = torch.log(0.5 * start + 0.5 * torch.softmax(start.log() + evidence, 1))
        share = torch.softmax(blend + log_prob, 1)
        start = (share * weight[:, None]).sum(0) + prior_count
        start = start / start.sum()
    return start
