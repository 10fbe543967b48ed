"""What the priors with a posterior in closed form share: adaptation, noise, reconstruction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._any_shape import AnyShapeModel, AnyShapeState
from sklearn_meta.learners.reconstruction._base import Noise, ReconstructionLearner
from sklearn_meta.learners.reconstruction._factored import (
    Conditioner,
    FactoredMixture,
    Posterior,
    join,
)
from sklearn_meta.learners.reconstruction._operator_regression import UncertainOperator
from sklearn_meta.learners.reconstruction._prior_noise import noise_of_measurements, noise_of_pairs
from sklearn_meta.operators import Operator
from sklearn_meta.operators._materialize import materialize

#: Components whose logarithms of noise variances differ by less share the algebra.
ALIKE = 0.2

_CHUNK = 200  # images at once


@dataclass(frozen=True, eq=False)
class ImageModel:
    """A mixture over images of a shape, and the noise that its tasks had (None: not known)."""

    mixture: FactoredMixture
    sigma: float | None
    image_shape: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class LinearState:
    """An operator's matrix and noise.

    Parameters
    ----------
    operator : Operator
    matrix : Tensor of shape (m, n_pixels) or None
        None where each image has its own operator.
    noise : Noise
        With a sigma.
    """

    operator: Operator
    matrix: Tensor | None
    noise: Noise
    _ready: dict[str, list[Conditioner]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_ready": {}}


class ClosedFormPrior(ReconstructionLearner):
    """Base of the Gaussian priors: closed form for whole images, else models of any shape."""

    serves_any_shape = True

    def load(
        self, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], device: torch.device
    ) -> ImageModel | AnyShapeModel:
        """Return the model that weights of `learn` stand for."""
        mixture = FactoredMixture.from_arrays(weights, device)
        return ImageModel(mixture, facts["sigma"], tuple(facts["image_shape"]))

    def adapt(
        self,
        model: ImageModel | AnyShapeModel,
        operator: Operator,
        noise: Noise,
        measurements: Tensor | None,
        images: Tensor | None,
    ) -> LinearState | AnyShapeState:
        """Find the matrix of the operator, and the noise where it is not given.

        Raises
        ------
        ValueError
            If the operator is not linear, or takes images that the prior does not serve.
        """
        if not operator.is_linear:
            raise ValueError(
                f"{type(self).__name__} reconstructs under linear operators; "
                f"{type(operator).__name__} is not linear. Use learner='plug_and_play'."
            )
        if isinstance(model, AnyShapeModel):
            return model.adapt(operator, noise, measurements, images)
        if operator.image_shape != model.image_shape:
            raise ValueError(
                f"the operator takes images of shape {operator.image_shape}, but this prior is one "
                f"of whole images of shape {model.image_shape} and serves no others; meta-train on "
                "images of different shapes, or of more pixels, for one that serves any."
            )
        device = model.mixture.center.device
        if isinstance(operator, UncertainOperator):
            operator = operator.with_noise(noise.sigma if noise.sigma is not None else model.sigma)
            sigma = operator.sigma if noise.sigma is None else noise.sigma
            return LinearState(operator, operator.matrix.to(device), replace(noise, sigma=sigma))
        matrix = None if operator.n_samples is not None else _matrix(operator).to(device)
        if noise.sigma is None:
            if measurements is not None and images is not None:
                residual = (operator.forward(images) - measurements).flatten(1)
                sigma = noise_of_pairs(residual, model.sigma)
            elif measurements is not None and matrix is not None:
                rows = measurements.flatten(1)
                sigma = noise_of_measurements(model.mixture, matrix, rows, model.sigma)
            else:
                sigma = model.sigma
            if sigma is None:
                some = _matrix(operator.select([0])).to(device) if matrix is None else matrix
                sigma = _fallback(model.mixture, some)
            noise = replace(noise, sigma=sigma)
        return LinearState(operator, matrix, noise)

    def reconstruct(
        self,
        model: ImageModel | AnyShapeModel,
        state: LinearState | AnyShapeState,
        measurements: Tensor,
        return_std: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the posterior mean, and the exact posterior standard deviation if asked for."""
        if isinstance(model, AnyShapeModel):
            return model.reconstruct(state, measurements, return_std)
        rows = measurements.flatten(1)
        mean = rows.new_empty(len(rows), len(model.mixture.center))
        std = torch.empty_like(mean) if return_std else None
        for index, matrix, sigma, known in _alike(state, rows):
            conditioners = _conditioners(model.mixture, state, matrix, sigma, known)
            for part in index.split(_CHUNK):
                found = _condition(conditioners, rows[part][:, known])
                mean[part] = found.mean()
                if std is not None:
                    std[part] = found.std()
        shape = (len(rows), *state.operator.image_shape)
        return mean.reshape(shape), None if std is None else std.reshape(shape)


