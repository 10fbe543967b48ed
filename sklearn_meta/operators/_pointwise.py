"""Non-linear operators that are a linear one followed by a law of each measured value."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._checks import check_image_shape


class PointwiseLaw(Operator):
    """Non-linear forward model ``y = law(inner(x))``, the law acting on each value by itself.

    A subclass calls ``super().__init__`` and implements `law` and `bounds`.

    Parameters
    ----------
    image_shape : tuple of int or None
        (H, W) or (H, W, C); may be None where `operator` is given.
    operator : Operator, default=None
        What is measured before the law; the image itself if None.

    Attributes
    ----------
    inner : Operator
        The part before the law; ``z = inner(x)``.
    is_even : bool
        Whether the law sees the modulus of z alone, so that the sign (or phase) is lost. Then
        `interval` speaks of the modulus.
    is_complex : bool
        Whether ``z`` holds complex values as pairs: z has the shape ``(n, 2, *measurement_shape)``,
        real parts first. Only with `is_even`.
    noise_gain : float
        Variance of the measurement per unit of signal that belongs to the operator itself
        (1 / peak for Poisson counts); 0 for the others.

    Notes
    -----
    A solver needs two methods. `interval` gives, without any derivative, the values z that explain
    a measurement: a point where the law can be inverted, a bin where it rounds, a half line where
    it saturates. `nearest` is the projection of z on that set, phase retrieval included. With noise
    of standard deviation sigma in y, ``interval(y, slack=sigma)`` reaches farther by one standard
    deviation of z at each end, so the difference of the two intervals is the noise level of z.
    The derivative of `forward` is that of the law where it has a useful one; laws that round give
    that of their curve before rounding.
    """

    is_linear = False
    is_even = False
    is_complex = False
    noise_gain = 0.0

    def __init__(self, image_shape: Any, operator: Operator | None = None) -> None:
        if operator is None:
            from sklearn_meta.operators.identity import Identity

            operator = Identity(image_shape)
        if not isinstance(operator, Operator):
            raise TypeError(
                f"{type(self).__name__} takes an Operator (see as_operator); got "
                f"{type(operator).__name__}."
            )
        if not operator.is_linear:
            raise ValueError(
                f"the operator inside of {type(self).__name__} has to be linear; "
                f"{type(operator).__name__} is not."
            )
        if image_shape is not None and check_image_shape(image_shape) != operator.image_shape:
            raise ValueError(
                f"image_shape {tuple(image_shape)} differs from that of the operator, "
                f"{operator.image_shape}."
            )
        self.inner = operator
        self.n_samples = operator.n_samples
        self.set_shapes(operator.image_shape, operator.measurement_shape)

    def law(self, z: Tensor) -> Tensor:
        """Return the measurements of values ``z = inner(x)``.

        Parameters
        ----------
        z : Tensor of shape ``(n, *inner.measurement_shape)``

        Returns
        -------
        Tensor of shape ``(n, *measurement_shape)``
        """
        raise NotImplementedError

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return `interval` of measurements without NaN."""
        raise NotImplementedError

    def interval(self, y: Tensor, slack: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the values z whose measurement is y.

        Parameters
        ----------
        y : Tensor of shape ``(n, *measurement_shape)``
            NaN where missing. Values that the law cannot give count as the nearest that it can.
        slack : float or Tensor that broadcasts, default=0.0
            Also the z whose measurement differs from y by no more than this.

        Returns
        -------
        low, high : Tensor of shape ``(n, *measurement_shape)``
            ``law(z) == y`` for ``low <= z <= high`` (of the modulus of z with `is_even`). Equal
            where z is known, infinite where there is no bound; both infinite where y is missing.
        """
        missing = y.isnan()
        low, high = self.bounds(y.nan_to_num(), slack)
        return low.masked_fill(missing, -math.inf), high.masked_fill(missing, math.inf)

    def nearest(self, z: Tensor, y: Tensor, slack: Tensor | float = 0.0) -> Tensor:
        """Return the nearest values to z, of its shape, whose measurement is y."""
        low, high = self.interval(y, slack)
        if not self.is_even:
            return torch.minimum(torch.maximum(z, low), high)
        # hypot is ten times as fast as a norm over pairs; it lacks a derivative at 0, as this does
        size = torch.hypot(z[:, 0], z[:, 1]) if self.is_complex else z.abs()
        target = torch.minimum(torch.maximum(size, low), high)
        scale = torch.where(size > 0, target / size, torch.zeros_like(size))
        if self.is_complex:
            turned = z * scale[:, None]
            turned[:, 0] += target * (size == 0)  # any phase will do at the origin
            return turned
        return z * scale + target * (size == 0)

    def forward(self, x: Tensor) -> Tensor:
        """Measure images: ``law(inner(x))``."""
        return self.law(self.inner.forward(x))

    def select(self, index: Any) -> PointwiseLaw:
        """Return the operator of some samples of a batch."""
        if self.n_samples is None:
            return self
        return self._with(self.inner.select(index))

    def __matmul__(self, other: Any) -> Any:
        """As that of `Operator`; after a linear operator the law stays one, with an interval."""
        if not (isinstance(other, Operator) and other.is_linear):
            return super().__matmul__(other)
        from sklearn_meta.operators.identity import Identity

        is_alone = isinstance(self.inner, Identity) and other.measurement_shape == self.image_shape
        return self._with(other if is_alone else self.inner @ other)

    def _with(self, inner: Operator) -> PointwiseLaw:
        """The same law of what another operator measures."""
        other = copy.copy(self)
        for cached in ("_norm", "_gram"):
            vars(other).pop(cached, None)
        other.inner, other.n_samples = inner, inner.n_samples
        other.set_shapes(inner.image_shape, self.measurement_shape)
        return other


def modulus(z: Tensor, is_complex: bool) -> Tensor:
    """Absolute value; of complex pairs along axis 1 if `is_complex`."""
    if not is_complex:
        return z.abs()
    # a norm has no second derivative at zero, not even a finite one: take that of a constant
    is_zero = (z == 0).all(1)
    pairs = z.masked_fill(is_zero[:, None], 1.0)
    return torch.linalg.vector_norm(pairs, dim=1).masked_fill(is_zero, 0.0)


def check_positive(value: Any, name: str) -> float:
    """Return a positive finite number as a float.

    Raises
    ------
    ValueError
        If it is something else.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a positive number; got {value!r}.")
    return number
