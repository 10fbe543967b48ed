"""Images on which the schedule of an operator is found, in the shape that it takes."""

from __future__ import annotations

import numpy as np

N_PIXELS = 2**16  # of the images that a prior keeps


def images_of_shape(
    images: np.ndarray, image_shape: tuple[int, ...], n_pixels: int = N_PIXELS
) -> np.ndarray:
    """Cut images of a shape out of others, or reflect those that are smaller.

    Parameters
    ----------
    images : ndarray of shape (n, h, w[, c]), uint8
        What is known, scaled to 0..255.
    image_shape : (H, W) or (H, W, C)
    n_pixels : int
        About as many pixels in all; at least one image, and each at most cut up once.

    Returns
    -------
    ndarray of shape (m, *image_shape), float32
        In [0, 1].
    """
    height, width = image_shape[:2]
    x = images.astype(np.float32) / 255
    x = x[..., None] if x.ndim == 3 else x
    n_channels = image_shape[2] if len(image_shape) == 3 else 1
    if x.shape[-1] != n_channels:
        x = np.repeat(x.mean(-1, keepdims=True), n_channels, axis=-1)
    x = _reflect(x, height, width)
    rows, columns = x.shape[1] // height, x.shape[2] // width
    x = x[:, : rows * height, : columns * width]
    x = x.reshape(len(x), rows, height, columns, width, n_channels).swapaxes(2, 3)
    # The same place of every image before the next place of any.
    x = x.swapaxes(0, 1).swapaxes(1, 2).reshape(-1, height, width, n_channels)
    x = x[: max(1, n_pixels // (height * width))]
    return np.ascontiguousarray(x.reshape(-1, *image_shape))


def _reflect(x: np.ndarray, height: int, width: int) -> np.ndarray:
    missing = (max(0, height - x.shape[1]), max(0, width - x.shape[2]))
    return np.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")


def some_of(images: list[np.ndarray], n_pixels: int = N_PIXELS) -> np.ndarray:
    """Choose images to keep, alike in shape: those of the most common shape, tasks in turn.

    Parameters
    ----------
    images : list of ndarray of shape ``(n, *image_shape)``
        One a task; about in [0, 1].
    n_pixels : int

    Returns
    -------
    ndarray of shape (m, *image_shape), uint8
    """
    shapes = [x.shape[1:] for x in images]
    common = max(set(shapes), key=lambda shape: sum(len(x) for x in images if x.shape[1:] == shape))
    alike = [x for x in images if x.shape[1:] == common]
    turns = [x[k] for k in range(max(map(len, alike))) for x in alike if k < len(x)]
    kept = np.stack(turns[: max(1, n_pixels // (common[0] * common[1]))])
    return np.round(kept.clip(0, 1) * 255).astype(np.uint8)
