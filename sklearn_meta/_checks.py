"""Checks of parameters and column names that adaptation and prediction share."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any


def check_use_prior(value: Any) -> Any:
    """Return the parameter `use_prior`: "auto", True or a float.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if isinstance(value, str) and value == "auto":
        return value
    if isinstance(value, Real) and 0 <= value <= 1:
        return True if value is True else float(value)
    raise ValueError(f"use_prior is {value!r}, expected 'auto', True or a weight in [0, 1].")


def warn_of_names(owner: str, encoder: Any, X: Any) -> None:
    """Warn, as scikit-learn does, where names come where none were, or none where some were."""
    columns = X.columns if hasattr(type(X), "columns") else ()
    named = len(columns) > 0 and all(isinstance(name, str) for name in columns)
    known = hasattr(encoder, "feature_names_in_")
    if named and not known:
        message = f"X has feature names, but {owner} was fitted without feature names"
    elif known and not named:
        message = f"X does not have valid feature names, but {owner} was fitted with feature names"
    else:
        return
    warnings.warn(message, UserWarning, stacklevel=4)
