"""How far out a task lies among those of meta-training, and what to say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn_meta._model import Model

WARN_FROM = 20.0


def novelty(model: Model, z: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, list[str | None]]:
    """Novelty of tasks of one size, and what to warn of.

    Parameters
    ----------
    model : Model
    z : ndarray of shape (n_tasks, n_rows, n_inputs)
        Encoded rows.
    target : ndarray of shape (n_tasks, n_rows, n_targets)
        Scaled targets; others are not looked at.

    Returns
    -------
    novelty : ndarray of shape (n_tasks,)
        Largest over columns and targets; about 1 is usual.
    messages : list of n_tasks str or None
    """
    n_tasks = len(z)
    if not model.is_prior or not z.shape[1]:
        return np.zeros(n_tasks), [None] * n_tasks
    if model.is_opened:  # it knows no columns to compare with
        return np.ones(n_tasks), [None] * n_tasks
    columns = model.encoder.novelty(z)
    worst = columns.argmax(axis=1)
    far_x = columns[np.arange(n_tasks), worst]
    far_y = np.zeros(n_tasks)
    if model.target_reach is not None:
        far_y = np.abs(np.median(target, axis=1)) / np.maximum(model.target_reach, 1.0)
        far_y = far_y.max(axis=1)
    messages: list[str | None] = [None] * n_tasks
    for task in np.flatnonzero(np.maximum(far_x, far_y) > WARN_FROM):
        if far_x[task] >= far_y[task]:
            column = model.encoder.get_feature_names_out()[worst[task]]
            what = f"X lies far from the tasks of meta-training: column {column!r} is"
            scaler = "StandardScaler"
        else:
            what, scaler = (
                "y lies far from the tasks of meta-training:",
                "TransformedTargetRegressor",
            )
        messages[task] = (
            f"{what} {max(far_x[task], far_y[task]):.0f} times as far out as is usual. Is it in "
            f"other units, or scaled before (by a {scaler}, say)? The prior brings its own scaling."
        )
    # A target is judged by the farthest task of meta-training: only beyond that does it count.
    return np.where(far_y > WARN_FROM, np.maximum(far_x, far_y), far_x), messages
