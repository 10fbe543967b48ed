"""The user's own module as a network of features."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ._stacked import stacked_call


class Template(nn.Module):
    """Copy of a user's module that takes rows with any leading axes.

    Parameters
    ----------
    module : nn.Module
        Maps (n, n_inputs), or (n, C, H, W) where rows are images, to (n, ...); what comes out is
        flattened. It is copied, never trained in place; its weights are the start.
    n_inputs : int
    image_shape : (H, W) or (C, H, W), or None

    Attributes
    ----------
    n_features : int
        Width of the flattened output.

    Raises
    ------
    ValueError
        If the module does not take such rows.
    """

    def __init__(self, module: nn.Module, n_inputs: int, image_shape: Sequence[int] | None):
        super().__init__()
        self.module = copy.deepcopy(module).float()
        self.row_shape = (n_inputs,) if image_shape is None else as_channels(image_shape)
        weights = next(self.module.parameters(), torch.zeros(()))
        rows = torch.zeros(2, *self.row_shape, device=weights.device)
        training = self.module.training
        try:
            # In eval mode: a trial must leave running statistics as they are.
            with torch.no_grad():
                out = self.module.eval()(rows)
            self.module.train(training)
            self.n_features = math.prod(out.shape[1:])
            if out.shape[0] != 2:
                raise ValueError(f"it returned shape {tuple(out.shape)} for 2 rows")
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            encoded = "" if image_shape is not None else ", as the encoder gives them"
            raise ValueError(
                f"network is a {type(module).__name__} that does not take rows of shape "
                f"{('n', *self.row_shape)}{encoded}: {error}"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (..., n_inputs) to (..., n_features)."""
        rows = x.reshape(-1, *self.row_shape)
        return self.module(rows).reshape(*x.shape[:-1], self.n_features)

    def stacked(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Map rows (T, n, n_inputs) of T tasks by parameters (T, *shape): see `stacked_call`."""
        return stacked_call(self, parameters, x)


def as_channels(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (C, H, W), with one channel where there is none."""
    channels = () if len(image_shape) == 3 else (1,)
    return (*channels, *image_shape)
