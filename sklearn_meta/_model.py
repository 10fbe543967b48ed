"""A prior made ready to run, and a task adapted from it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from sklearn_meta._guard import Guard, Side
from sklearn_meta._prior import Prior
from sklearn_meta.learners import get_learner
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._state import map_tensors, take
from sklearn_meta.learners.support_only import SupportOnly
from sklearn_meta.preprocessing import TargetScaler
from sklearn_meta.preprocessing._registry import export_encoder, import_encoder
from sklearn_meta.tasks._episodes import Rows, pad_rows

ROWS_AT_ONCE = 4096


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

    The prior of a heterogeneous learner is open: of columns and units it holds nothing. `opened`
    gives the model for one table.

    Parameters
    ----------
    prior : Prior
    device : torch.device

    Attributes
    ----------
    is_prior : bool
        Whether anything was learned across tasks.
    is_open : bool
        Whether it serves tables of any columns, once it is opened for one.
    is_opened : bool
        Whether it is opened for one table, which alone it serves.
    classes : list or None
        Labels that mean the same in every task.
    target_reach : ndarray of shape (n_targets,) or None
        Largest distance of a meta-training task's median target from 0, scaled.
    """

    def __init__(self, prior: Prior, device: torch.device):
        # The prior itself is not kept: models are cached for as long as their prior lives.
        self.device, self.is_prior = device, bool(prior.weights)
        signature = prior.signature
        self.classes = signature.pop("classes", None)
        reach = signature.pop("target_reach", None)
        self.target_reach = None if reach is None else np.array(reach)
        self.signature = Signature.from_dict(signature, prior.network)
        # Convolutions in float64 would take many times as long.
        single = device.type == "mps" or not self.signature.is_plain
        self.dtype = torch.float32 if single else torch.float64
        config = prior.learner_config
        self.learner = get_learner(config["name"], config["params"])
        self.alone = SupportOnly()
        self.is_open, self.is_opened = prior.encoder is None, False
        if self.is_open:
            self._weights = prior.weights
            return
        self._restore(prior.weights)
        self.encoder = import_encoder(prior.encoder, prior.encoder_arrays)
        self.scaler = None
        if prior.target is not None:
            self.scaler = TargetScaler.from_dict(prior.target, prior.target_arrays)

    def _restore(self, weights: dict[str, np.ndarray]) -> None:
        """Make what the signature is needed for."""
        self.module = self.learner.restore(self.signature, weights)
        self.module.to(device=self.device, dtype=self.dtype)
        self.alone_module = self.alone.restore(self.signature, {})
        prior_side = Side(self.learner, self.module, self.signature.kind)
        alone_side = Side(self.alone, self.alone_module, self.signature.kind)
        self.guard = Guard(prior_side, alone_side)

    def opened(self, kind: str, n_outputs: int, encoder: Any, scaler: TargetScaler | None) -> Model:
        """Return the model of an open prior for one table.

        Parameters
        ----------
        kind : {"regression", "classification", "multilabel"}
        n_outputs : int
            Number of targets or labels; 0 for classes, whose number each support says.
        encoder : TableEncoder
            Fitted on the table.
        scaler : TargetScaler or None
            Fitted on its targets, where they are numbers.
        """
        model = copy.copy(self)
        model.is_open, model.is_opened = False, True
        model.signature = dataclasses.replace(
            self.signature, kind=kind, n_inputs=encoder.n_features_out_, n_outputs=n_outputs
        )
        model._restore(self._weights)
        model.encoder, model.scaler = encoder, scaler
        if scaler is not None and n_outputs == 1:
            unit = float(scaler.center_[0]), float(scaler.scale_[0])
            model.learner.open(model.module, encoder.columns(), *unit)
        return model

    def rows(self, x: np.ndarray) -> Tensor:
        """Encoded rows (..., n, n_inputs) as the learner takes them."""
        return torch.from_numpy(np.ascontiguousarray(x)).to(self.device, self.dtype)

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

    def adapt(self, support: Rows, use_prior: Any) -> AdaptedBatch:
        """Adapt to a batch of supports.

        Parameters
        ----------
        support : Rows
        use_prior : "auto", True or float
            Weight of the prior against a model of the support alone.
        """
        with torch.inference_mode():
            if support.ways is not None and self.signature.shared_classes:
                # Labels that this prior has never met: it has nothing to say about them.
                alone = self.alone.adapt(self.alone_module, support)
                return AdaptedBatch(None, alone, torch.zeros(support.n_tasks))
            inputs = dataclasses.replace(support, x=self.learner.inputs(self.module, support.x))
            # A heterogeneous learner foresees each row of a support from the others: that is a
            # guard of its own.
            own_guard = use_prior == "auto" and self.learner.heterogeneous
            if not self.is_prior or use_prior is True or own_guard:
                state = self.learner.adapt(self.module, inputs)
                return AdaptedBatch(state, None, torch.ones(support.n_tasks))
            if use_prior == "auto":
                return AdaptedBatch(*self.guard.adapt(inputs, support))
            state = self.learner.adapt(self.module, inputs)
            alone = self.alone.adapt(self.alone_module, support)
            return AdaptedBatch(state, alone, torch.full((support.n_tasks,), float(use_prior)))

    def update(self, batch: AdaptedBatch, support: Rows, use_prior: Any) -> AdaptedBatch:
        """Take more rows into what was adapted."""
        state, alone, weight = batch.state, batch.alone, batch.weight
        with torch.inference_mode():
            if state is not None:
                inputs = dataclasses.replace(support, x=self.learner.inputs(self.module, support.x))
                state = self.learner.update(self.module, state, inputs)
            if alone is not None:
                alone = self.alone.update(self.alone_module, alone, support)
            if state is None or alone is None:
                return AdaptedBatch(state, alone, weight)
            if use_prior != "auto":
                return AdaptedBatch(state, alone, torch.full_like(weight, float(use_prior)))
            support = alone.support
            inputs = dataclasses.replace(support, x=self.learner.inputs(self.module, support.x))
            return AdaptedBatch(state, alone, self.guard.weight(state, alone, inputs, support))


