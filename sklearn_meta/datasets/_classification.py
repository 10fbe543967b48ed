"""Classes that are Gaussian clusters of one shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_meta.tasks import Task

from ._draw import check_count, check_counts, check_scale, draw_count, generators


def make_classification_tasks(
    n_tasks: int = 100,
    n_rows: int | tuple[int, int] = 40,
    *,
    n_features: int = 5,
    n_classes: int | tuple[int, int] = 3,
    shared_classes: bool = False,
    class_sep: float = 2.0,
    shift: float = 0.0,
    covariance: Any = None,
    random_state: Any = None,
    return_parameters: bool = False,
) -> Any:
    """Make classification tasks whose classes are Gaussian clusters of one shape.

    All classes of all tasks have the same covariance within a class; it says which directions tell
    classes apart and which are mere nuisance, and is what such tasks share. The means of classes
    are Gaussian: the model of probabilistic linear discriminant analysis, S. Ioffe (2006),
    Probabilistic Linear Discriminant Analysis, ECCV.

    Parameters
    ----------
    n_tasks : int, default=100
    n_rows : int or (int, int), default=40
        Rows of a task, or their smallest and largest number; at least one a class. Classes are
        balanced: their numbers of rows differ by at most one.
    n_features : int, default=5
    n_classes : int or (int, int), default=3
        Classes of a task, or their smallest and largest number.
    shared_classes : bool, default=False
        Whether a class means the same in every task. If so, there are as many classes as
        `n_classes` allows at most, and a task has some of them; else every task has new ones, with
        labels that mean nothing elsewhere.
    class_sep : float, default=2.0
        Standard deviation of the means of classes, in each direction.
    shift : float, default=0.0
        Standard deviation of a shift of all rows of a task, in each direction.
    covariance : array-like of shape (n_features, n_features), default=None
        Covariance within a class; where None it is drawn, with variances in its principal
        directions that differ up to a hundredfold and are 1 on average.
    random_state : int, RandomState, Generator or None, default=None
        The first tasks of a longer list are those of a shorter one.
    return_parameters : bool, default=False
        Whether to return what the tasks were made with too.

    Returns
    -------
    tasks : list of Task
        ``X`` float64 of shape (n_rows, n_features) and ``y`` int64 of shape (n_rows,); named
        "classification_0", ...
    parameters : dict
        "classes", the labels of each task in order; "means", where its classes lie, each of shape
        (n_classes, n_features); "covariance" of shape (n_features, n_features). Only if
        `return_parameters`.

    Raises
    ------
    ValueError
        If a parameter is out of range or the covariance is none.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_meta.datasets import make_classification_tasks
    >>> X, y = make_classification_tasks(1, 10, n_classes=5, random_state=0)[0]
    >>> np.bincount(y)
    array([2, 2, 2, 2, 2])
    """
    counts, ways = check_counts("n_rows", n_rows), check_counts("n_classes", n_classes)
    if counts[0] < ways[1]:
        raise ValueError(
            f"n_rows is {n_rows!r} and n_classes {n_classes!r}, expected at least one row a class."
        )
    n_features = check_count("n_features", n_features)
    class_sep, shift = check_scale("class_sep", class_sep), check_scale("shift", shift)
    family, rngs = generators(n_tasks, random_state)
    covariance, root = _covariance_and_root(covariance, n_features, family)
    shared_means = class_sep * family.standard_normal((ways[1], n_features))
    tasks: list[Task] = []
    drawn: dict[str, Any] = {"classes": [], "means": [], "covariance": covariance}
    for t, rng in enumerate(rngs):
        n = draw_count(ways, rng)
        if shared_classes:
            classes = np.sort(rng.choice(ways[1], n, replace=False))
            means = shared_means[classes]
        else:
            classes, means = np.arange(n), class_sep * rng.standard_normal((n, n_features))
        means = means + shift * rng.standard_normal(n_features)
        n_task_rows = draw_count(counts, rng)
        # A random order of classes too: else the first ones would have the odd rows.
        code = rng.permutation(n)[rng.permutation(n_task_rows) % n]
        X = means[code] + rng.standard_normal((n_task_rows, n_features)) @ root.T
        tasks.append(Task(X, classes[code], name=f"classification_{t}"))
        drawn["classes"].append(classes)
        drawn["means"].append(means)
    return (tasks, drawn) if return_parameters else tasks


def _covariance_and_root(
    covariance: Any, n_features: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance, and A of the same shape with ``A @ A.T`` equal to it."""
    # Drawn in any case: what the caller gives must not move the random numbers of anything else.
    directions = np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    variances = 10.0 ** rng.uniform(-1, 1, size=n_features)
    if covariance is None:
        root = directions * np.sqrt(variances / variances.mean())
        return root @ root.T, root
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.shape != (n_features, n_features):
        raise ValueError(
            f"covariance has shape {covariance.shape}, expected {(n_features, n_features)}."
        )
    if not np.isfinite(covariance).all() or not np.allclose(covariance, covariance.T):
        raise ValueError("covariance must be finite and symmetric.")
    values, vectors = np.linalg.eigh(covariance)
    if values.min() < -1e-10 * max(values.max(), 1.0):
        raise ValueError(
            f"covariance has the eigenvalue {values.min():.3g}, expected none below zero."
        )
    return covariance, vectors * np.sqrt(np.maximum(values, 0.0))
