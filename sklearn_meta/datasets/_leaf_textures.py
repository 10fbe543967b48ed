"""Textures of leaves: power-law noise, gratings, weaves, grains."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

_N_TEXTURES = 5


def draw_textures(
    rng: np.random.Generator, height: int, width: int, n_textures: int = _N_TEXTURES
) -> list[np.ndarray]:
    """Draw textures for one image.

    Parameters
    ----------
    rng : Generator
    height, width : int
    n_textures : int, default=5

    Returns
    -------
    list of ndarray of shape (height, width), float32
        Of mean 0 and standard deviation 0.2.
    """
    families = _power_law, _power_law, _grating, _weave, _grains, _bent_grating
    textures = []
    for _ in range(n_textures):
        texture = families[rng.integers(len(families))](rng, height, width)
        texture = texture - texture.mean()
        textures.append((0.2 * texture / (texture.std() + 1e-6)).astype(np.float32))
    return textures


def _power_law(rng, height, width):
    """Noise whose amplitude falls as a power of frequency, in part along one direction."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 2.0) * (rng.random() < 0.5))
    u = np.cos(angle) * x + np.sin(angle) * y
    v = (np.cos(angle) * y - np.sin(angle) * x) * stretch
    frequency = np.sqrt(u**2 + v**2)
    lowest = np.exp(rng.uniform(np.log(min(0.1, 2.0 / max(height, width))), np.log(0.1)))
    spectrum = (frequency**2 + lowest**2) ** (-rng.uniform(0.5, 2.2) / 2)
    spectrum[0, 0] = 0
    noise = irfft2(rfft2(rng.normal(size=(height, width))) * spectrum, s=(height, width))
    return _sharpened(rng, noise)


def _phase(rng, height, width):
    """Phase of plane waves, in radians, with its wave length between 5 and 50 pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi) if rng.random() < 0.7 else 0.5 * np.pi * rng.integers(2)
    wavelength = np.exp(rng.uniform(np.log(5.0), np.log(50.0)))
    phase = 2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / wavelength
    return phase + rng.uniform(0, 2 * np.pi)


def _grating(rng, height, width):
    return _sharpened(rng, np.sin(_phase(rng, height, width)))


def _weave(rng, height, width):
    """Two gratings across one another: multiplied, added or the larger of both."""
    a, b = (np.sin(_phase(rng, height, width)) for _ in range(2))
    way = rng.integers(3)
    return _sharpened(rng, a * b if way == 0 else a + b if way == 1 else np.maximum(a, b))


def _bent_grating(rng, height, width):
    """Stripes bent by smooth noise, as of fur, wood or cloth."""
    sigma = np.exp(rng.uniform(np.log(4.0), np.log(40.0)))
    bend = gaussian_filter(rng.normal(size=(height, width)), sigma, mode="wrap")
    bend *= rng.uniform(0.5, 6.0) / (bend.std() + 1e-6)
    return _sharpened(rng, np.sin(_phase(rng, height, width) + bend))


def _grains(rng, height, width):
    """Noise between two scales, as of sand, gravel or leaves."""
    fine = np.exp(rng.uniform(np.log(0.8), np.log(6.0)))
    noise = rng.normal(size=(height, width))
    grains = gaussian_filter(noise, fine, mode="wrap") - gaussian_filter(
        noise, rng.uniform(1.5, 3.0) * fine, mode="wrap"
    )
    return _sharpened(rng, grains)


def _sharpened(rng, texture):
    """Half of the textures get edges: a steep sigmoid of their values."""
    if rng.random() < 0.5:
        return texture
    scaled = (texture - texture.mean()) / (texture.std() + 1e-6)
    return np.tanh(rng.uniform(0.5, 5.0) * (scaled - rng.normal(0, 0.4)))
