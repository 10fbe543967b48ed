"""Images as a stationary Gaussian field: the linear estimator of least error by Fourier."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._any_shape import AnyShapeModel, measured, weighed
from sklearn_meta.learners.reconstruction._base import Noise
from sklearn_meta.learners.reconstruction._closed_form import (
    ClosedFormPrior,
    ImageModel,
    LinearState,
)
from sklearn_meta.learners.reconstruction._data_step import DataTerm, conjugate_gradients
from sklearn_meta.learners.reconstruction._factored import FactoredMixture
from sklearn_meta.learners.reconstruction._images_of_tasks import MOST_PIXELS
from sklearn_meta.learners.reconstruction._planes import to_planes
from sklearn_meta.learners.reconstruction._spectrum import Spectrum
from sklearn_meta.learners.reconstruction._torus import Torus, response
from sklearn_meta.operators import Operator
from sklearn_meta.operators._materialize import materialize
from sklearn_meta.operators._recognise import CirculantGram, DiagonalGram, find_gram

#: Border of the torus around images, as a share of their sides.
BORDER = 0.25

#: Least noise, as a share of the deviation of pixels times the norm of the operator: where the
#: estimator is exact, and where conjugate gradients have to converge.
LEAST, LEAST_ITERATED = 1e-6, 1e-3

MAX_ITER, TOL = 100, 1e-5

#: Least noise of the coordinates of conjugate gradients, likewise: with less they see measurements
#: before the prior, and start far from smooth images.
SOFT = 2.0


class StationaryModel(AnyShapeModel):
    """Gaussian images whose covariance depends on the displacement alone, of any shape.

    Images are part of a larger torus, on which the covariance is diagonal in the Fourier basis;
    under operators whose Gram matrix is a circular convolution they are the torus.

    Parameters
    ----------
    spectrum : Spectrum
    sigma : float or None
    """

    def __init__(self, spectrum: Spectrum, sigma: float | None):
        super().__init__(sigma)
        self.spectrum = spectrum

    @classmethod
    def load(
        cls, sigma: float | None, weights: Mapping[str, np.ndarray], device: torch.device
    ) -> StationaryModel:
        """Make it from the arrays of its spectrum."""
        return cls(Spectrum.from_arrays(weights, device), sigma)

    def check_shape(self, image_shape: tuple[int, ...]) -> None:
        """Raise ValueError where images have other channels than those of meta-training."""
        n_planes, n_channels = len(self.spectrum.mean), math.prod(image_shape[2:])
        if n_planes not in (1, n_channels):
            raise ValueError(
                f"the operator takes images of shape {image_shape}, but this prior was learned "
                f"from images of {n_planes} channels; meta-train on images of {n_channels}."
            )

    def solve(
        self, term: DataTerm, sigma: Tensor, gain: float, return_std: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `AnyShapeModel.solve`.

        Raises
        ------
        ValueError
            If the standard deviation of large images is asked for, under an operator or noise
            for which it is not diagonal in the Fourier basis.
        """
        operator, like = term.operator, term.back_projection
        level = sigma.to(like).reshape(-1, 1, 1, 1)
        whole = term.weights is None and not gain
        eigenvalues = _circulant(operator) if whole else None
        if eigenvalues is not None:
            torus = Torus.of(self.spectrum, operator.image_shape, 0.0, like)
            level = level.clamp_min(LEAST * torus.deviation * operator.norm())
            return _diagonal(torus, term, eigenvalues.to(like), level, return_std)
        torus = Torus.of(self.spectrum, operator.image_shape, BORDER, like)
        level = level.clamp_min(LEAST_ITERATED * torus.deviation * operator.norm())
        if return_std:
            return self._dense(torus, term, level, gain)
        x = _iterated(torus, term, operator, level)
        if gain:
            again, sigma = weighed(term, x, level.flatten(), gain)
            x = _iterated(torus, again, operator, sigma.reshape(-1, 1, 1, 1))
        return x, None

    def _dense(
        self, torus: Torus, term: DataTerm, level: Tensor, gain: float
    ) -> tuple[Tensor, Tensor]:
        operator = term.operator
        if operator.n_pixels > MOST_PIXELS:
            raise ValueError(
                "the standard deviation of a stationary GaussianPrior is known for images of up to "
                f"{MOST_PIXELS} pixels, and for larger ones under circular blur or white noise, "
                f"whole and of the same level for all pixels; images have the shape "
                f"{operator.image_shape} under {type(operator).__name__}."
            )
        mixture = FactoredMixture.single(*torus.moments())
        matrix = materialize(operator).matrix.to(level) if operator.n_samples is None else None
        noise = Noise(level.flatten().cpu().numpy(), gain)
        state = LinearState(operator, matrix, noise)
        return ClosedFormPrior().reconstruct(
            ImageModel(mixture, None), state, measured(term), return_std=True
        )