_ready: weakref.WeakKeyDictionary[Prior, dict[str, Model]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def ready(prior: Prior, device: torch.device) -> Model:
    """Model of a prior on a device; made once, shared by clones, copies and threads."""
    with _lock:
        models = _ready.setdefault(prior, {})
        model = models.get(str(device))
        # Priors are equal whatever the user's own network, which is no part of their content.
        if model is None or model.signature.template is not prior.network:
            model = models[str(device)] = Model(prior, device)
        return model


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class AdaptedBatch:
    """What adaptation learned about a batch of tasks.

    Attributes
    ----------
    state : state of the learner, or None
        None if only the support is used.
    alone : state of `SupportOnly`, or None
        None if only the prior is used.
    weight : Tensor of shape (T,)
        Of the prior against the support alone.
    """

    state: Any
    alone: Any
    weight: Tensor

    def take(self, tasks: slice) -> AdaptedBatch:
        """Return some tasks of the batch; tensors are views."""
        parts = (None if s is None else take(s, tasks) for s in (self.state, self.alone))
        return AdaptedBatch(*parts, self.weight[tasks])


class Adapted:
    """What adaptation learned about one task: what a fitted estimator holds.

    Predictions mix those of the prior and those of a model of the support alone.

    Parameters
    ----------
    prior : Prior
    model : Model
        Of the prior.
    batch : AdaptedBatch
    task : int, default=0
        Position in the batch; it is cut out when it is first needed.
    """

    def __init__(self, prior: Prior, model: Model, batch: AdaptedBatch, task: int = 0):
        self.prior, self.model = prior, model
        self._batch, self._task = batch, task

    @functools.cached_property
    def own(self) -> AdaptedBatch:
        """The batch of this one task."""
        return self._batch.take(slice(self._task, self._task + 1))

    @property
    def weight(self) -> float:
        """Weight of the prior against the support alone."""
        return float(self._batch.weight[self._task])

    def update(self, support: Rows, use_prior: Any) -> Adapted:
        """Return what is learned with more rows."""
        return Adapted(self.prior, self.model, self.model.update(self.own, support, use_prior))

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
        """Draws (n_samples, n, k) of the scaled target at encoded rows."""
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
                (model.learner, model.module, self.own.state),
                (model.alone, model.alone_module, self.own.alone),
            ):
                if state is not None:
                    parts = [
                        summary(learner.predict(module, state, learner.inputs(module, rows)))
                        for rows in self._parts(x)
                    ]
                    sides.append(torch.cat(parts, -2).cpu().numpy())
        return sides[0], sides[-1], self.weight

    def _main(self) -> tuple:
        """Learner, module and state that speak for this task where only one can."""
        model = self.model
        if self.own.state is None:
            return model.alone, model.alone_module, self.own.alone
        return model.learner, model.module, self.own.state

    def _parts(self, x: np.ndarray) -> list[Tensor]:
        return list(self.model.rows(x[None]).split(ROWS_AT_ONCE, dim=1))

    def __getstate__(self) -> dict[str, Any]:
        """Plain arrays on the CPU, so that pickles work across devices."""
        own = self.own
        return {
            "prior": self.prior,
            "table": _export_table(self.model) if self.model.is_opened else None,
            "device": str(self.model.device),
            "state": None if own.state is None else map_tensors(own.state, _to_numpy),
            "alone": None if own.alone is None else map_tensors(own.alone, _to_numpy),
            "weight": _to_numpy(own.weight),
        }

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        """Put the state back on its device, or on the CPU where that is not there."""
        try:
            device = resolve_device(pickled["device"])
        except ValueError:
            device = torch.device("cpu")
        model = ready(pickled["prior"], device)
        if pickled["table"] is not None:
            model = _import_table(model, pickled["table"])

        def to_device(array: np.ndarray) -> Tensor:
            tensor = torch.from_numpy(array)
            if tensor.is_floating_point():
                # A state may be more precise than the rows, or come from a device of single
                # precision.
                tensor = tensor.to(torch.promote_types(tensor.dtype, model.dtype))
            return tensor.to(device)

        parts = (
            None if pickled[name] is None else map_tensors(pickled[name], to_device)
            for name in ("state", "alone")
        )
        batch = AdaptedBatch(*parts, torch.from_numpy(pickled["weight"]))
        self.__init__(pickled["prior"], model, batch)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _export_table(model: Model) -> dict[str, Any]:
    """What a model was opened with, as plain data."""
    return {
        "kind": model.signature.kind,
        "n_outputs": model.signature.n_outputs,
        "encoder": export_encoder(model.encoder),
        "scaler": None if model.scaler is None else model.scaler.to_dict(),
    }


def _import_table(model: Model, table: dict[str, Any]) -> Model:
    """Open a model again with what `_export_table` gave."""
    scaler = None if table["scaler"] is None else TargetScaler.from_dict(*table["scaler"])
    return model.opened(
        table["kind"], table["n_outputs"], import_encoder(*table["encoder"]), scaler
    )
