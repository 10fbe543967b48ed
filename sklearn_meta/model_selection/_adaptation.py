"""Scores against the number of shots, for held-out tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import KFold, check_cv
from sklearn.utils.parallel import Parallel, delayed

from sklearn_meta.tasks import Task, check_tasks

from ._episodes import Plan
from ._parameters import check_count, check_shots, seed_of
from ._result import AdaptationResult
from ._scores import (
    Outcome,
    Scoring,
    check_scoring_parameter,
    is_pooled,
    metric_name,
    score_task,
    summarise,
)


def score_adapted(
    estimator: Any,
    tasks: Any,
    *,
    shots: int | Iterable[int] = (1, 3, 5, 10, 20),
    n_query: int | None = None,
    n_episodes: int = 1,
    scoring: Scoring = None,
    random_state: int | np.random.RandomState | None = None,
) -> AdaptationResult:
    """Score a meta-trained estimator on tasks that it has not seen.

    Each task is split at random into support and query. The supports are nested: the rows of 3
    shots are among those of 5, and all of them are scored on the same query rows.

    Parameters
    ----------
    estimator : estimator with ``adapt``, or any other scikit-learn estimator
        Meta-trained; it is left as it is. One without ``adapt`` is a baseline: a clone is fitted on
        each support alone. (With a single class in the support, it predicts that class.)
    tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
        Tasks that were not used in meta-training.
    shots : int or iterable of int, default=(1, 3, 5, 10, 20)
        Numbers of support rows, in all and not per class. For classifiers each label of the task
        occurs in the support where it has enough rows. A task with too few rows for a number of
        shots does not count there; a quarter of the rows (or ``n_query``) is always kept for the
        query.
    n_query : int, optional
        Query rows of a task; by default all rows that are left.
    n_episodes : int, default=1
        Splits of each task, over which its score is averaged.
    scoring : str or callable, optional
        Score of a task. By default R2 pooled over tasks for regressors, since R2 of a handful of
        rows is unstable: one minus the squared error of all query rows over their squared distance
        from the mean of all query targets. Otherwise the ``score`` of the adapted estimator.
    random_state : int or RandomState, optional
        Draws the splits. The draw depends on it and on the content of a task, so that all
        estimators see the same rows.

    Returns
    -------
    AdaptationResult

    Raises
    ------
    ValueError
        If a parameter is out of range, or no task has enough rows for the fewest shots.

    See Also
    --------
    cross_val_adapt : Meta-train as well, on other tasks than those that are scored.

    Notes
    -----
    Labels of the task that the support lacks are passed as ``adapt(..., classes=)`` to classifiers
    that take it: which labels a task has counts as known.
    """
    tasks = check_tasks(tasks, min_tasks=1, y_numeric=is_regressor(estimator), same_form=False)
    plan = _plan(estimator, shots, n_query, n_episodes, scoring, random_state)
    outcomes = [score_task(estimator, task, plan, scoring) for task in tasks]
    return _result(estimator, outcomes, plan, scoring)


def cross_val_adapt(
    estimator: Any,
    tasks: Any,
    *,
    shots: int | Iterable[int] = (1, 3, 5, 10, 20),
    cv: Any = 5,
    n_query: int | None = None,
    n_episodes: int = 1,
    scoring: Scoring = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> AdaptationResult:
    """Meta-train on some tasks and adapt to the others, so that each is held out once.

    Parameters
    ----------
    estimator : estimator with ``fit_tasks`` and ``adapt``, or any other scikit-learn estimator
        A clone is meta-trained in each fold. An estimator without ``fit_tasks`` is a baseline that
        is fitted on each support alone.
    tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
    shots, n_query, n_episodes, scoring
        As in `score_adapted`.
    cv : int or cross-validation splitter, default=5
        Splits the tasks; it must hold out each of them once. An int is the number of folds of
        shuffled tasks.
    n_jobs : int, optional
        Folds run at the same time; the scores do not depend on it.
    random_state : int or RandomState, optional
        Draws the folds and the splits into support and query.

    Returns
    -------
    AdaptationResult

    Raises
    ------
    ValueError
        If there are fewer tasks than folds, ``cv`` does not hold out each task once, or as in
        `score_adapted`.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn_meta.model_selection import cross_val_adapt
    >>> tasks = [([[0.0], [1.0], [2.0], [3.0]], [i, i + 1, i + 2, i + 3]) for i in range(10)]
    >>> cross_val_adapt(Ridge(), tasks, shots=(1, 3), random_state=0).n_tasks.tolist()
    [10, 10]
    """
    tasks = check_tasks(tasks, y_numeric=is_regressor(estimator), same_form=False)
    plan = _plan(estimator, shots, n_query, n_episodes, scoring, random_state)
    folds = _folds(tasks, cv, plan.seed)
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_score_fold)(clone(estimator), tasks, train, test, plan, scoring)
        for train, test in folds
    )
    found = {
        int(t): o
        for (_, test), part in zip(folds, parts, strict=True)
        for t, o in zip(test, part, strict=True)
    }
    return _result(estimator, [found[t] for t in range(len(tasks))], plan, scoring)


def _plan(
    estimator: Any, shots: Any, n_query: Any, n_episodes: Any, scoring: Any, random_state: Any
) -> Plan:
    check_scoring_parameter(scoring)
    return Plan(
        shots=check_shots(shots),
        n_query=None if n_query is None else check_count(n_query, "n_query"),
        n_episodes=check_count(n_episodes, "n_episodes"),
        stratify=is_classifier(estimator),
        shrink=False,
        seed=seed_of(random_state),
    )


def _folds(tasks: list[Task], cv: Any, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    if isinstance(cv, (int, np.integer)):
        n_folds = check_count(cv, "cv", minimum=2)
        if n_folds > len(tasks):
            raise ValueError(
                f"cv={n_folds} needs at least {n_folds} tasks, but tasks holds {len(tasks)}; pass "
                f"cv={len(tasks)} or more tasks."
            )
        cv = KFold(n_folds, shuffle=True, random_state=seed)
    folds = list(check_cv(cv).split(tasks))
    held_out = np.concatenate([test for _, test in folds])
    if not np.array_equal(np.sort(held_out), np.arange(len(tasks))):
        raise ValueError(
            f"cv={cv!r} does not hold out each of the {len(tasks)} tasks exactly once; pass a "
            "splitter that does, such as KFold."
        )
    return folds


def _score_fold(
    estimator: Any,
    tasks: list[Task],
    train: np.ndarray,
    test: np.ndarray,
    plan: Plan,
    scoring: Scoring,
) -> list[Outcome]:
    if hasattr(estimator, "fit_tasks"):
        estimator.fit_tasks([tasks[t] for t in train])
    return [score_task(estimator, tasks[t], plan, scoring) for t in test]


def _result(
    estimator: Any, outcomes: list[Outcome], plan: Plan, scoring: Scoring
) -> AdaptationResult:
    n_query = np.array([outcome.n_query for outcome in outcomes])
    if not n_query.any():
        raise ValueError(
            f"No task has enough rows for shots={plan.shots[0]} and a query; pass smaller shots, a "
            "smaller n_query, or tasks with more rows."
        )
    return AdaptationResult.from_summary(
        summarise(outcomes, is_pooled(estimator, scoring)),
        shots=plan.shots,
        n_query=n_query,
        names=[outcome.name for outcome in outcomes],
        metric=metric_name(estimator, scoring),
    )
