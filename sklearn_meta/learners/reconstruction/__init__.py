"""Learners of image reconstruction: the contract of a learner, with a forward operator."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._base import ImageTask, Learned, Noise, ReconstructionLearner, Training
    from ._operator_regression import UncertainOperator, regress_operator
    from .gaussian import GaussianPrior
    from .gaussian_mixture import GaussianMixturePrior
    from .plug_and_play import PlugAndPlay
    from .unrolled import Unrolled

#: Name of each learner and where it lives: a new learner is a new file and a line here.
RECONSTRUCTION_LEARNERS = {
    "gaussian": ("gaussian", "GaussianPrior"),
    "gaussian_mixture": ("gaussian_mixture", "GaussianMixturePrior"),
    "plug_and_play": ("plug_and_play", "PlugAndPlay"),
    "unrolled": ("unrolled", "Unrolled"),
}
#: Those that run on a denoising network, for which the bundled prior has weights.
NETWORKS = ("plug_and_play", "unrolled")

_HOMES = {name: module for module, name in RECONSTRUCTION_LEARNERS.values()} | dict.fromkeys(
    ("ImageTask", "Learned", "Noise", "ReconstructionLearner", "Training"), "_base"
)
_HOMES |= dict.fromkeys(("UncertainOperator", "regress_operator"), "_operator_regression")

__all__ = [
    "NETWORKS",
    "RECONSTRUCTION_LEARNERS",
    "GaussianMixturePrior",
    "GaussianPrior",
    "ImageTask",
    "Learned",
    "Noise",
    "PlugAndPlay",
    "ReconstructionLearner",
    "Training",
    "UncertainOperator",
    "Unrolled",
    "get_reconstruction_learner",
    "reconstruction_learner_config",
    "regress_operator",
]


def get_reconstruction_learner(
    name: str, params: dict[str, Any] | None = None
) -> ReconstructionLearner:
    """Make a learner of reconstruction from its name.

    Raises
    ------
    ValueError
        If there is no learner of that name, or it has no such parameter.
    """
    if name not in RECONSTRUCTION_LEARNERS:
        raise ValueError(
            f"learner is {name!r}, expected 'auto', a ReconstructionLearner, or one of "
            f"{sorted(RECONSTRUCTION_LEARNERS)}."
        )
    module, attribute = RECONSTRUCTION_LEARNERS[name]
    learner = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)()
    # JSON has no tuples; as_tuple keeps a loaded learner equal to the one that was saved.
    return learner.set_params(**{key: _as_tuple(value) for key, value in (params or {}).items()})


def reconstruction_learner_config(learner: ReconstructionLearner) -> dict[str, Any]:
    """Name and parameters of a learner as a prior holds them.

    A parameter that is code (a denoiser of the user's own) cannot be held: it is named in
    ``"code"``, and the learner has to be given again beside the prior.

    Raises
    ------
    TypeError
        If it is none of this package.
    """
    for name, (_, attribute) in RECONSTRUCTION_LEARNERS.items():
        if type(learner).__name__ == attribute:
            params = learner.get_params(deep=False)
            code = sorted(key for key, value in params.items() if callable(value))
            config = {"name": name, "params": {k: v for k, v in params.items() if k not in code}}
            return config | ({"code": code} if code else {})
    raise TypeError(
        f"learner is of type {type(learner).__name__}, expected one of "
        "sklearn_meta.learners.reconstruction: "
        f"{sorted(attribute for _, attribute in RECONSTRUCTION_LEARNERS.values())}."
    )


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
