"""Torch modules that learners train; none draws from torch's global generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .conv import ConvNet
from .denoiser import Denoiser
from .mlp import MLP, linear
from .template import Template

__all__ = ["MLP", "ConvNet", "Denoiser", "Template", "linear", "make_network"]


def make_network(
    n_inputs: int,
    hidden: Sequence[int],
    image_shape: Sequence[int] | None,
    template: nn.Module | None,
    generator: torch.Generator,
) -> nn.Module:
    """Make a network of features: rows (..., n_inputs) -> (..., ``n_features``).

    Parameters
    ----------
    n_inputs : int
    hidden : sequence of int
        Widths of the layers of an MLP, or channels of the convolutions where rows are images.
    image_shape : (H, W) or (C, H, W), or None
    template : nn.Module, optional
        The user's own network, of which a copy is taken.
    generator : torch.Generator
        Source of the random start, but for a template, whose weights are the start.
    """
    if template is not None:
        return Template(template, n_inputs, image_shape)
    if image_shape is not None:
        return ConvNet(image_shape, hidden, generator)
    return MLP(n_inputs, hidden, generator)
