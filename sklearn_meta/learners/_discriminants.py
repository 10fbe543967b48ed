"""Linear discriminants over the classes of all tasks: where learned metrics start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf

from sklearn_meta.tasks import TaskStore

MAX_DIRECTIONS = 128
MAX_ROWS = 20_000
NOISE_FLOOR = 0.02  # of the variance of an encoded column, which is about 1
MIN_SPREAD, MAX_SPREAD = 0.02, 50.0


@dataclass(frozen=True)
class Discriminants:
    """Directions in which rows of one class of one task vary by 1, the most telling first.

    Attributes
    ----------
    directions : ndarray of shape (n_columns, k)
    centres : ndarray of shape (n_classes or 1, k)
        Mean of each class over all tasks, or of all classes where they are not shared.
    class_spread : ndarray of shape (k,)
        Variance of class means in a task around ``centre + shift of the task``.
    task_spread : ndarray of shape (k,)
        Variance of the shifts of tasks.
    frequency : ndarray of shape (n_classes or 1,)
        Of each class among all rows.
    """

    directions: np.ndarray
    centres: np.ndarray
    class_spread: np.ndarray
    task_spread: np.ndarray
    frequency: np.ndarray


def discriminants(store: TaskStore, n_classes: int) -> Discriminants:
    """Estimate the directions and spreads by moments.

    Parameters
    ----------
    store : TaskStore
        With class codes for targets.
    n_classes : int
        Number of classes that mean the same in every task; 0 where they mean nothing beyond one.
    """
    step = max(1, len(store.x) // MAX_ROWS)
    task = store.task_of_row[::step]
    inside = task >= 0
    x, y, task = store.x[::step][inside].astype(float), store.y[::step][inside], task[inside]
    known = y if n_classes else np.zeros_like(y)

    cells, cell = np.unique(np.stack([task, y]), axis=1, return_inverse=True)
    cell = cell.ravel()
    mean, count = _means(x, cell, cells.shape[1])
    within = _within_covariance(x - mean[cell], len(x) - cells.shape[1])

    value, vector = np.linalg.eigh(within)
    whiten = vector / np.sqrt(value)
    centres, rows_of_class = _means(x, known, max(n_classes, 1))
    absent = rows_of_class == 0
    centres[absent] = x.mean(axis=0)
    white_mean = (mean - x.mean(axis=0)) @ whiten
    _, rotation = np.linalg.eigh(white_mean.T @ white_mean)
    directions = whiten @ rotation[:, ::-1][:, :MAX_DIRECTIONS]

    centres = centres @ directions
    # A cell's mean around the centre of its class is the shift of the task, and what is left.
    rest = mean @ directions - centres[cells[1] if n_classes else 0]
    shift, cells_of_task = _means(rest, cells[0], store.n_tasks)
    rest -= shift[cells[0]]
    # Means of few rows, or of few classes, vary by chance too.
    chance = np.mean(1 / count)
    freedom = max(cells.shape[1] - np.count_nonzero(cells_of_task), 1)
    class_spread = np.clip((rest**2).sum(0) / freedom - chance, MIN_SPREAD, MAX_SPREAD)
    per_task = np.mean(1 / cells_of_task[cells_of_task > 0])
    task_spread = shift[cells_of_task > 0].var(axis=0) - per_task * (class_spread + chance)
    return Discriminants(
        directions,
        centres,
        class_spread,
        np.clip(task_spread, MIN_SPREAD, MAX_SPREAD),
        (rows_of_class + 1) / (rows_of_class + 1).sum(),
    )


def _means(x: np.ndarray, group: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n_groups, k) and number of rows (n_groups,) of each group; 0 where it has none."""
    count = np.bincount(group, minlength=n_groups)
    total = np.zeros((n_groups, x.shape[1]))
    np.add.at(total, group, x)
    return total / np.maximum(count, 1)[:, None], count


def _within_covariance(residual: np.ndarray, freedom: int) -> np.ndarray:
    """Covariance of rows around the mean of their class and task."""
    identity = np.eye(residual.shape[1])
    if freedom < 1:  # one row a class and task: nothing is known of how they vary
        return identity
    covariance = ledoit_wolf(residual, assume_centered=True)[0]
    return covariance * len(residual) / freedom + NOISE_FLOOR * identity
