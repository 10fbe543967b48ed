"""Sinusoids of random amplitude and phase, and the protocol of MAML's first experiment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from sklearn_meta._random import generator_of
from sklearn_meta.tasks import Task

from ._draw import (
    check_count,
    check_counts,
    check_range,
    check_scale,
    draw_count,
    generators,
)

Episode = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def make_sinusoids(
    n_tasks: int = 100,
    n_rows: int | tuple[int, int] = 20,
    *,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, np.pi),
    x_range: tuple[float, float] = (-5.0, 5.0),
    noise: float = 0.0,
    random_state: Any = None,
    return_parameters: bool = False,
) -> Any:
    """Make regression tasks ``y = amplitude * sin(x + phase) + noise``.

    Amplitude, phase and x are uniform; the defaults are those of C. Finn, P. Abbeel and S. Levine
    (2017), Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks
    (https://arxiv.org/abs/1703.03400).

    Parameters
    ----------
    n_tasks : int, default=100
    n_rows : int or (int, int), default=20
        Rows of a task, or their smallest and largest number.
    amplitude, phase, x_range : (float, float)
        Smallest and largest value.
    noise : float, default=0.0
        Standard deviation of Gaussian noise.
    random_state : int, RandomState, Generator or None, default=None
        The first tasks of a longer list are those of a shorter one.
    return_parameters : bool, default=False
        Whether to return what the tasks were made with too.

    Returns
    -------
    tasks : list of Task
        ``X`` float64 of shape (n_rows, 1) and ``y`` float64 of shape (n_rows,); named
        "sinusoid_0", "sinusoid_1", ...
    parameters : dict
        "amplitude" and "phase", float64 of shape (n_tasks,). Only if `return_parameters`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_sinusoids
    >>> make_sinusoids(2, 10, random_state=0)
    [Task(name='sinusoid_0', 10 rows, 1 column), Task(name='sinusoid_1', 10 rows, 1 column)]
    """
    low, high = zip(check_range("amplitude", amplitude), check_range("phase", phase), strict=True)
    counts = check_counts("n_rows", n_rows)
    x_range, noise = check_range("x_range", x_range), check_scale("noise", noise)
    tasks, parameters = [], []
    for t, rng in enumerate(generators(n_tasks, random_state)[1]):
        scale, shift = rng.uniform(low, high)
        X = rng.uniform(*x_range, size=(draw_count(counts, rng), 1))
        y = scale * np.sin(X[:, 0] + shift) + noise * rng.standard_normal(len(X))
        tasks.append(Task(X, y, name=f"sinusoid_{t}"))
        parameters.append((scale, shift))
    if not return_parameters:
        return tasks
    return tasks, dict(zip(("amplitude", "phase"), np.array(parameters).T, strict=True))


def sinusoid_protocol(
    shots: int = 10,
    *,
    n_train_tasks: int | None = None,
    n_train_rows: int | tuple[int, int] | None = None,
    n_test_tasks: int = 600,
    n_query: int = 100,
    random_state: Any = None,
) -> tuple[list[Task] | Iterator[Task], list[Episode]]:
    """Return training tasks and test episodes of the sinusoids of Finn et al. (2017).

    A model is meta-trained on sinusoids, sees ``shots`` rows without noise of each of 600 new ones,
    and is judged by its mean squared error there. Training draws new tasks for ever, each of
    ``shots`` rows to adapt on and as many to be judged on
    (https://arxiv.org/abs/1703.03400, section 5.1).

    Parameters
    ----------
    shots : int, default=10
        Support rows of a test episode; 5, 10 and 20 were published.
    n_train_tasks : int, default=None
        How many training tasks; None for an endless stream.
    n_train_rows : int or (int, int), default=None
        Rows of a training task; twice the shots where None.
    n_test_tasks : int, default=600
        How many test episodes.
    n_query : int, default=100
        Query rows of a test episode. The original takes as many as there are shots; more of them
        measure the same error with less noise.
    random_state : int, RandomState, Generator or None, default=None
        The same int gives test episodes of the same sinusoids for every number of shots, with the
        same query rows, and with support rows each contained in the next.

    Returns
    -------
    train : list of Task, or iterator of Task
    test : list of (X_support, y_support, X_query, y_query)

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklearn_meta.datasets import sinusoid_protocol
    >>> train, test = sinusoid_protocol(5, n_train_tasks=1000, random_state=0)
    >>> len(train), [part.shape for part in test[0]]
    (1000, [(5, 1), (5,), (100, 1), (100,)])
    """
    shots, n_query = check_count("shots", shots), check_count("n_query", n_query)
    rows = 2 * shots if n_train_rows is None else n_train_rows
    check_counts("n_train_rows", rows)
    for_test, for_train = generator_of(random_state).spawn(2)
    test = [
        (X[n_query:], y[n_query:], X[:n_query], y[:n_query])
        for X, y in make_sinusoids(n_test_tasks, n_query + shots, random_state=for_test)
    ]
    if n_train_tasks is None:
        return _stream(rows, for_train), test
    return make_sinusoids(n_train_tasks, rows, random_state=for_train), test


def _stream(n_rows: int | tuple[int, int], rng: np.random.Generator) -> Iterator[Task]:
    for t in itertools.count():
        X, y = make_sinusoids(1, n_rows, random_state=rng)[0]
        yield Task(X, y, name=f"sinusoid_{t}")
