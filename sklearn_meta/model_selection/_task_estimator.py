"""Tasks as samples: scikit-learn's searches and cross-validation over whole tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier, is_regressor
from sklearn.base import clone as clone_estimator
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_meta.tasks import check_tasks

from ._episodes import Plan
from ._parameters import check_count, seed_of
from ._scores import Scoring, check_scoring_parameter, is_pooled, score_task, summarise


def _estimator_has(method: str) -> Any:
    def check(self: TaskEstimator) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), method)  # its error names the method
        return True

    return check


class TaskEstimator(MetaEstimatorMixin, BaseEstimator):
    """Wrap a meta-learning estimator so that its samples are tasks.

    ``fit`` meta-trains, and ``score`` adapts to each task with a few of its rows and scores the
    others. Everything of scikit-learn that fits on some samples and scores others then holds out
    whole tasks: ``GridSearchCV``, ``RandomizedSearchCV``, ``cross_val_score``, ``learning_curve``.

    Parameters
    ----------
    estimator : estimator with ``fit_tasks`` and ``adapt``
        It is cloned.
    shots : int, default=5
        Support rows of each task in ``score``, in all and not per class. For classifiers each label
        of the task occurs where there are enough rows. A task with too few rows gives all but one;
        a task with a single row cannot be scored and is left out.
    n_query : int, optional
        Most query rows of a task; by default all rows that are left.
    n_episodes : int, default=1
        Splits of each task into support and query.
    scoring : str or callable, optional
        Score of a task, averaged over tasks. By default the ``score`` of the adapted estimator;
        for regressors R2 pooled over tasks, since R2 of a handful of rows is unstable: one minus
        the squared error of all query rows over their squared distance from the mean of all query
        targets. ``scoring="r2"`` is the mean of each task's own.
    random_state : int or RandomState, optional
        Draws the splits. An int gives a task the same split in every fold and for every candidate
        of a search, which compares them more sharply.

    Attributes
    ----------
    estimator_ : estimator
        The meta-trained clone.

    See Also
    --------
    cross_val_adapt : Scores against the number of shots, with an interval over tasks.

    Notes
    -----
    Pass tasks to scikit-learn as a list of ``Task`` or ``(X, y)``, or as a 1-D array of objects.
    It picks samples by number, so a dictionary of tasks ends in a ``KeyError`` there, though it is
    fine in ``fit`` and ``score`` themselves: pass ``check_tasks(tasks)``, a list with the names.

    Where scikit-learn wants ``y``, pass None: ``learning_curve(estimator, tasks, None)``.

    Set ``scoring`` here and not in the search, whose scorers expect rows.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_meta.model_selection import TaskEstimator
    >>> search = GridSearchCV(
    ...     TaskEstimator(meta, random_state=0), {"estimator__max_iter": [100, 1000]}, cv=5
    ... )  # doctest: +SKIP
    >>> search.fit(tasks).best_estimator_.adapt(X_support, y_support)  # doctest: +SKIP
    """

    def __init__(
        self,
        estimator: Any,
        *,
        shots: int = 5,
        n_query: int | None = None,
        n_episodes: int = 1,
        scoring: Scoring = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.shots = shots
        self.n_query = n_query
        self.n_episodes = n_episodes
        self.scoring = scoring
        self.random_state = random_state

    def fit(self, tasks: Any, y: None = None) -> TaskEstimator:
        """Meta-train a clone of the estimator.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
        y : None
            Ignored; every task holds its own targets.

        Returns
        -------
        TaskEstimator
            Itself.

        Raises
        ------
        TypeError
            If the estimator lacks ``fit_tasks`` or ``adapt``, or a parameter has the wrong type.
        ValueError
            If a parameter is out of range, or ``y`` is given.
        """
        for method in ("fit_tasks", "adapt"):
            if not hasattr(self.estimator, method):
                raise TypeError(
                    f"estimator={self.estimator!r} has no {method}; pass a meta-learning estimator "
                    "such as MetaRegressor."
                )
        if y is not None:
            raise ValueError("y is given, expected None: pass tasks alone, as (X, y) pairs.")
        self._plan(seed=0)
        self.estimator_ = clone_estimator(self.estimator).fit_tasks(tasks)
        return self

    def score(self, tasks: Any, y: None = None) -> float:
        """Adapt to each task with a few of its rows, score the others, and average over tasks.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
            Tasks that were not used in `fit`.
        y : None
            Ignored.

        Returns
        -------
        float
            NaN scores of single tasks are left out.

        Raises
        ------
        ValueError
            If every task has a single row.
        """
        check_is_fitted(self)
        tasks = check_tasks(
            tasks, min_tasks=1, y_numeric=is_regressor(self.estimator_), same_form=False
        )
        plan = self._plan(seed_of(self.random_state))
        outcomes = [score_task(self.estimator_, task, plan, self.scoring) for task in tasks]
        if not any(outcome.n_query for outcome in outcomes):
            raise ValueError(
                f"All {len(tasks)} tasks have a single row, expected at least 2 in one of them: a "
                "support row and a query row."
            )
        return float(summarise(outcomes, is_pooled(self.estimator_, self.scoring)).mean[0])

    @available_if(_estimator_has("adapt"))
    def adapt(self, X: Any, y: Any, **params: Any) -> Any:
        """Adapt the meta-trained estimator to one new task.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_columns)
        y : array-like of shape (n_rows,) or (n_rows, n_targets)
        **params : dict
            Passed on, such as ``classes``.

        Returns
        -------
        estimator
            A new fitted estimator.
        """
        check_is_fitted(self)
        return self.estimator_.adapt(X, y, **params)

    @available_if(_estimator_has("adapt_many"))
    def adapt_many(self, tasks: Any, **params: Any) -> dict[str, Any]:
        """Adapt the meta-trained estimator to many tasks.

        Parameters
        ----------
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
        **params : dict
            Passed on, such as ``n_jobs``.

        Returns
        -------
        dict of str to estimator
        """
        check_is_fitted(self)
        return self.estimator_.adapt_many(tasks, **params)

    def _plan(self, seed: int) -> Plan:
        check_scoring_parameter(self.scoring)
        return Plan(
            shots=(check_count(self.shots, "shots"),),
            n_query=None if self.n_query is None else check_count(self.n_query, "n_query"),
            n_episodes=check_count(self.n_episodes, "n_episodes"),
            stratify=is_classifier(self.estimator),
            shrink=True,
            seed=seed,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Samples are tasks: it is neither a classifier nor a regressor of them, and the estimator
        # inside checks what they hold.
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags
