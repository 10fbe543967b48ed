"""Two adapted learners of reconstruction, blended as hidden measurements tell."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_meta._adapted_images import AdaptedImages
from sklearn_meta.learners.reconstruction import ReconstructionLearner
from sklearn_meta.learners.reconstruction._held_out_rows import (
    hide_rows,
    is_far_better,
    misfit_of_rows,
    share_on_rows,
)


class BlendedImages:
    """What adaptation to one operator gave, and a second opinion.

    Each image goes from the reconstruction of the first towards that of the second by its own
    share, see `share_on_rows`: errors of the two cancel. Where the second is far better at hidden
    measurements of the images at hand, it is the first: a prior of tasks that have little to do
    with these must not harm.

    Parameters
    ----------
    first, second : AdaptedImages
        For the same linear operator.
    measurements : ndarray of shape ``(n, *measurement_shape)``
        By which they are compared.
    """

    def __init__(self, first: AdaptedImages, second: AdaptedImages, measurements: np.ndarray):
        self.operator, self.state = first.operator, first.state
        self.first, self.second = first, second
        *both, hidden = self._foreseen(measurements)
        values = torch.from_numpy(measurements)
        misfits = [misfit_of_rows(self.operator, images, values, hidden) for images in both]
        if is_far_better(*misfits):
            self.first, self.second = second, first

    @property
    def learner(self) -> ReconstructionLearner:
        """The first learner."""
        return self.first.learner

    def check_n_rows(self, n_rows: int) -> None:
        """Raise ValueError where operator or noise are those of another number of images."""
        self.first.check_n_rows(n_rows)

    def measure(self, images: np.ndarray) -> np.ndarray:
        """Measure images ``(n, *image_shape)`` without noise."""
        return self.first.measure(images)

    def reconstruct(
        self, measurements: np.ndarray, return_std: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Reconstruct images ``(n, *image_shape)`` from ``(n, *measurement_shape)``."""
        images, std = self.first.reconstruct(measurements, return_std)
        step = self.second.reconstruct(measurements)[0] - images
        first, second, hidden = self._foreseen(measurements)
        values = torch.from_numpy(measurements)
        share = share_on_rows(self.operator, first, second, values, hidden).numpy()
        return images + share.reshape(-1, *[1] * (images.ndim - 1)) * step, std

    def _foreseen(self, measurements: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """What both reconstruct without the measurements that are hidden, and which these are."""
        kept, hidden = hide_rows(torch.from_numpy(measurements), torch.Generator().manual_seed(1))
        first, second = (
            torch.from_numpy(one.reconstruct(kept.numpy())[0]) for one in (self.first, self.second)
        )
        return first, second, hidden