def _circulant(operator: Operator) -> Tensor | None:
    """Eigenvalues of ``A^T A`` for all planes, (1, height, width // 2 + 1); None if not circulant.

    The same for all channels, so that they may be turned into planes.
    """
    if operator.n_samples is not None:
        return None
    gram = find_gram(operator)
    if isinstance(gram, DiagonalGram):
        values = gram.values
        flat = values.flatten()
        is_one = bool((flat - flat[0]).abs().max() <= 1e-9 * flat[0])
        height, width = operator.image_shape[:2]
        return flat[:1, None, None].expand(1, height, width // 2 + 1) if is_one else None
    if not isinstance(gram, CirculantGram):
        return None
    values = gram.eigenvalues
    values = values[..., None] if values.ndim == 2 else values
    if not torch.allclose(values, values[..., :1], atol=1e-9 * float(values.max())):
        return None
    return values[None, ..., 0]


def _diagonal(
    torus: Torus, term: DataTerm, eigenvalues: Tensor, level: Tensor, return_std: bool
) -> tuple[Tensor, Tensor | None]:
    """Wiener filter."""
    left = term.back_projection - term.gram(torus.mean.expand_as(term.back_projection))
    inverse = 1 / (eigenvalues + level.square() / torus.power)
    found = torch.fft.irfft2(inverse * torch.fft.rfft2(torus.planes(left)), s=torus.grid)
    x = torus.mean + torus.images(found)
    if not return_std:
        return x, None
    variance = torch.fft.irfft2(level.square() * inverse, s=torus.grid)[..., 0, 0]  # (n, p)
    if variance.shape[1] == 3:
        units = to_planes(torch.eye(3).to(x).reshape(3, 1, 1, 3)).reshape(3, 3)
        variance = variance @ units.square().T
    shape = (-1, *[1] * (2 if x.ndim == 4 else 0), variance.shape[1])
    std = variance.sqrt().reshape(shape if x.ndim == 4 else (-1, 1, 1))
    return x, std.expand_as(x).clone()


def _iterated(torus: Torus, term: DataTerm, operator: Operator, level: Tensor) -> Tensor:
    """Conjugate gradients on the torus, in coordinates that make the system nearly diagonal."""
    prior = level.square() / torus.power
    known = 1.0
    if term.weights is not None:
        known = term.weights.flatten(1).mean(1).reshape(-1, 1, 1, 1)
    soft = level.clamp_min(SOFT * torus.deviation * operator.norm()).square() / torus.power
    root = (known * response(torus, operator, term.back_projection) + soft).rsqrt()
    prior = prior * root

    def apply(u: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(u) * root
        x = torus.images(torch.fft.irfft2(spectrum, s=torus.grid))
        seen = torch.fft.rfft2(torus.planes(term.gram(x))) * root
        return torch.fft.irfft2(seen + prior * spectrum, s=torus.grid)

    left = term.back_projection - term.gram(torus.mean.expand_as(term.back_projection))
    b = torch.fft.irfft2(torch.fft.rfft2(torus.planes(left)) * root, s=torus.grid)
    u = conjugate_gradients(apply, b, None, MAX_ITER, TOL)
    x = torch.fft.irfft2(torch.fft.rfft2(u) * root, s=torus.grid)
    return torus.mean + torus.images(x)
