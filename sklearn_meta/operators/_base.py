"""The contract of a forward operator, and what every operator can do with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

_POWER_STEPS = 40


class Operator:
    """A forward model: images -> measurements.

    A subclass sets the two shapes in ``__init__`` (`set_shapes`), keeps its arrays in attributes,
    and implements `forward`, and `adjoint` if it is linear. Both take batches, keep the dtype and
    device of what they are given, and are differentiable twice. Operators are immutable after
    construction, pickle, and are shared by clones.

    Attributes
    ----------
    image_shape : tuple of int
        (H, W) or (H, W, C).
    measurement_shape : tuple of int
    is_linear : bool
        ``forward(a x + b z) == a forward(x) + b forward(z)``.
    n_samples : int or None
        Number of images that it takes at once, for an operator that differs from sample to
        sample (`select` takes some of them); None for all others.

    Notes
    -----
    There is no public ``shape`` and no ``__len__``: scikit-learn would take an operator for data.
    """

    is_linear = True
    n_samples: int | None = None
    # NumPy must leave `array @ operator` to us, which is an error that we word.
    __array_ufunc__ = None

    image_shape: tuple[int, ...]
    measurement_shape: tuple[int, ...]

    def set_shapes(self, image_shape: Any, measurement_shape: Any) -> None:
        """Set both shapes; called once, by the constructor."""
        self.image_shape = tuple(int(n) for n in image_shape)
        self.measurement_shape = tuple(int(n) for n in measurement_shape)

    @property
    def n_pixels(self) -> int:
        """Number of values of an image."""
        return math.prod(self.image_shape)

    @property
    def n_measurements(self) -> int:
        """Number of values of a measurement."""
        return math.prod(self.measurement_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Measure images.

        Parameters
        ----------
        x : Tensor of shape ``(n, *image_shape)``, floating point

        Returns
        -------
        Tensor of shape ``(n, *measurement_shape)``
        """
        raise NotImplementedError(f"{type(self).__name__}.forward is to be implemented.")

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint A^T of a linear operator.

        Parameters
        ----------
        y : Tensor of shape ``(n, *measurement_shape)``, floating point

        Returns
        -------
        Tensor of shape ``(n, *image_shape)``
        """
        name = type(self).__name__
        if self.is_linear:
            raise NotImplementedError(
                f"{name}.adjoint is to be implemented, or is_linear to be False."
            )
        raise TypeError(f"{name} is not linear and has no adjoint; use vjp at a point.")

    def vjp(self, x: Tensor, y: Tensor) -> Tensor:
        """Apply the adjoint of the derivative at x to y; for linear operators `adjoint`."""
        if self.is_linear:
            return self.adjoint(y)
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.forward(x), x, y)
        return gradient

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        """Apply the derivative at x to v; for linear operators ``forward(v)``."""
        if self.is_linear:
            return self.forward(v)
        # twice backward: the dummy's gradient is linear in it
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            y = self.forward(x)
            dummy = torch.zeros_like(y, requires_grad=True)
            (back,) = torch.autograd.grad(y, x, dummy, create_graph=True)
            (out,) = torch.autograd.grad(back, dummy, v)
        return out

    def gram_solver(self, weight: Tensor | float = 1.0) -> Any:
        """Return a fast exact solver of ``(weight A^T A + rho I) x = b``, where there is one.

        Parameters
        ----------
        weight : float or Tensor of shape (n, 1, 1, ...)

        Returns
        -------
        callable (b, rho) -> x, or None
            `b` of shape ``(n, *image_shape)``, `rho` a float or a Tensor of shape (n, 1, 1, ...).
            Differentiable. None where conjugate gradients have to do.

        Notes
        -----
        An operator that does not say more is tried out once, by a few products: whether
        ``A^T A`` is diagonal, is a circular convolution, or has few eigenvalues.
        """
        structure = self._structure() if self.is_linear else None
        return None if structure is None else structure.solver(self, weight)

    @torch.inference_mode(False)  # what is kept has to be of use to autograd
    def _structure(self) -> Any:
        """Return what `find_gram` finds; kept."""
        if "_gram" not in vars(self):
            from sklearn_meta.operators._recognise import find_gram

            self._gram = find_gram(self)
        return self._gram

    def select(self, index: Any) -> Operator:
        """Return the operator of some samples of a batch; itself unless `n_samples` is set.

        Parameters
        ----------
        index : slice, or array or Tensor of int
        """
        return self

    def norm(self) -> float:
        """Largest singular value, by power iteration (cached)."""
        cached = vars(self).get("_norm")
        if cached is None:
            if not self.is_linear:
                raise TypeError(f"{type(self).__name__} is not linear and has no norm.")
            generator = torch.Generator().manual_seed(0)
            shape = (self.n_samples or 1, *self.image_shape)
            x = torch.randn(shape, generator=generator, dtype=torch.float64)
            cached = 0.0
            for _ in range(_POWER_STEPS):
                size = float(x.norm())
                if size == 0:
                    break
                x = self.adjoint(self.forward(x / size))
                cached = math.sqrt(float(x.norm()))
            self._norm = cached
        return cached

    def condition(self, n_steps: int = 100) -> float:
        """Estimate of the condition number: ratio of extreme singular values, by Lanczos.

        It is infinite where there are fewer measurements than pixels.
        """
        from sklearn_meta.operators._spectrum import condition

        return condition(self, n_steps)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply `forward`."""
        return self.forward(x)

    def __matmul__(self, other: Any) -> Any:
        """``op @ x`` measures arrays, ``op @ op`` composes (the right one is applied first)."""
        if isinstance(other, Operator):
            from sklearn_meta.operators.compose import Compose

            return Compose(self, other)
        return self._apply(self.forward, other, self.image_shape, self.measurement_shape)

    def __rmatmul__(self, other: Any) -> Any:
        """Refuse ``array @ op``."""
        raise TypeError(
            f"{type(other).__name__} @ {type(self).__name__} is not defined: op @ x measures "
            "images, and as_operator(matrix, image_shape) @ op composes."
        )

    @property
    def T(self) -> Operator:
        """The adjoint as an operator."""
        from sklearn_meta.operators._adjoint import Adjoint

        return Adjoint(self)

    def _apply(self, function: Any, x: Any, shape: tuple, out_shape: tuple) -> Any:
        """Apply to arrays or tensors, one or a batch, flat or not; return the like."""
        is_tensor = isinstance(x, Tensor)
        values = self._copy(x)
        size, tail = math.prod(shape), tuple(values.shape)
        for flat, one in ((False, False), (False, True), (True, False), (True, True)):
            core = (size,) if flat else shape
            if tail == core if one else (tail[1:] == core and len(tail) == len(core) + 1):
                batch = values.reshape(-1, *shape)
                out = function(batch)
                final = (math.prod(out_shape),) if flat else out_shape
                out = out.reshape(*(() if one else (len(batch),)), *final)
                return out if is_tensor else out.detach().numpy()
        raise ValueError(
            f"{type(self).__name__} takes arrays of shape {shape}, ({size},), or a batch of "
            f"these; got shape {tail}."
        )

    def _copy(self, x: Any) -> Tensor:
        """Return real values as a tensor of their own, so that results share nothing with x."""
        name, is_tensor = type(self).__name__, isinstance(x, Tensor)
        if x.is_complex() if is_tensor else np.iscomplexobj(x):
            raise ValueError(f"{name} takes real values; got complex ones.")
        if is_tensor:
            return x.clone() if x.is_floating_point() else x.to(torch.float64)
        try:
            return torch.from_numpy(np.array(x, dtype=np.float64, order="C"))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} takes arrays of numbers; got {type(x).__name__}: {error}"
            ) from None

    def _cast(self, name: str, like: Tensor) -> Tensor:
        """Return the attribute `name` in the precision and on the device of `like`; kept."""
        value = vars(self)[name]
        dtype = value.dtype
        if dtype.is_complex:
            dtype = like.dtype.to_complex()
        elif dtype.is_floating_point:
            dtype = like.dtype
        if value.dtype == dtype and value.device == like.device:
            return value
        casts = vars(self).setdefault("_casts", {})
        key = (name, dtype, like.device)
        if key not in casts:
            with torch.inference_mode(False):  # or it could never be differentiated with
                casts[key] = value.to(like.device, dtype)
        return casts[key]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_casts"}

    def __deepcopy__(self, memo: dict) -> Operator:
        return self  # immutable

    def __sklearn_clone__(self) -> Operator:
        return self

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(image_shape={self.image_shape}, "
            f"measurement_shape={self.measurement_shape})"
        )
