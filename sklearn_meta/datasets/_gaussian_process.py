"""Functions drawn from a Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import RBF, Kernel

from sklearn_meta.tasks import Task

from ._draw import check_count, check_counts, check_range, check_scale, draw_count, generators


def make_gaussian_process_tasks(
    n_tasks: int = 100,
    n_rows: int | tuple[int, int] = 20,
    *,
    kernel: Kernel | Sequence[Kernel] | None = None,
    n_features: int = 1,
    x_range: tuple[float, float] = (-2.0, 2.0),
    noise: float = 0.0,
    random_state: Any = None,
    return_parameters: bool = False,
) -> Any:
    """Make regression tasks that are functions drawn from a Gaussian process of mean zero.

    Such tasks are the first experiment of M. Garnelo et al. (2018), Conditional Neural Processes
    (https://arxiv.org/abs/1807.01613), and of H. Kim et al. (2019), Attentive Neural Processes
    (https://arxiv.org/abs/1901.05761), who vary the kernel between tasks.

    Parameters
    ----------
    n_tasks : int, default=100
    n_rows : int or (int, int), default=20
        Rows of a task, or their smallest and largest number.
    kernel : Kernel of scikit-learn, or sequence of them, default=None
        Covariance of the function values; ``RBF(1.0)`` where None. Each task draws one of several.
    n_features : int, default=1
    x_range : (float, float), default=(-2.0, 2.0)
        X is uniform in it.
    noise : float, default=0.0
        Standard deviation of Gaussian noise, beside what the kernel has.
    random_state : int, RandomState, Generator or None, default=None
        The first tasks of a longer list are those of a shorter one.
    return_parameters : bool, default=False
        Whether to return what the tasks were made with too.

    Returns
    -------
    tasks : list of Task
        ``X`` float64 of shape (n_rows, n_features) and ``y`` float64 of shape (n_rows,); named
        "gaussian_process_0", ...
    parameters : dict
        "kernel", the Kernel of each task, and "function", a list of its values without noise, each
        of shape (n_rows,). Only if `return_parameters`.

    Raises
    ------
    TypeError
        If a kernel is none of scikit-learn's.
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklearn.gaussian_process.kernels import Matern
    >>> from sklearn_meta.datasets import make_gaussian_process_tasks
    >>> make_gaussian_process_tasks(1, 10, kernel=Matern(0.5), random_state=0)
    [Task(name='gaussian_process_0', 10 rows, 1 column)]
    """
    kernels = _check_kernels(kernel)
    counts, n_features = check_counts("n_rows", n_rows), check_count("n_features", n_features)
    x_range, noise = check_range("x_range", x_range), check_scale("noise", noise)
    tasks: list[Task] = []
    drawn: dict[str, list[Any]] = {"kernel": [], "function": []}
    for t, rng in enumerate(generators(n_tasks, random_state)[1]):
        covariance = kernels[rng.integers(len(kernels))]
        X = rng.uniform(*x_range, size=(draw_count(counts, rng), n_features))
        f = _root(covariance(X)) @ rng.standard_normal(len(X))
        tasks.append(Task(X, f + noise * rng.standard_normal(len(X)), name=f"gaussian_process_{t}"))
        drawn["kernel"].append(covariance)
        drawn["function"].append(f)
    return (tasks, drawn) if return_parameters else tasks


def _check_kernels(kernel: Any) -> list[Kernel]:
    if kernel is None:
        return [RBF(1.0)]
    kernels = list(kernel) if isinstance(kernel, (list, tuple)) else [kernel]
    if not kernels or not all(isinstance(one, Kernel) for one in kernels):
        raise TypeError(
            f"kernel is {kernel!r}, expected a kernel of sklearn.gaussian_process.kernels or a "
            "sequence of them."
        )
    return kernels


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return A with ``A @ A.T == covariance``; smooth kernels are singular to rounding."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))
