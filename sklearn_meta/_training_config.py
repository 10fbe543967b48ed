"""What meta-training can be told: its parameters, checked, and what "auto" stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._class_index import class_index, has_class_episodes

if TYPE_CHECKING:
    from sklearn_meta.tasks._image_store import ImageStore

MANY_CLASSES = 300


@dataclass(frozen=True)
class TrainingConfig:
    """Parameters of meta-training; each may be ``"auto"`` until `resolve` has replaced it.

    Parameters
    ----------
    shots : int or (int, int)
        Support rows of an episode, or their smallest and largest number.
    batch_size : int
        Tasks in a step.
    max_iter : int
        Most steps.
    learning_rate_init : float
        Step size of AdamW, until it decays at the end.
    alpha : float
        Weight decay of AdamW.
    early_stopping : bool
        Whether to hold tasks out, stop when they are not foreseen better any more, and keep the
        weights that foresaw them best.
    validation_fraction : float
        Share of the tasks to hold out.
    n_iter_no_change : int
        Evaluations without improvement after which the step size decays to the end.
    tol : float
        What counts as an improvement of the held-out loss, in nats.
    max_time : float
        Seconds that meta-training may take, about; infinity for no limit.
    n_query : int
        Most query rows of an episode; of each class in episodes of images (`ClassEpisodeSampler`),
        where ``shots`` counts the rows of a class, too. Of image reconstruction, images of a task.
    n_ways : int
        Most classes of an episode of images.
    decay_iterations : int
        Most steps of the decay of the step size at the end, which is a third of the run at most.
    """

    shots: int | tuple[int, int] | str = "auto"
    batch_size: int | str = "auto"
    max_iter: int | str = "auto"
    learning_rate_init: float | str = "auto"
    alpha: float | str = "auto"
    early_stopping: bool | str = "auto"
    validation_fraction: float | str = "auto"
    n_iter_no_change: int | str = "auto"
    tol: float | str = "auto"
    max_time: float | str = "auto"
    n_query: int | str = "auto"
    n_ways: int | str = "auto"
    decay_iterations: int | str = "auto"


def resolve(
    config: TrainingConfig,
    store: TaskStore | ImageStore,
    defaults: Mapping[str, Any] | None = None,
) -> TrainingConfig:
    """Check every parameter and put a value where ``"auto"`` was.

    Parameters
    ----------
    config : TrainingConfig
    store : TaskStore or ImageStore
        The tasks to train on.
    defaults : mapping of str to value, optional
        What ``"auto"`` stands for where a learner knows better.

    Returns
    -------
    TrainingConfig
        Of plain numbers, so ``dataclasses.asdict`` of it is JSON; ``shots`` is a pair.

    Raises
    ------
    ValueError
        If a parameter is of the wrong type or out of range.
    """
    auto = {
        "shots": (0, int(min(20, store.counts.max() - 1))),
        "batch_size": 16,
        "max_iter": 4000,
        "learning_rate_init": 5e-3,
        "alpha": 1e-2,
        "early_stopping": True,
        "validation_fraction": 1 / 6,
        "n_iter_no_change": 6,
        "tol": 1e-3,
        "max_time": 60.0,
        "n_query": 20,
        "n_ways": 5,
        "decay_iterations": 400,
    }
    if has_class_episodes(store):
        auto |= {"shots": (1, 5), "n_query": 5, "max_time": 300.0}
        # Of so many there are few to overfit, and all are better than some.
        auto["early_stopping"] = len(np.unique(class_index(store).label)) < MANY_CLASSES
    auto |= store.training_defaults
    return fill(config, auto | dict(defaults or {}))


def fill(config: TrainingConfig, auto: Mapping[str, Any]) -> TrainingConfig:
    """Check every parameter, and put a value where ``"auto"`` was, if there is one.

    Parameters
    ----------
    config : TrainingConfig
    auto : mapping of str to value

    Returns
    -------
    TrainingConfig

    Raises
    ------
    ValueError
        If a parameter is of the wrong type or out of range.
    """
    given = {field.name: getattr(config, field.name) for field in fields(config)}
    return replace(
        config,
        **{
            name: auto.get(name, value) if _is_auto(value) else _CHECKS[name](name, value)
            for name, value in given.items()
        },
    )


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _refuse(name: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{name} must be {expected}, or 'auto'; got {value!r}.")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= least


def _count(name: str, value: Any) -> int:
    if not _is_count(value, 1):
        raise _refuse(name, value, "an int of at least 1")
    return int(value)


def _number(low: float, high: float, expected: str) -> Any:
    """Make the check of a number in (low, high]."""

    def check(name: str, value: Any) -> float:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not low < float(value) <= high:
            raise _refuse(name, value, expected)
        return float(value)

    return check


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise _refuse(name, value, "True or False")
    return bool(value)


def _shots(name: str, value: Any) -> tuple[int, int]:
    if _is_count(value, 0):
        return int(value), int(value)
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = value
        if _is_count(low, 0) and _is_count(high, low):
            return int(low), int(high)
    raise _refuse(name, value, "an int of at least 0 or a pair (low, high) with 0 <= low <= high")


_BELOW_ZERO, _BELOW_ONE = math.nextafter(0, -1), math.nextafter(1, 0)
_FINITE = math.nextafter(math.inf, 0)
_CHECKS = {
    "shots": _shots,
    "batch_size": _count,
    "max_iter": _count,
    "learning_rate_init": _number(0, _FINITE, "a number > 0"),
    "alpha": _number(_BELOW_ZERO, _FINITE, "a number >= 0"),
    "early_stopping": _flag,
    "validation_fraction": _number(0, _BELOW_ONE, "a number between 0 and 1"),
    "n_iter_no_change": _count,
    "tol": _number(_BELOW_ZERO, _FINITE, "a number >= 0"),
    "max_time": _number(0, math.inf, "a number of seconds > 0"),
    "n_query": _count,
    "n_ways": _count,
    "decay_iterations": _count,
}
