"""Scores against the number of shots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ._scores import Summary


@dataclass(frozen=True, eq=False, repr=False)
class AdaptationResult:
    """How well an estimator adapts to tasks, for each number of shots.

    The 95 % interval is a t interval over tasks: it says how far the score would move with other
    tasks of the same family, given this meta-training. It does not hold what another meta-training
    would add. R2 that is pooled over tasks is a ratio of sums over tasks, and its interval that of
    a linearised ratio.

    Attributes
    ----------
    shots : tuple of int of length n_shots
        Numbers of support rows, in ascending order.
    mean, low, high : ndarray of shape (n_shots,)
        Score over tasks and its 95 % interval; NaN where no task (for the interval: fewer than
        two) has enough rows.
    n_tasks : ndarray of int of shape (n_shots,)
        Tasks with enough rows and a score that is defined.
    scores : ndarray of shape (n_tasks, n_shots)
        Score of each task, NaN where it has too few rows. Where R2 is pooled, it is one minus the
        mean squared error of the task over the variance of the query targets of all tasks, so that
        the mean weighted by ``n_query`` is ``mean``; else ``mean`` is the plain mean.
    n_query : ndarray of int of shape (n_tasks,)
        Query rows of each task, over all episodes.
    names : list of str of length n_tasks
    metric : str
        Name of the score.
    """

    shots: tuple[int, ...]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_tasks: np.ndarray
    scores: np.ndarray
    n_query: np.ndarray
    names: list[str]
    metric: str

    @classmethod
    def from_summary(
        cls,
        summary: Summary,
        *,
        shots: tuple[int, ...],
        n_query: np.ndarray,
        names: list[str],
        metric: str,
    ) -> AdaptationResult:
        """Add the interval to a summary over tasks."""
        freedom = np.where(summary.n_tasks > 1, summary.n_tasks - 1.0, np.nan)
        half = stdtrit(freedom, 0.975) * summary.standard_error
        return cls(
            shots=shots,
            mean=summary.mean,
            low=summary.mean - half,
            high=summary.mean + half,
            n_tasks=summary.n_tasks,
            scores=summary.scores,
            n_query=n_query,
            names=names,
            metric=metric,
        )

    def to_dict(self) -> dict[str, list]:
        """Return one column a key and one row a number of shots, as ``pandas.DataFrame`` takes it.

        Returns
        -------
        dict
            Lists of length n_shots under ``shots``, ``mean``, ``low``, ``high`` and ``n_tasks``.
        """
        columns = ("mean", "low", "high", "n_tasks")
        return {"shots": list(self.shots)} | {c: getattr(self, c).tolist() for c in columns}

    def __repr__(self) -> str:
        lines = [
            f"AdaptationResult: {self.metric} over {len(self.names)} tasks, 95 % interval",
            f"{'shots':>6} {'mean':>9} {'low':>9} {'high':>9} {'tasks':>7}",
        ]
        rows = zip(self.shots, self.mean, self.low, self.high, self.n_tasks, strict=True)
        for shots, mean, low, high, n_tasks in rows:
            lines.append(f"{shots:>6} {mean:>9.4f} {low:>9.4f} {high:>9.4f} {n_tasks:>7}")
        return "\n".join(lines)
