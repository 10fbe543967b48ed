"""Linear tasks whose coefficients vary around those that they share."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_meta.tasks import Task

from ._draw import check_count, check_counts, check_scale, draw_count, generators


def make_linear_tasks(
    n_tasks: int = 100,
    n_rows: int | tuple[int, int] = 20,
    *,
    n_features: int = 5,
    n_groups: int = 1,
    spread: float = 0.3,
    noise: float = 0.3,
    random_state: Any = None,
    return_parameters: bool = False,
) -> Any:
    """Make regression tasks ``y = X @ coef + intercept + noise`` with related coefficients.

    Coefficients and intercept of a task are Gaussian around those of its group, which are standard
    normal, as is X: the random-effects model of N. M. Laird and J. H. Ware (1982), Random-Effects
    Models for Longitudinal Data, Biometrics 38.

    Parameters
    ----------
    n_tasks : int, default=100
    n_rows : int or (int, int), default=20
        Rows of a task, or their smallest and largest number.
    n_features : int, default=5
    n_groups : int, default=1
        Groups of tasks, each with a mean of its own; a task belongs to each with equal
        probability.
    spread : float, default=0.3
        Standard deviation of coefficients and intercept between the tasks of a group.
    noise : float, default=0.3
        Standard deviation of Gaussian noise.
    random_state : int, RandomState, Generator or None, default=None
        The first tasks of a longer list are those of a shorter one.
    return_parameters : bool, default=False
        Whether to return what the tasks were made with too.

    Returns
    -------
    tasks : list of Task
        ``X`` float64 of shape (n_rows, n_features) and ``y`` float64 of shape (n_rows,); named
        "linear_0", "linear_1", ...
    parameters : dict
        "coef" of shape (n_tasks, n_features), "intercept" (n_tasks,), "group" (n_tasks,),
        "group_coef" (n_groups, n_features), "group_intercept" (n_groups,). Only if
        `return_parameters`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> make_linear_tasks(1, 10, n_features=3, random_state=0)
    [Task(name='linear_0', 10 rows, 3 columns)]
    """
    counts = check_counts("n_rows", n_rows)
    n_features = check_count("n_features", n_features)
    n_groups = check_count("n_groups", n_groups)
    spread, noise = check_scale("spread", spread), check_scale("noise", noise)
    family, rngs = generators(n_tasks, random_state)
    means = family.standard_normal((n_groups, n_features + 1))  # the intercept comes last
    group = np.empty(len(rngs), dtype=np.int64)
    effects = np.empty((len(rngs), n_features + 1))
    tasks = []
    for t, rng in enumerate(rngs):
        group[t] = rng.integers(n_groups)
        effects[t] = means[group[t]] + spread * rng.standard_normal(n_features + 1)
        X = rng.standard_normal((draw_count(counts, rng), n_features))
        y = X @ effects[t, :-1] + effects[t, -1] + noise * rng.standard_normal(len(X))
        tasks.append(Task(X, y, name=f"linear_{t}"))
    if not return_parameters:
        return tasks
    parameters = {
        "coef": effects[:, :-1],
        "intercept": effects[:, -1],
        "group": group,
        "group_coef": means[:, :-1],
        "group_intercept": means[:, -1],
    }
    return tasks, parameters
