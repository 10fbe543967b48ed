"""Rows that are images: one encoder for those of all tasks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_meta.preprocessing._columns import Table
from sklearn_meta.preprocessing._columns_in import ColumnsIn
from sklearn_meta.preprocessing._novelty import column_novelty
from sklearn_meta.preprocessing._numeric import soft_clip
from sklearn_meta.preprocessing._pixels import (
    Moments,
    check_image_shape,
    check_numbers,
    pieces,
    pixels_of,
)
from sklearn_meta.preprocessing._state import Damaged, check_array, check_keys
from sklearn_meta.preprocessing._tables import read_tables

CLIP = 20.0  # in standard deviations; far, for ink on white paper is sparse
_ARRAYS = ("center", "scale", "low", "high")


class ImageEncoder(ColumnsIn, BaseEstimator):
    """Turn rows of pixels into finite float32 arrays of the same shape.

    Every channel is centred and scaled by the mean and standard deviation of its pixels over the
    rows of all tasks. Missing pixels become the mean, values that are extremely far out are drawn
    in, and no column is dropped: an image stays an image.

    Parameters
    ----------
    image_shape : (H, W) or (C, H, W)
        Height and width, and channels in front if there are several. A row holds the pixels in
        this order, as ``images.reshape(len(images), -1)`` gives them.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the input columns; only for data frames whose names are all strings.
    center_, scale_ : ndarray of shape (C,), float64
        Mean and standard deviation of each channel.
    low_, high_ : ndarray of shape (C,), float64
        Range of each channel in the meta-training tasks, encoded.
    """

    _fitted_attribute = "scale_"

    def __init__(self, image_shape: Sequence[int]):
        self.image_shape = image_shape

    def fit(self, Xs: Sequence[Any], *, names: Sequence[str] | None = None) -> ImageEncoder:
        """Learn mean and standard deviation of each channel over all tasks.

        Parameters
        ----------
        Xs : sequence of DataFrame, ndarray or nested list of shape (n_rows, n_pixels)
            One table a task.
        names : sequence of str, default=None
            Names of the tasks, for error messages.

        Returns
        -------
        ImageEncoder
            self.

        Raises
        ------
        ValueError
            If ``image_shape`` does not fit the columns, tables have different columns, or a
            pixel is infinite.
        TypeError
            If a table is sparse or lazy, or holds values that are no numbers.
        """
        check_image_shape(self.image_shape)
        first_piece = [next(pieces(X)) for X in Xs[:1]]
        first = read_tables(first_piece, names, None, type(self).__name__)[0]
        check_image_shape(self.image_shape, first.n_columns)
        self._remember_columns(first.n_columns, first.names)
        moments = Moments(self._n_channels)
        for tables in self._tables(Xs, names, type(self).__name__):
            for table in tables:
                moments.add(pixels_of(table).reshape(table.n_rows, self._n_channels, -1))
        self.center_, self.scale_ = moments.mean, moments.scale
        ends = np.stack([moments.low, moments.high])
        self.low_, self.high_ = soft_clip((ends - self.center_) / self.scale_, CLIP)
        return self

    def transform(self, X: Any, *, estimator_name: str = "ImageEncoder") -> np.ndarray:
        """Encode the rows of one task.

        Parameters
        ----------
        X : DataFrame, ndarray or nested list of shape (n_rows, `n_features_in_`)
            Columns of a data frame are matched by name, else by position.
        estimator_name : str, default="ImageEncoder"
            Whom the message names if X has the wrong number of columns.

        Returns
        -------
        ndarray of shape (n_rows, `n_features_in_`), float32
            Finite.

        Raises
        ------
        ValueError
            If columns differ from those seen in fit, or a pixel is infinite.
        TypeError
            If X is sparse or lazy, or holds values that are no numbers.
        """
        return self.transform_many([X], estimator_name=estimator_name)[0]

    def transform_many(
        self,
        Xs: Sequence[Any],
        *,
        names: Sequence[str] | None = None,
        estimator_name: str = "ImageEncoder",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode the rows of many tasks: the numbers of `transform`.

        Parameters
        ----------
        Xs, names
            As in `fit`.
        estimator_name
            As in `transform`.

        Returns
        -------
        Z : ndarray of shape (n_rows of all tables, `n_features_in_`), float32
        offsets : ndarray of shape (n_tables + 1,), int64
            Table t is `Z[offsets[t]:offsets[t + 1]]`.

        Raises
        ------
        ValueError, TypeError
            As in `transform`, with the task's name where `names` are given.
        """
        self._check_fitted()
        parts, counts = [], []
        for tables in self._tables(Xs, names, estimator_name):
            encoded = [self._encode(table) for table in tables]
            parts += encoded
            counts.append(sum(map(len, encoded)))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return parts[0] if len(parts) == 1 else np.concatenate(parts), offsets

    def novelty(self, Z: np.ndarray) -> np.ndarray:
        """How far the pixels of one task lie outside the range of the meta-training tasks.

        Parameters
        ----------
        Z : ndarray of shape (..., n_rows, d)
            Encoded rows of one task, or of many tasks of one size.

        Returns
        -------
        ndarray of shape (..., d), float64
            Distance of the median row from the range of the channel, in halves of a standard
            deviation; 0 within. Large values say that the images are in other units.
        """
        self._check_fitted()
        low, high, zero = (
            np.repeat(ends, self.n_features_in_ // self._n_channels)
            for ends in (self.low_, self.high_, np.zeros(self._n_channels))
        )
        return column_novelty(Z, low, high, zero, zero, zero)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the encoded columns: those of the input.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn's interface.

        Returns
        -------
        ndarray of str objects, shape (`n_features_in_`,)
        """
        self._check_fitted()
        names, n_columns = self._reference()
        return np.array(names or [f"x{j}" for j in range(n_columns)], dtype=object)

    def to_dict(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Export as a JSON-able dict and named arrays."""
        self._check_fitted()
        names, _ = self._reference()
        config = {
            "image_shape": [int(n) for n in self.image_shape],
            "feature_names_in": list(names) if names else None,
        }
        return config, {name: getattr(self, f"{name}_").copy() for name in _ARRAYS}

    @classmethod
    def from_dict(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> ImageEncoder:
        """Read back what `to_dict` gave; the same bits.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        owner = cls.__name__
        check_keys(owner, config, ["image_shape", "feature_names_in"], "the configuration")
        check_keys(owner, arrays, _ARRAYS, "the set of arrays")
        try:
            encoder = cls(check_image_shape(config["image_shape"]))
        except ValueError as error:
            raise Damaged(owner, str(error)) from error
        encoder._restore_columns(math.prod(encoder.image_shape), config["feature_names_in"])
        for name in _ARRAYS:
            shape, positive = (encoder._n_channels,), name == "scale"
            array = check_array(owner, name, arrays[name], shape, np.float64, positive=positive)
            setattr(encoder, f"{name}_", array)
        if (encoder.low_ > encoder.high_).any():
            raise Damaged(owner, "low must be at most high")
        return encoder

    @property
    def n_features_out_(self) -> int:
        """Number of encoded columns."""
        return self.n_features_in_

    @property
    def _n_channels(self) -> int:
        return self.image_shape[0] if len(self.image_shape) == 3 else 1

    def _encode(self, table: Table) -> np.ndarray:
        raw = pixels_of(table).reshape(table.n_rows, self._n_channels, -1)
        z = soft_clip((raw - self.center_[:, None]) / self.scale_[:, None], CLIP)
        return np.where(np.isnan(z), 0.0, z).astype(np.float32).reshape(table.n_rows, -1)

    def _tables(
        self, Xs: Sequence[Any], names: Sequence[str] | None, owner: str
    ) -> Iterator[Iterator[Table]]:
        """Read and match the tables of every task, large arrays in pieces."""
        reference = self._reference()
        for t, X in enumerate(Xs):
            name = None if names is None else names[t : t + 1]
            yield (
                read_tables([piece], name, reference, owner, check_numbers)[0]
                for piece in pieces(X)
            )
