"""Scaling of regression targets by the meta-training tasks, never by a support's own rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from sklearn_meta.preprocessing._numeric import is_constant, winsorise
from sklearn_meta.preprocessing._state import Damaged, check_array, check_keys

TAIL = 0.001
EXTREME = 1.5
"""Tails are extreme if they stretch the standard deviation by more than this factor."""


class TargetScaler(BaseEstimator):
    """Centre and scale targets by the mean and standard deviation over all meta-training rows.

    Where a thousandth of the rows at each end stretches the standard deviation by more than a
    half, mean and standard deviation are those of the winsorised targets.

    Attributes
    ----------
    center_, scale_ : ndarray of shape (n_targets,), float64
        A constant target has scale 1.
    """

    def fit(self, ys: list[np.ndarray]) -> TargetScaler:
        """Learn centre and scale.

        Parameters
        ----------
        ys : list of ndarray of shape (n_rows,) or (n_rows, n_targets)
            Targets of every meta-training task, finite numbers.

        Returns
        -------
        TargetScaler
            self.

        Raises
        ------
        ValueError
            If there is no row, numbers of targets differ, or a target is not finite.
        """
        columns = [_as_columns(y) for y in ys]
        if len({y.shape[1] for y in columns}) > 1:
            widths = sorted({y.shape[1] for y in columns})
            raise ValueError(f"ys: every task must have as many targets, got {widths}.")
        if sum(map(len, columns)) == 0:
            raise ValueError("ys: at least one target row is expected, got none.")
        scaling = [_center_and_scale(target) for target in np.concatenate(columns).T]
        self.center_, self.scale_ = np.array(scaling, dtype=np.float64).T.copy()
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Targets of shape (n_rows,) or (n_rows, n_targets), scaled; float64 of the same shape."""
        self._check_fitted()
        columns = self._check_width(_as_columns(y))
        return ((columns - self.center_) / self.scale_).reshape(np.shape(y))

    def inverse_transform(
        self, mean: np.ndarray, std: np.ndarray | None = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Scaled predictions in the target's own units.

        Parameters
        ----------
        mean : ndarray of shape (n_rows,) or (n_rows, n_targets)
        std : ndarray of the same shape, default=None
            Predictive standard deviations; they are scaled, not shifted.

        Returns
        -------
        ndarray, or a tuple of two where `std` is given
            float64, of the shape of `mean`.
        """
        self._check_fitted()
        shape = np.shape(mean)
        centered = self._check_width(_as_columns(mean)) * self.scale_
        mean = (centered + self.center_).reshape(shape)
        if std is None:
            return mean
        if np.shape(std) != shape:
            raise ValueError(f"std must have the shape of mean, {shape}, got {np.shape(std)}.")
        return mean, (_as_columns(std) * self.scale_).reshape(shape)

    def to_dict(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Export as a JSON-able dict and named arrays."""
        self._check_fitted()
        config = {"n_targets": len(self.center_)}
        return config, {"center": self.center_.copy(), "scale": self.scale_.copy()}

    @classmethod
    def from_dict(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> TargetScaler:
        """Read back what `to_dict` gave.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        owner = cls.__name__
        check_keys(owner, config, ["n_targets"], "the configuration")
        check_keys(owner, arrays, ["center", "scale"], "the set of arrays")
        k = config["n_targets"]
        if type(k) is not int or k < 1:
            raise Damaged(owner, f"n_targets must be a positive int, got {k!r}")
        scaler = cls()
        scaler.center_ = check_array(owner, "center", arrays["center"], (k,), np.float64)
        scaler.scale_ = check_array(
            owner, "scale", arrays["scale"], (k,), np.float64, positive=True
        )
        return scaler

    def _check_fitted(self) -> None:
        if not hasattr(self, "scale_"):
            raise NotFittedError("This TargetScaler instance is not fitted yet. Call fit first.")

    def _check_width(self, columns: np.ndarray) -> np.ndarray:
        if columns.shape[1] != len(self.center_):
            raise ValueError(
                f"y has {columns.shape[1]} targets, but TargetScaler is expecting "
                f"{len(self.center_)}, as in the meta-training tasks."
            )
        return columns


def _as_columns(y: np.ndarray) -> np.ndarray:
    """Targets as float64 of shape (n_rows, n_targets)."""
    y = np.asarray(y, dtype=np.float64)
    if y.ndim not in (1, 2):
        raise ValueError(f"y must have shape (n,) or (n, k), got {y.shape}.")
    if not np.isfinite(y).all():
        raise ValueError("y holds NaN or infinity; finite numbers are expected.")
    return y if y.ndim == 2 else y[:, None]


def _center_and_scale(target: np.ndarray) -> tuple[float, float]:
    if is_constant(float(target.min()), float(target.max())):
        return float(target.mean()), 1.0
    if len(target) > 2:
        trimmed = winsorise(target, TAIL)
        if 0 < EXTREME * trimmed.std() < target.std():
            target = trimmed
    return float(target.mean()), float(target.std())
