"""Pictures of meta-training and adaptation, in the style of scikit-learn's displays."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from .model_selection import AdaptationResult, score_adapted
from .model_selection._parameters import seed_of


class ShotCurveDisplay:
    """Score against the number of shots, with the 95 % interval over tasks as a band.

    Make one with `from_estimator` or `from_results`.

    Parameters
    ----------
    results : dict of str to AdaptationResult
        One curve each, in this order.

    Attributes
    ----------
    results : dict of str to AdaptationResult
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to matplotlib Line2D
    bands_ : dict of str to matplotlib collection

    See Also
    --------
    sklearn_meta.model_selection.cross_val_adapt : Scores of held-out tasks.
    """

    def __init__(self, *, results: dict[str, AdaptationResult]) -> None:
        self.results = results

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        tasks: Any,
        *,
        baselines: Mapping[str, Any] | None = None,
        name: str | None = None,
        shots: int | Iterable[int] = (1, 3, 5, 10, 20),
        n_query: int | None = None,
        n_episodes: int = 1,
        scoring: Any = None,
        random_state: int | np.random.RandomState | None = None,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
        band_kw: Mapping[str, Any] | None = None,
    ) -> ShotCurveDisplay:
        """Score estimators on new tasks and draw the curves.

        Parameters
        ----------
        estimator : estimator with ``adapt``, or mapping of name to such estimators
            Meta-trained.
        tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
            Tasks that were not used in meta-training.
        baselines : mapping of name to estimator, optional
            Plain scikit-learn estimators, fitted on each support alone.
        name : str, optional
            Name of the curve of a single estimator; its class by default.
        shots, n_query, n_episodes, scoring, random_state
            As in `~sklearn_meta.model_selection.score_adapted`. All curves see the same rows.
        ax : matplotlib Axes, optional
            Drawn into; a new one by default.
        line_kw, band_kw : mapping, optional
            Passed to ``Axes.plot`` and ``Axes.fill_between``.

        Returns
        -------
        ShotCurveDisplay

        Raises
        ------
        ValueError
            If two curves have the same name, or as in `score_adapted`.
        ImportError
            If matplotlib is not installed.
        """
        if isinstance(estimator, Mapping):
            estimators = dict(estimator)
        else:
            estimators = {type(estimator).__name__ if name is None else name: estimator}
        baselines = {} if baselines is None else dict(baselines)
        repeated = [curve for curve in baselines if curve in estimators]
        if repeated:
            raise ValueError(
                f"baselines and estimator both have a curve named {repeated[0]!r}; rename one."
            )
        if not isinstance(random_state, numbers.Integral):
            # One seed for all curves: a generator would move on from one to the next.
            random_state = seed_of(random_state)
        results = {
            curve: score_adapted(
                member,
                tasks,
                shots=shots,
                n_query=n_query,
                n_episodes=n_episodes,
                scoring=scoring,
                random_state=random_state,
            )
            for curve, member in (estimators | baselines).items()
        }
        return cls.from_results(results, ax=ax, line_kw=line_kw, band_kw=band_kw)

    @classmethod
    def from_results(
        cls,
        results: AdaptationResult | Mapping[str, AdaptationResult],
        *,
        name: str | None = None,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
        band_kw: Mapping[str, Any] | None = None,
    ) -> ShotCurveDisplay:
        """Draw results of `score_adapted` or `cross_val_adapt`.

        Parameters
        ----------
        results : AdaptationResult, or mapping of name to AdaptationResult
        name : str, optional
            Name of the curve of a single result.
        ax, line_kw, band_kw
            As in `from_estimator`.

        Returns
        -------
        ShotCurveDisplay

        Raises
        ------
        TypeError
            If ``results`` holds anything else.
        """
        if not isinstance(results, Mapping):
            results = {"adapted" if name is None else name: results}
        for curve, result in results.items():
            if not isinstance(result, AdaptationResult):
                raise TypeError(
                    f"results: {curve!r} is a {type(result).__name__}, expected an "
                    "AdaptationResult; score_adapted and cross_val_adapt return one."
                )
        return cls(results=dict(results)).plot(ax, line_kw=line_kw, band_kw=band_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kw: Mapping[str, Any] | None = None,
        band_kw: Mapping[str, Any] | None = None,
    ) -> ShotCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax, line_kw, band_kw
            As in `from_estimator`.

        Returns
        -------
        ShotCurveDisplay
            Itself.
        """
        self.ax_, self.figure_ = _axes(ax, type(self).__name__)
        self.lines_, self.bands_ = {}, {}
        for curve, result in self.results.items():
            served = result.n_tasks > 0
            shots = np.asarray(result.shots)[served]
            line_style = {"marker": "o", "label": curve} | dict(line_kw or {})
            (line,) = self.ax_.plot(shots, result.mean[served], **line_style)
            band_style = {"color": line.get_color(), "alpha": 0.2, "linewidth": 0}
            self.lines_[curve] = line
            self.bands_[curve] = self.ax_.fill_between(
                shots, result.low[served], result.high[served], **band_style | dict(band_kw or {})
            )
        metrics = {result.metric for result in self.results.values()}
        self.ax_.set_xlabel("Shots (support rows)")
        self.ax_.set_ylabel(metrics.pop() if len(metrics) == 1 else "score")
        self.ax_.set_xticks(sorted({k for result in self.results.values() for k in result.shots}))
        self.ax_.legend()
        return self


