"""What each part of `InContext` is worth: experts, gate, the user's own tasks, names of columns.

    python benchmarks/tables_ablation.py --data FOLDER [--houses FOLDER] [--seeds 1]

FOLDER holds ``*.npz`` tables with X (NaN is missing), y and is_categorical, in subfolders
``tabular_classification`` and ``tabular_regression``; the folder of houses holds ``*.csv`` files
and a ``manifest.csv`` with the columns file, target. Every variant sees the same rows. Differences
are to the plain average of all experts, with standard errors over tables.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from sklearn_meta import MetaClassifier, MetaRegressor, Task
from sklearn_meta._resolve_prior import bundled_prior
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._column_prior import ColumnPrior
from sklearn_meta.learners._mixture import Mixture, Panel
from sklearn_meta.learners._named_table import NamedTable
from sklearn_meta.learners.in_context import InContext
from sklearn_meta.preprocessing import OwnTableEncoder, TargetScaler
from sklearn_meta.preprocessing._columns import read_table
from sklearn_meta.tasks._table_task import TableTask

SHOTS = (8, 32, 128)
HOUSE_SHOTS = (5, 10, 20, 50)
MAX_QUERY = 300


def read_npz(path: Path) -> Task:
    """Read a table whose categories are levels."""
    with np.load(path) as file:
        X, y, categorical = file["X"], file["y"], file["is_categorical"]
    if categorical.any():
        X = X.astype(object)
        for j in np.flatnonzero(categorical):
            X[:, j] = [None if v != v else f"level {v:g}" for v in X[:, j]]
    return Task(X, y, name=path.stem)


def split(task: Task, k: int, seed: int, classes: bool) -> tuple | None:
    """Draw k support rows, one of each class first, and at most MAX_QUERY others."""
    y = np.asarray(task.y)
    order = np.random.default_rng([seed, len(y)]).permutation(len(y))
    if classes:
        first = np.sort(np.unique(y[order], return_index=True)[1])
        order = np.concatenate([order[first], np.delete(order, first)])
    support, query = order[:k], order[k : k + MAX_QUERY]
    if classes:
        query = query[np.isin(y[query], y[support])]
    if len(query) < 20 or len(np.unique(y[query])) < 2:
        return None
    return task.X[support], y[support], task.X[query], y[query]


def gate_of(prior: Any, kind: str) -> Any:
    """Gate of a prior; that of an untrained module for None."""
    learner, signature = InContext(), Signature(kind, 0, 1)
    if prior is None:
        return learner.build(signature, {}, torch.Generator().manual_seed(0)).gate
    return learner.restore(signature, prior.weights).gate


def averaged(panel: Panel) -> torch.Tensor:
    """Log weights of the plain average of experts, each led by its left-out scores."""
    sizes = [fit.slot.n_variants for fit in panel.fits]
    serving = sum(fit.state is not None for fit in panel.fits)
    parts = panel.left_out.sum(-1).split(sizes, -1)
    return torch.cat([p.log_softmax(-1).nan_to_num(-torch.inf) for p in parts], -1) - np.log(
        serving
    )


def scores(panel: Panel, x: torch.Tensor, y: np.ndarray, weighed: dict[str, Any]) -> dict:
    """Two scores of every way to weigh the experts."""
    forecast, _ = Mixture.of_all(panel).forecast(x)
    serves = panel.left_out[0, :, 0].isfinite()
    out = {}
    for name, log_weight in weighed.items():
        weight = log_weight[0, serves].double().softmax(-1)
        if y.dtype.kind == "f":
            mean = (weight[:, None] * forecast[0, ..., 0]).sum(0).numpy()
            error = np.mean((y - mean) ** 2) / max(y.var(), 1e-12)
            out[name] = max(1 - error, -1.0), np.sqrt(error)
        else:
            p = torch.einsum("v,vqc->qc", weight, forecast[0].exp()).numpy()
            p /= p.sum(1, keepdims=True)
            seen = np.unique(y)
            auc = np.mean([roc_auc_score(y == c, p[:, c]) for c in seen])
            out[name] = auc, -np.log(p[np.arange(len(y)), y].clip(1e-6)).mean()
    return out


def judge(task: Task, k: int, seed: int, gates: dict[str, Any], classes: bool) -> dict | None:
    """Scores of all variants on one split of one table."""
    parts = split(task, k, seed, classes)
    if parts is None:
        return None
    X, y, X_query, y_query = parts
    encoder = OwnTableEncoder().fit([X])
    x, x_query = (torch.from_numpy(encoder.transform(part))[None].double() for part in (X, X_query))
    ways = None
    if classes:
        labels = np.unique(y)
        y, y_query, ways = np.searchsorted(labels, y), np.searchsorted(labels, y_query), len(labels)
    else:
        scaler = TargetScaler().fit([y])
        y, y_query = scaler.transform(y), scaler.transform(y_query)
    with torch.inference_mode():
        panel = Panel.of(x, torch.from_numpy(y)[None], ways)
        total = panel.left_out.sum(-1).float().clamp_min(-1e6)
        weighed = {name: gate(total, panel.facts.float()) for name, gate in gates.items()}
        weighed = {"experts averaged": averaged(panel)} | weighed
        return scores(panel, x_query, y_query, weighed)


def report(rows: dict[str, dict[str, list]], titles: tuple[str, str], first: str) -> None:
    """Print the mean of both scores, and differences with standard errors over tables."""
    per_table = {
        name: np.array([np.mean(values, axis=0) for values in tables.values()])
        for name, tables in rows.items()
    }
    print(f"{'':28s}{titles[0]:>9s}{'difference':>20s}{titles[1]:>10s}{'difference':>20s}")
    for name, values in per_table.items():
        gain = values - per_table[first]
        error = gain.std(0, ddof=1) / np.sqrt(len(gain))
        cells = "".join(
            f"{m:9.4f}   {g:+.4f} +- {e:.4f}"
            for m, g, e in zip(values.mean(0), gain.mean(0), error, strict=True)
        )
        print(f"{name:28s}{cells}")


def tables(kind: str, folder: Path, seeds: int) -> None:
    """Ablate on tables: every other one is for the user's own meta-training."""
    classes = kind == "classification"
    tasks = [read_npz(path) for path in sorted(folder.glob("*.npz"))]
    judged, own = tasks[::2], tasks[1::2]
    estimator = MetaClassifier if classes else MetaRegressor
    trained = estimator(random_state=0, learner="in_context").fit_tasks(own).prior_
    bundled = bundled_prior("classifier" if classes else "regressor")
    gates = {
        "gate, untrained": gate_of(None, kind),
        "gate, bundled": gate_of(bundled, kind),
        "gate, after fit_tasks": gate_of(trained, kind),
    }
    rows: dict[str, dict[str, list]] = {}
    for task in judged:
        for k in SHOTS:
            for seed in range(seeds):
                for name, pair in (judge(task, k, seed, gates, classes) or {}).items():
                    rows.setdefault(name, {}).setdefault(task.name, []).append(pair)
    print(f"\n{kind}: {len(judged)} tables, {SHOTS} rows, {len(own)} tables to meta-train on")
    report(rows, ("AUC", "log loss") if classes else ("R2", "RMSE"), "experts averaged")


