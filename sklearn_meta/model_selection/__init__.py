"""Model selection with tasks as samples, and scores over tasks with an interval."""

from ._adaptation import cross_val_adapt, score_adapted
from ._result import AdaptationResult
from ._task_estimator import TaskEstimator
from ._task_split import TaskSplit

__all__ = ["AdaptationResult", "TaskEstimator", "TaskSplit", "cross_val_adapt", "score_adapted"]
