"""The data step of a non-linear operator: pseudo-measurements, then a linear one."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._half_quadratic import smooth_start
from sklearn_meta.learners.reconstruction._likelihood import (
    IntervalLikelihood,
    LinearLikelihood,
    Pseudo,
    SmoothLikelihood,
)
from sklearn_meta.operators import Operator


class Likelihood(Protocol):
    """What measurements say of images near an estimate."""

    def observe(self, x: Tensor, variance: float) -> Pseudo:
        """Return Gaussian measurements; `variance` is that of the error of ``A x``."""


class NonlinearTerm:
    """Misfit of measurements of a batch of images by any operator.

    Parameters
    ----------
    operator : Operator
        A pointwise law that is not even, a linear one, or any that is smooth.
    y : Tensor of shape ``(n, *measurement_shape)``
        NaN where missing.
    sigma : Tensor that broadcasts to `y`
    generator : torch.Generator
    max_iter : int, default=40
        Steps of conjugate gradients.
    """

    def __init__(
        self,
        operator: Operator,
        y: Tensor,
        sigma: Tensor,
        generator: torch.Generator,
        max_iter: int = 40,
    ):
        self.operator, self.max_iter = operator, max_iter
        self._given = y, sigma, generator
        self._like = y.new_zeros(())
        self._n_images = len(y)
        self.likelihood: Likelihood
        self.n_linearizations = 1
        if operator.is_linear:
            self.likelihood = LinearLikelihood(operator, y, sigma)
        elif hasattr(operator, "inner"):
            self.likelihood = IntervalLikelihood(operator, y, sigma)
        else:
            self.likelihood = SmoothLikelihood(operator, y, sigma)
            self.n_linearizations = 3
        linear = operator if operator.is_linear else getattr(operator, "inner", None)
        self.is_diagonal = linear is not None and _sees_single_pixels(linear, y, generator)

    def screen(self, n: int) -> NonlinearTerm:
        """Return a cheaper term of the first images of the batch, to compare candidates by."""
        y, sigma, generator = self._given
        sigma = sigma[:n] if sigma.ndim else sigma
        operator = self.operator.select(torch.arange(n))
        few = NonlinearTerm(operator, y[:n], sigma, generator, self.max_iter)
        few.n_linearizations = 1
        return few

    def measured(self, x: Tensor) -> Tensor:
        """Values that the likelihood is about: ``A x`` before a law, else ``F(x)``."""
        return getattr(self.operator, "inner", self.operator).forward(x)

    def start(self, mean: float, rough: float, variance: float) -> Tensor:
        """Return the smooth image that explains the measurements.

        Parameters
        ----------
        mean, rough : float
            Mean and mean square difference of neighbouring pixels, of images of the kind.
        variance : float
            Of measurements before their law, of such images.
        """
        shape = (self._n_images, *self.operator.image_shape)
        x = self._like.new_full(shape, mean)
        for _ in range(self.n_linearizations):
            pseudo = self.likelihood.observe(x, variance)
            residual = pseudo.target - pseudo.operator.forward(x)
            term = Pseudo(pseudo.operator, residual, pseudo.precision).term(self.max_iter)
            x = x + smooth_start(term, 1 / rough)
        return x

    def posterior(
        self, z: Tensor, image_variance: float, variance: float, keep: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Combine an estimate with the measurements.

        Parameters
        ----------
        z : Tensor of shape ``(n, *image_shape)``
        image_variance, variance : float
            Of the errors of z and of ``A z``.
        keep : float, default=1.0
            Share of the weight that z has.

        Returns
        -------
        x : Tensor of the shape of `z`
            The minimiser of the misfit plus ``keep * |x - z|^2 / image_variance``.
        left : Tensor of the shape of `z`, or None
            Variance of each pixel; None where pixels depend on each other.
        """
        rho, x = keep / image_variance, z
        for _ in range(self.n_linearizations):
            pseudo = self.likelihood.observe(x, variance)
            term = pseudo.term(self.max_iter)
            if self.is_diagonal:
                diagonal = term.gram(torch.ones_like(z))
                return (term.back_projection + rho * z) / (diagonal + rho), 1 / (diagonal + rho)
            x = term.prox(z, rho, start=x)
        return x, None


def _sees_single_pixels(operator: Operator, y: Tensor, generator: torch.Generator) -> bool:
    """Whether each measurement is one pixel times a number."""
    weights = torch.rand((1, *operator.measurement_shape), generator=generator) + 0.5
    signs = torch.randint(0, 2, (2, *operator.image_shape), generator=generator) * 2.0 - 1.0
    signs, weights = signs.to(y), weights.to(y)
    # A^T w A is diagonal for random weights; without them that of any rotation would be.
    first, second = signs * operator.adjoint(weights * operator.forward(signs))
    return torch.allclose(first, second, rtol=1e-4, atol=1e-4 * float(first.abs().max()))
