"""Time and memory of `fit` and `predict` on one table, without tasks: the bundled priors.

OMP_NUM_THREADS=1 python benchmarks/table_time.py
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np

from sklearn_meta import MetaClassifier, MetaRegressor

SHAPES = ((64, 10), (256, 20), (1000, 50), (10000, 100))


def megabytes() -> float:
    """Most memory that the process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(estimator: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Best of a few runs of fit and predict of as many rows."""
    best = np.inf
    for _ in range(5 if len(X) < 5000 else 1):
        started = time.perf_counter()
        estimator.fit(X, y).predict(X)
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    """Print one line a shape."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), np.arange(20)
    MetaClassifier().fit(X, y % 2), MetaRegressor().fit(X, y)  # imports, and priors are read
    before = megabytes()
    for n, p in SHAPES:
        X = rng.normal(size=(n, p))
        y = X[:, 0] + np.sin(2 * X[:, 1]) + 0.5 * rng.normal(size=n)
        cells = {
            "2 classes": seconds(MetaClassifier(), X, y > 0),
            "5 classes": seconds(MetaClassifier(), X, np.digitize(y, [-1.5, -0.5, 0.5, 1.5])),
            "regression": seconds(MetaRegressor(), X, y),
        }
        text = ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in cells.items())
        print(f"{n} x {p}: {text}; {megabytes() - before:.0f} MB more than at the start")


if __name__ == "__main__":
    main()
