"""From tasks to a prior: encode them, meta-train a learner, and gather what it learned."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import sklearn
from sklearn.base import clone

from sklearn_meta._prior import Prior
from sklearn_meta._resolve_prior import described, is_module
from sklearn_meta._targets import Targets
from sklearn_meta._training_config import TrainingConfig, resolve
from sklearn_meta.preprocessing import ImageEncoder, TableEncoder
from sklearn_meta.preprocessing._pixels import check_image_shape
from sklearn_meta.preprocessing._registry import ENCODERS, export_encoder
from sklearn_meta.tasks import Task, TaskStore, check_tasks
from sklearn_meta.tasks._random import generator_of

if TYPE_CHECKING:
    from sklearn_meta._estimator import MetaEstimator
    from sklearn_meta._training import History

TRAINING_PARAMETERS = (
    "shots",
    "batch_size",
    "max_iter",
    "learning_rate_init",
    "alpha",
    "early_stopping",
    "validation_fraction",
    "n_iter_no_change",
    "tol",
    "max_time",
)
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
    import torch

    from sklearn_meta._model import resolve_device
    from sklearn_meta._training import History, meta_train
    from sklearn_meta.learners import learner_config
    from sklearn_meta.learners._base import Signature

    device = resolve_device(estimator.device)
    image_shape = estimator.image_shape
    hidden, template = _network(
        estimator.network, HIDDEN if image_shape is None else HIDDEN_CHANNELS
    )
    learner = new_learner(estimator)
    config_of_learner = learner_config(learner)
    tasks = _checked(estimator, tasks, "tasks", min_tasks)
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
        held_out = _checked(estimator, validation_tasks, "validation_tasks", 1)
        validation_x, validation_offsets = _encoded(encoder, held_out)
        y, ways = targets.encode_more(held_out)
        names = [task.name for task in held_out]
        validation_store = TaskStore(
            validation_x, y, validation_offsets, names, ways, image_shape=image_shape
        )

    rng = generator_of(estimator.random_state)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    prepared = learner.prepare(store, signature, rng)
    module = learner.build(signature, prepared, generator)
    if "inputs" in prepared:
        store = store.replace(x=prepared["inputs"])
        if validation_store is not None:
            rows = torch.from_numpy(validation_store.x)
            with torch.no_grad():
                inputs = learner.inputs(module, rows).numpy()
            validation_store = validation_store.replace(x=inputs)
    history = History()
    if any(p.requires_grad for p in module.parameters()):  # `SupportOnly` has none
        module, history = meta_train(
            learner,
            module,
            store,
            config=config,
            rng=rng,
            validation_store=validation_store,
            device=device,
            verbose=estimator.verbose,
            checkpoint=estimator.checkpoint,
        )
    weights = {name: t.detach().cpu().numpy() for name, t in module.state_dict().items()}
    meta_parameters = {name: described(getattr(config, name)) for name in TRAINING_PARAMETERS}
    meta_parameters |= {
        "learner": described(learner),
        "network": described(hidden if template is None else template),
        "image_shape": described(image_shape),
        "preprocessor": described(encoder),
        "shared_classes": targets.shared_classes,
    }
    meta = {
        "n_tasks": len(tasks),
        "n_rows": len(x),
        "columns": [str(name) for name in encoder.get_feature_names_out()],
        "versions": _versions(str(torch.__version__)),
        "meta_parameters": meta_parameters,
    }
    prior = _assemble(estimator, config_of_learner, signature, targets, weights, encoder, meta)
    return prior, history


def vague_prior(estimator: MetaEstimator, X: Any, y: np.ndarray) -> Prior:
    """Prior that knows nothing but how this one table is to be encoded."""
    from sklearn_meta.learners._base import Signature

    encoder = new_encoder(estimator.preprocessor, estimator.image_shape).fit([X])
    x = encoder.transform(X, estimator_name=type(estimator).__name__)
    targets = estimator._learn_targets([Task(X, y, name="0")], x, np.array([0, len(x)]))
    signature = Signature(targets.kind, x.shape[1], targets.n_outputs, targets.shared_classes)
    learner = {"name": "support_only", "params": {}}
    return _assemble(estimator, learner, signature, targets, {}, encoder, None)


def new_encoder(preprocessor: Any, image_shape: Any = None) -> Any:
    """Unfitted encoder of the parameters `preprocessor` and `image_shape`.

    Raises
    ------
    TypeError
        If `preprocessor` is neither "auto" nor an encoder.
    """
    if isinstance(preprocessor, tuple(ENCODERS.values())):
        return clone(preprocessor)
    if not (isinstance(preprocessor, str) and preprocessor == "auto"):
        raise TypeError(
            f"preprocessor is {preprocessor!r}, expected 'auto' or one of "
            f"sklearn_meta.preprocessing: {sorted(ENCODERS)}."
        )
    return TableEncoder() if image_shape is None else ImageEncoder(image_shape)


def new_learner(estimator: MetaEstimator) -> Any:
    """Learner of the parameter `learner`, not shared with the user.

    Raises
    ------
    TypeError, ValueError
        If there is no such learner.
    """
    from sklearn_meta.learners import Learner, get_learner

    learner = estimator.learner
    if isinstance(learner, Learner):
        return clone(learner)
    if not isinstance(learner, str):
        raise TypeError(
            f"learner is {learner!r}, expected 'auto', the name of a learner or a Learner."
        )
    if learner == "auto":
        plain = estimator.image_shape is None and not is_module(estimator.network)
        learner = estimator._default_learner if plain else estimator._default_learner_of_networks
    return get_learner(learner)


def _checked(estimator: MetaEstimator, tasks: Any, argument: str, least: int) -> list[Task]:
    numeric = estimator._estimator_type_of_prior == "regressor"
    return check_tasks(
        tasks, argument=argument, min_tasks=least, y_numeric=numeric, same_columns=True
    )


def _encoded(encoder: Any, tasks: list[Task]) -> tuple[np.ndarray, np.ndarray]:
    names = [task.name for task in tasks]
    return encoder.transform_many([task.X for task in tasks], names=names)


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


def _assemble(
    estimator: MetaEstimator,
    learner: dict[str, Any],
    signature: Any,
    targets: Targets,
    weights: dict[str, np.ndarray],
    encoder: Any,
    meta: dict[str, Any] | None,
) -> Prior:
    encoder_config, encoder_arrays = export_encoder(encoder)
    return Prior(
        estimator_type=estimator._estimator_type_of_prior,
        learner_config=learner,
        signature=signature.to_dict() | targets.facts,
        weights=weights,
        encoder=encoder_config,
        encoder_arrays=encoder_arrays,
        target=targets.config,
        target_arrays=targets.arrays,
        meta=meta,
        network=signature.template,
    )


def _versions(torch_version: str) -> dict[str, str]:
    from sklearn_meta import __version__

    return {
        "sklearn_meta": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch_version,
    }
