"""Which prior an estimator adapts from, and whether its parameters agree with it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_meta._prior import Prior

PRIORS_KEPT = 16  # loaded files, so that a loop over `adapt` reads its prior once

#: Names of the priors that come with the package, and the kinds of estimator that each is for.
BUNDLED = {"tabular": ("classifier", "regressor"), "image": ("reconstructor",)}


@functools.cache
def bundled_prior(estimator_type: str, name: str = "tabular") -> Prior:
    """Prior that comes with the package.

    Parameters
    ----------
    estimator_type : {"regressor", "classifier", "reconstructor"}
    name : str, default="tabular"
        One of `BUNDLED`.

    Raises
    ------
    ValueError
        If that prior is not one for such estimators.
    """
    if estimator_type not in BUNDLED[name]:
        raise ValueError(
            f"prior is {name!r}, which serves {' and '.join(BUNDLED[name])}, not a "
            f"{estimator_type}."
        )
    file = resources.files("sklearn_meta") / "priors" / f"{name}_{estimator_type}.safetensors"
    with resources.as_file(file) as path:
        return Prior.load(path)


def load_prior(prior: Any, estimator_type: str) -> Prior:
    """Prior from a `Prior`, a bundled name, the path of a saved one, or a meta-trained estimator.

    Parameters
    ----------
    prior : Prior, str, path-like or meta-trained estimator
    estimator_type : {"regressor", "classifier", "reconstructor"}
        Of which a bundled prior is taken.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        If it is none of these; the message says what came.
    """
    if isinstance(prior, Prior):
        return prior
    if isinstance(prior, str) and prior in BUNDLED:
        return bundled_prior(estimator_type, prior)
    if isinstance(prior, (str, os.PathLike)):
        return _load_file(prior)
    if isinstance(prior, BaseEstimator) and hasattr(prior, "fit_tasks"):
        if hasattr(prior, "prior_"):
            return prior.prior_
        if prior.prior is not None:
            return load_prior(prior.prior, prior._estimator_type_of_prior)
        raise ValueError(
            f"prior is a {type(prior).__name__} that has no prior: it was not meta-trained. Call "
            "its fit_tasks first and pass meta.prior_."
        )
    raise TypeError(
        f"prior is of type {type(prior).__name__}, expected a Prior, the path of a saved one, "
        f"a meta-trained estimator, or one of the bundled {list(BUNDLED)}."
    )


def check_prior_serves(prior: Prior, estimator_type: str, owner: str) -> None:
    """Raise ValueError if a prior is one of another kind of estimator."""
    if prior.estimator_type != estimator_type:
        raise ValueError(
            f"prior is one of a {prior.estimator_type}, expected one of a {estimator_type}; "
            f"{owner} cannot use it."
        )


def check_agreement(given: Mapping[str, Any], prior: Prior) -> None:
    """Raise where a meta-parameter, which only meta-training uses, was set after it.

    A bundled prior agrees with everything, and one of a denoising network with every learner of
    reconstruction that runs it: how is a matter of adaptation.

    Parameters
    ----------
    given : mapping of str to value
        Meta-parameters of the estimator; "auto" and None agree with everything.
    prior : Prior

    Raises
    ------
    ValueError
        If one differs from that of the prior.
    """
    given = {name: value for name, value in given.items() if not _is_unset(value)}
    trained = prior.meta.get("meta_parameters", {}) if given else {}
    for name, value in given.items():
        if name not in trained or _agrees(name, value, trained[name], prior.estimator_type):
            continue
        if name == "learner" and _runs_as_given(value, prior):
            continue
        if is_bundled(prior):
            return
        raise ValueError(
            f"{name}={_given(value)} has no effect: the prior was meta-trained with "
            f"{name}={_shown(trained[name])}, and fit and adapt only adapt it. Leave it at 'auto', "
            "or call fit_tasks to meta-train anew; to search over it, use "
            "sklearn_meta.model_selection.TaskEstimator."
        )


def is_bundled(prior: Prior) -> bool:
    """Whether a prior is one of those that come with the package."""
    names = [name for name, types in BUNDLED.items() if prior.estimator_type in types]
    return any(prior == bundled_prior(prior.estimator_type, name) for name in names)


def described(value: Any) -> Any:
    """Return the value of a parameter as JSON has it."""
    if isinstance(value, BaseEstimator):
        params = {name: described(v) for name, v in value.get_params(deep=False).items()}
        return {"name": type(value).__name__, "params": params}
    if is_module(value):
        n_weights = sum(tensor.numel() for tensor in value.state_dict().values())
        return {"name": type(value).__name__, "params": {"n_weights": n_weights}}
    if callable(value):
        return {"name": getattr(value, "__qualname__", type(value).__name__), "params": {}}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [described(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _agrees(name: str, value: Any, trained: Any, estimator_type: str) -> bool:
    if name == "learner" and isinstance(value, str):
        value = _learner(value, estimator_type)
    value = described(value)
    # One number of shots is a range of one.
    return value == trained or (name == "shots" and [value, value] == trained)


def _runs_as_given(learner: Any, prior: Prior) -> bool:
    if prior.estimator_type != "reconstructor":
        return False
    from sklearn_meta.learners.reconstruction import NETWORKS, reconstruction_learner_config

    if isinstance(learner, str):
        learner = _learner(learner, prior.estimator_type)
    names = reconstruction_learner_config(learner)["name"], prior.learner_config["name"]
    return all(name in NETWORKS for name in names)


def _learner(name: str, estimator_type: str) -> Any:
    if estimator_type == "reconstructor":
        from sklearn_meta.learners.reconstruction import get_reconstruction_learner

        return get_reconstruction_learner(name)
    from sklearn_meta.learners import get_learner

    return get_learner(name)


def _is_unset(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value == "auto")


def is_module(value: Any) -> bool:
    """Whether a value is a `torch.nn.Module`, by what it can do: torch may not be needed at all."""
    return callable(getattr(value, "state_dict", None))


def _given(value: Any) -> str:
    return _shown(described(value)) if is_module(value) else repr(value)


def _shown(trained: Any) -> str:
    if not isinstance(trained, dict):
        return repr(trained)
    params = ", ".join(f"{name}={value!r}" for name, value in trained["params"].items())
    return f"{trained['name']}({params})"


def _load_file(path: str | os.PathLike) -> Prior:
    try:
        status = os.stat(path)
    except OSError:
        return Prior.load(path)  # which says what is wrong
    return _load_version(os.path.abspath(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=PRIORS_KEPT)
def _load_version(path: str, modified: int, size: int) -> Prior:
    return Prior.load(path)
