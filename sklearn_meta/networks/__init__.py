"""Torch modules that learners train; none draws from torch's global generator."""

from __future__ import annotations

from .mlp import MLP, linear

__all__ = ["MLP", "linear"]
