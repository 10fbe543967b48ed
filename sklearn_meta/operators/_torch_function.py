"""A user's torch function of images, checked once at the door."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Relative errors that tell rounding from a difference.
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
# Keywords of `Tensor.to` for a copy whose values lie in the usual order.
FRESH: dict[str, Any] = {"copy": True, "memory_format": torch.contiguous_format}


class TorchFunction:
    """A deterministic function of batches of images, in a precision that it can compute in.

    Parameters
    ----------
    function : callable
        ``(n, *image_shape) -> (n, ...)``, or a `torch.nn.Module`.
    image_shape : tuple of int

    Attributes
    ----------
    measurement_shape : tuple of int
    dtypes : tuple of torch.dtype
        What it computes in, double precision first.
    tolerance : float
        Relative error below which two of its values are equal.

    Raises
    ------
    TypeError
        If it returns something else than real numbers in a tensor.
    ValueError
        If it fails on a batch of images, or returns NaN or another number of measurements than
        images, or differs from call to call or with the other images of the batch, or does not
        depend on the image.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], image_shape: tuple[int, ...]) -> None:
        self.function, self.image_shape = function, tuple(image_shape)
        parameters = getattr(function, "parameters", None)
        first = next(iter(parameters()), None) if isinstance(function, torch.nn.Module) else None
        self.device = None if first is None else first.device
        self.dtypes = self._find_dtypes()
        self.tolerance = _TOLERANCE[self.dtypes[0]]
        with torch.no_grad():
            self._check()

    def __call__(self, x: Tensor) -> Tensor:
        """Measure images, in the precision and on the device of x."""
        dtype = x.dtype if x.dtype in self.dtypes else self.dtypes[0]
        # the parameters of a Module are no reason to record anything
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            # a copy in the usual layout: the function may work in place, or take views
            return self.function(x.to(self.device or x.device, dtype, **FRESH)).to(x)

    def agree(self, a: Tensor, b: Tensor) -> bool:
        """Whether two measurements are equal but for rounding; NaN never is."""
        scale = max(float(a.abs().max()), float(b.abs().max()))
        return bool((a - b).abs().max() <= self.tolerance * scale)

    def images(self, n: int, seed: int = 0) -> Tensor:
        """Random images, uniform in [0, 1]."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand((n, *self.image_shape), generator=generator, dtype=torch.float64)

    def directions(self, n: int, seed: int = 0) -> Tensor:
        """Random images of both signs, standard normal."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((n, *self.image_shape), generator=generator, dtype=torch.float64)

    def _find_dtypes(self) -> tuple[torch.dtype, ...]:
        found, reasons = [], []
        for dtype in (torch.float64, torch.float32):
            x = self.images(2).to(self.device or "cpu", dtype)
            try:
                with torch.no_grad():
                    y = self.function(x)
            except Exception as error:  # whatever the user's code raises is told below
                reasons.append(error)
                continue
            if not isinstance(y, Tensor):
                raise TypeError(
                    f"the operator must return a torch tensor; it returned {type(y).__name__}. "
                    "For NumPy give a matrix or a scipy LinearOperator."
                )
            if y.is_complex():
                raise TypeError(
                    "the operator returned complex numbers; return real and imaginary parts, "
                    "such as torch.view_as_real(y), or their modulus."
                )
            if dtype == torch.float32 or y.dtype in (dtype, torch.int64, torch.bool):
                found.append(dtype)
        if not found:
            # where they differ, one of them may say no more than that the precision is wrong
            told = dict.fromkeys(f"{type(reason).__name__}: {reason}" for reason in reasons)
            raise ValueError(
                f"the operator failed on a batch of shape {(2, *self.image_shape)} (channels, if "
                f"any, come last): {', or in single precision: '.join(told)}"
            ) from reasons[0]
        return tuple(found)

    def _check(self) -> None:
        # extremes beside random images, so that a coarse function gives two values at least
        random = self.images(3)
        x = torch.cat([random, torch.zeros_like(random[:1]), torch.ones_like(random[:1])])
        y = self(x)
        if y.ndim < 2 or len(y) != len(x) or math.prod(y.shape) == 0:
            raise ValueError(
                f"the operator must return a measurement for each image; a batch of shape "
                f"{tuple(x.shape)} gave {tuple(y.shape)}."
            )
        self.measurement_shape = tuple(y.shape[1:])
        if not y.isfinite().all():
            raise ValueError("the operator returned NaN or infinity for images in [0, 1].")
        if not self.agree(y, self(x)):
            raise ValueError(
                "the operator is random: it gave two measurements of one image. Give its mean and "
                "let noise describe the rest (a Module may need .eval())."
            )
        if not self.agree(y[1:2], self(x[1:2])):
            raise ValueError("the operator's measurement of an image depends on its batch.")
        if torch.equal(y, y[:1].expand_as(y)):
            raise ValueError("the operator's measurement does not depend on the image.")


def is_differentiable(function: Callable[[Tensor], Any], x: Tensor) -> bool:
    """Whether autograd goes from the function's value at x back to x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        try:
            y = function(x)
        except RuntimeError:  # such as a detour through NumPy, which works without derivative
            return False
        if not y.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    return gradient is not None
