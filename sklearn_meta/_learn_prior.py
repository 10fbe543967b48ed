"""From tasks to a prior: encode them, meta-train a learner, and gather what it learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_meta._learn_tables import learn_prior_of_tables
from sklearn_meta._learning import (
    TRAINING_PARAMETERS,
    assemble,
    checked_tasks,
    generator_from,
    is_of_tables,
    meta_of,
    new_encoder,
    new_learner,
    train,
    weights_of,
)
from sklearn_meta._prior import Prior
from sklearn_meta._random import generator_of
from sklearn_meta._resolve_prior import is_module
from sklearn_meta._training_config import TrainingConfig, resolve
from sklearn_meta.preprocessing._pixels import check_image_shape
from sklearn_meta.tasks import Task, TaskStore
from sklearn_meta.tasks._check import check_alike, have_same_columns

if TYPE_CHECKING:
    from sklearn_meta._estimator import MetaEstimator
    from sklearn_meta._training import History

HIDDEN = (64, 64, 32)
HIDDEN_CHANNELS = (32, 64, 128, 128)  # where rows are images


def learn_prior(
    estimator: MetaEstimator, tasks: Any, validation_tasks: Any = None, *, min_tasks: int = 1
) -> tuple[Prior, History]:
    """Meta-train with the parameters of an estimator, which is left as it is.

    Parameters
    ----------
    estimator : MetaEstimator
    tasks, validation_tasks
        As in `MetaEstimator.fit_tasks`.
    min_tasks : int, default=1
        Fewer tasks are an error.

    Returns
    -------
    prior : Prior
    history : History

    Raises
    ------
    TypeError, ValueError
        If a task or a parameter cannot be used; the message names it.
    """
    from sklearn_meta.learners import get_learner, learner_config
    from sklearn_meta.learners._base import Signature

    learner = new_learner(estimator)
    tasks = checked_tasks(estimator, tasks, "tasks", min_tasks, same_form=False)
    is_default = isinstance(estimator.learner, str) and estimator.learner == "auto"
    if is_default and is_of_tables(estimator) and not have_same_columns(tasks):
        learner = get_learner("in_context")
    if learner.heterogeneous:
        return learn_prior_of_tables(estimator, tasks, validation_tasks, learner)
    check_alike(tasks, "tasks", same_columns=True)
    image_shape = estimator.image_shape
    hidden, template = _network(
        estimator.network, HIDDEN if image_shape is None else HIDDEN_CHANNELS
    )
    config_of_learner = learner_config(learner)
    encoder = new_encoder(estimator.preprocessor, image_shape)
    encoder.fit([task.X for task in tasks], names=[task.name for task in tasks])
    x, offsets = _encoded(encoder, tasks)
    if image_shape is not None:
        image_shape = check_image_shape(image_shape, x.shape[1])
    targets = estimator._learn_targets(tasks, x, offsets)
    if targets.kind not in learner.kinds:
        raise ValueError(
            f"learner {type(learner).__name__} serves {' and '.join(learner.kinds)}, "
            f"and these tasks are {targets.kind}; choose another learner."
        )
    signature = Signature(
        targets.kind,
        x.shape[1],
        targets.n_outputs,
        targets.shared_classes,
        hidden,
        image_shape,
        template,
    )
    if not (signature.is_plain or learner.takes_networks):
        raise _takes_no_networks(learner, signature)
    store = TaskStore(
        x,
        targets.y,
        offsets,
        [task.name for task in tasks],
        targets.ways,
        labels=targets.labels,
        image_shape=image_shape,
    )
    given = {name: getattr(estimator, name) for name in TRAINING_PARAMETERS}
    defaults = learner.defaults(signature)
    if validation_tasks is not None:
        defaults["early_stopping"] = True  # they were given to be judged on
    config = resolve(TrainingConfig(**given), store, defaults)
    validation_store = None
    if validation_tasks is not None:
        held_out = checked_tasks(
            estimator, validation_tasks, "validation_tasks", 1, same_columns=True
        )
        validation_x, validation_offsets = _encoded(encoder, held_out)
        y, ways = targets.encode_more(held_out)
        names = [task.name for task in held_out]
        validation_store = TaskStore(
            validation_x, y, validation_offsets, names, ways, image_shape=image_shape
        )

    rng = generator_of(estimator.random_state)
    generator = generator_from(rng)
    prepared = learner.prepare(store, signature, rng)
    module = learner.build(signature, prepared, generator)
    if "inputs" in prepared:
        store = store.replace(x=prepared["inputs"])
        if validation_store is not None:
            validation_store = _with_inputs(learner, module, validation_store)
    module, history = train(estimator, learner, module, store, validation_store, config, rng)
    meta_parameters = {
        "learner": learner,
        "network": hidden if template is None else template,
        "image_shape": image_shape,
        "preprocessor": encoder,
        "shared_classes": targets.shared_classes,
    }
    columns = [str(name) for name in encoder.get_feature_names_out()]
    meta = meta_of(tasks, columns, config, meta_parameters)
    weights = weights_of(module)
    prior = assemble(estimator, config_of_learner, signature, weights, meta, targets, encoder)
    return prior, history


def vague_prior(estimator: MetaEstimator, X: Any, y: np.ndarray) -> Prior:
    """Prior that knows nothing but how this one table is to be encoded."""
    from sklearn_meta.learners._base import Signature

    encoder = new_encoder(estimator.preprocessor, estimator.image_shape).fit([X])
    x = encoder.transform(X, estimator_name=type(estimator).__name__)
    targets = estimator._learn_targets([Task(X, y, name="0")], x, np.array([0, len(x)]))
    signature = Signature(targets.kind, x.shape[1], targets.n_outputs, targets.shared_classes)
    learner = {"name": "support_only", "params": {}}
    return assemble(estimator, learner, signature, {}, None, targets, encoder)


def _encoded(encoder: Any, tasks: list[Task]) -> tuple[np.ndarray, np.ndarray]:
    names = [task.name for task in tasks]
    return encoder.transform_many([task.X for task in tasks], names=names)


def _with_inputs(learner: Any, module: Any, store: TaskStore) -> TaskStore:
    """Rows as the learner takes them in place of encoded ones."""
    import torch

    with torch.no_grad():
        return store.replace(x=learner.inputs(module, torch.from_numpy(store.x)).numpy())


def _network(network: Any, default: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
    """Widths of the layers, and the module of the user's own, of the parameter `network`."""
    if is_module(network):
        return default, network
    if isinstance(network, str) and network == "auto":
        return default, None
    widths = network if isinstance(network, (tuple, list)) else ()
    if not widths or not all(isinstance(w, (int, np.integer)) and w > 0 for w in widths):
        raise ValueError(
            f"network is {network!r}, expected 'auto', the widths of the network's layers, such "
            f"as {default}, or a torch.nn.Module."
        )
    return tuple(int(width) for width in widths), None


def _takes_no_networks(learner: Any, signature: Any) -> ValueError:
    from sklearn_meta.learners import LEARNERS, get_learner

    learners = {name: get_learner(name) for name in LEARNERS}
    able = [n for n, one in learners.items() if one.takes_networks and signature.kind in one.kinds]
    what = "images" if signature.image_shape is not None else "a network of your own"
    return ValueError(
        f"learner {type(learner).__name__} takes neither image_shape nor a module for network=, "
        f"so it cannot learn from {what}; learners of {signature.kind} that can: {able}."
    )
