"""How long adaptation takes: one task from arrays and from data frames, and 10,000 at once.

python benchmarks/adaptation_time.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from sklearn_meta import MetaClassifier, MetaRegressor


def draw_task(n_rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a task with 10 columns and a noisy, slightly curved target."""
    X = rng.normal(size=(n_rows, 10))
    return X, X @ rng.normal(size=10) + np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=n_rows)


def as_frame(X: np.ndarray) -> pd.DataFrame:
    """Data frame with 8 columns of numbers and 2 of categories."""
    frame = pd.DataFrame(X, columns=[f"column{j}" for j in range(X.shape[1])])
    for name in frame.columns[:2]:
        frame[name] = pd.cut(frame[name], [-9, -1, 0, 1, 9], labels=list("abcd"))
    return frame


def milliseconds(call: Callable[[], object], repeats: int = 50) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    n_tasks = parser.parse_args().tasks
    rng = np.random.default_rng(0)
    old = [draw_task(20, rng) for _ in range(50)]
    regressor = MetaRegressor(random_state=0, max_iter=200)
    classifier = MetaClassifier(random_state=0, max_iter=200)
    for name, make in (("regressor", regressor), ("classifier", classifier)):
        label = (lambda y: y) if name == "regressor" else (lambda y: (y > 0).astype(int))
        for form, prepare in (("array", lambda X: X), ("frame", as_frame)):
            meta = make.fit_tasks([(prepare(X), label(y)) for X, y in old])
            for shots in (1, 5, 10, 20):
                X, y = draw_task(shots + 20, rng)
                support, query, target = prepare(X[:shots]), prepare(X[shots:]), label(y[:shots])
                adapt = milliseconds(lambda s=support, t=target, m=meta: m.adapt(s, t))
                model = meta.adapt(support, target)
                predict = milliseconds(lambda q=query, m=model: m.predict(q))
                print(
                    f"{name:10s} {form:5s} {shots:2d} shots: adapt {adapt:5.2f} ms, "
                    f"predict {predict:5.2f} ms, both {adapt + predict:5.2f} ms"
                )
    meta = regressor.fit_tasks(old)
    tasks = [draw_task(10, rng) for _ in range(n_tasks)]
    start = time.perf_counter()
    many = meta.adapt_many(tasks)
    seconds = time.perf_counter() - start
    X = rng.normal(size=(20, 10))
    gap = max(
        np.abs(many[str(t)].predict(X) - meta.adapt(*tasks[t]).predict(X)).max()
        for t in rng.choice(n_tasks, 50)
    )
    print(
        f"adapt_many, {n_tasks} tasks of 10 rows: {seconds:.2f} s; largest gap to a loop {gap:.1e}"
    )


if __name__ == "__main__":
    main()
