"""Blur, then keep every s-th pixel: super-resolution."""

from __future__ import annotations

import math
import operator as op
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_image_shape
from sklearn_meta.operators._solvers import fft, fft_inverse
from sklearn_meta.operators.blur import check_kernel, transfer


class Downsample(Operator):
    """Circular blur, then keep the pixels 0, s, 2s, ... of each axis: super-resolution.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
        Sides need not be divisible by the factor: ``ceil(H / s)`` by ``ceil(W / s)`` pixels are
        measured.
    factor : int
    kernel : array-like of shape (h, w) or (h, w, C), default=None
        As that of `Blur`; None for no blur.

    Raises
    ------
    ValueError
        If the factor is no whole number above zero, or the kernel does not fit.

    References
    ----------
    N. Zhao, Q. Wei, A. Basarab, N. Dobigeon, D. Kouame, J.-Y. Tourneret. "Fast single image
    super-resolution using a new analytical solution for l2-l2 problems". IEEE Transactions on
    Image Processing, 2016. (Its closed form is that of `gram_solver`, for divisible sides.)
    """

    def __init__(self, image_shape: Any, factor: int, kernel: Any = None) -> None:
        shape = check_image_shape(image_shape)
        try:
            self.factor = op.index(factor)
        except TypeError:
            raise ValueError(f"factor must be a whole number; got {factor!r}.") from None
        if self.factor < 1:
            raise ValueError(f"factor must be at least 1; got {factor}.")
        self.kernel = check_kernel(torch.ones(1, 1) if kernel is None else kernel, shape)
        self._transfer = transfer(self.kernel, shape[:2], len(shape))
        low = tuple(math.ceil(n / self.factor) for n in shape[:2])
        if all(n % self.factor == 0 for n in shape[:2]):
            self._low_gram = self._alias(shape)
        self.set_shapes(shape, (*low, *shape[2:]))

    def _alias(self, shape: tuple[int, ...]) -> Tensor:
        """Eigenvalues of ``A A^T``, which is a circular convolution on the coarse grid.

        Its kernel is every s-th value of the kernel's autocorrelation.
        """
        power = self._transfer.abs().square()
        lags = fft_inverse(power[None], (1, *shape[:2]))
        return fft(lags[:, :: self.factor, :: self.factor])[0].real

    def forward(self, x: Tensor) -> Tensor:
        blurred = fft_inverse(fft(x) * self._cast("_transfer", x), x.shape)
        return blurred[:, :: self.factor, :: self.factor]

    def adjoint(self, y: Tensor) -> Tensor:
        fine = y.new_zeros((len(y), *self.image_shape))
        fine[:, :: self.factor, :: self.factor] = y
        return fft_inverse(fft(fine) * self._cast("_transfer", y).conj(), fine.shape)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        """Return the closed form of Zhao et al. where the factor divides both sides."""
        if "_low_gram" not in vars(self):
            return super().gram_solver(weight)

        def divide(z: Tensor, function: Any) -> Tensor:
            return fft_inverse(fft(z) * function(self._cast("_low_gram", z)), z.shape)

        return _solvers.woodbury(self.forward, self.adjoint, divide, weight)

    def norm(self) -> float:
        if "_low_gram" not in vars(self):
            return super().norm()
        return math.sqrt(max(float(self._low_gram.max()), 0.0))
