"""A task adapted from a prior: what a fitted estimator holds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from sklearn_meta._model import AdaptedBatch, Model, ready, resolve_device
from sklearn_meta._prior import Prior
from sklearn_meta.learners._state import map_tensors
from sklearn_meta.preprocessing import TargetScaler
from sklearn_meta.preprocessing._registry import export_encoder, import_encoder
from sklearn_meta.tasks._episodes import Rows

ROWS_AT_ONCE = 4096


class Adapted:
    """What adaptation learned about one task.

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
        """The batch of this one task.

        It lies in memory as it does after a pickle: by that, products of matrices are rounded.
        """
        one = self._batch.take(slice(self._task, self._task + 1))
        parts = (
            None if state is None else map_tensors(state, _contiguous)
            for state in (one.state, one.alone)
        )
        return AdaptedBatch(*parts, one.weight)

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


def _contiguous(values: Tensor | np.ndarray) -> Tensor | np.ndarray:
    return values.contiguous() if isinstance(values, Tensor) else np.ascontiguousarray(values)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _export_table(model: Model) -> dict[str, Any]:
    """What a model was opened with, as plain data."""
    return {
        "kind": model.signature.kind,
        "n_outputs": model.signature.n_outputs,
        "encoder": export_encoder(model.encoder),
        "scaler": None if model.scaler is None else model.scaler.to_dict(),
        "labels": model.labels,
    }


def _import_table(model: Model, table: dict[str, Any]) -> Model:
    """Open a model again with what `_export_table` gave."""
    scaler = None if table["scaler"] is None else TargetScaler.from_dict(*table["scaler"])
    return model.opened(
        table["kind"],
        table["n_outputs"],
        import_encoder(*table["encoder"]),
        scaler,
        table["labels"],
    )
