"""Targets as a learner takes them: those of all meta-training tasks, and those of one support."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_meta.tasks import Task


@dataclass(frozen=True)
class Targets:
    """The targets of all meta-training tasks.

    Attributes
    ----------
    kind : {"regression", "classification", "multilabel"}
    y : ndarray of shape (n_rows, n_outputs) or (n_rows,)
    n_outputs : int
        Number of targets, classes or labels.
    encode_more : callable
        Gives the same of other tasks: (y, ways).
    shared_classes : bool
    ways : ndarray of shape (n_tasks,) or None
        Number of classes of each task, where they are not shared.
    labels : int ndarray of shape (n_rows,) or None
        Codes of the labels by value, where classes are not shared.
    facts : dict
        What else the prior must know of the targets, as JSON has it.
    config, arrays : dict or None
        Of the target scaling.
    """

    kind: str
    y: np.ndarray
    n_outputs: int
    encode_more: Callable[[list[Task]], tuple[np.ndarray, np.ndarray | None]]
    shared_classes: bool = False
    ways: np.ndarray | None = None
    labels: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    arrays: dict[str, np.ndarray] | None = None


@dataclass(frozen=True, slots=True)
class EncodedTargets:
    """The targets of one support.

    Attributes
    ----------
    y : ndarray of shape (n_rows, n_outputs) or (n_rows,)
    ways : int or None
        Number of classes, where codes mean nothing beyond this task.
    attributes : dict
        Fitted attributes of the estimator.
    """

    y: np.ndarray
    ways: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
