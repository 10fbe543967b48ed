"""Tasks: from what the user passes to padded batches of episodes.

Checking and splitting tasks needs no torch; the names that do are loaded on first use, so that
``import sklearn_meta`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._check import check_tasks
from ._store import TaskStore
from ._table import tasks_from_table
from ._task import Task

if TYPE_CHECKING:
    from ._episodes import EpisodeSampler, Rows, TaskBatch, fixed_episodes, pad_rows

_NEED_TORCH = ("EpisodeSampler", "Rows", "TaskBatch", "fixed_episodes", "pad_rows")

__all__ = [
    "EpisodeSampler",
    "Rows",
    "Task",
    "TaskBatch",
    "TaskStore",
    "check_tasks",
    "fixed_episodes",
    "pad_rows",
    "tasks_from_table",
]


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        return getattr(importlib.import_module("._episodes", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
