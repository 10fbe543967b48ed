"""What learning a prior takes, whether or not its tasks have the same columns."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import sklearn
from sklearn.base import clone

from sklearn_meta._prior import Prior
from sklearn_meta._resolve_prior import described, is_module
from sklearn_meta._training_config import TrainingConfig
from sklearn_meta.preprocessing import ImageEncoder, OwnTableEncoder, TableEncoder
from sklearn_meta.preprocessing._registry import ENCODERS, export_encoder
from sklearn_meta.tasks import Task, TaskStore, check_tasks

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sklearn_meta._estimator import MetaEstimator
    from sklearn_meta._targets import Targets
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

#: Those of a reconstructor: images have no episodes of support rows.
IMAGE_TRAINING_PARAMETERS = tuple(name for name in TRAINING_PARAMETERS if name != "shots")


def checked_tasks(
    estimator: MetaEstimator, tasks: Any, argument: str, least: int, **alike: bool
) -> list[Task]:
    """Check tasks for an estimator; `alike` as in `check_tasks`."""
    numeric = estimator._estimator_type_of_prior == "regressor"
    return check_tasks(tasks, argument=argument, min_tasks=least, y_numeric=numeric, **alike)


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


def starts_from_bundled(estimator: MetaEstimator) -> bool:
    """Whether an estimator without a prior of its own starts from the bundled one."""
    if not is_of_tables(estimator):
        return False
    return _is_auto(estimator.learner) or new_learner(estimator).heterogeneous


def is_of_tables(estimator: MetaEstimator) -> bool:
    """Whether no parameter says that rows are images, or what the network is."""
    images = estimator.image_shape is not None or isinstance(estimator.preprocessor, ImageEncoder)
    return not images and _is_auto(estimator.network)


def new_table_encoder(preprocessor: Any, prior: Prior | None = None) -> Any:
    """Unfitted encoder of one table by itself.

    Parameters
    ----------
    preprocessor : TableEncoder or "auto"
    prior : Prior, optional
        The one that the table is to be adapted from: what its tables were encoded by is "auto".
    """
    if not _is_auto(preprocessor):
        return new_encoder(preprocessor)
    trained = {} if prior is None else prior.meta.get("meta_parameters", {})
    if "preprocessor" not in trained:
        return OwnTableEncoder()
    return ENCODERS[trained["preprocessor"]["name"]](**trained["preprocessor"]["params"])


def train(
    estimator: MetaEstimator,
    learner: Any,
    module: nn.Module,
    store: TaskStore,
    validation_store: TaskStore | None,
    config: TrainingConfig,
    rng: np.random.Generator,
) -> tuple[nn.Module, History]:
    """Run the loop of meta-training on a module, if it has weights."""
    from sklearn_meta._model import resolve_device
    from sklearn_meta._training import History, meta_train

    if not any(p.requires_grad for p in module.parameters()):  # `SupportOnly` has none
        return module, History()
    return meta_train(
        learner,
        module,
        store,
        config=config,
        rng=rng,
        validation_store=validation_store,
        device=resolve_device(estimator.device),
        verbose=estimator.verbose,
        checkpoint=estimator.checkpoint,
    )


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    """Weights of a module as a prior holds them."""
    return {name: t.detach().cpu().numpy() for name, t in module.state_dict().items()}


def meta_of(
    tasks: list[Task],
    columns: list[str],
    config: TrainingConfig,
    meta_parameters: dict[str, Any],
) -> dict[str, Any]:
    """What a prior tells of its meta-training.

    Parameters
    ----------
    tasks : list of Task
    columns : list of str
        That all tasks have.
    config : TrainingConfig
        Resolved.
    meta_parameters : dict of str to value
        Beside those of `config`.
    """
    import torch

    trained = {name: getattr(config, name) for name in TRAINING_PARAMETERS} | meta_parameters
    return {
        "n_tasks": len(tasks),
        "n_rows": sum(len(task.y) for task in tasks),
        "columns": columns,
        "versions": versions(str(torch.__version__)),
        "meta_parameters": {name: described(value) for name, value in trained.items()},
    }


def assemble(
    estimator: MetaEstimator,
    learner: dict[str, Any],
    signature: Any,
    weights: dict[str, np.ndarray],
    meta: dict[str, Any] | None,
    targets: Targets | None = None,
    encoder: Any = None,
) -> Prior:
    """Put a prior together; without targets and encoder it is an open one."""
    encoded = (None, None) if encoder is None else export_encoder(encoder)
    return Prior(
        estimator_type=estimator._estimator_type_of_prior,
        learner_config=learner,
        signature=signature.to_dict() | ({} if targets is None else targets.facts),
        weights=weights,
        encoder=encoded[0],
        encoder_arrays=encoded[1],
        target=None if targets is None else targets.config,
        target_arrays=None if targets is None else targets.arrays,
        meta=meta,
        network=signature.template,
    )


def generator_from(rng: np.random.Generator) -> torch.Generator:
    """Torch's generator, seeded by numpy's."""
    import torch

    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def versions(torch_version: str) -> dict[str, str]:
    """Versions of this and of what it stands on."""
    from sklearn_meta import __version__

    return {
        "sklearn_meta": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch_version,
    }
