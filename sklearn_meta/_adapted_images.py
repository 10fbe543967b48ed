"""A learner of reconstruction that is adapted to one operator, ready to reconstruct."""

from __future__ import annotations

import json
import threading
import weakref
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from sklearn_meta._choose_learner import runs_under
from sklearn_meta._image_support import check_n_images
from sklearn_meta._model import resolve_device
from sklearn_meta._noise_in import check_noise_fits
from sklearn_meta._prior import Prior
from sklearn_meta.learners.reconstruction import (
    NETWORKS,
    Noise,
    ReconstructionLearner,
    get_reconstruction_learner,
    reconstruction_learner_config,
)
from sklearn_meta.operators import Operator

#: Values of images and measurements that are computed with at once, which bounds the memory.
VALUES_AT_ONCE = 2**22

_ready: weakref.WeakKeyDictionary[Prior, dict[str, Any]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def device_of(device: Any) -> torch.device:
    """Device of the parameter `device`; it has to compute in double precision."""
    resolved = resolve_device(device)
    return torch.device("cpu") if resolved.type == "mps" else resolved


def learner_of(
    prior: Prior, given: Any, operator: Operator | None, noise: Noise
) -> ReconstructionLearner:
    """Learner that runs a prior under an operator.

    Parameters
    ----------
    prior : Prior
    given : "auto", str or ReconstructionLearner
        Parameter `learner`, which agrees with the prior: it brings what a prior cannot hold, and
        says which learner runs the bundled one.
    operator : Operator or None
        None where it is unknown.
    noise : Noise
        As far as it is known.

    Raises
    ------
    ValueError
        If the prior needs code of the user's own, and there is none, or `given` cannot run it.
    """
    config = prior.learner_config
    if isinstance(given, str) and given == "auto":
        if "code" in config:
            raise ValueError(
                f"the prior was made with the {' and '.join(config['code'])} of the user's own, "
                "which is no part of it: pass the same learner= as then."
            )
        name = config["name"] if operator is None else runs_under(config["name"], operator, noise)
        params = config["params"] if name == config["name"] else {}
        return get_reconstruction_learner(name, params)
    own = get_reconstruction_learner(given) if isinstance(given, str) else clone(given)
    name = reconstruction_learner_config(own)["name"]
    if name != config["name"] and not (name in NETWORKS and config["name"] in NETWORKS):
        raise ValueError(
            f"learner is {given!r}, but the prior is one of {config['name']!r}, which it cannot "
            "run; leave learner at 'auto', or prior at None."
        )
    return own


def ready_model(prior: Prior, learner: ReconstructionLearner, device: torch.device) -> Any:
    """Model of a prior on a device; made once, shared by clones, copies and threads."""
    config = reconstruction_learner_config(learner)
    if "code" in config:
        return _load(prior, learner, device)
    key = json.dumps([config, str(device)], default=repr)
    with _lock:
        models = _ready.setdefault(prior, {})
        if key not in models:
            models[key] = _load(prior, learner, device)
        return models[key]


def _load(prior: Prior, learner: ReconstructionLearner, device: torch.device) -> Any:
    weights = {name: array.copy() for name, array in prior.weights.items()}  # torch wants to write
    return learner.load(prior.signature["facts"], weights, device)


class AdaptedImages:
    """What adaptation to one operator gave.

    Parameters
    ----------
    prior : Prior
    learner : ReconstructionLearner
    operator : Operator
    noise : Noise
    device : torch.device
    measurements : ndarray of shape ``(n, *measurement_shape)`` or None
    images : ndarray of shape ``(n, *image_shape)`` or None
        To adapt to.
    """

    def __init__(
        self,
        prior: Prior,
        learner: ReconstructionLearner,
        operator: Operator,
        noise: Noise,
        device: torch.device,
        measurements: np.ndarray | None = None,
        images: np.ndarray | None = None,
    ):
        self.prior, self.learner, self.operator, self.noise = prior, learner, operator, noise
        self.device = device
        self.model = ready_model(prior, learner, device)
        support = (None if a is None else self._tensor(a) for a in (measurements, images))
        self.state = learner.adapt(self.model, operator, noise, *support)

    def check_n_rows(self, n_rows: int) -> None:
        """Raise ValueError where operator or noise are those of another number of images."""
        check_n_images(self.operator, n_rows)
        check_noise_fits(self.noise, n_rows)

    def reconstruct(
        self, measurements: np.ndarray, return_std: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Reconstruct images ``(n, *image_shape)`` from ``(n, *measurement_shape)``."""
        done = [
            self.learner.reconstruct(self.model, self.state, part, return_std)
            for part in self._parts(self._tensor(measurements))
        ]
        images, std = (
            None if parts[0] is None else torch.cat(parts).detach().cpu().numpy()
            for parts in zip(*done, strict=True)
        )
        return images, std

    def measure(self, images: np.ndarray) -> np.ndarray:
        """Measure images ``(n, *image_shape)`` without noise."""
        with torch.no_grad():
            parts = [self.operator.forward(part) for part in self._parts(self._tensor(images))]
        return torch.cat(parts).cpu().numpy()

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    def _parts(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own = self.operator.n_samples is not None or isinstance(self.noise.sigma, np.ndarray)
        size = max(self.operator.n_pixels, self.operator.n_measurements)
        return (values,) if own else values.split(max(1, VALUES_AT_ONCE // size))

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model, which comes from the prior."""
        return {k: v for k, v in vars(self).items() if k != "model"} | {"device": str(self.device)}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Load the model on its device, or on the CPU where that is not there."""
        vars(self).update(pickled)
        try:
            self.device = device_of(pickled["device"])
        except ValueError:
            self.device = torch.device("cpu")
        self.model = ready_model(self.prior, self.learner, self.device)
