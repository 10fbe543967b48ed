"""A prior made ready to run."""

from __future__ import annotations

import copy
import dataclasses
import threading
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta._guard import Guard, Side
from sklearn_meta._prior import Prior
from sklearn_meta.learners import get_learner
from sklearn_meta.learners._base import Signature
from sklearn_meta.learners._state import take
from sklearn_meta.learners.support_only import SupportOnly
from sklearn_meta.preprocessing import TargetScaler
from sklearn_meta.preprocessing._registry import import_encoder
from sklearn_meta.tasks._episodes import Rows, pad_rows


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
    labels : tuple of str or None
        What the classes of the table are called that it is opened for.
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
        if self.learner.heterogeneous and device.type == "mps":
            self.device, self.dtype = torch.device("cpu"), torch.float64  # experts need precision
        self.is_open, self.is_opened = prior.encoder is None, False
        self.labels: tuple[str, ...] | None = None
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

    def opened(
        self,
        kind: str,
        n_outputs: int,
        encoder: Any,
        scaler: TargetScaler | None,
        labels: tuple[str, ...] | None = None,
    ) -> Model:
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
        labels : tuple of str, optional
            What its classes are called, in the order of their codes.
        """
        model = copy.copy(self)
        model.is_open, model.is_opened = False, True
        model.signature = dataclasses.replace(
            self.signature, kind=kind, n_inputs=encoder.n_features_out_, n_outputs=n_outputs
        )
        model._restore(self._weights)
        model.encoder, model.scaler, model.labels = encoder, scaler, labels
        if scaler is not None and n_outputs == 1:
            center, scale = float(scaler.center_[0]), float(scaler.scale_[0])
            model.learner.open(model.module, encoder.columns(), center=center, scale=scale)
        elif labels is not None:
            model.learner.open(model.module, encoder.columns(), labels=labels)
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
