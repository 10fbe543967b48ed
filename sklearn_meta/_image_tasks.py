"""Bring the user's reconstruction tasks into one form; name every fault by its task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklearn_meta._image_support import check_n_images
from sklearn_meta._images_in import (
    Shape,
    read_images,
    read_rows,
    shaped,
    trailing_shape,
    unknown_shape,
)
from sklearn_meta._operator_in import read_operator
from sklearn_meta.learners.reconstruction import ImageTask
from sklearn_meta.operators import Operator
from sklearn_meta.tasks import Task
from sklearn_meta.tasks._check import named_items


def check_image_tasks(
    owner: Any, tasks: Any, image_shape: Shape | None, argument: str = "tasks"
) -> list[ImageTask]:
    """Check reconstruction tasks in whatever form they came.

    Operators, numbers of measurements and shapes of images may differ from task to task.

    Parameters
    ----------
    owner : BaseEstimator
        Named in messages.
    tasks : sequence of Task or (X, y), or mapping of name to Task or (X, y)
        Each with measurements, images and an operator; with images, from which measurements can
        be simulated; with measurements and an operator; or with pairs whose operator is unknown.
    image_shape : tuple of int or None
        Of flat images.
    argument : str, default="tasks"
        What the caller named this argument, for messages.

    Returns
    -------
    list of ImageTask

    Raises
    ------
    TypeError, ValueError
        If the container or a task cannot be used; the message names the task.
    """
    checked: list[ImageTask] = []
    for position, (name, item) in enumerate(named_items(tasks, argument)):
        # Names may come twice: several draws of one kind of operator.
        at = "" if name == str(position) else f" at position {position}"
        with _naming(f"{argument}: task {name!r}{at}"):
            checked.append(_check(owner, _as_task(item), image_shape, name))
    if not checked:
        raise ValueError(f"{argument} is empty, expected at least one task.")
    return checked


def adapt_each(estimator: Any, tasks: Any) -> dict[str, Any]:
    """Adapt an estimator to tasks, one after the other; errors name the task."""
    adapted = {}
    for name, item in named_items(tasks, "tasks"):
        with _naming(f"tasks: task {name!r}"):
            if name in adapted:
                raise ValueError("it is there twice; give each task its own name.")
            task = _as_task(item)
            adapted[name] = estimator.adapt(task.X, task.y, task.operator)
    return adapted


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Put the name of a task before a message."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _as_task(item: Any) -> Task:
    if isinstance(item, Task):
        return item
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return Task(*item)
    raise TypeError(f"it is a {type(item).__name__}, expected a Task or a pair (X, y).")


def _check(owner: Any, task: Task, image_shape: Shape | None, name: str) -> ImageTask:
    if task.y is None and (task.X is None or task.operator is None):
        raise ValueError(
            "there are neither images nor measurements with an operator; expected "
            "Task(X=measurements, y=images, operator=A), or y or (X, operator) alone."
        )
    shape = _shape(task, image_shape)
    operator = None if task.operator is None else read_operator(task.operator, shape)
    images = measurements = None
    if task.y is not None:
        images = read_images(task.y, shape if operator is None else operator.image_shape)
    if task.X is not None:
        rows = read_rows(owner, task.X, reset=False, names=False).values
        measured = rows.shape[1:] if operator is None else operator.measurement_shape
        measurements = shaped(rows, measured, "X", "measurement")
        if images is not None and len(images) != len(measurements):
            raise ValueError(
                f"X has {len(measurements)} rows and y has {len(images)}, expected one image for "
                "each measurement."
            )
    if operator is not None:
        check_n_images(operator, len(images if measurements is None else measurements))
    return ImageTask(measurements, images, operator, name)


def _shape(task: Task, image_shape: Shape | None) -> Shape | None:
    if isinstance(task.operator, Operator):
        return task.operator.image_shape
    given = () if task.y is None else trailing_shape(task.y)
    if len(given) in (2, 3):
        # A channel may be left out of a grey image.
        same = image_shape is not None and (*given, 1) == image_shape
        return image_shape if same else given
    if image_shape is None and task.y is not None:
        raise unknown_shape(task.y)
    return image_shape
