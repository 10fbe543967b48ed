"""From tasks of different columns, classes and units to a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_meta._learning import (
    TRAINING_PARAMETERS,
    assemble,
    checked_tasks,
    meta_of,
    new_table_encoder,
    train,
    weights_of,
)
from sklearn_meta._prior import Prior
from sklearn_meta._random import generator_of
from sklearn_meta._resolve_prior import bundled_prior
from sklearn_meta._training_config import TrainingConfig, resolve
from sklearn_meta.preprocessing import ImageEncoder
from sklearn_meta.preprocessing._columns import read_table
from sklearn_meta.tasks import Task, TaskStore
from sklearn_meta.tasks._table_task import TableTask

if TYPE_CHECKING:
    from sklearn_meta._estimator import MetaEstimator
    from sklearn_meta._training import History

FEWEST_ROWS = 2  # one to adapt on, one to be judged on


def learn_prior_of_tables(
    estimator: MetaEstimator, tasks: list[Task], validation_tasks: Any, learner: Any
) -> tuple[Prior, History]:
    """Meta-train a heterogeneous learner, from the weights of the bundled prior on.

    Parameters
    ----------
    estimator : MetaEstimator
        Its parameters are used; it is left as it is.
    tasks : list of Task
        Checked, each by itself.
    validation_tasks
        As in `MetaEstimator.fit_tasks`.
    learner : Learner

    Returns
    -------
    prior : Prior
        Open: encoder and scaling of targets are those of each table.
    history : History

    Raises
    ------
    TypeError, ValueError
        If a task or a parameter cannot be used; the message names it.
    """
    from sklearn_meta.learners import learner_config
    from sklearn_meta.learners._base import Signature

    _refuse_parameters(estimator, learner)
    start = bundled_prior(estimator._estimator_type_of_prior)
    signature = Signature.from_dict(start.signature)
    tables = _tables(estimator, tasks, "tasks")
    given = {name: getattr(estimator, name) for name in TRAINING_PARAMETERS}
    defaults = learner.defaults(signature)
    if validation_tasks is not None:
        defaults["early_stopping"] = True  # they were given to be judged on
    config = resolve(TrainingConfig(**given), _rows_of(tables), defaults)
    weights = learner.learn_columns(tables, start.weights)
    module = learner.restore(signature, weights).requires_grad_(True)
    rng = generator_of(estimator.random_state)
    store, validation_store = learner.episodes(module, tables, rng, config.max_time), None
    if validation_tasks is not None:
        held_out = checked_tasks(
            estimator, validation_tasks, "validation_tasks", 1, same_form=False
        )
        held_out = _tables(estimator, held_out, "validation_tasks")
        validation_store = learner.episodes(
            module, held_out, rng, config.max_time, learned_from=False
        )
    on_episodes = learner.on_episodes()
    module, history = train(estimator, on_episodes, module, store, validation_store, config, rng)
    meta_parameters = {
        "learner": learner,
        "network": "auto",
        "image_shape": None,
        "preprocessor": new_table_encoder(estimator.preprocessor),
        "shared_classes": False,
    }
    meta = meta_of(tasks, [], config, meta_parameters)
    learned = learner_config(learner)
    return assemble(estimator, learned, signature, weights_of(module), meta), history


def _refuse_parameters(estimator: MetaEstimator, learner: Any) -> None:
    """Raise where a parameter is set that means nothing to a heterogeneous learner."""
    shared = getattr(estimator, "shared_classes", False)
    is_set = {
        "network": not isinstance(estimator.network, str),
        "image_shape": estimator.image_shape is not None,
        "preprocessor=ImageEncoder": isinstance(estimator.preprocessor, ImageEncoder),
        "shots": not isinstance(estimator.shots, str),
        "shared_classes": isinstance(shared, (bool, np.bool_)) and bool(shared),
    }
    names = [name for name, given in is_set.items() if given]
    if names:
        raise ValueError(
            f"learner {type(learner).__name__} learns from tables of any columns, classes and "
            f"sizes by models of its own: {' and '.join(names)} mean nothing to it. Leave them "
            "out, or choose another learner."
        )


def _tables(estimator: MetaEstimator, tasks: list[Task], argument: str) -> list[TableTask]:
    """One table for each target of each task that has rows enough."""
    tables = []
    for task, targets in zip(tasks, estimator._targets_of_tables(tasks), strict=True):
        try:
            table = read_table(task.X)
            new_table_encoder(estimator.preprocessor).fit([table])
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"{argument}: task {task.name!r}: {error}") from error
        if table.n_rows < FEWEST_ROWS:
            continue
        # No text in all of its rows: what looks like it in the few of an episode is none.
        table = table.declared()
        for j, (y, labels) in enumerate(targets):
            name = task.name if len(targets) == 1 else f"{task.name}, target {j}"
            encoder = new_table_encoder(estimator.preprocessor)
            tables.append(TableTask(name, table, y, encoder, labels))
    if not tables:
        raise ValueError(
            f"{argument}: every task has a single row, expected at least {FEWEST_ROWS} rows in one."
        )
    return tables


def _rows_of(tables: list[TableTask]) -> TaskStore:
    """How many rows there are, for what "auto" stands for."""
    offsets = np.cumsum([0, *(table.n_rows for table in tables)])
    nothing = np.zeros((offsets[-1], 1), np.float32)
    return TaskStore(nothing, nothing, offsets, [table.name for table in tables])
