"""Adapt to thousands of tasks at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_meta.tasks import check_tasks

if TYPE_CHECKING:
    from sklearn_meta._estimator import MetaEstimator

MAX_PADDED_ROWS = 8192  # of a batch: bounds the memory


def adapt_many(base: MetaEstimator, tasks: Any, classes: Any = None) -> dict[str, MetaEstimator]:
    """Adapt copies of an estimator with a prior, one a task, in batches of similar size.

    Parameters
    ----------
    base : MetaEstimator
        With the parameter ``prior`` set to a `Prior`.
    tasks : sequence or mapping of tasks
    classes : array-like, default=None
        Classifiers: labels that may occur in every task.
    """
    checked = check_tasks(tasks, min_tasks=1, same_columns=True)
    model = base._model_for(None, None)
    names = [task.name for task in checked]
    z, offsets = model.encoder.transform_many(
        [task.X for task in checked], names=names, estimator_name=type(base).__name__
    )
    encoded = []
    for task in checked:
        try:
            y = base._check_targets(task.y)
            encoded.append(base._encode_support(model, y, classes))
        except ValueError as error:
            raise ValueError(f"tasks: task {task.name!r}: {error}") from error
    counts = np.diff(offsets)
    use_prior = base._checked_use_prior()
    estimators: dict[int, MetaEstimator] = {}
    for batch in _batches(counts, [e.ways is None for e in encoded]):
        xs = [z[offsets[t] : offsets[t + 1]] for t in batch]
        ways = None if encoded[batch[0]].ways is None else [encoded[t].ways for t in batch]
        support = model.support(xs, [encoded[t].y for t in batch], ways)
        adapted = model.adapt(support, use_prior)
        for i, t in enumerate(batch):
            one = base._with_prior(base.prior)
            one._set_adapted(adapted.take(i), encoded[t].attributes)
            one._describe(xs[i], encoded[t].y)
            estimators[t] = one
    return {names[t]: estimators[t] for t in range(len(checked))}


def _batches(counts: np.ndarray, shared: list[bool]) -> list[list[int]]:
    """Tasks of similar size together, so that little is padded; kinds of labels apart."""
    batches: list[list[int]] = []
    for kind in (True, False):
        batch: list[int] = []
        for t in np.argsort(counts, kind="stable").tolist():
            if shared[t] is not kind:
                continue
            # Sizes ascend, so the newest task is the widest.
            if batch and counts[t] * (len(batch) + 1) > MAX_PADDED_ROWS:
                batches.append(batch)
                batch = []
            batch.append(t)
        if batch:
            batches.append(batch)
    return batches
