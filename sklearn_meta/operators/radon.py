"""The Radon transform: parallel-beam computed tomography."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_array, check_count, check_image_shape
from sklearn_meta.operators._materialize import SMALL, materialize
from sklearn_meta.operators._sparse import SparseMatrix


class Radon(Operator):
    """Line sums of an image at some angles: few-view or limited-angle tomography.

    Each pixel is shared between the two detectors next to its projection, by linear
    interpolation, so that every angle holds the sum of the whole image. Lengths are in pixels.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
    angles : int or array-like of shape (n_angles,)
        Angles in degrees, or their number: then equally spaced in [0, 180). At angle 0 columns
        are summed, at 90 degrees rows.
    n_detectors : int, default=None
        Detectors of one pixel width around the centre of the image. None: as many as the
        diagonal needs. With fewer, what falls outside is not measured.

    Attributes
    ----------
    angles : Tensor of shape (n_angles,)
        In degrees.
    measurement_shape : tuple
        (n_angles, n_detectors); a last axis C for channels.

    Raises
    ------
    ValueError
        If there is no angle, an angle is not finite, or `n_detectors` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_meta.operators import Radon
    >>> Radon((32, 48), np.linspace(-60, 60, 20)).measurement_shape
    (20, 60)
    """

    def __init__(self, image_shape: Any, angles: Any, *, n_detectors: int | None = None) -> None:
        shape = check_image_shape(image_shape)
        if np.ndim(angles) == 0:
            n_angles = check_count(angles, "the number of angles")
            angles = np.arange(n_angles) * (180.0 / n_angles)
        self.angles = check_array(angles, "angles").flatten()
        if n_detectors is None:
            n_detectors = math.ceil(math.hypot(*shape[:2])) + 2
        self.n_detectors = check_count(n_detectors, "n_detectors")
        self.matrix = SparseMatrix(_line_sums(shape[:2], self.angles.numpy(), self.n_detectors))
        self._spectrum: Any = None
        self.set_shapes(shape, (len(self.angles), self.n_detectors, *shape[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """Project ``(n, *image_shape) -> (n, *measurement_shape)``."""
        return self._fold(x, self.matrix.multiply, self.measurement_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Back-project, without filter."""
        return self._fold(y, self.matrix.multiply_transposed, self.image_shape)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        """Exact by eigenvectors for small images, kept after the first use; else None."""
        if math.prod(self.image_shape) > SMALL:
            return None
        if self._spectrum is None:
            self._spectrum = materialize(self)
        return self._spectrum.gram_solver(weight)

    def _fold(self, values: Tensor, multiply: Any, shape: tuple[int, ...]) -> Tensor:
        """Multiply (n, a, b[, C]) with channels as if they were images."""
        if len(shape) == 2:
            return multiply(values.flatten(1)).reshape(-1, *shape)
        flat = values.movedim(-1, 1).reshape(-1, values.shape[1] * values.shape[2])
        out = multiply(flat).reshape(len(values), shape[2], *shape[:2])
        return torch.movedim(out, 1, -1)


def _line_sums(shape: tuple, degrees: np.ndarray, n_detectors: int) -> sp.csr_array:
    """Matrix of (n_angles * n_detectors, n_pixels), pixel-driven."""
    height, width = shape
    down, right = np.mgrid[:height, :width].reshape(2, -1)
    down, right = down - (height - 1) / 2, right - (width - 1) / 2
    pixels = np.arange(height * width)
    blocks = []
    for angle in np.deg2rad(degrees):
        position = right * np.cos(angle) + down * np.sin(angle) + (n_detectors - 1) / 2
        # A position that is whole but for rounding must not touch a detector outside.
        position = np.round(position, 9)
        left = np.floor(position).astype(np.int64)
        rows = np.concatenate([left, left + 1])
        values = np.concatenate([1 - (position - left), position - left])
        columns = np.concatenate([pixels, pixels])
        hit = (rows >= 0) & (rows < n_detectors) & (values > 0)
        entries = (values[hit], (rows[hit], columns[hit]))
        blocks.append(sp.csr_array(entries, shape=(n_detectors, len(pixels))))
    return sp.csr_array(sp.vstack(blocks))
