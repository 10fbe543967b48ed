"""The parameter `noise` of the user -> `Noise`."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from sklearn_meta.learners.reconstruction import Noise


def read_noise(noise: Any) -> Noise:
    """Read the parameter `noise`.

    Parameters
    ----------
    noise : "auto", float, array-like of shape (n,), ("poisson", peak) or Noise
        Standard deviation of the measurements, for all images or one each; or counts that were
        divided by their peak.

    Raises
    ------
    ValueError
        If it is something else, or negative.
    """
    if isinstance(noise, str) and noise == "auto":
        return Noise(None)
    if isinstance(noise, (tuple, list)) and len(noise) == 2 and noise[0] == "poisson":
        peak = noise[1]
        if _is_number(peak) and 0 < peak < np.inf:
            return Noise(0.0, 1.0 / float(peak))
        raise ValueError(f"noise is {noise!r}, expected a peak > 0: ('poisson', 30).")
    if hasattr(noise, "sigma") and hasattr(noise, "gain"):
        inner = "auto" if noise.sigma is None else noise.sigma
        sigma = read_noise(inner).sigma
        if _is_number(noise.gain) and 0 <= noise.gain < np.inf:
            return Noise(sigma, float(noise.gain))
        raise ValueError(f"noise has the gain {noise.gain!r}, expected a number >= 0.")
    try:
        sigma = np.asarray(noise, dtype=np.float64)
    except (TypeError, ValueError):
        sigma = np.array(np.nan)
    is_text = isinstance(noise, (str, bool)) or noise is None
    if is_text or sigma.ndim > 1 or not (np.isfinite(sigma) & (sigma >= 0)).all():
        raise ValueError(
            f"noise is {noise!r}, expected 'auto', a standard deviation >= 0, an array of one for "
            "each image, or ('poisson', peak)."
        )
    return Noise(float(sigma)) if sigma.ndim == 0 else Noise(sigma)


def check_noise_fits(noise: Noise, n_images: int) -> None:
    """Raise ValueError where a noise level for each image is one of other images."""
    if isinstance(noise.sigma, np.ndarray) and len(noise.sigma) != n_images:
        raise ValueError(
            f"noise holds {len(noise.sigma)} standard deviations, one for each image, but X has "
            f"{n_images} row{'' if n_images == 1 else 's'}; pass one number, or as many as rows."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