def promised(tasks: list[Task]) -> ColumnPrior:
    """What the names of the columns of all tasks promise."""
    tables = [TableTask(t.name, read_table(t.X).declared(), t.y, OwnTableEncoder()) for t in tasks]
    return ColumnPrior.learn(table.whole() for table in tables)


def foreseen(
    task: Task, support: np.ndarray, query: np.ndarray, prior: ColumnPrior | None, gate: Any
) -> np.ndarray:
    """Mean prediction of query rows by the experts, and by that of names if there is a prior."""
    encoder = OwnTableEncoder().fit([task.X.iloc[support]])
    scaler = TargetScaler().fit([task.y[support]])
    x, x_query = (
        torch.from_numpy(encoder.transform(task.X.iloc[rows]))[None].double()
        for rows in (support, query)
    )
    y = torch.from_numpy(scaler.transform(task.y[support]))[None]
    unit = float(scaler.center_[0]), float(scaler.scale_[0])
    with torch.inference_mode():
        names = None if prior is None else NamedTable.of(prior, encoder.columns(), *unit)
        mixture = Mixture.of(Panel.of(x, y, None, names), gate)
        forecast, log_weight = mixture.forecast(x_query)
        mean = (log_weight[0].exp()[:, None] * forecast[0, ..., 0]).sum(0)
    return scaler.inverse_transform(mean.numpy())


def houses(folder: Path, seeds: int) -> None:
    """Ablate names of columns: each table in turn is new, after meta-training on all others."""
    import pandas as pd

    with open(folder / "manifest.csv", newline="") as file:
        targets = {row["file"]: row["target"] for row in csv.DictReader(file)}
    tasks = []
    for name, target in targets.items():
        frame = pd.read_csv(folder / name)
        y = frame.pop(target).to_numpy(float)
        kept = np.isfinite(y) & (y > 0)
        tasks.append(Task(frame[kept].reset_index(drop=True), np.log(y[kept]), name=name))
    gate = gate_of(bundled_prior("regressor"), "regression")
    rows: dict[str, dict[str, list]] = {}
    for t, task in enumerate(tasks):
        # Tables of one source, whose file names end alike, never learn from one another.
        source = task.name.split("_", 1)[1].rstrip("0123456789.csvk_")
        others = [o for i, o in enumerate(tasks) if i != t and source not in o.name]
        renamed = [
            Task(o.X.rename(columns=lambda c, o=o: f"{c} of {o.name}"), o.y, name=o.name)
            for o in others
        ]
        priors = {"no names": None, "names all unknown": renamed, "names": others}
        priors = {name: tables and promised(tables) for name, tables in priors.items()}
        for k in HOUSE_SHOTS:
            for seed in range(seeds):
                order = np.random.default_rng([seed, len(task.y)]).permutation(len(task.y))
                support, query = order[:k], order[k : k + MAX_QUERY]
                if len(query) < 20:
                    continue
                for name, prior in priors.items():
                    mean = foreseen(task, support, query, prior, gate)
                    error = np.mean((task.y[query] - mean) ** 2) / task.y[query].var()
                    pair = max(1 - error, -1.0), np.sqrt(error)
                    rows.setdefault(name, {}).setdefault(task.name, []).append(pair)
    print(f"\nhouses and rents: {len(tasks)} tables, {HOUSE_SHOTS} rows")
    report(rows, ("R2", "RMSE"), "no names")


def main() -> None:
    """Run what there are folders for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--houses", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if args.data:
        for kind in ("classification", "regression"):
            tables(kind, args.data / f"tabular_{kind}", args.seeds)
    if args.houses:
        houses(args.houses, args.seeds)


if __name__ == "__main__":
    main()
