"""Learners: algorithms of meta-learning, one a file, behind one contract."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._base import Learner, Signature
    from .bayesian_linear import BayesianLinear
    from .bayesian_logistic import BayesianLogistic
    from .deep_kernel import DeepKernelGP
    from .in_context import InContext
    from .maml import MAML
    from .neural_process import NeuralProcess
    from .prototypical import PrototypicalNetwork
    from .reptile import Reptile
    from .support_only import SupportOnly

#: Name of each learner and where it lives: a new learner is a new file and a line here.
LEARNERS = {
    "bayesian_linear": ("bayesian_linear", "BayesianLinear"),
    "bayesian_logistic": ("bayesian_logistic", "BayesianLogistic"),
    "deep_kernel": ("deep_kernel", "DeepKernelGP"),
    "in_context": ("in_context", "InContext"),
    "neural_process": ("neural_process", "NeuralProcess"),
    "maml": ("maml", "MAML"),
    "prototypical": ("prototypical", "PrototypicalNetwork"),
    "reptile": ("reptile", "Reptile"),
    "support_only": ("support_only", "SupportOnly"),
}
_HOMES = {name: module for module, name in LEARNERS.values()} | {
    "Learner": "_base",
    "Signature": "_base",
}

__all__ = [
    "LEARNERS",
    "MAML",
    "BayesianLinear",
    "BayesianLogistic",
    "DeepKernelGP",
    "InContext",
    "Learner",
    "NeuralProcess",
    "PrototypicalNetwork",
    "Reptile",
    "Signature",
    "SupportOnly",
    "get_learner",
    "learner_config",
]


def get_learner(name: str, params: dict[str, Any] | None = None) -> Learner:
    """Make a learner from its name.

    Raises
    ------
    ValueError
        If there is no learner of that name, or it has no such parameter.
    """
    if name not in LEARNERS:
        raise ValueError(
            f"learner is {name!r}, expected 'auto', a Learner, or one of {sorted(LEARNERS)}."
        )
    module, attribute = LEARNERS[name]
    learner = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)()
    # JSON has no tuples; as_tuple keeps a loaded learner equal to the one that was saved.
    params = {key: _as_tuple(value) for key, value in (params or {}).items()}
    return learner.set_params(**params)


def learner_config(learner: Learner) -> dict[str, Any]:
    """Name and parameters of a learner, from which `get_learner` makes it again."""
    for name, (_, attribute) in LEARNERS.items():
        if type(learner).__name__ == attribute:
            return {"name": name, "params": learner.get_params(deep=False)}
    raise TypeError(
        f"learner is of type {type(learner).__name__}, expected one of sklearn_meta.learners: "
        f"{sorted(attribute for _, attribute in LEARNERS.values())}."
    )


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
