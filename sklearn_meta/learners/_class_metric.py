"""How classes differ in all tasks together: where learned metrics start."""

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
class Metric:
    """Directions in which rows of one class of one task vary by about 1.

    Attributes
    ----------
    directions : ndarray of shape (n_columns, k)
    centres : ndarray of shape (n_classes or 1, k)
        Mean of each class over all tasks, or of all classes where they are not shared.
    class_spread : ndarray of shape (k,)
        Variance of class means in a task around ``centre + shift of the task``.
    task_spread : ndarray of shape (k,)
        Variance of the shifts of tasks.
    freedom : float
        Number of independent directions that would vary as much as these, between 1 and k.
    frequency : ndarray of shape (n_classes or 1,)
        Of each class among all rows.
    """

    directions: np.ndarray
    centres: np.ndarray
    class_spread: np.ndarray
    task_spread: np.ndarray
    freedom: float
    frequency: np.ndarray


def class_metric(store: TaskStore, n_classes: int) -> Metric:
    """Estimate a metric and the spreads by moments.

    For classes that are the same in every task the directions are linear discriminants. Those of
    the classes at hand say little of other classes, though: where classes mean nothing beyond a
    task, every column counts by the share of its variance that lies between classes, no more.

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

    cells, cell = np.unique(np.stack([task, y]), axis=1, return_inverse=True)
    cell = cell.ravel()
    mean, count = _means(x, cell, cells.shape[1])
    within = _within_covariance(x - mean[cell], len(x) - len(mean))
    white_mean = mean - x.mean(axis=0)
    if n_classes:
        value, vector = np.linalg.eigh(within)
        whiten = vector / np.sqrt(value)
        white_mean = white_mean @ whiten
        directions = whiten @ np.linalg.eigh(white_mean.T @ white_mean)[1][:, ::-1]
    else:
        noise = within.diagonal()
        between = (white_mean**2).mean(axis=0) - noise * np.mean(1 / count)
        share = between.clip(MIN_SPREAD * noise) / (between.clip(MIN_SPREAD * noise) + noise)
        directions = np.diag(np.sqrt(share / (share @ noise / share.sum())))
    directions = directions[:, :MAX_DIRECTIONS] if n_classes else directions

    known = y if n_classes else np.zeros_like(y)
    centres, rows_of_class = _means(x, known, max(n_classes, 1))
    centres[rows_of_class == 0] = x.mean(axis=0)
    centres = centres @ directions
    # A cell's mean around the centre of its class is the shift of the task, and what is left.
    rest = mean @ directions - centres[cells[1] if n_classes else 0]
    shift, cells_of_task = _means(rest, cells[0], store.n_tasks)
    rest -= shift[cells[0]]
    seen = cells_of_task > 0
    covariance = directions.T @ within @ directions
    noise = covariance.diagonal()
    # Means of few rows, or of few classes, vary by chance too.
    chance = noise * np.mean(1 / count)
    class_spread = (rest**2).sum(axis=0) / max(len(mean) - seen.sum(), 1) - chance
    task_spread = shift[seen].var(axis=0) - np.mean(1 / cells_of_task[seen]) * (
        class_spread.clip(0) + chance
    )
    if not n_classes:  # other classes may differ where these do not
        class_spread[:], task_spread[:] = class_spread.mean(), task_spread.mean()
    return Metric(
        directions,
        centres,
        np.clip(class_spread, MIN_SPREAD, MAX_SPREAD),
        np.clip(task_spread, MIN_SPREAD, MAX_SPREAD),
        noise.sum() ** 2 / (covariance**2).sum(),
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
