"""The contract of a learner of image reconstruction: that of a learner, with an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklearn_meta.operators import Operator


@dataclass(frozen=True, eq=False)
class ImageTask:
    """One checked reconstruction task.

    Parameters
    ----------
    measurements : ndarray of shape ``(n, *measurement_shape)`` or None
        NaN where a measurement is missing.
    images : ndarray of shape ``(n, *image_shape)`` or None
    operator : Operator or None
    name : str
    """

    measurements: np.ndarray | None
    images: np.ndarray | None
    operator: Operator | None
    name: str


@dataclass(frozen=True)
class Noise:
    """Noise of measurements: variance ``sigma**2 + gain * max(A x, 0)``.

    Parameters
    ----------
    sigma : float, ndarray of shape (n,), or None
        Standard deviation, in the units of the measurements; one for all images or one each.
        None where it has to be estimated from the measurements.
    gain : float, default=0.0
        Variance per unit of signal (1 / peak for Poisson counts that are divided by their peak).
    """

    sigma: float | np.ndarray | None
    gain: float = 0.0


@dataclass(frozen=True, eq=False)
class Learned:
    """What a learner found in meta-training, as a prior stores it.

    Parameters
    ----------
    weights : mapping of str to ndarray
    facts : mapping
        JSON; image shapes that it serves, noise level, choices.
    history : History or None
    """

    weights: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]
    history: Any = None


@dataclass(frozen=True)
class Training:
    """How to meta-train; the parameters of the estimator of the same names.

    Parameters
    ----------
    rng : numpy.random.Generator
    device : torch.device
    config : TrainingConfig or None
    verbose : int
    checkpoint : path or None
    noise : Noise
        As the user gave it; its sigma is None for "auto".
    meta_train : callable or None
        The loop of meta-training, for learners that are trained by gradients.
    start : Learned or None
        Prior to begin from, where there is one that suits.
    """

    rng: np.random.Generator
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    config: Any = None
    verbose: int = 0
    checkpoint: Any = None
    noise: Noise = field(default_factory=lambda: Noise(None))
    meta_train: Callable[..., tuple[Any, Any]] | None = None
    start: Learned | None = None


class ReconstructionLearner(BaseEstimator):
    """A way to learn a prior over images across tasks, and to reconstruct under an operator.

    Attributes
    ----------
    serves_any_shape : bool
        Whether images of another shape than those of meta-training can be reconstructed.
    """

    serves_any_shape = False

    def learn(
        self,
        tasks: Sequence[ImageTask],
        validation_tasks: Sequence[ImageTask] | None,
        training: Training,
    ) -> Learned:
        """Meta-train: learn the prior from the images (or measurements) of all tasks."""
        raise NotImplementedError

    def load(
        self, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], device: torch.device
    ) -> Any:
        """Return the model that weights of `learn` stand for, ready to run; immutable."""
        raise NotImplementedError

    def adapt(
        self,
        model: Any,
        operator: Operator,
        noise: Noise,
        measurements: Tensor | None,
        images: Tensor | None,
    ) -> Any:
        """Adapt to a new operator: zero-shot, from measurements only, or from pairs.

        Parameters
        ----------
        model : what `load` returned; left as it is
        operator : Operator
        noise : Noise
        measurements : Tensor of shape ``(n, *measurement_shape)``, float64, or None
            May hold NaN: missing.
        images : Tensor of shape ``(n, *image_shape)``, float64, or None
            Ground truths of the measurements.

        Returns
        -------
        state
            Holds what `reconstruct` needs, the operator and noise included; picklable.
        """
        raise NotImplementedError

    def reconstruct(
        self, model: Any, state: Any, measurements: Tensor, return_std: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Reconstruct images.

        Parameters
        ----------
        model, state
        measurements : Tensor of shape ``(n, *measurement_shape)``, float64
            May hold NaN: missing.
        return_std : bool

        Returns
        -------
        images : Tensor of shape ``(n, *image_shape)``, float64
        std : Tensor of the same shape, or None
            Posterior standard deviation of each pixel; None if not asked for.

        Raises
        ------
        ValueError
            If `return_std` is asked of a learner without one.
        """
        raise NotImplementedError
