"""Convolution with a kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators import _solvers
from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_array, check_image_shape
from sklearn_meta.operators._solvers import fft, fft_inverse

BOUNDARIES = ("circular", "reflect", "valid")


class Blur(Operator):
    """Convolve each channel with a kernel: deblurring.

    ``y[i] = sum_j kernel[j] x[i + c - j]`` with the centre ``c = size // 2`` of the kernel, as
    `scipy.ndimage.convolve` has it for kernels of odd size.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
    kernel : array-like of shape (h, w) or (h, w, C)
        Any finite values; even sizes and kernels without symmetry too.
    boundary : {"circular", "reflect", "valid"}, default="circular"
        What is beyond the border: the opposite side ("wrap" in `scipy.ndimage`); the mirror image
        with the border pixel repeated ("reflect" in `scipy.ndimage`); or nothing is assumed, and
        only pixels whose whole neighbourhood is inside are measured: ``H - h + 1`` by
        ``W - w + 1`` of them.

    Raises
    ------
    ValueError
        If the kernel has another number of dimensions or channels, is not finite, or, for
        "valid", is larger than the image.
    """

    def __init__(self, image_shape: Any, kernel: Any, boundary: str = "circular") -> None:
        shape = check_image_shape(image_shape)
        if boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {BOUNDARIES}; got {boundary!r}.")
        self.kernel, self.boundary = check_kernel(kernel, shape), boundary
        size, grid, low = self.kernel.shape[:2], shape[:2], (0, 0)
        measured = shape
        if boundary == "valid":
            if size[0] > grid[0] or size[1] > grid[1]:
                raise ValueError(
                    f"a kernel of shape {tuple(size)} leaves no valid pixel of images {grid}."
                )
            low = (size[0] - 1 - size[0] // 2, size[1] - 1 - size[1] // 2)
            measured = (grid[0] - size[0] + 1, grid[1] - size[1] + 1, *shape[2:])
        elif boundary == "reflect":
            # x[i + c - j] reaches size - 1 - c pixels back and c pixels ahead
            low = (size[0] - 1 - size[0] // 2, size[1] - 1 - size[1] // 2)
            grid = (grid[0] + size[0] - 1, grid[1] + size[1] - 1)
            self._rows = mirrored(shape[0], low[0], size[0] // 2)
            self._columns = mirrored(shape[1], low[1], size[1] // 2)
        self._grid, self._low = grid, low
        self._transfer = transfer(self.kernel, grid, len(shape))
        self.set_shapes(shape, measured)

    def forward(self, x: Tensor) -> Tensor:
        if self.boundary == "reflect":
            x = x[:, self._cast("_rows", x)][:, :, self._cast("_columns", x)]
        x = self._convolve(x, self._cast("_transfer", x))
        if self.boundary == "circular":
            return x
        height, width = self.measurement_shape[:2]
        top, left = self._low
        return x[:, top : top + height, left : left + width]

    def adjoint(self, y: Tensor) -> Tensor:
        if self.boundary != "circular":
            padded = y.new_zeros((len(y), *self._grid, *y.shape[3:]))
            (top, left), (height, width) = self._low, y.shape[1:3]
            padded[:, top : top + height, left : left + width] = y
            y = padded
        y = self._convolve(y, self._cast("_transfer", y).conj())
        if self.boundary == "reflect":
            y = fold(y, 1, self._cast("_rows", y), self.image_shape[0])
            y = fold(y, 2, self._cast("_columns", y), self.image_shape[1])
        return y

    def _convolve(self, x: Tensor, factor: Tensor) -> Tensor:
        return fft_inverse(fft(x) * factor, x.shape)

    def gram_solver(self, weight: Tensor | float = 1.0) -> _solvers.GramSolver | None:
        """Return the solver in the Fourier domain for circular boundaries."""
        if self.boundary != "circular":
            return super().gram_solver(weight)
        return _solvers.circulant(lambda b: self._cast("_transfer", b).abs().square(), weight)

    def norm(self) -> float:
        if self.boundary != "circular":
            return super().norm()
        return float(self._transfer.abs().max())


def check_kernel(kernel: Any, image_shape: tuple[int, ...]) -> Tensor:
    """Return a kernel (h, w[, C]) as a float64 tensor."""
    values = check_array(kernel, "kernel")
    channels = image_shape[2:]
    if values.ndim != 2 and (values.ndim != 3 or tuple(values.shape[2:]) != channels):
        expected = f"(h, w) or (h, w, {channels[0]})" if channels else "(h, w)"
        raise ValueError(
            f"kernel must have the shape {expected} for images {image_shape}; got "
            f"{tuple(values.shape)}."
        )
    return values


def transfer(kernel: Tensor, grid: tuple[int, int], n_axes: int) -> Tensor:
    """Eigenvalues of circular convolution over the grid of `rfft2`, kernel centred at size // 2.

    A kernel that is larger than the grid is wrapped around. The result has `n_axes` axes.
    """
    placed = kernel.new_zeros((*grid, *kernel.shape[2:]))
    rows = (torch.arange(kernel.shape[0]) - kernel.shape[0] // 2) % grid[0]
    columns = (torch.arange(kernel.shape[1]) - kernel.shape[1] // 2) % grid[1]
    placed.index_put_((rows[:, None], columns[None, :]), kernel, accumulate=True)
    spectrum = fft(placed[None])[0]
    return spectrum.reshape(*spectrum.shape, *[1] * (n_axes - spectrum.ndim))


def mirrored(length: int, before: int, after: int) -> Tensor:
    """Indices of a line that goes on as its mirror image beyond both ends."""
    index = torch.arange(-before, length + after) % (2 * length)
    return torch.minimum(index, 2 * length - 1 - index)


def fold(x: Tensor, axis: int, index: Tensor, length: int) -> Tensor:
    """Adjoint of ``x.index_select(axis, index)`` from a line of `length`."""
    shape = list(x.shape)
    shape[axis] = length
    return x.new_zeros(shape).index_add(axis, index, x)
