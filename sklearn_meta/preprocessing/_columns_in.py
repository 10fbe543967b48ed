"""The columns that an encoder was fitted on: their number, and their names where they had any."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from sklearn_meta.preprocessing._state import Damaged


class ColumnsIn:
    """What encoders share: scikit-learn's attributes of the input columns, kept in step."""

    #: Attribute that a fitted encoder has.
    _fitted_attribute: str

    def _remember_columns(self, n_columns: int, names: tuple[str, ...] | None) -> None:
        """Set ``n_features_in_``, and ``feature_names_in_`` where there are names."""
        self.n_features_in_ = n_columns
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _restore_columns(self, n_columns: int, names: Any) -> None:
        """Do the same with names that were read from a file."""
        owner = type(self).__name__
        if names is not None:
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise Damaged(owner, "feature_names_in must be a list of strings")
            if not len(set(names)) == len(names) == n_columns:
                raise Damaged(owner, f"feature_names_in must be {n_columns} different names")
        self._remember_columns(n_columns, names)

    def _check_fitted(self) -> None:
        # sklearn's check_is_fitted would take as long as the encoding of a small support
        if not hasattr(self, self._fitted_attribute):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call fit first."
            )

    def _reference(self) -> tuple[tuple[str, ...] | None, int]:
        """Names, if there are any, and number of the columns."""
        names = getattr(self, "feature_names_in_", None)
        return (None if names is None else tuple(names)), self.n_features_in_
