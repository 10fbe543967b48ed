"""Few-shot classification of classes that no task of meta-training has shown.

python benchmarks/unseen_classes.py                    # digits 6 to 9 after 0 to 5
python benchmarks/unseen_classes.py --npz images.npz   # characters; array "images", 20 a class
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sklearn_meta import MetaClassifier

Task = tuple[np.ndarray, np.ndarray]


def draw_task(classes: list[np.ndarray], ways: int, n: int, rng: np.random.Generator) -> Task:
    """Draw n rows of each of some random classes; labels are their numbers, rows in this order."""
    chosen = rng.choice(len(classes), ways, replace=False)
    rows = [rng.choice(classes[c], n, replace=False) for c in chosen]
    return np.concatenate(rows), np.repeat(chosen, n)


def digits(rng: np.random.Generator) -> tuple[list[Task], list[Task]]:
    """60 tasks of 3 of the digits 0 to 5, and 20 of all of 6 to 9."""
    X, y = load_digits(return_X_y=True)
    classes = [X[y == digit] for digit in range(10)]
    old = [draw_task(classes[:6], 3, 12, rng) for _ in range(60)]
    return old, [draw_task(classes[6:], 4, 100, rng) for _ in range(20)]


def characters(path: str, rng: np.random.Generator) -> tuple[list[Task], list[Task]]:
    """400 tasks of 5 of 700 characters, and 60 of others; images averaged to half their size."""
    images = np.load(path, allow_pickle=False)["images"].astype(np.float32) / 255
    n, height, width = images.shape
    images = images.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4))
    classes = list(images.reshape(n // 20, 20, -1)[rng.permutation(n // 20)])
    old = [draw_task(classes[:700], 5, 10, rng) for _ in range(400)]
    return old, [draw_task(classes[700:], 5, 12, rng) for _ in range(60)]


def report(name: str, accuracy: list[float]) -> None:
    """Print a mean with its 95 % interval over tasks."""
    half = 1.96 * np.std(accuracy, ddof=1) / np.sqrt(len(accuracy))
    print(f"{name:20s} {np.mean(accuracy):.3f} +- {half:.3f}", flush=True)


def main() -> None:
    """Meta-train each learner with its defaults and print accuracies at two shots a class."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--npz")
    path = parser.parse_args().npz
    rng = np.random.default_rng(0)
    old, new = digits(rng) if path is None else characters(path, rng)

    def splits(task: Task) -> tuple[np.ndarray, np.ndarray]:
        position = np.arange(len(task[1])) % np.unique(task[1], return_counts=True)[1][0]
        return np.flatnonzero(position < 2), np.flatnonzero(position >= 2)

    def score(fit, task: Task) -> float:
        (X, y), (support, query) = task, splits(task)
        return fit(X[support], y[support]).score(X[query], y[query])

    regression = LogisticRegression(max_iter=1000)
    report("LogisticRegression", [score(regression.fit, task) for task in new])
    side = round(old[0][0].shape[1] ** 0.5)
    for name, parameters in {
        "prototypical": {"learner": "prototypical"},
        "bayesian_logistic": {"learner": "bayesian_logistic"},
        "images": {"image_shape": (side, side)},
    }.items():
        meta = MetaClassifier(shared_classes=False, random_state=0, **parameters).fit_tasks(old)
        report(name, [score(meta.adapt, task) for task in new])


if __name__ == "__main__":
    main()
