"""Few-shot classification of characters of alphabets that meta-training has not seen.

The data are a folder alphabet/character/image.png or an npz file of arrays; a fixed seed holds out
a fifth of the alphabets. Episodes draw characters of all held-out alphabets together, as O. Vinyals
et al. (2016) do; query rows are predicted independently of each other.

    python benchmarks/omniglot.py background28.npz --prior omniglot.safetensors
    python benchmarks/omniglot.py images_background --invert --max-time 600

An interrupted run goes on where it was: meta-training from a checkpoint beside the prior's file,
evaluation from a JSON there. Where the prior's file exists, meta-training is over.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from sklearn_meta import MetaClassifier, Task
from sklearn_meta.datasets import few_shot_episodes, load_image_folders, load_image_npz
from sklearn_meta.learners import get_learner

SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots
QUERY = {5: 15, 20: 5}  # query rows a class
PUBLISHED = {  # in per cent; from 1,200 characters and rotated ones, not split by alphabets
    "prototypical networks (Snell et al. 2017, arXiv:1703.05175, table 1)": (
        98.8,
        99.7,
        96.0,
        98.9,
    ),
    "MAML (Finn et al. 2017, arXiv:1703.03400, table 1)": (98.7, 99.9, 95.8, 98.9),
    "matching networks (Vinyals et al. 2016, arXiv:1606.04080, table 1)": (98.1, 98.9, 93.8, 98.5),
}
SAVE_EVERY = 50  # episodes


def load(args: argparse.Namespace) -> list[Task]:
    """Load one task an alphabet."""
    shape = (args.image_size, args.image_size)
    if args.data.is_dir():
        tasks = load_image_folders(args.data, image_shape=shape, invert=args.invert)
        # Folders of characters are numbered in each alphabet, and no two are the same character.
        return [Task(t.X, [f"{t.name}/{label}" for label in t.y], name=t.name) for t in tasks]
    return load_image_npz(
        args.data,
        images=args.images,
        labels=args.labels,
        groups=args.groups,
        group_names=args.group_names,
        image_shape=shape,
        invert=args.invert,
    )


def split(tasks: list[Task], share: float, seed: int) -> tuple[list[Task], list[Task]]:
    """Split alphabets into old and new ones."""
    order = np.random.default_rng(seed).permutation(len(tasks))
    n_new = max(1, round(share * len(tasks)))
    return [tasks[t] for t in order[n_new:]], [tasks[t] for t in order[:n_new]]


def meta_train(tasks: list[Task], args: argparse.Namespace) -> None:
    """Meta-train, or go on with it, and save the prior."""
    learner = args.learner
    if learner != "auto":
        learner = get_learner(learner, args.params)
    meta = MetaClassifier(
        learner=learner,
        image_shape=(args.image_size, args.image_size),
        shared_classes=False,
        max_time=args.max_time,
        random_state=args.seed,
        verbose=1,
        checkpoint=args.prior.with_suffix(".checkpoint"),
        **args.meta_parameters,
    )
    start = time.perf_counter()
    meta.fit_tasks(tasks)
    n_iter = int(meta.history_.iteration[-1])
    print(f"meta-training: {time.perf_counter() - start:.0f} s in this run, {n_iter} steps")
    meta.prior_.save(args.prior)


class Results:
    """Accuracies and times of the episodes so far, in a file of JSON.

    Parameters
    ----------
    path : Path
    of : str
        What the results are of; those of anything else are discarded.
    """

    def __init__(self, path: Path, of: str) -> None:
        self.path, self.of = path, of
        self.episodes: dict[str, list[list[float]]] = {}
        if path.exists():
            stored = json.loads(path.read_text())
            if stored["of"] == of:
                self.episodes = stored["episodes"]

    def save(self) -> None:
        """Write the file: complete, or not at all."""
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"of": self.of, "episodes": self.episodes}))
        os.replace(temporary, self.path)


def evaluate(
    meta: MetaClassifier, tasks: list[Task], ways: int, shots: int, args: Any, results: Results
) -> np.ndarray:
    """Accuracy and seconds of `adapt`, of shape (n_episodes, 2)."""
    done = results.episodes.setdefault(f"{ways}-way {shots}-shot", [])
    seed = np.random.default_rng([args.seed, ways, shots])
    episodes = few_shot_episodes(tasks, ways, shots, QUERY[ways], args.episodes, random_state=seed)
    for X, y, X_query, y_query in itertools.islice(episodes, len(done), None):
        start = time.perf_counter()
        model = meta.adapt(X, y)
        seconds = time.perf_counter() - start
        done.append([float(np.mean(model.predict(X_query) == y_query)), seconds])
        if len(done) % SAVE_EVERY == 0:
            results.save()
    results.save()
    return np.array(done[: args.episodes])


def dependence(meta: MetaClassifier, tasks: list[Task], seed: int) -> float:
    """Largest change of a probability when query rows are predicted one by one."""
    X, y, X_query, _ = next(few_shot_episodes(tasks, 5, 1, 15, 1, random_state=seed))
    model = meta.adapt(X, y)
    alone = np.concatenate([model.predict_proba(row[None]) for row in X_query])
    return float(np.abs(alone - model.predict_proba(X_query)).max())


def table(rows: dict[str, np.ndarray]) -> str:
    """Markdown table of accuracies with 95 % intervals over episodes, beside published ones."""
    ours, times = [], []
    for values in rows.values():
        accuracy = 100 * values[:, 0]
        spread = accuracy.std(ddof=1) / np.sqrt(len(accuracy))
        ours.append(f"{accuracy.mean():.2f} ± {student.ppf(0.975, len(accuracy) - 1) * spread:.2f}")
        times.append(f"{1000 * np.median(values[:, 1]):.1f}")
    lines = [
        "| per cent correct | " + " | ".join(rows) + " |",
        "|---|" + "---:|" * len(rows),
        "| sklearn_meta | " + " | ".join(ours) + " |",
        "| its milliseconds of adapt, median | " + " | ".join(times) + " |",
    ]
    for source, published in PUBLISHED.items():
        lines.append(f"| {source} | " + " | ".join(f"{value:.1f}" for value in published) + " |")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder or npz file")
    parser.add_argument("--images", default="images", help="npz: key of the images")
    parser.add_argument("--labels", default="character", help="npz: key of the characters")
    parser.add_argument("--groups", default="alphabet", help="npz: key of the alphabets")
    parser.add_argument("--group-names", help="npz: key of the alphabets' names")
    parser.add_argument("--invert", action="store_true", help="ink is dark in these images")
    parser.add_argument("--image-size", type=int, default=28, help="height and width in pixels")
    parser.add_argument("--prior", type=Path, default=Path("omniglot.safetensors"))
    parser.add_argument("--test-share", type=float, default=0.2, help="share of new alphabets")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="threads of PyTorch; its own choice by default")
    parser.add_argument("--max-time", type=float, default=1200.0, help="seconds of meta-training")
    parser.add_argument("--learner", default="auto")
    parser.add_argument("--params", type=json.loads, default={}, help="JSON: those of the learner")
    parser.add_argument(
        "--meta-parameters", type=json.loads, default={}, help="JSON: others of MetaClassifier"
    )
    return parser.parse_args()


def main() -> None:
    """Meta-train unless that is done, evaluate every setting, and print the table."""
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    old, new = split(load(args), args.test_share, args.seed)
    print(f"{len(old)} old alphabets, {len(new)} new: {', '.join(task.name for task in new)}")
    if not args.prior.exists():
        meta_train(old, args)
    meta = MetaClassifier(prior=args.prior)
    digest = hashlib.sha256(args.prior.read_bytes()).hexdigest()
    results = Results(
        args.prior.with_suffix(".json"), f"{digest} {args.data.name} {args.test_share} {args.seed}"
    )
    print(f"a row predicted alone changes by at most {dependence(meta, new, args.seed):.1e}")
    print(
        table(
            {
                f"{ways}-way {shots}-shot": evaluate(meta, new, ways, shots, args, results)
                for ways, shots in SETTINGS
            }
        )
    )


if __name__ == "__main__":
    main()
