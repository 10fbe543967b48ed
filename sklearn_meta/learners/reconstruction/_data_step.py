"""The data step: the image that fits the measurements and stays near another image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_meta.operators import Operator

_TRUST = 1e-8  # in other images, of the squared norm of the operator, where there is no noise

Solver = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


class DataTerm:
    """The misfit ``|| w^(1/2) (A x - y) ||^2`` of measurements of a batch of images.

    Parameters
    ----------
    operator : Operator
        Linear.
    measurements : Tensor of shape ``(n, *measurement_shape)``
        NaN where a measurement is missing; those have no weight.
    weights : Tensor that broadcasts to the measurements, or None
        Relative precisions w, such as reciprocals of the noise's variances.
    max_iter : int, default=60
        Steps of conjugate gradients, where the operator has no exact solver.
    tol : float, default=1e-5
        They stop at a residual of `tol` times the right-hand side, image by image.

    Attributes
    ----------
    weights : Tensor of the shape of the measurements, or None
    back_projection : Tensor of shape ``(n, *image_shape)``
        ``A^T w y``.
    """

    def __init__(
        self,
        operator: Operator,
        measurements: Tensor,
        weights: Tensor | None = None,
        max_iter: int = 60,
        tol: float = 1e-5,
    ):
        missing = torch.isnan(measurements)
        if missing.any():
            measurements = measurements.masked_fill(missing, 0.0)
            known = (~missing).to(measurements.dtype)
            weights = known if weights is None else known * weights
        self.operator, self.measurements, self.weights = operator, measurements, weights
        self.max_iter, self.tol = max_iter, tol
        self.back_projection = operator.adjoint(self._weigh(measurements))
        exact = operator.gram_solver() if weights is None else None
        self._solve: Solver = self._iterate if exact is None else lambda b, rho, _: exact(b, rho)

    def gram(self, x: Tensor) -> Tensor:
        """Return ``A^T w A x``."""
        return self.operator.adjoint(self._weigh(self.operator.forward(x)))

    def misfit(self, x: Tensor) -> Tensor:
        """Return ``A x - y``, zero where a measurement is missing."""
        difference = self.operator.forward(x) - self.measurements
        return difference if self.weights is None else difference * (self.weights > 0)

    def prox(self, z: Tensor, rho: Tensor | float, start: Tensor | None = None) -> Tensor:
        """Return the minimiser of the misfit plus ``rho || x - z ||^2``.

        Differentiable in `z`, `rho` and the measurements; the derivative solves the same system
        once more, so that no graph of the iteration is kept.

        Parameters
        ----------
        z : Tensor of shape ``(n, *image_shape)``
        rho : float, or Tensor of shape (n,) or ()
            Positive.
        start : Tensor of the shape of `z`, default=None
            Where conjugate gradients begin; `z` by default.

        Returns
        -------
        Tensor of shape ``(n, *image_shape)``
        """
        rho = torch.as_tensor(rho, dtype=z.dtype, device=z.device)
        rho = rho.expand(len(z)).reshape(-1, *[1] * (z.ndim - 1))
        start = (z if start is None else start).detach()
        return _Solve.apply(self.back_projection + rho * z, rho, self._solve, start)

    def _weigh(self, y: Tensor) -> Tensor:
        return y if self.weights is None else self.weights * y

    def _iterate(self, b: Tensor, rho: Tensor, start: Tensor | None) -> Tensor:
        return conjugate_gradients(
            lambda x: self.gram(x) + rho * x, b, start, self.max_iter, self.tol
        )


def onto_measurements(operator: Operator, measurements: Tensor, x: Tensor) -> Tensor:
    """Return the nearest images to `x` that fit measurements without noise.

    Parameters
    ----------
    operator : Operator
        Linear.
    measurements : Tensor of shape ``(n, *measurement_shape)``, float64
        NaN where one is missing.
    x : Tensor of shape ``(n, *image_shape)``, float64
    """
    term = DataTerm(operator, measurements, max_iter=200, tol=1e-10)
    return term.prox(x, _TRUST * max(operator.norm(), 1e-30) ** 2)


class _Solve(torch.autograd.Function):
    """``x = (G + rho I)^-1 b`` by a solver whose steps are not recorded."""

    @staticmethod
    def forward(ctx, b, rho, solve, start):
        x = solve(b, rho, start)
        ctx.solve = solve
        ctx.save_for_backward(x, rho)
        return x

    @staticmethod
    def backward(ctx, gradient):
        x, rho = ctx.saved_tensors
        v = _Solve.apply(gradient, rho, ctx.solve, None)
        return v, -(v * x).flatten(1).sum(1).reshape(rho.shape), None, None


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    start: Tensor | None = None,
    max_iter: int = 60,
    tol: float = 1e-5,
) -> Tensor:
    """Solve positive definite systems, one an image, side by side.

    An image that has converged is left as it is, so that it does not depend on the others.

    Parameters
    ----------
    apply : callable
        The linear map, of tensors of the shape of `b`.
    b : Tensor of shape (n, ...)
    start : Tensor of the shape of `b`, default=None
        Zero by default.
    max_iter : int
    tol : float
        Residual to stop at, relative to `b`.

    Returns
    -------
    Tensor of the shape of `b`
    """
    x = torch.zeros_like(b) if start is None else start
    residual = b - apply(x) if start is not None else b
    direction = residual
    size, enough = _dot(residual, residual), tol**2 * _dot(b, b)
    for _ in range(max_iter):
        active = size > enough
        if not active.any():
            break
        image = apply(direction)
        step = torch.where(active, size / _dot(direction, image), 0.0)
        x = x + step * direction
        residual = residual - step * image
        new_size = torch.where(active, _dot(residual, residual), size)
        direction = residual + torch.where(active, new_size / size, 0.0) * direction
        size = new_size
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))
