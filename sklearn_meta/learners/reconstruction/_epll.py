"""Reconstruction by the expected log likelihood of patches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._any_shape import AnyShapeModel, measured, weighed
from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._half_quadratic import half_quadratic, smooth_start
from sklearn_meta.learners.reconstruction._image_denoiser import ranges
from sklearn_meta.learners.reconstruction._patch_mixture import PatchMixture
from sklearn_meta.learners.reconstruction._planes import from_planes, to_planes
from sklearn_meta.learners.reconstruction._unrolled_steps import diagonal_of_misfit

#: Noise variance over that of the patches, step by step, for denoising.
BETAS = (1.0, 4.0, 8.0, 16.0, 32.0)

#: Else it starts where patches have this share of the image's range as noise, and ends at so many
#: times the noise; so many steps, which go past the measurements (see `half_quadratic`). Tuned on
#: generated images.
FIRST_LEVEL, LAST_LEVEL, STEPS = 0.1, 0.7, 10
REFLECTION, MOMENTUM = 1.8, 0.5

#: Least noise, as a share of the image's range at the norm of the operator.
LEAST = 0.004

_STIFFNESS = 0.01  # of the squared norm of the operator


class PatchModel(AnyShapeModel):
    """Images of any shape, all of whose patches come from a mixture.

    References
    ----------
    D. Zoran, Y. Weiss (2011), "From learning models of natural image patches to whole image
    restoration", ICCV.
    """

    def __init__(self, mixture: PatchMixture, sigma: float | None):
        super().__init__(sigma)
        self.mixture = mixture

    @classmethod
    def load(
        cls, sigma: float | None, weights: Mapping[str, np.ndarray], device: torch.device
    ) -> PatchModel:
        """Make it from the arrays of its mixture."""
        return cls(PatchMixture.from_arrays(weights, device), sigma)

    def check_shape(self, image_shape: tuple[int, ...]) -> None:
        """Raise ValueError where an image has no patch."""
        side = self.mixture.side
        if min(image_shape[:2]) < side:
            raise ValueError(
                f"the operator takes images of shape {image_shape}, but this prior is one of "
                f"patches of {side} x {side} pixels."
            )

    def solve(
        self, term: DataTerm, sigma: Tensor, gain: float, return_std: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `AnyShapeModel.solve`.

        Raises
        ------
        ValueError
            If the standard deviation is asked for.
        """
        if return_std:
            raise ValueError(
                "a GaussianMixturePrior of patches has no standard deviation of its images; "
                "GaussianPrior has, and so has GaussianMixturePrior of small images of one shape."
            )
        operator, norm = term.operator, max(term.operator.norm(), 1e-30)
        term = DataTerm(operator, measured(term).float(), max_iter=30, tol=1e-4)
        start, sigma = smooth_start(term, _STIFFNESS * norm**2), sigma.float()
        if gain:
            term, sigma = weighed(term, start, sigma, gain)
        width = ranges(start)
        is_exact = not gain and not bool(sigma.any())
        sigma = torch.maximum(sigma, LEAST * width * norm)
        diagonal = diagonal_of_misfit(term)
        if diagonal is not None and bool((diagonal > 1e-2 * diagonal.max()).all()):
            return self._denoised(term, diagonal, sigma, is_exact), None
        steps = torch.linspace(0, 1, STEPS)
        last = LAST_LEVEL * sigma / norm
        first = torch.maximum(FIRST_LEVEL * width, last)
        levels = [first * (last / first) ** float(step) for step in steps]
        weights = [(sigma / level).square() for level in levels]
        x, _ = half_quadratic(term, self._patches, start, levels, weights, REFLECTION, MOMENTUM)
        return x.to(torch.float64), None

    def _denoised(self, term: DataTerm, diagonal: Tensor, sigma: Tensor, is_exact: bool) -> Tensor:
        x = term.back_projection / diagonal
        if is_exact:
            return x.to(torch.float64)
        own = sigma / diagonal.flatten(1).mean(1).sqrt()
        levels = [own / beta**0.5 for beta in BETAS]
        weights = [(sigma / level).square() for level in levels]
        x, _ = half_quadratic(term, self._patches, x, levels, weights)
        return x.to(torch.float64)

    def _patches(self, x: Tensor, level: Tensor, step: int) -> Tensor:
        planes = to_planes(x)[:, 0]
        levels = level.repeat_interleave(len(planes) // len(x))
        return from_planes(self.mixture.denoise(planes, levels)[:, None], tuple(x.shape[1:]))
