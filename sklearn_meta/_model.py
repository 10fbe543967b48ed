"""A prior made ready to run, and a task adapted from it."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from sklearn_meta._prior import Prior
from sklearn_meta.learners import get_learner
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._state import map_tensors, take
from sklearn_meta.learners.support_only import SupportOnly
from sklearn_meta.preprocessing import TableEncoder, TargetScaler
from sklearn_meta.tasks._episodes import Rows, pad_rows

ROWS_AT_ONCE = 4096
TASKS_AT_ONCE = 512
# Log odds of the prior against the support alone before the support is seen. High: a few rows with
# heavy tails must not speak against a prior that is right; a prior that is wrong loses far more.
PRIOR_LOG_ODDS = 7.0


def resolve_device(device: Any) -> torch.device:
    """Device of a name; "auto" is a GPU where there is one.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"device is {device!r}, expected 'auto', 'cpu', 'cuda' or 'mps': {error}"
        ) from error
    return resolved


class Model:
    """Encoder, learner, module and target scaling of a prior, on a device.

    Computations are in float64 where the device has it: supports are small, and a state that is
    updated row by row must give the numbers of one that saw all rows at once.

    Parameters
    ----------
    prior : Prior
    device : torch.device
    """

    def __init__(self, prior: Prior, device: torch.device):
        self.prior, self.device = prior, device
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        signature = prior.signature
        self.classes = signature.pop("classes", None)
        self.target_reach = signature.pop("target_reach", None)
        self.signature = Signature(**{**signature, "hidden": tuple(signature["hidden"])})
        config = prior.learner_config
        self.learner = get_learner(config["name"], config["params"])
        self.module = self.learner.restore(self.signature, prior.weights)
        self.module.to(device=device, dtype=self.dtype)
        self.alone = SupportOnly()
        self.alone_module = self.alone.restore(self.signature, {})
        self.encoder = TableEncoder.from_dict(prior.encoder, prior.encoder_arrays)
        self.scaler = None
        if prior.target is not None:
            self.scaler = TargetScaler.from_dict(prior.target, prior.target_arrays)

    @property
    def is_prior(self) -> bool:
        """Whether anything was learned across tasks."""
        return not isinstance(self.learner, SupportOnly)

    def rows(self, x: np.ndarray) -> Tensor:
        """Encoded rows (..., n, n_inputs) as the learner takes them."""
        tensor = torch.from_numpy(np.ascontiguousarray(x)).to(self.device, self.dtype)
        return tensor

    def support(self, xs: list[np.ndarray], ys: list[np.ndarray], ways: Any = None) -> Rows:
        """Support of one task or more from encoded rows and targets."""
        if len(xs) == 1:
            x, y = self.rows(xs[0][None]), torch.from_numpy(np.ascontiguousarray(ys[0]))[None]
            support = Rows(x, y, torch.ones(x.shape[:2], dtype=torch.bool))
        else:
            support = pad_rows(xs, ys)
        if ways is not None:
            ways = torch.from_numpy(np.atleast_1d(ways))
        return dataclasses.replace(support, ways=ways).to(self.device, self.dtype)

    def adapt(self, support: Rows, use_prior: Any) -> Adapted:
        """Adapt to a batch of supports; see `Adapted`."""
        with torch.inference_mode():
            if support.ways is not None and self.signature.shared_classes:
                # Labels that this prior has never met: it has nothing to say about them.
                alone = self.alone.adapt(self.alone_module, support)
                return Adapted(self, None, alone, torch.zeros(support.n_tasks))
            inputs = dataclasses.replace(support, x=self.learner.inputs(self.module, support.x))
            state = self.learner.adapt(self.module, inputs)
            if not self.is_prior or use_prior is True:
                return Adapted(self, state, None, torch.ones(support.n_tasks))
            alone = self.alone.adapt(self.alone_module, support)
            return Adapted(self, state, alone, self._weight(state, alone, use_prior))

    def update(self, adapted: Adapted, support: Rows, use_prior: Any) -> Adapted:
        """Take more rows into what was adapted."""
        with torch.inference_mode():
            if adapted.state is None:
                alone = self.alone.update(self.alone_module, adapted.alone, support)
                return Adapted(self, None, alone, adapted.weight)
            inputs = dataclasses.replace(support, x=self.learner.inputs(self.module, support.x))
            state = self.learner.update(self.module, adapted.state, inputs)
            if adapted.alone is None:
                return Adapted(self, state, None, adapted.weight)
            alone = self.alone.update(self.alone_module, adapted.alone, support)
            return Adapted(self, state, alone, self._weight(state, alone, use_prior))

    def _weight(self, state: Any, alone: Any, use_prior: Any) -> Tensor:
        """Weight (T,) of the prior against the support alone."""
        evidence = self.learner.evidence(self.module, state)
        if use_prior != "auto":
            return torch.full_like(evidence, float(use_prior)).cpu()
        gain = evidence - self.alone.evidence(self.alone_module, alone)
        return torch.sigmoid(PRIOR_LOG_ODDS + gain).cpu()


