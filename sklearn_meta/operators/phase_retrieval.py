"""Magnitudes of linear measurements: the sign or the phase is lost."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklearn_meta.operators._base import Operator
from sklearn_meta.operators._pointwise import PointwiseLaw, modulus
from sklearn_meta.operators.fourier import Fourier


class PhaseRetrieval(PointwiseLaw):
    """Magnitudes ``y = |A x|``, or intensities ``y = |A x|**2``.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C), or None where `operator` is given
    operator : Operator, default=None
        The linear A. The Fourier transform of the image inside a frame of zeros if None.
    oversampling : int, default=2
        Size of that frame over the size of the image; from 2 on an image is known up to sign,
        shift and a turn by 180 degrees (Hayes, The reconstruction of a multidimensional sequence
        from the phase or magnitude of its Fourier transform, 1982). Not used with an operator.
    is_complex : bool, default=None
        Whether the measurements of `operator`, of shape (2, ...), are real and imaginary parts.
        None: where it is a `Fourier`.
    power : {1, 2}, default=1
        1 for magnitudes, 2 for intensities.

    Raises
    ------
    ValueError
        If `power` is neither 1 nor 2, or the measurements are not pairs.
    """

    is_even = True

    def __init__(
        self,
        image_shape: Any,
        operator: Operator | None = None,
        *,
        oversampling: int = 2,
        is_complex: bool | None = None,
        power: int = 1,
    ) -> None:
        if operator is None:
            operator = Fourier(image_shape, oversampling=oversampling)
        super().__init__(image_shape, operator)
        self.is_complex = isinstance(operator, Fourier) if is_complex is None else bool(is_complex)
        if power not in (1, 2):
            raise ValueError(f"power must be 1 (magnitudes) or 2 (intensities); got {power!r}.")
        self.power = int(power)
        if self.is_complex:
            shape = operator.measurement_shape
            if shape[0] != 2 or len(shape) < 2:
                raise ValueError(
                    "complex measurements are real and imaginary parts, of shape (2, ...); the "
                    f"operator gives {shape}."
                )
            self.set_shapes(operator.image_shape, shape[1:])

    def law(self, z: Tensor) -> Tensor:
        """Return the modulus of z to the power; its derivative at zero is taken as zero."""
        if self.power == 1:
            return modulus(z, self.is_complex)
        return z.square().sum(1) if self.is_complex else z.square()

    def bounds(self, y: Tensor, slack: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the ends of the modulus."""
        y = y.clamp(min=0)
        low, high = (y - slack).clamp(min=0), y + slack
        return (low, high) if self.power == 1 else (low.sqrt(), high.sqrt())
