"""Train the bundled tabular priors, on tables that `make_table_tasks` makes and on nothing else.

    python benchmarks/tabular_prior.py classification --out tabular_classifier.safetensors
    python benchmarks/tabular_prior.py regression --out tabular_regressor.safetensors

What the experts foresaw is kept in ``--cache`` shard by shard, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from sklearn_meta import Prior, __version__
from sklearn_meta._training import meta_train
from sklearn_meta._training_config import TrainingConfig, resolve
from sklearn_meta.datasets import make_table_tasks
from sklearn_meta.learners import learner_config
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._gate_episodes import gate_episodes
from sklearn_meta.learners.in_context import InContext
from sklearn_meta.preprocessing import OwnTableEncoder
from sklearn_meta.preprocessing._columns import read_table
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._table_task import TableTask

SHARD = 250  # tables
ROWS = ((40, 600), (100, 2000))  # of every shard but the fourth, and of that
ESTIMATORS = {"classification": "classifier", "regression": "regressor"}


def shard(kind: str, number: int, seed: int, n_episodes: int, cache: Path | None) -> np.ndarray:
    """Episodes of one shard of tables, from the cache if they are there."""
    file = None if cache is None else cache / f"{kind}_{seed}_{number}.npy"
    if file is not None and file.exists():
        return np.load(file)
    rows = ROWS[number % 4 == 3]
    tasks = make_table_tasks(SHARD, rows, kind=kind, random_state=seed * 10_000 + number)
    tables = [TableTask(t.name, read_table(t.X), t.y, OwnTableEncoder()) for t in tasks]
    rng = np.random.default_rng([seed, number])
    x = gate_episodes(tables, rng, n_episodes=n_episodes).x
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, x)
    return x


def main() -> None:
    """Make tables, let the experts foresee them, and train the gate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(ESTIMATORS))
    parser.add_argument("--out", required=True)
    parser.add_argument("--n-tables", type=int, default=5000)
    parser.add_argument("--n-episodes", type=int, default=2, help="of a table")
    parser.add_argument("--max-iter", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    started = time.time()
    parts = []
    for number in range(math.ceil(args.n_tables / SHARD)):
        parts.append(shard(args.kind, number, args.seed, args.n_episodes, args.cache))
        n_done = sum(map(len, parts))
        print(f"shard {number}: {n_done} episodes, {time.time() - started:.0f} s", flush=True)
    x = np.concatenate(parts)
    # Runs of episodes serve as tasks: every twentieth is held out.
    offsets = np.append(np.arange(0, len(x), 20), len(x))
    names = [str(i) for i in range(len(offsets) - 1)]
    store = TaskStore(x, np.zeros((len(x), 1), np.float32), offsets, names)

    learner = InContext(anchor=0.0)
    signature = Signature(args.kind, 0, int(args.kind == "regression"))
    start = learner.build(signature, {}, torch.Generator().manual_seed(args.seed))
    weights = {name: t.numpy() for name, t in start.state_dict().items()}
    module = learner.restore(signature, weights).requires_grad_(True)
    module.gate.names.requires_grad_(False)  # generated columns have no names to learn from
    given = TrainingConfig(
        max_iter=args.max_iter, max_time=math.inf, learning_rate_init=3e-3, alpha=1e-2,
        validation_fraction=0.05, tol=0.0, n_iter_no_change=20, batch_size=8, decay_iterations=2000,
    )  # fmt: skip
    config = resolve(given, store, learner.defaults(signature))
    rng = np.random.default_rng(args.seed)
    module, history = meta_train(
        learner.on_episodes(), module, store, config=config, rng=rng, device="cpu", verbose=1
    )
    for iteration, loss, held_out in zip(
        history.iteration, history.loss, history.validation_loss[1:], strict=False
    ):
        print(f"step {iteration}: loss {loss:.4f}, held out {held_out:.4f}")
    print(f"best {history.best_score:.4f} at step {history.best_iteration}: {history.stopped}")
    Prior(
        estimator_type=ESTIMATORS[args.kind],
        learner_config=learner_config(InContext()),
        signature=signature.to_dict(),
        weights={name: t.cpu().numpy() for name, t in module.state_dict().items()},
        meta={
            "n_tasks": args.n_tables,
            "n_rows": len(x),
            "columns": [],
            "versions": {"sklearn_meta": __version__, "torch": str(torch.__version__)},
            "meta_parameters": {"learner": learner_config(InContext())},
            "made_by": "benchmarks/tabular_prior.py, tables of datasets.make_table_tasks",
            "seed": args.seed,
        },
    ).save(args.out)
    print(f"{args.out}: {time.time() - started:.0f} s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
