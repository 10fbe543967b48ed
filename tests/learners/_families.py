"""Families of small tasks, one for every kind that a learner may serve."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sklearn_meta._training import TrainingConfig, meta_train
from sklearn_meta.learners import LEARNERS, get_learner
from sklearn_meta.learners._base import Signature
from sklearn_meta.networks import linear
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._episodes import pad_rows

N_INPUTS, N_CLASSES, N_ROWS = 3, 3, 20
WEIGHTS = np.array([[1.0, -1.0, 0.5], [0.0, 1.5, -1.0], [-1.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Case:
    """A learner and a kind of task that it serves."""

    name: str
    kind: str
    shared: bool

    @property
    def learner(self):
        return get_learner(self.name)

    @property
    def n_outputs(self):
        return {"regression": 1, "multilabel": 2, "classification": N_CLASSES}[self.kind]

    @property
    def signature(self):
        return Signature(self.kind, N_INPUTS, self.n_outputs, self.shared, hidden=(8, 4))

    def __str__(self):
        own = "" if self.kind != "classification" else "-shared" if self.shared else "-unshared"
        return f"{self.name}-{self.kind}{own}"

    def task(self, rng, n_rows=N_ROWS):
        """Encoded rows and targets of a task of the family."""
        x = rng.normal(size=(n_rows, N_INPUTS)).astype(np.float32)
        if self.kind == "classification" and not self.shared:
            y = rng.permutation(np.arange(n_rows) % N_CLASSES)
            centres = 2.0 * rng.normal(size=(N_CLASSES, N_INPUTS))
            return x + centres[y].astype(np.float32), y
        weights = WEIGHTS + 0.2 * rng.normal(size=WEIGHTS.shape)
        latent = x @ weights + 0.2 * rng.normal(size=(n_rows, 3))
        if self.kind == "regression":
            return x, latent[:, :1].astype(np.float32)
        if self.kind == "multilabel":
            return x, (latent[:, :2] > 0).astype(np.int64)
        return x, (2 * latent).argmax(axis=1)

    def store(self, n_tasks=12, rename=None):
        rng = np.random.default_rng(1)
        xs, ys = zip(*(self.task(rng) for _ in range(n_tasks)), strict=True)
        if rename is not None:
            ys = [rename[y] for y in ys]
        store = TaskStore.from_lists(xs, ys, [f"t{i}" for i in range(n_tasks)])
        if self.kind == "classification" and not self.shared:
            offsets = np.append(store.starts, len(store.x))
            store = TaskStore(store.x, store.y, offsets, store.names, np.full(n_tasks, N_CLASSES))
        return store

    def support(self, module, counts, seed=5, dtype=torch.float64):
        """Supports of these numbers of rows, padded to one batch, as the learner takes them."""
        rng = np.random.default_rng(seed)
        tasks = [self.task(rng) for _ in counts]
        cut = [(x[:n], y[:n]) for (x, y), n in zip(tasks, counts, strict=True)]
        return self.rows(module, *zip(*cut, strict=True), dtype=dtype)

    def rows(self, module, xs, ys, dtype=torch.float64):
        rows = pad_rows(xs, ys).to("cpu", dtype)
        ways = None
        if self.kind == "classification" and not self.shared:
            ways = torch.full((len(xs),), N_CLASSES)
        with torch.no_grad():
            x = self.learner.inputs(module, rows.x)
        return type(rows)(x, rows.y, rows.mask, ways)

    def query(self, module, n_tasks, n=6, dtype=torch.float64):
        x = np.random.default_rng(9).normal(size=(n_tasks, n, N_INPUTS)).astype(np.float32)
        with torch.no_grad():
            return self.learner.inputs(module, torch.from_numpy(x).to(dtype))


def all_cases():
    cases = []
    for name in LEARNERS:
        for kind in get_learner(name).kinds:
            shared = (True, False) if kind == "classification" else (kind == "multilabel",)
            cases += [Case(name, kind, s) for s in shared]
    return cases


def own_network():
    """A network of the user's own."""
    generator = torch.Generator().manual_seed(0)
    first, second = linear(N_INPUTS, 6, generator), linear(6, 4, generator)
    return nn.Sequential(first, nn.Tanh(), second)


def signatures(case):
    """Signatures of a table and, where the learner takes them, of images and an own network."""
    found = {"table": case.signature}
    if case.learner.takes_networks:
        basics = (case.kind, N_INPUTS, case.n_outputs, case.shared, (8,))
        found["images"] = Signature(*basics, (1, N_INPUTS))
        found["own"] = Signature(*basics, None, own_network())
    return found


def train(case, seed=0, rename=None, max_iter=20):
    """Meta-train for a few steps; a learner without weights is as it is built."""
    learner, store = case.learner, case.store(rename=rename)
    rng = np.random.default_rng(seed)
    prepared = learner.prepare(store, case.signature, rng)
    module = learner.build(case.signature, prepared, torch.Generator().manual_seed(seed))
    store = store.replace(x=prepared.get("inputs"))
    if any(p.requires_grad for p in module.parameters()):
        config = TrainingConfig(max_iter=max_iter, batch_size=6, shots=(0, 8), n_query=10)
        module, _ = meta_train(learner, module, store, config=config, rng=rng, device="cpu")
    return module.eval().requires_grad_(False)


@functools.cache
def trained(case):
    """Meta-trained module of a case, in float64; not to be changed."""
    return train(case).double()


def summary(distribution):
    """Numbers that say what is predicted, the rows on axis 1."""
    if hasattr(distribution, "probs"):
        return distribution.probs
    return torch.cat([distribution.mean, distribution.stddev], -1)
