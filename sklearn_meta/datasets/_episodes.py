"""Few-shot episodes over classes: the protocol by which Omniglot and its kin are judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sklearn_meta._random import generator_of
from sklearn_meta.tasks import Task, check_tasks

from ._draw import check_count

Episode = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def few_shot_episodes(
    tasks: Any,
    ways: int = 5,
    shots: int = 1,
    n_query: int = 15,
    n_episodes: int = 1000,
    *,
    within_task: bool = False,
    random_state: Any = None,
) -> Iterator[Episode]:
    """Draw N-way K-shot episodes from the classes of some tasks.

    The protocol of O. Vinyals et al. (2016), Matching Networks for One Shot Learning
    (https://arxiv.org/abs/1606.04080): an episode draws ``ways`` classes, and of each of them
    ``shots`` rows as support and other rows as query.

    Parameters
    ----------
    tasks : sequence of Task or (X, y), or mapping of name to one
        Arrays with a class label a row. Equal labels of different tasks are different classes.
    ways : int, default=5
        Classes of an episode.
    shots : int, default=1
        Support rows of each class.
    n_query : int, default=15
        Query rows of each class.
    n_episodes : int, default=1000
    within_task : bool, default=False
        Whether the classes of an episode come from one task, each task being drawn with equal
        probability; else from all tasks together.
    random_state : int, RandomState, Generator or None, default=None

    Yields
    ------
    X_support : ndarray of shape (ways * shots, n_columns)
    y_support : ndarray of int64 of shape (ways * shots,)
        Position of the class in the episode, from 0 to ``ways`` - 1, in order.
    X_query : ndarray of shape (ways * n_query, n_columns)
    y_query : ndarray of int64 of shape (ways * n_query,)

    Raises
    ------
    ValueError
        If a number is out of range, or fewer than ``ways`` classes have ``shots + n_query`` rows;
        classes with fewer rows are left out.

    Examples
    --------
    >>> from sklearn_meta.datasets import few_shot_episodes, make_classification_tasks
    >>> tasks = make_classification_tasks(10, 40, random_state=0)
    >>> for X, y, X_query, y_query in few_shot_episodes(tasks, 5, 1, 10, 1, random_state=0):
    ...     print(X.shape, y, X_query.shape)
    (5, 5) [0 1 2 3 4] (50, 5)
    """
    ways, shots = check_count("ways", ways), check_count("shots", shots)
    n_query, n_episodes = check_count("n_query", n_query), check_count("n_episodes", n_episodes)
    checked = check_tasks(tasks, min_tasks=1, same_columns=True)
    pools = [_classes(task, shots + n_query) for task in checked]
    if not within_task:
        pools = [[one for pool in pools for one in pool]]
    enough = [pool for pool in pools if len(pool) >= ways]
    if not enough:
        where = "in no task" if within_task else "in all tasks together"
        most = max(len(pool) for pool in pools)
        raise ValueError(
            f"{ways} classes of {shots + n_query} rows (shots and query) are needed, and "
            f"{where} there are so many: at most {most}."
        )
    return _episodes(enough, ways, shots, shots + n_query, n_episodes, generator_of(random_state))


def _classes(task: Task, n_rows: int) -> list[np.ndarray]:
    """Rows of each class that has enough of them."""
    X = np.asarray(task.X)
    if task.y.ndim != 1:
        raise ValueError(
            f"tasks: task {task.name!r}: y has shape {task.y.shape}, expected one label a row."
        )
    _, codes = np.unique(task.y, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    return [X[one] for one in rows if len(one) >= n_rows]


def _episodes(
    pools: Sequence[list[np.ndarray]],
    ways: int,
    shots: int,
    n_rows: int,
    n_episodes: int,
    rng: np.random.Generator,
) -> Iterator[Episode]:
    y_support = np.repeat(np.arange(ways), shots)
    y_query = np.repeat(np.arange(ways), n_rows - shots)
    for _ in range(n_episodes):
        pool = pools[rng.integers(len(pools))]
        chosen = [pool[c] for c in rng.choice(len(pool), ways, replace=False)]
        drawn = [X[rng.choice(len(X), n_rows, replace=False)] for X in chosen]
        support = np.concatenate([X[:shots] for X in drawn])
        query = np.concatenate([X[shots:] for X in drawn])
        yield support, y_support.copy(), query, y_query.copy()
