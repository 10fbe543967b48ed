"""Meta-learning with the face of scikit-learn.

Learn across tasks once, then behave like any scikit-learn estimator on the next task.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn_meta._classifier import MetaClassifier
    from sklearn_meta._prior import Prior
    from sklearn_meta._reconstructor import MetaReconstructor
    from sklearn_meta._regressor import MetaRegressor
    from sklearn_meta.tasks import Task, check_tasks, tasks_from_table

__version__ = "0.1.0"

_HOMES = {
    "MetaClassifier": "sklearn_meta._classifier",
    "MetaReconstructor": "sklearn_meta._reconstructor",
    "MetaRegressor": "sklearn_meta._regressor",
    "Prior": "sklearn_meta._prior",
    "Task": "sklearn_meta.tasks",
    "check_tasks": "sklearn_meta.tasks",
    "tasks_from_table": "sklearn_meta.tasks",
}

__all__ = [
    "MetaClassifier",
    "MetaReconstructor",
    "MetaRegressor",
    "Prior",
    "Task",
    "check_tasks",
    "tasks_from_table",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use, and torch only by the first fit: importing the package stays light.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