class TrainingCurveDisplay:
    """Loss in meta-training and on held-out tasks, against the iteration.

    Make one with `from_estimator`.

    Parameters
    ----------
    iteration, loss : array-like of shape (n_points,)
    validation_loss : array-like of shape (n_points,), optional
        None or empty if nothing was held out; points that are not finite are left out.
    best_iteration : int, optional
        The iteration whose weights were kept.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    loss_line_ : matplotlib Line2D
    validation_line_, best_line_ : matplotlib Line2D or None
    """

    def __init__(
        self,
        *,
        iteration: Any,
        loss: Any,
        validation_loss: Any = None,
        best_iteration: int | None = None,
    ) -> None:
        self.iteration = iteration
        self.loss = loss
        self.validation_loss = validation_loss
        self.best_iteration = best_iteration

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, line_kw: Mapping[str, Any] | None = None
    ) -> TrainingCurveDisplay:
        """Draw the history of a meta-trained estimator.

        Parameters
        ----------
        estimator : estimator with ``history_``
        ax : matplotlib Axes, optional
            Drawn into; a new one by default.
        line_kw : mapping, optional
            Passed to ``Axes.plot`` for both curves.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        NotFittedError
            If the estimator was not meta-trained itself; a prior holds no history.
        ImportError
            If matplotlib is not installed.
        """
        if not hasattr(estimator, "history_"):
            raise NotFittedError(
                f"This {type(estimator).__name__} has no history_: it was not meta-trained itself. "
                "Call fit_tasks first."
            )
        history = estimator.history_
        display = cls(
            iteration=history.iteration,
            loss=history.loss,
            validation_loss=history.validation_loss,
            best_iteration=history.best_iteration,
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(
        self, ax: Any = None, *, line_kw: Mapping[str, Any] | None = None
    ) -> TrainingCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax, line_kw
            As in `from_estimator`.

        Returns
        -------
        TrainingCurveDisplay
            Itself.
        """
        self.ax_, self.figure_ = _axes(ax, type(self).__name__)
        style = dict(line_kw or {})
        iteration = np.asarray(self.iteration)
        (self.loss_line_,) = self.ax_.plot(
            iteration, self.loss, **{"label": "meta-training"} | style
        )
        self.validation_line_ = self.best_line_ = None
        if self.validation_loss is not None and len(self.validation_loss):
            held_out = np.asarray(self.validation_loss, dtype=float)
            known = np.isfinite(held_out)
            (self.validation_line_,) = self.ax_.plot(
                iteration[known], held_out[known], **{"label": "held out"} | style
            )
        if self.best_iteration is not None:
            self.best_line_ = self.ax_.axvline(
                self.best_iteration, color="grey", linestyle=":", label="best"
            )
        self.ax_.set_xlabel("Iteration")
        self.ax_.set_ylabel("Loss")
        self.ax_.legend()
        return self


def _axes(ax: Any, display: str) -> tuple[Any, Any]:
    """Return axes and their figure; new ones where there are none."""
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"{display} needs matplotlib to draw; pip install 'sklearn-meta[plot]'."
            ) from error
        _, ax = plt.subplots()
    return ax, ax.figure
