"""Undersampled Fourier transform of real images: magnetic resonance imaging."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta._random import generator_of
from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_array, check_image_shape

# That of the inverse transform which, unscaled or scaled alike, is the adjoint.
_ADJOINT_NORM = {"ortho": "ortho", "backward": "forward", "forward": "backward"}


class Fourier(Operator):
    """Some frequencies of a real image, as real and imaginary parts.

    The channels of an image are measured one by one.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
    mask : array of bool of shape (oversampling * H, oversampling * W), default=None
        Frequencies that are measured, in the order of `numpy.fft.fft2` (zero first; apply
        `numpy.fft.ifftshift` to a centred mask). All if None.
    oversampling : int, default=1
        The image lies in a corner of a frame of zeros that is larger by this factor.
    norm : {"ortho", "backward", "forward"}, default="ortho"
        Scale of the transform, as in `numpy.fft.fft2`; orthonormal by default.

    Attributes
    ----------
    measurement_shape : tuple
        (2, n_frequencies) with a mask, else (2, oversampling * H, oversampling * W); real parts
        first; a last axis C for channels.

    Raises
    ------
    ValueError
        If `mask` is empty or of another shape, `oversampling` is not a positive int, or `norm` is
        unknown.

    Examples
    --------
    >>> from sklearn_meta.operators import Fourier
    >>> mask = Fourier.line_mask((64, 48), acceleration=4, random_state=0)
    >>> Fourier((64, 48), mask).measurement_shape
    (2, 768)
    """

    def __init__(
        self, image_shape: Any, mask: Any = None, *, oversampling: int = 1, norm: str = "ortho"
    ) -> None:
        shape = check_image_shape(image_shape)
        if norm not in _ADJOINT_NORM:
            raise ValueError(f"norm must be one of {sorted(_ADJOINT_NORM)}; got {norm!r}.")
        self.norm_kind = norm
        if isinstance(oversampling, bool) or oversampling not in range(1, 65):
            raise ValueError(f"oversampling must be an int from 1 to 64; got {oversampling!r}.")
        self.oversampling = int(oversampling)
        frame = (self.oversampling * shape[0], self.oversampling * shape[1])
        self.mask = self._indices = None
        kept = frame
        if mask is not None:
            self.mask = check_array(mask, "mask") != 0
            if tuple(self.mask.shape) != frame:
                raise ValueError(
                    f"mask has shape {tuple(self.mask.shape)}; the frequencies have {frame}."
                )
            self._indices = self.mask.flatten().nonzero()[:, 0]
            if len(self._indices) == 0:
                raise ValueError("mask keeps no frequency.")
            kept = (len(self._indices),)
        self.frame = frame
        self.set_shapes(shape, (2, *kept, *shape[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """Transform (n, H, W[, C]) and keep the frequencies of the mask."""
        spectrum = torch.fft.fft2(x, s=self.frame, dim=(1, 2), norm=self.norm_kind)
        if self._indices is not None:
            spectrum = spectrum.flatten(1, 2).index_select(1, self._cast("_indices", x))
        return torch.stack([spectrum.real, spectrum.imag], 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """Put the frequencies back, transform, and crop; the real part."""
        spectrum = torch.complex(y[:, 0], y[:, 1])
        if self._indices is not None:
            full = spectrum.new_zeros((len(y), self.mask.numel(), *spectrum.shape[2:]))
            spectrum = full.index_copy(1, self._cast("_indices", y), spectrum)
            spectrum = spectrum.unflatten(1, self.frame)
        norm = _ADJOINT_NORM[self.norm_kind]
        image = torch.fft.ifft2(spectrum, dim=(1, 2), norm=norm).real
        return image[:, : self.image_shape[0], : self.image_shape[1]]

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        """Exact: on real images ``A^T A`` averages the mask with its reflection.

        None with a mask inside of a frame of zeros.
        """
        n = self.frame[0] * self.frame[1]
        scale = {"ortho": 1.0, "backward": float(n), "forward": 1.0 / n}[self.norm_kind]
        if self.mask is None:
            return _solvers.diagonal(torch.full((), scale, dtype=torch.float64), weight)
        if self.oversampling > 1:
            return None
        mask = self.mask.to(torch.float64)
        reflected = mask.flip(0, 1).roll((1, 1), (0, 1))
        half = (scale / 2 * (mask + reflected))[:, : self.frame[1] // 2 + 1]
        half = half.reshape(*half.shape, *[1] * (len(self.image_shape) - 2))
        return _solvers.circulant(lambda b: half.to(b), weight)

    @staticmethod
    def line_mask(
        image_shape: Any,
        acceleration: float = 4.0,
        *,
        center_fraction: float = 0.08,
        axis: int = 0,
        random_state: Any = None,
    ) -> np.ndarray:
        """Cartesian mask: whole lines, the central ones and others drawn uniformly.

        Parameters
        ----------
        image_shape : (H, W) or (H, W, C)
        acceleration : float, default=4.0
            Ratio of all lines to those measured, at least 1.
        center_fraction : float, default=0.08
            Share of all lines around frequency zero that is always measured.
        axis : {0, 1}, default=0
            Axis along which lines are left out.
        random_state : int, RandomState, Generator or None, default=None

        Returns
        -------
        ndarray of bool of shape (H, W)
            In the order of `numpy.fft.fft2`.

        Raises
        ------
        ValueError
            If a number is out of range.
        """
        height, width = check_image_shape(image_shape)[:2]
        if not (acceleration >= 1 and 0 <= center_fraction <= 1 and axis in (0, 1)):
            raise ValueError(
                "acceleration must be at least 1, center_fraction in [0, 1] and axis 0 or 1; got "
                f"{acceleration!r}, {center_fraction!r} and {axis!r}."
            )
        n_lines = (height, width)[axis]
        order = np.argsort(np.abs(np.fft.fftfreq(n_lines)), kind="stable")
        n_kept = max(round(n_lines / acceleration), 1)
        n_center = min(max(round(center_fraction * n_lines), 1), n_kept)
        drawn = generator_of(random_state).permutation(order[n_center:])[: n_kept - n_center]
        lines = np.zeros(n_lines, dtype=bool)
        lines[order[:n_center]] = lines[drawn] = True
        return np.repeat(lines[:, None], width, 1) if axis == 0 else np.tile(lines, (height, 1))
