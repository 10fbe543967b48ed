"""Adapt to thousands of tasks at once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_meta._adapted import Adapted
from sklearn_meta._checks import check_use_prior, warn_of_names
from sklearn_meta._learning import checked_tasks
from sklearn_meta._novelty import novelty
from sklearn_meta._targets import EncodedTargets

if TYPE_CHECKING:
    from sklearn_meta._estimator import MetaEstimator
    from sklearn_meta._model import Model

MAX_PADDED_ROWS = 512  # of a batch: more would leave the processor's cache


def adapt_each(base: MetaEstimator, tasks: Any) -> dict[str, MetaEstimator]:
    """Adapt copies of an estimator with an open prior, each to the columns of its own task.

    Parameters
    ----------
    base : MetaEstimator
        Not fitted, with the parameter ``prior`` set to a `Prior`.
    tasks : sequence or mapping of tasks
    """
    fitted = {}
    for task in checked_tasks(base, tasks, "tasks", 1, same_form=False):
        try:
            fitted[task.name] = base._copy()._fit(task.X, task.y)
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"tasks: task {task.name!r}: {error}") from error
    return fitted


def adapt_many(
    base: MetaEstimator, model: Model, tasks: Any, classes: Any = None
) -> dict[str, MetaEstimator]:
    """Adapt copies of an estimator with a prior, one a task, in batches of similar size.

    Parameters
    ----------
    base : MetaEstimator
        Not fitted, with the parameter ``prior`` set to a `Prior`.
    model : Model
        Of the prior, for the columns that all tasks have.
    tasks : sequence or mapping of tasks
    classes : array-like, default=None
        Classifiers: labels that may occur in every task.
    """
    owner, use_prior = type(base).__name__, check_use_prior(base.use_prior)
    checked = checked_tasks(base, tasks, "tasks", 1)
    names = [task.name for task in checked]
    warn_of_names(owner, model.encoder, checked[0].X)
    z, offsets = model.encoder.transform_many(
        [task.X for task in checked], names=names, estimator_name=owner
    )
    encoded = base._encode_supports(model, checked, classes)
    novel, messages = _novelties(model, z, offsets, encoded)
    if messages:
        t = min(messages)
        others = f"; so do {len(messages) - 1} other tasks" if len(messages) > 1 else ""
        warnings.warn(f"Task {names[t]!r}{others}: {messages[t]}", UserWarning, stacklevel=3)
    fitted: dict[int, MetaEstimator] = {}
    for batch in _batches(np.diff(offsets), [one.ways for one in encoded]):
        support = model.support(
            [z[offsets[t] : offsets[t + 1]] for t in batch],
            [encoded[t].y for t in batch],
            None if encoded[batch[0]].ways is None else [encoded[t].ways for t in batch],
        )
        adapted = model.adapt(support, use_prior)
        for i, t in enumerate(batch):
            one = Adapted(base.prior, model, adapted, i)
            fitted[t] = base._copy()
            fitted[t]._become(base._fitted(one, encoded[t].attributes, novel[t]))
    return {name: fitted[t] for t, name in enumerate(names)}


def _novelties(
    model: Model, z: np.ndarray, offsets: np.ndarray, encoded: list[EncodedTargets]
) -> tuple[np.ndarray, dict[int, str]]:
    """Novelty (n_tasks,) and what to warn of, tasks of one size at once."""
    counts = np.diff(offsets)
    values, messages = np.zeros(len(counts)), {}
    for count in np.unique(counts):
        tasks = np.flatnonzero(counts == count)
        rows = z[offsets[tasks, None] + np.arange(count)]
        values[tasks], texts = novelty(model, rows, np.stack([encoded[t].y for t in tasks]))
        messages |= {int(t): text for t, text in zip(tasks, texts, strict=True) if text}
    return values, messages


def _batches(counts: np.ndarray, ways: list[int | None]) -> list[list[int]]:
    """Tasks of as many classes and of similar size together, so that little is padded."""
    batches: list[list[int]] = []
    open_batches: dict[int | None, list[int]] = {}
    for t in np.argsort(counts, kind="stable").tolist():
        batch = open_batches.get(ways[t])
        # Sizes ascend, so the newest task is the widest.
        if batch is None or counts[t] * (len(batch) + 1) > MAX_PADDED_ROWS:
            batch = open_batches[ways[t]] = []
            batches.append(batch)
        batch.append(t)
    return batches