def _matrix(operator: Operator) -> Tensor:
    if operator.n_samples is None:
        return materialize(operator).matrix
    units = torch.eye(operator.n_pixels, dtype=torch.float64)
    alike = operator.select([0] * len(units))
    return alike.forward(units.reshape(-1, *operator.image_shape)).flatten(1).T


def _fallback(mixture: FactoredMixture, matrix: Tensor) -> float:
    """A hundredth of what is measured, where nothing else is known of the noise."""
    mean, covariance = mixture.moments()
    spread = ((matrix @ covariance) * matrix).sum() + (matrix @ mean).square().sum()
    return 0.01 * float((spread / len(matrix)).sqrt())


def _alike(state: LinearState, rows: Tensor) -> Iterator[tuple[Tensor, Tensor, float, Tensor]]:
    """Images with the same operator, noise level and missing measurements."""
    known = ~rows.isnan()
    sigma = state.noise.sigma
    level = torch.as_tensor(sigma, dtype=rows.dtype, device=rows.device).expand(len(rows))
    keys = torch.cat([known.to(rows.dtype), level[:, None]], 1)
    if state.matrix is None:
        for i in range(len(rows)):
            matrix = _matrix(state.operator.select([i])).to(rows)
            yield torch.tensor([i], device=rows.device), matrix, float(level[i]), known[i]
        return
    _, group = torch.unique(keys, dim=0, return_inverse=True)
    for g in range(int(group.max()) + 1 if len(group) else 0):
        index = (group == g).nonzero()[:, 0]
        yield index, state.matrix, float(level[index[0]]), known[index[0]]


def _conditioners(
    mixture: FactoredMixture, state: LinearState, matrix: Tensor, sigma: float, known: Tensor
) -> list[Conditioner]:
    """One for all components, or one each where their noise differs."""
    usual = bool(known.all()) and isinstance(state.noise.sigma, float) and state.matrix is not None
    if usual and "usual" in state._ready:
        return state._ready["usual"]
    variance = _variances(mixture, state, matrix, sigma)
    found = [
        Conditioner(mixture.components(index), matrix[known], own[known])
        for index, own in _groups(variance)
    ]
    if usual:
        state._ready["usual"] = found
    return found


def _variances(
    mixture: FactoredMixture, state: LinearState, matrix: Tensor, sigma: float
) -> Tensor:
    """Variance of measurements around ``matrix @ x`` for each component; shape (k or 1, m)."""
    variance = matrix.new_full((1, len(matrix)), sigma**2)
    uncertain, gain = isinstance(state.operator, UncertainOperator), state.noise.gain
    if not uncertain and not gain:
        return variance
    every = []
    for k in range(len(mixture.weights)):
        mean, covariance = mixture.components([k]).moments()
        own = variance[0] + gain * (matrix @ mean).clamp(min=0)
        if uncertain:
            own = own + state.operator.excess(covariance + torch.outer(mean, mean))
        every.append(own)
    return torch.stack(every)


def _groups(variance: Tensor) -> list[tuple[Any, Tensor]]:
    """Components with about the same noise (k, m), and the mean of it."""
    if len(variance) == 1:
        return [(slice(None), variance[0])]
    groups: list[list[int]] = []
    for k, own in enumerate(variance):
        for group in groups:
            if torch.log(own / variance[group[0]]).abs().mean() < ALIKE:
                group.append(k)
                break
        else:
            groups.append([k])
    return [(group, variance[group].mean(0)) for group in groups]


def _condition(conditioners: list[Conditioner], rows: Tensor) -> Posterior:
    parts = [conditioner(rows) for conditioner in conditioners]
    return parts[0] if len(parts) == 1 else join(parts)
