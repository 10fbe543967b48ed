"""Few-shot regression of sinusoids: squared error on new tasks after a few shots.

Tasks are ``y = amplitude * sin(x + phase)`` without noise, amplitude uniform in [0.1, 5], phase in
[0, pi], x in [-5, 5] (C. Finn, P. Abbeel, S. Levine, 2017, https://arxiv.org/abs/1703.03400).

    python benchmarks/sinusoids.py                        # the defaults of MetaRegressor
    python benchmarks/sinusoids.py --max-iter 20000       # train until the time is over
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from scipy.stats import t as student

from sklearn_meta import MetaRegressor


def draw_tasks(
    n_tasks: int, n_rows: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw tasks (X, y) of shapes (n_rows, 1) and (n_rows,)."""
    tasks = []
    for amplitude, phase in rng.uniform((0.1, 0.0), (5.0, np.pi), size=(n_tasks, 2)):
        X = rng.uniform(-5, 5, size=(n_rows, 1))
        tasks.append((X, amplitude * np.sin(X[:, 0] + phase)))
    return tasks


def squared_errors(
    meta: MetaRegressor, tasks: list[tuple[np.ndarray, np.ndarray]], shots: int, n_query: int
) -> np.ndarray:
    """Mean squared error of each task on its last rows, adapted to its first rows."""
    models = meta.adapt_many([(X[:shots], y[:shots]) for X, y in tasks])
    return np.array(
        [
            np.mean((model.predict(X[-n_query:]) - y[-n_query:]) ** 2)
            for model, (X, y) in zip(models.values(), tasks, strict=True)
        ]
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2000, help="meta-training tasks")
    parser.add_argument("--rows", type=int, default=40, help="rows of each of them")
    parser.add_argument("--new-tasks", type=int, default=500, help="tasks to be scored on")
    parser.add_argument("--query", type=int, default=100, help="query rows of each of them")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice by default")
    group = parser.add_argument_group("meta-training", "defaults of MetaRegressor where left out")
    group.add_argument("--max-time", type=float, default=60.0, help="seconds")
    group.add_argument("--max-iter", type=int)
    group.add_argument("--learning-rate-init", type=float)
    group.add_argument("--batch-size", type=int)
    group.add_argument("--n-iter-no-change", type=int)
    group.add_argument("--tol", type=float)
    group.add_argument("--network", type=int, nargs="+", help="widths of the layers")
    group.add_argument("--heads", nargs="+", help="heads of BayesianLinear")
    group.add_argument("--members", type=int, help="members of BayesianLinear")
    return parser.parse_args()


def make_regressor(args: argparse.Namespace) -> MetaRegressor:
    """Make the regressor with what the command line sets."""
    names = ("max_iter", "learning_rate_init", "batch_size", "n_iter_no_change", "tol")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.network:
        given["network"] = tuple(args.network)
    if args.heads or args.members:
        from sklearn_meta.learners import BayesianLinear

        chosen = {"heads": tuple(args.heads) if args.heads else None, "n_members": args.members}
        given["learner"] = BayesianLinear(**{k: v for k, v in chosen.items() if v is not None})
    return MetaRegressor(max_time=args.max_time, random_state=args.seed, **given)


def main() -> None:
    """Meta-train once, then score every number of shots on the same new tasks."""
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    tasks = draw_tasks(args.tasks, args.rows, rng)
    new_tasks = draw_tasks(args.new_tasks, max(args.shots) + args.query, rng)

    start = time.perf_counter()
    meta = make_regressor(args).fit_tasks(tasks)
    seconds = time.perf_counter() - start
    n_iter = int(meta.history_.iteration[-1])
    print(f"meta-training: {seconds:.1f} s, {n_iter} iterations, {torch.get_num_threads()} threads")

    result = {"seconds": seconds, "n_iter": n_iter, **vars(args)}
    for shots in args.shots:
        errors = squared_errors(meta, new_tasks, shots, args.query)
        half = student.ppf(0.975, len(errors) - 1) * errors.std(ddof=1) / np.sqrt(len(errors))
        result[f"mse_{shots}"] = [errors.mean() - half, errors.mean(), errors.mean() + half]
        print(
            f"{shots:>3} shots: mean squared error {errors.mean():.2e} +- {half:.1e} "
            f"(95 %, {len(errors)} tasks), median {np.median(errors):.1e}"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
