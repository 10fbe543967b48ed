"""Operators drawn at random, so that a network learns more than those of the tasks."""

from __future__ import annotations

import numpy as np

from sklearn_meta.operators import Blur, Fourier, Mask, Operator, RandomProjection

_LARGEST_BLUR = 2.0  # pixels


def random_operator(rng: np.random.Generator, image_shape: tuple[int, ...]) -> Operator:
    """Draw an operator: random orthogonal rows, hidden pixels, a blur or lines of frequencies.

    Random rows come most often: they see all directions alike, and so stand for operators of
    which nothing is known.

    Parameters
    ----------
    rng : numpy.random.Generator
    image_shape : (H, W) or (H, W, C)

    References
    ----------
    M. Genzel, J. Macdonald, M. März (2022), "Solving inverse problems with deep neural networks -
    robustness included?", IEEE PAMI.
    """
    kind = rng.random()
    height, width = image_shape[:2]
    if kind < 0.4:
        n = max(1, int(height * width * np.exp(rng.uniform(np.log(0.1), np.log(0.6)))))
        return RandomProjection(image_shape, n, "hadamard", random_state=rng)
    if kind < 0.6:
        seen = rng.random((height, width)) < rng.uniform(0.15, 0.8)
        seen.flat[rng.integers(seen.size)] = True
        return Mask(image_shape, seen)
    if kind < 0.8:
        return Blur(image_shape, _gaussian(rng))
    mask = Fourier.line_mask(
        image_shape, rng.uniform(1.5, 4.5), axis=int(rng.integers(2)), random_state=rng
    )
    return Fourier(image_shape, mask)


def _gaussian(rng: np.random.Generator) -> np.ndarray:
    r = np.arange(-6, 7)
    angle, widths = rng.uniform(0, np.pi), rng.uniform(0.4, _LARGEST_BLUR, 2)
    u = np.cos(angle) * r[:, None] + np.sin(angle) * r
    v = np.cos(angle) * r - np.sin(angle) * r[:, None]
    kernel = np.exp(-0.5 * ((u / widths[0]) ** 2 + (v / widths[1]) ** 2))
    return kernel / kernel.sum()
