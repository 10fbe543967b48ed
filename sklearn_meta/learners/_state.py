"""States of batches of tasks: dataclasses of tensors, each of which has a task axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


def on_axis(axis: int) -> Any:
    """Field of a state whose tasks are on another axis than the first."""
    return dataclasses.field(metadata={"task_axis": axis})


def take(state: Any, tasks: slice) -> Any:
    """Return the state of some of the tasks; tensors are views."""
    return _map(
        state,
        lambda tensor, axis: tensor[(slice(None),) * axis + (tasks,)],
        lambda each: each[tasks],
    )


def map_tensors(state: Any, function: Callable[[Any], Any]) -> Any:
    """Return a state with a function applied to every tensor, or array in its place."""
    return _map(
        state, lambda tensor, axis: function(tensor), lambda each: _map_each(each, function)
    )


def _map(state: Any, function: Callable[[Any, int], Any], tuples: Callable[[tuple], tuple]) -> Any:
    """Replace every tensor; a tuple holds one item a task."""
    changes = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _map(value, function, tuples)
        elif isinstance(value, tuple):
            changes[field.name] = tuples(value)
        elif _is_array(value):
            changes[field.name] = function(value, field.metadata.get("task_axis", 0))
    return dataclasses.replace(state, **changes)


def _map_each(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to every tensor, or array in its place, in a tuple of anything."""
    if dataclasses.is_dataclass(value):
        return map_tensors(value, function)
    if isinstance(value, tuple):
        items = [_map_each(item, function) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return function(value) if _is_array(value) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")
