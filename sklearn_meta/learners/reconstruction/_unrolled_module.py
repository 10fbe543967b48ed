"""What `Unrolled` meta-learns: a denoiser, and how far each step trusts it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_meta.learners.reconstruction._planes import from_planes, levels_of_planes, to_planes
from sklearn_meta.networks.denoiser import Denoiser

_FIRST_RELAXATION = 1.5, 0.5
_FIRST_FACTOR = 0.1  # measurements are trusted more than errors that were white would justify
_FACTORS_RATE = 50.0


class UnrolledModule(nn.Module):
    """One denoiser for all steps, and three numbers for each step.

    Parameters
    ----------
    denoiser : Denoiser
    n_factors : int, default=8

    Attributes
    ----------
    denoiser : Denoiser
    log_factors : Parameter of shape (n_factors,)
        Logarithms of what the weights of the denoised images in the data steps are multiplied by.
    relaxation : Parameter of shape (n_factors, 2)
        Reflection and momentum, see `half_quadratic`.
    start : list of Tensor or None
        Parameters that meta-training begins at, where these know images already.
    """

    def __init__(self, denoiser: Denoiser, n_factors: int = 8):
        super().__init__()
        self.denoiser = denoiser
        self.log_factors = nn.Parameter(torch.full((n_factors,), math.log(_FIRST_FACTOR)))
        self.relaxation = nn.Parameter(torch.tensor([_FIRST_RELAXATION] * n_factors))
        self.start: list[Tensor] | None = None

    def mark_start(self) -> UnrolledModule:
        """Remember the parameters of now as the start."""
        self.start = [parameter.detach().clone() for parameter in self.parameters()]
        return self

    def between(self, share: float) -> UnrolledModule:
        """Return a module that has gone so much of the way from the start to here."""
        part = copy.deepcopy(self)
        with torch.no_grad():
            for end, start in zip(part.parameters(), self.start, strict=True):
                end.lerp_(start.to(end), 1 - share)
        return part

    @classmethod
    def of_weights(cls, weights: Mapping[str, np.ndarray]) -> UnrolledModule:
        """Make the module of the weights of a prior, in eval mode.

        Raises
        ------
        ValueError
            If they are not of such a module.
        """
        prefix = "denoiser."
        own = {n[len(prefix) :]: w for n, w in weights.items() if n.startswith(prefix)}
        try:
            factors, relaxation = (
                torch.as_tensor(np.asarray(weights[name])) for name in ("log_factors", "relaxation")
            )
            module = cls(denoiser_of_weights(own), len(factors))
            with torch.no_grad():
                module.log_factors.copy_(factors)
                module.relaxation.copy_(relaxation)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the weights do not fit Unrolled: {error}") from error
        return module.eval()

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """Denoise images.

        Parameters
        ----------
        x : Tensor of shape (n, H, W[, C])
        level : Tensor that broadcasts to `x`
            Standard deviation of the noise of each pixel.

        Returns
        -------
        Tensor of the shape and precision of `x`, whatever that of the weights
        """
        planes = to_planes(x), levels_of_planes(level, x.shape)
        z = self.denoiser(*(plane.to(self.log_factors.dtype) for plane in planes))
        return from_planes(z.to(x.dtype), tuple(x.shape[1:]))

    def factors(self, steps: int) -> Tensor:
        """Return what the weight of each of so many steps is multiplied by; shape (steps,)."""
        return _spread(self.log_factors, steps).exp()

    def relaxations(self, steps: int) -> tuple[Tensor, Tensor]:
        """Return reflection and momentum of each of so many steps; both of shape (steps,)."""
        reflection, momentum = _spread(self.relaxation, steps).unbind(1)
        return reflection, momentum

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for AdamW: the few factors move further than the many weights."""
        return [
            {"params": list(self.denoiser.parameters()), "lr": lr, "weight_decay": weight_decay},
            {
                "params": [self.log_factors, self.relaxation],
                "lr": _FACTORS_RATE * lr,
                "weight_decay": 0.0,
            },
        ]


def _spread(values: Tensor, steps: int) -> Tensor:
    """Numbers (n, ...) of n steps for another number of steps: between the learned ones.

    The last step has the last.
    """
    last = len(values) - 1
    place = torch.linspace(0, last, steps) if steps > 1 else torch.tensor([float(last)])
    low = place.floor().long().clamp_max(max(last - 1, 0))
    share = (place - low).to(values).reshape(-1, *[1] * (values.ndim - 1))
    return (1 - share) * values[low] + share * values[(low + 1).clamp_max(last)]


def denoiser_of_weights(weights: Mapping[str, np.ndarray]) -> Denoiser:
    """Make a denoiser, its size read off its weights, in eval mode.

    Raises
    ------
    KeyError, RuntimeError
        If the weights are not those of a denoiser.
    """
    channels, blocks = [], []
    while f"down.{len(channels)}.0.first.weight" in weights:
        prefix = f"down.{len(channels)}."
        channels.append(len(weights[f"{prefix}0.first.weight"]))
        blocks.append(sum(name.startswith(prefix) and ".first." in name for name in weights))
    if not channels:
        raise KeyError("no weight is called 'down.0.0.first.weight'")
    denoiser = Denoiser(tuple(channels), tuple(blocks))
    denoiser.load_state_dict({n: torch.as_tensor(np.asarray(w)) for n, w in weights.items()})
    return denoiser.eval()
