"""Cross-validation over the tasks of one long table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from sklearn_meta.tasks._table import group_codes

from ._parameters import check_count, seed_of


class TaskSplit(BaseCrossValidator):
    """Hold out tasks of one long table, but for a few support rows of each.

    For estimators with ``task_column``. Each split holds out a fold of the tasks: it trains on all
    rows of the other tasks and on ``shots`` rows of each held-out task, and tests on the remaining
    rows of the held-out tasks. ``GroupKFold`` does the same without support rows.

    Parameters
    ----------
    n_splits : int, default=5
        Folds of tasks, at least 2.
    shots : int, default=5
        Rows of each held-out task in train, drawn at random. A task with too few rows keeps one for
        test; a task with a single row is always in train.
    random_state : int or RandomState, optional
        Draws the folds and the rows. With an int every call of ``split`` gives the same.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_meta.model_selection import TaskSplit
    >>> groups = np.repeat(["a", "b", "c", "d"], 3)
    >>> for train, test in TaskSplit(2, shots=1, random_state=0).split(groups, groups=groups):
    ...     print(len(train), len(test))
    8 4
    8 4
    """

    # scikit-learn's declaration, read from the class: with metadata routing on, groups come here.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shots: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = check_count(n_splits, "n_splits", minimum=2)
        self.shots = check_count(shots, "shots")
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        int
        """
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate the rows of train and test.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_columns)
        y : object
            Ignored.
        groups : array-like of shape (n_rows,)
            The task of each row.

        Yields
        ------
        train, test : ndarray of int
            Row indices in ascending order, disjoint and together all rows of the table.

        Raises
        ------
        ValueError
            If ``groups`` is None, of another length than ``X``, or holds fewer tasks with two rows
            than there are splits.
        """
        if groups is None:
            raise ValueError(
                "groups is None, expected the task of each row: pass groups= to the function or "
                "the search that this splitter is in."
            )
        codes, names = group_codes(groups)
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        if len(codes) != n_rows:
            raise ValueError(f"groups has {len(codes)} labels, expected one a row of X: {n_rows}.")
        counts = np.bincount(codes, minlength=len(names))
        tasks = np.flatnonzero(counts > 1)
        if len(tasks) < self.n_splits:
            raise ValueError(
                f"groups holds {len(tasks)} tasks with at least 2 rows, expected at least "
                f"n_splits={self.n_splits}; pass a smaller n_splits or more tasks."
            )
        rng = np.random.default_rng(seed_of(self.random_state))
        fold_of_task = np.full(len(names), -1)
        fold_of_task[rng.permutation(tasks)] = np.arange(len(tasks)) % self.n_splits
        is_support = _draw_support(codes, counts, self.shots, rng)
        rows = np.arange(n_rows)
        for fold in range(self.n_splits):
            is_test = (fold_of_task[codes] == fold) & ~is_support
            yield rows[~is_test], rows[is_test]


def _draw_support(
    codes: np.ndarray, counts: np.ndarray, shots: int, rng: np.random.Generator
) -> np.ndarray:
    """Mark ``shots`` random rows of each task, or all but one where it has no more."""
    order = np.lexsort((rng.random(len(codes)), codes))
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < np.minimum(shots, counts - 1)[codes]
