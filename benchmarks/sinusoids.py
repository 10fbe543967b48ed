"""Few-shot regression of sinusoids: error on new tasks against seconds of meta-training.

Tasks and test episodes are those of C. Finn, P. Abbeel and S. Levine, 2017
(https://arxiv.org/abs/1703.03400): ``y = amplitude * sin(x + phase)`` without noise, amplitude
uniform in [0.1, 5], phase in [0, pi], x in [-5, 5]; 600 new tasks. A point of a curve is a
meta-training of its own, with so many seconds and no more, so that its step size has decayed.

    python benchmarks/sinusoids.py                              # the default learner, 60 s
    python benchmarks/sinusoids.py --learner all --seconds 5 15 30 60 --out r.json --plot r.png
    python benchmarks/sinusoids.py --learner maml --params '{"maml": {"inner_steps": 10}}'

With ``--out`` the points in that file are not computed again, and all of them are shown.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from sklearn_meta import MetaRegressor
from sklearn_meta.datasets import sinusoid_protocol
from sklearn_meta.learners import LEARNERS, get_learner

META_PARAMETERS = ("max_iter", "learning_rate_init", "batch_size", "n_iter_no_change", "tol")
Point = dict[str, Any]


def learners_for_regression() -> list[str]:
    """Names of all learners that serve regression and learn anything across tasks."""
    names = [name for name in LEARNERS if name != "support_only"]
    return [name for name in names if "regression" in get_learner(name).kinds]


def make_regressor(name: str, seconds: float, args: argparse.Namespace) -> MetaRegressor:
    """Make the regressor with what the command line sets; the rest stays at its default."""
    given = {key: getattr(args, key) for key in META_PARAMETERS if getattr(args, key) is not None}
    if args.network:
        given["network"] = tuple(args.network)
    learner = name if name == "auto" else get_learner(name, args.params.get(name))
    return MetaRegressor(learner=learner, max_time=seconds, random_state=args.seed, **given)


def squared_errors(meta: MetaRegressor, episodes: list[tuple]) -> np.ndarray:
    """Mean squared error of each episode."""
    models = meta.adapt_many([(X, y) for X, y, _, _ in episodes])
    return np.array(
        [
            np.mean((model.predict(X) - y) ** 2)
            for model, (_, _, X, y) in zip(models.values(), episodes, strict=True)
        ]
    )


def measure(name: str, seconds: float, args: argparse.Namespace) -> Point:
    """Meta-train one learner for so many seconds, then score every number of shots."""
    protocols = {
        shots: sinusoid_protocol(
            shots,
            n_train_tasks=args.tasks,
            n_train_rows=args.rows,
            n_test_tasks=args.test_tasks,
            random_state=args.seed,
        )
        for shots in args.shots
    }
    train = protocols[args.shots[0]][0]  # the same for all
    start = time.perf_counter()
    meta = make_regressor(name, seconds, args).fit_tasks(train)
    point: Point = {
        "learner": name,
        "budget": seconds,
        "seconds": time.perf_counter() - start,
        "n_iter": int(meta.history_.iteration[-1]) if len(meta.history_.iteration) else 0,
    }
    for shots, (_, episodes) in protocols.items():
        errors = squared_errors(meta, episodes)
        half = student.ppf(0.975, len(errors) - 1) * errors.std(ddof=1) / np.sqrt(len(errors))
        point[f"mse_{shots}"], point[f"half_{shots}"] = float(errors.mean()), float(half)
        point[f"median_{shots}"] = float(np.median(errors))
    return point


def table(points: list[Point], shots: list[int]) -> str:
    """Markdown table of all points: means with 95 % intervals over tasks, medians in brackets."""
    columns = [f"{k} shots" for k in shots]
    lines = [
        "| learner | budget | seconds | steps | " + " | ".join(columns) + " |",
        "|---|---:|---:|---:|" + "---:|" * len(shots),
    ]
    for point in points:
        errors = [
            f"{point[f'mse_{k}']:.2g} ± {point[f'half_{k}']:.1g} ({point[f'median_{k}']:.1g})"
            for k in shots
        ]
        cells = [point["learner"], f"{point['budget']:g} s", f"{point['seconds']:.1f}"]
        lines.append("| " + " | ".join([*cells, str(point["n_iter"]), *errors]) + " |")
    return "\n".join(lines)


def plot(points: list[Point], shots: list[int], path: Path) -> None:
    """Save every learner's curve in one picture, one panel for each number of shots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(shots), 4.4), layout="constrained")
    axes = figure.subplots(1, len(shots), sharey=True, squeeze=False)[0]
    for ax, k in zip(axes, shots, strict=True):
        for name in dict.fromkeys(point["learner"] for point in points):
            mine = [point for point in points if point["learner"] == name]
            seconds, error = ([p[key] for p in mine] for key in ("seconds", f"mse_{k}"))
            ax.errorbar(
                seconds, error, [p[f"half_{k}"] for p in mine], marker="o", capsize=2, label=name
            )
        ax.set(yscale="log", xlabel="Seconds of meta-training", title=f"{k} shots")
    axes[0].set_ylabel("Mean squared error on new sinusoids")
    axes[-1].legend(fontsize="small")
    figure.savefig(path, dpi=130)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = learners_for_regression()
    parser.add_argument(
        "--learner", default="auto", help=f"auto, all, or some of {','.join(known)}"
    )
    parser.add_argument("--params", type=json.loads, default={}, help="JSON: learner -> parameters")
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0], help="budgets")
    parser.add_argument("--tasks", type=int, default=2000, help="meta-training tasks")
    parser.add_argument("--rows", type=int, default=40, help="rows of each of them")
    parser.add_argument("--test-tasks", type=int, default=600, help="tasks to be scored on")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--out", type=Path, help="JSON of the points, kept between runs")
    parser.add_argument("--plot", type=Path, help="picture to be written, such as curves.png")
    group = parser.add_argument_group("meta-training", "defaults of MetaRegressor where left out")
    group.add_argument("--max-iter", type=int, default=10**6, help="by default the time decides")
    group.add_argument("--learning-rate-init", type=float)
    group.add_argument("--batch-size", type=int)
    group.add_argument("--n-iter-no-change", type=int)
    group.add_argument("--tol", type=float)
    group.add_argument("--network", type=int, nargs="+", help="widths of the layers")
    args = parser.parse_args()
    args.learner = known if args.learner == "all" else args.learner.split(",")
    unknown = set(args.learner) - {*known, "auto"}
    if unknown:
        parser.error(f"--learner: {sorted(unknown)} serve no regression, choose from {known}")
    if any(seconds <= 0 or not math.isfinite(seconds) for seconds in args.seconds):
        parser.error("--seconds must be positive")
    return args


def main() -> None:
    """Measure every learner with every budget, save after each, and show all points."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    points: list[Point] = []
    if args.out and args.out.exists():
        points = json.loads(args.out.read_text())
    for name in args.learner:
        for seconds in sorted(args.seconds):
            if any((p["learner"], p["budget"]) == (name, seconds) for p in points):
                continue
            points.append(measure(name, seconds, args))
            print(json.dumps(points[-1]), flush=True)
            if args.out:
                args.out.write_text(json.dumps(points, indent=1))
    points.sort(key=lambda p: (p["learner"], p["budget"]))
    print(table(points, args.shots))
    if args.plot:
        plot(points, args.shots, args.plot)


if __name__ == "__main__":
    main()