_ready: weakref.WeakKeyDictionary[Prior, dict[str, Model]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def ready(prior: Prior, device: torch.device) -> Model:
    """Model of a prior on a device; made once, shared by clones, copies and threads."""
    with _lock:
        models = _ready.setdefault(prior, {})
        if str(device) not in models:
            models[str(device)] = Model(prior, device)
        return models[str(device)]


class Adapted:
    """What adaptation learned about a batch of tasks: one estimator holds one task of it.

    Predictions mix those of the prior, with ``weight``, and those of a model of the support alone.

    Parameters
    ----------
    model : Model
    state : state of the learner, or None
        None if only the support is used.
    alone : state of `SupportOnly`, or None
        None if only the prior is used.
    weight : Tensor of shape (T,)
        Of the prior.
    """

    def __init__(self, model: Model, state: Any, alone: Any, weight: Tensor):
        self.model, self.state, self.alone, self.weight = model, state, alone, weight

    def take(self, task: int) -> Adapted:
        """Return one task of the batch."""
        one = slice(task, task + 1)
        state, alone = (None if s is None else take(s, one) for s in (self.state, self.alone))
        return Adapted(self.model, state, alone, self.weight[one])

    def moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance, each (n, k), of the scaled target at encoded rows (n, n_inputs)."""
        (mean, var), (other_mean, other_var), weight = self._both(
            x, lambda d: torch.stack([d.mean[0], d.variance[0]])
        )
        mixed = weight * mean + (1 - weight) * other_mean
        second = weight * (var + mean**2) + (1 - weight) * (other_var + other_mean**2)
        return mixed, np.maximum(second - mixed**2, 0)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (n, n_classes) at encoded rows (n, n_inputs)."""
        prior, other, weight = self._both(x, lambda d: d.probs[0])
        return weight * prior + (1 - weight) * other

    def embedding(self, x: np.ndarray) -> np.ndarray:
        """Adapted embedding (n, width) of encoded rows (n, n_inputs)."""
        learner, module, state = self._main()
        with torch.inference_mode():
            parts = [
                learner.embed(module, state, learner.inputs(module, rows))
                for rows in self._parts(x)
            ]
        return np.concatenate([part[0].cpu().numpy() for part in parts])

    def samples(self, x: np.ndarray, n_samples: int, generator: torch.Generator) -> np.ndarray:
        """Draws (n_samples, n, k) of the scaled target at encoded rows, from the prior's posterior."""
        learner, module, state = self._main()
        with torch.inference_mode():
            rows = learner.inputs(module, self.model.rows(x[None]))
            drawn = learner.sample(module, state, rows, n_samples, generator)
        return drawn[:, 0].cpu().numpy()

    def _both(self, x: np.ndarray, summary: Callable[[Distribution], Tensor]) -> tuple:
        """Summaries of the predictive distributions of prior and support alone, and the weight."""
        model = self.model
        sides = []
        with torch.inference_mode():
            for learner, module, state in (
                (model.learner, model.module, self.state),
                (model.alone, model.alone_module, self.alone),
            ):
                if state is not None:
                    parts = [
                        summary(learner.predict(module, state, learner.inputs(module, rows)))
                        for rows in self._parts(x)
                    ]
                    sides.append(torch.cat(parts, -2).cpu().numpy())
        return sides[0], sides[-1], float(self.weight[0])

    def _main(self) -> tuple:
        """Learner, module and state that speak for this task where only one can."""
        model = self.model
        if self.state is None:
            return model.alone, model.alone_module, self.alone
        return model.learner, model.module, self.state

    def _parts(self, x: np.ndarray) -> list[Tensor]:
        return list(self.model.rows(x[None]).split(ROWS_AT_ONCE, dim=1))

    def __getstate__(self) -> dict[str, Any]:
        """Plain arrays on the CPU, so that pickles work across devices."""
        to_numpy = lambda tensor: tensor.detach().cpu().numpy().copy()  # noqa: E731
        return {
            "prior": self.model.prior,
            "device": str(self.model.device),
            **{
                name: None if state is None else map_tensors(state, to_numpy)
                for name, state in (("state", self.state), ("alone", self.alone))
            },
            "weight": to_numpy(self.weight),
        }

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Put the state back on its device, or on the CPU where that is not there."""
        try:
            device = resolve_device(pickled["device"])
        except ValueError:
            device = torch.device("cpu")
        self.model = ready(pickled["prior"], device)

        def to_device(array: np.ndarray) -> Tensor:
            tensor = torch.from_numpy(array)
            floating = self.model.dtype if tensor.is_floating_point() else None
            return tensor.to(device=device, dtype=floating)

        for name in ("state", "alone"):
            state = pickled[name]
            setattr(self, name, None if state is None else map_tensors(state, to_device))
        self.weight = torch.from_numpy(pickled["weight"])
