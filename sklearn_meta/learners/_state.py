"""States of batches of tasks: dataclasses of tensors, each of which has a task axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def on_axis(axis: int) -> Any:
    """Field of a state whose tasks are on another axis than the first."""
    return dataclasses.field(metadata={"task_axis": axis})


def take(state: Any, tasks: slice) -> Any:
    """Return the state of some of the tasks; tensors are views."""
    return _map(state, lambda tensor, axis: tensor[(slice(None),) * axis + (tasks,)])


def map_tensors(state: Any, function: Callable[[Any], Any]) -> Any:
    """Return a state with a function applied to every tensor, or array in its place."""
    return _map(state, lambda tensor, axis: function(tensor))


def _map(state: Any, function: Callable[[Any, int], Any]) -> Any:
    changes = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _map(value, function)
        elif value is not None:
            changes[field.name] = function(value, field.metadata.get("task_axis", 0))
    return dataclasses.replace(state, **changes)
