"""Dead leaves: images made of occluding shapes, with the statistics of photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from sklearn_meta._random import generator_of
from sklearn_meta.datasets._leaf_textures import draw_textures

_FINER = 2  # images are drawn finer than asked for, so that edges are not jagged
_MOST_LEAVES = 6000


def make_dead_leaves(
    n_images: int = 100,
    image_shape: tuple[int, ...] = (64, 64),
    *,
    random_state: Any = None,
) -> np.ndarray:
    """Draw images of shapes that cover one another.

    Shapes (disks, ellipses, rectangles, rhombi, strokes, polygons) fall in front of one another
    until nothing of the ground is seen. Their sizes follow a power law, which makes the images
    invariant to scale as photographs are; they are shaded, textured (power-law noise, gratings,
    weaves) and in part out of focus. Some images are one texture, some leave ground uncovered.
    What learns from them needs no photograph, and owes nobody a licence.

    Parameters
    ----------
    n_images : int, default=100
    image_shape : (H, W) or (H, W, 3), default=(64, 64)
        Grey or colour.
    random_state : int, RandomState, Generator or None, default=None

    Returns
    -------
    images : ndarray of shape (n_images, *image_shape), float32
        In [0, 1].

    Raises
    ------
    ValueError
        If `image_shape` is neither (H, W) nor (H, W, 3).

    References
    ----------
    A. B. Lee, D. Mumford, J. Huang (2001), "Occlusion models for natural images: a statistical
    study of a scale-invariant dead leaves model", International Journal of Computer Vision.

    R. Achddou, Y. Gousseau, S. Ladjal (2021), "Synthetic images as a regularity prior for image
    restoration neural networks", SSVM.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_dead_leaves
    >>> make_dead_leaves(3, (32, 48), random_state=0).shape
    (3, 32, 48)
    """
    if len(image_shape) not in (2, 3) or (len(image_shape) == 3 and image_shape[2] != 3):
        raise ValueError(f"image_shape is {image_shape!r}, expected (H, W) or (H, W, 3).")
    rng = generator_of(random_state)
    height, width = image_shape[:2]
    images = np.empty((n_images, height, width, 3 if len(image_shape) == 3 else 1), np.float32)
    for image in images:
        fine = _draw_image(rng, _FINER * height, _FINER * width, image.shape[2])
        image[:] = fine.reshape(height, _FINER, width, _FINER, -1).mean(axis=(1, 3))
    return images.reshape(n_images, *image_shape)


def _draw_image(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """One image of shape (height, width, channels), in [0, 1]."""
    textures = draw_textures(rng, height, width)
    palette = _Palette(rng, channels)
    if rng.random() < 0.06:
        image = palette.color() + rng.uniform(0.3, 1.2) * textures[0][..., None]
    else:
        image = np.empty((height, width, channels), np.float32)
        free = np.ones((height, width), bool)
        share = rng.uniform(0.3, 0.95) if rng.random() < 0.15 else 0.995
        in_front = rng.uniform(0.2, 0.8) if rng.random() < 0.3 else None
        if in_front is None:
            _cover(rng, image, free, textures, palette, share)
        else:
            _cover(rng, image, free, textures, palette, in_front)
            behind = np.empty_like(image)
            ground = np.ones_like(free)
            _cover(rng, behind, ground, textures, palette, share)
            behind[ground] = palette.color()
            sigma = np.exp(rng.uniform(np.log(1.0), np.log(8.0)))
            image[free] = gaussian_filter(behind, (sigma, sigma, 0))[free]
            free[:] = False
        image[free] = rng.choice([0.0, 1.0]) if rng.random() < 0.5 else palette.color()
    if rng.random() < 0.7:
        sigma = rng.uniform(0.3, 1.5) if rng.random() < 0.9 else rng.uniform(1.5, 5.0)
        image = gaussian_filter(image, (sigma, sigma, 0))
    if rng.random() < 0.2:  # uneven light
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        angle = rng.uniform(0, 2 * np.pi)
        image = (
            image * (1 + rng.uniform(0, 0.5) * (np.cos(angle) * x + np.sin(angle) * y))[..., None]
        )
    return np.clip(image, 0, 1)


def _cover(rng, image, free, textures, palette, share):
    """Draw shapes from front to back into what is free, until a share of the image is covered."""
    height, width = free.shape
    smallest = np.exp(rng.uniform(np.log(2.0), np.log(max(2.0, min(40.0, height / 3, width / 3)))))
    largest = max(smallest, rng.uniform(0.5, 1.0) * max(height, width))
    kinds = rng.dirichlet(np.full(4, 0.6))  # most images prefer some shapes
    plain = rng.uniform(0.2, 0.9)  # share of shapes without texture
    turn = rng.uniform(0, np.pi) if rng.random() < 0.25 else None  # all shapes aligned
    limit = (1 - share) * free.size
    # The density of radii is r^-3, cut at both ends: its inverse distribution function.
    radii = smallest / np.sqrt(1 - rng.random(_MOST_LEAVES) * (1 - (smallest / largest) ** 2))
    for radius in radii:
        angle = rng.uniform(0, np.pi) if turn is None else turn + 0.5 * np.pi * rng.integers(2)
        stretch = np.exp(-rng.exponential(0.5)) if rng.random() < 0.9 else 0.03
        center = rng.random(2) * (height + radius, width + radius) - radius / 2
        reach = 1.42 * radius + 1
        top, left = np.maximum(np.floor(center - reach), 0).astype(int)
        bottom, right = np.minimum(center + reach + 1, (height, width)).astype(int)
        if top >= bottom or left >= right:
            continue
        box = slice(top, bottom), slice(left, right)
        y = (np.arange(top, bottom, dtype=np.float32) - center[0])[:, None] / radius
        x = (np.arange(left, right, dtype=np.float32) - center[1])[None, :] / radius
        u = np.cos(angle) * x + np.sin(angle) * y
        v = (np.cos(angle) * y - np.sin(angle) * x) / stretch
        inside = _shape(rng, rng.choice(4, p=kinds), u, v) & free[box]
        if not inside.any():
            continue
        leaf = _fill(rng, u, v, textures, palette, rng.random() > plain)
        image[box][inside] = leaf[inside]
        free[box][inside] = False
        if np.count_nonzero(free) < limit:
            break


def _shape(rng, kind, u, v):
    """Mask of a shape in its own coordinates, in which it is about the unit disk."""
    if kind == 0:
        return u**2 + v**2 < 1
    if kind == 1:
        return np.maximum(abs(u), abs(v)) < 1
    if kind == 2:
        power = rng.choice([0.7, 1.0, 3.0])
        return abs(u) ** power + abs(v) ** power < 1
    inside = np.ones(np.broadcast_shapes(u.shape, v.shape), bool)
    n_sides = rng.integers(3, 7)
    angles = (np.arange(n_sides) + rng.uniform(-0.35, 0.35, n_sides)) * 2 * np.pi / n_sides
    for angle in angles:
        inside &= np.cos(angle) * u + np.sin(angle) * v < rng.uniform(0.4, 0.9)
    return inside


def _fill(rng, u, v, textures, palette, textured):
    """Colour, shade and texture of a shape, on all of its box."""
    leaf = palette.color() + np.zeros((*np.broadcast_shapes(u.shape, v.shape), 1), np.float32)
    kind = rng.random()
    if kind < 0.4:  # a plane
        leaf = leaf + (rng.normal(0, 0.12) * u + rng.normal(0, 0.12) * v)[..., None]
    elif kind < 0.5:  # a bulge
        leaf = leaf + rng.normal(0, 0.2) * (1 - u**2 - v**2)[..., None]
    if textured:
        texture = textures[rng.integers(len(textures))]
        height, width = leaf.shape[:2]
        i = rng.integers(texture.shape[0] - height + 1)
        j = rng.integers(texture.shape[1] - width + 1)
        contrast = rng.exponential(0.5)
        leaf = leaf + contrast * texture[i : i + height, j : j + width, None]
    return leaf


class _Palette:
    """Colours of one image: grey values around a few levels, hues around a few.

    Parameters
    ----------
    rng : Generator
    channels : int
        1 for grey, 3 for colour.
    """

    def __init__(self, rng: np.random.Generator, channels: int):
        self.rng = rng
        self.center, self.spread = rng.uniform(0.2, 0.8), rng.uniform(0.08, 0.5)
        self.hues = rng.normal(0, 0.15, (5, channels)) if channels == 3 else None

    def color(self) -> np.ndarray:
        """One colour of shape (channels,)."""
        value = np.clip(self.center + self.spread * self.rng.uniform(-1.2, 1.2), 0, 1)
        if self.hues is None:
            return np.array([value], np.float32)
        hue = self.hues[self.rng.integers(len(self.hues))] + self.rng.normal(0, 0.03, 3)
        return np.clip(value + hue - hue.mean(), 0, 1).astype(np.float32)
