"""Score adapted models on the query rows of each task and sum up over tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.dummy import DummyClassifier
from sklearn.metrics import get_scorer

from sklearn_meta.tasks import Task

from ._episodes import Plan, take_rows

Scoring = str | Callable[..., float] | None


@dataclass(frozen=True)
class Outcome:
    """What one task gave, for each number of shots; NaN where it has too few rows.

    Attributes
    ----------
    name : str
    scores : ndarray of shape (n_shots,)
        Mean over the episodes; empty if the score is pooled over tasks.
    errors : ndarray of shape (n_shots, n_targets)
        Sum of squared errors over all query rows; empty unless the score is pooled.
    targets : ndarray of shape (n_query_rows, n_targets)
        The query rows of all episodes; empty unless the score is pooled.
    n_query : int
        Query rows of all episodes.
    """

    name: str
    scores: np.ndarray
    errors: np.ndarray
    targets: np.ndarray
    n_query: int


@dataclass(frozen=True)
class Summary:
    """Scores of tasks, their mean and its standard error; arrays of length n_shots."""

    scores: np.ndarray  # (n_tasks, n_shots)
    mean: np.ndarray
    standard_error: np.ndarray
    n_tasks: np.ndarray


def is_pooled(estimator: Any, scoring: Scoring) -> bool:
    """Tell whether the score is R2 pooled over tasks: the default of regressors."""
    return scoring is None and is_regressor(estimator)


def check_scoring_parameter(scoring: Any) -> Callable[..., float]:
    """Return a scorer with the signature ``scorer(model, X, y)``."""
    if scoring is None:
        return lambda model, X, y: model.score(X, y)
    if not isinstance(scoring, str) and not callable(scoring):
        raise TypeError(
            f"scoring={scoring!r} is of type {type(scoring).__name__}; pass one scorer: a name, a "
            "callable scorer(model, X, y), or None."
        )
    return get_scorer(scoring)


def metric_name(estimator: Any, scoring: Scoring) -> str:
    """Return how to call the score."""
    if isinstance(scoring, str):
        return scoring
    if scoring is not None:
        return getattr(scoring, "__name__", "score")
    if is_regressor(estimator):
        return "pooled R2"
    return "accuracy" if is_classifier(estimator) else "score"


def score_task(estimator: Any, task: Task, plan: Plan, scoring: Scoring) -> Outcome:
    """Adapt to one task with every support of ``plan`` and score its queries."""
    pooled, scorer = is_pooled(estimator, scoring), check_scoring_parameter(scoring)
    n_shots, y = len(plan.shots), task.y
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    scores = np.full((0 if pooled else plan.n_episodes, n_shots), np.nan)
    errors = np.zeros((n_shots, n_targets))
    errors[[size is None for size in plan.supports(len(y))]] = np.nan
    targets, n_query = [np.empty((0, n_targets))], 0
    for episode, (supports, query) in enumerate(plan.episodes(task)):
        X_query, y_query = take_rows(task.X, query), y[query]
        n_query += len(query)
        if pooled:
            targets.append(y_query.reshape(len(query), n_targets).astype(float))
        for shot, rows in enumerate(supports):
            if rows is None:
                continue
            model = adapt_to(estimator, take_rows(task.X, rows), y[rows], labels=y)
            if pooled:
                predicted = np.asarray(model.predict(X_query), dtype=float)
                error = targets[-1] - predicted.reshape(len(query), n_targets)
                errors[shot] += (error**2).sum(axis=0)
            else:
                scores[episode, shot] = scorer(model, X_query, y_query)
    mean = np.empty(0) if pooled else scores.mean(axis=0)
    if not pooled:
        errors = np.empty((0, n_targets))
    return Outcome(task.name, mean, errors, np.concatenate(targets), n_query)


def adapt_to(estimator: Any, X: Any, y: np.ndarray, labels: np.ndarray) -> Any:
    """Adapt a meta-trained estimator to a support, or fit a clone of a plain one on it alone.

    ``labels`` holds the targets of the whole task.
    """
    present, known = len(labels), len(labels)
    if is_classifier(estimator) and y.ndim == 1:
        present, known = len(np.unique(y)), len(np.unique(labels))
    if hasattr(estimator, "adapt"):
        # Which labels a task has is known beforehand in use, and a scorer of probabilities needs
        # a column for each; which rows have them stays hidden.
        if present < known and "classes" in inspect.signature(estimator.adapt).parameters:
            return estimator.adapt(X, y, classes=np.unique(labels))
        return estimator.adapt(X, y)
    if present == 1 < known:  # most classifiers refuse a single class
        return DummyClassifier().fit(X, y)
    return clone(estimator).fit(X, y)


def summarise(outcomes: list[Outcome], pooled: bool) -> Summary:
    """Sum up over tasks; those without a score for a number of shots do not count there.

    For scores s_t of tasks the standard error is that of a mean. R2 pooled over tasks is a ratio of
    two sums over tasks, so its standard error is that of a ratio, linearised.
    """
    if not pooled:
        scores = np.stack([outcome.scores for outcome in outcomes])
        counted = ~np.isnan(scores)
        n_tasks = counted.sum(axis=0)
        mean = np.where(counted, scores, 0).sum(axis=0) / np.where(n_tasks, n_tasks, np.nan)
        influence = np.where(counted, scores - mean, 0) / np.maximum(n_tasks, 1)
        return Summary(scores, mean, _standard_error(influence, n_tasks), n_tasks)
    errors = np.stack([outcome.errors for outcome in outcomes])  # (tasks, shots, targets)
    counted = ~np.isnan(errors).any(axis=2)
    scores, influence = np.full(counted.shape, np.nan), np.zeros(counted.shape)
    mean = np.full(counted.shape[1], np.nan)
    for shot, served in enumerate(counted.T):
        if served.any():
            targets = [outcomes[t].targets for t in np.flatnonzero(served)]
            mean[shot], scores[served, shot], influence[served, shot] = pooled_r2(
                targets, errors[served, shot]
            )
    n_tasks = counted.sum(axis=0)
    return Summary(scores, mean, _standard_error(influence, n_tasks), n_tasks)


def pooled_r2(
    targets: list[np.ndarray], errors: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return R2 over the rows of all tasks, around the mean of their targets.

    Parameters
    ----------
    targets : list of n_tasks ndarrays of shape (n_rows_of_task, n_targets)
    errors : ndarray of shape (n_tasks, n_targets)
        Sum of squared errors of each task.

    Returns
    -------
    score : float
        Mean over the targets. A target that is the same in all rows counts 1 if it was met
        exactly, else 0, as in scikit-learn.
    task_scores : ndarray of shape (n_tasks,)
        One minus the mean squared error of the task over the variance of all targets; weighted by
        the number of rows, their mean is ``score``.
    influence : ndarray of shape (n_tasks,)
        How far each task moves ``score``, to first order; their sum is 0.
    """
    n_rows = np.array([len(rows) for rows in targets])
    centre = np.concatenate(targets).mean(axis=0)
    spread = np.stack([((rows - centre) ** 2).sum(axis=0) for rows in targets])
    total, error = spread.sum(axis=0), errors.sum(axis=0)
    varies = total > 0
    scale = np.where(varies, total, np.where(error > 0, error, 1.0))
    ratio = error / scale
    task_scores = 1 - (errors / scale).mean(axis=1) * n_rows.sum() / n_rows
    influence = -np.where(varies, (errors - ratio * spread) / scale, 0).mean(axis=1)
    return float(1 - ratio.mean()), task_scores, influence


def _standard_error(influence: np.ndarray, n_tasks: np.ndarray) -> np.ndarray:
    """Return the standard error from the influence of each task; NaN with a single task."""
    small_sample = n_tasks / np.where(n_tasks > 1, n_tasks - 1.0, np.nan)
    return np.sqrt(small_sample * (influence**2).sum(axis=0))
