"""Score of reconstructions without images to judge by: hidden measurements that are foreseen."""

from __future__ import annotations

import numpy as np

from sklearn_meta._adapted_images import AdaptedImages
from sklearn_meta._blended_images import BlendedImages
from sklearn_meta.metrics import psnr

#: Share of the measurements that is hidden.
HIDDEN = 0.1


def score_of_hidden(adapted: AdaptedImages | BlendedImages, measurements: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of hidden measurements, in dB.

    Parameters
    ----------
    adapted : AdaptedImages or BlendedImages
    measurements : ndarray of shape ``(n, *measurement_shape)``
        NaN where one is missing.

    Raises
    ------
    ValueError
        If no image has two known measurements, of which one could be hidden.
    """
    known = np.isfinite(measurements)
    hidden = _some_of(known.reshape(len(known), -1)).reshape(known.shape)
    images, _ = adapted.reconstruct(np.where(hidden, np.nan, measurements))
    foreseen = adapted.measure(images)
    truth = measurements[hidden]
    spread = np.ptp(measurements[known])
    return psnr(truth[None], foreseen[hidden][None], data_range=spread if spread > 0 else 1.0)


def _some_of(known: np.ndarray) -> np.ndarray:
    """Which of the known measurements (n, m) to hide: at random, never all of an image."""
    n_known = known.sum(axis=1)
    if n_known.max() < 2:
        raise ValueError(
            "X has at most one known measurement for each image, so that none can be hidden to be "
            "foreseen from others: pass the images as y."
        )
    draw = np.where(known, np.random.default_rng(0).random(known.shape), np.inf)
    most = np.maximum(n_known - 1, 0)
    n_hidden = np.minimum((draw < HIDDEN).sum(axis=1), most)
    n_hidden = n_hidden if n_hidden.any() else np.minimum(1, most)
    return draw.argsort(axis=1).argsort(axis=1) < n_hidden[:, None]
