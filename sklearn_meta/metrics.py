"""Scores of reconstructed images, and scorers for scikit-learn's searches."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

__all__ = ["psnr", "psnr_scorer", "ssim", "ssim_scorer"]

_SMALLEST_SIDE = 3
_WINDOW = 7  # of pixels, as scikit-image has it by default


def psnr(y_true: Any, y_pred: Any, *, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB, the mean over images.

    Parameters
    ----------
    y_true : array-like of shape (n, H, W), (n, H, W, C) or (n, n_pixels)
        The images.
    y_pred : array-like of the same number of values
        Their reconstructions.
    data_range : float, default=None
        Distance of the largest possible value from the smallest. By default that of `y_true`: 1
        for images in [0, 1], of whatever dtype; else the largest value of the dtype for unsigned
        integers, such as 255; else the distance of their extreme values.

    Returns
    -------
    float
        Infinite if an image is reconstructed exactly.

    Raises
    ------
    ValueError
        If the images are of other shapes, not finite, or `data_range` is no positive number.

    Notes
    -----
    The same number as the mean of `skimage.metrics.peak_signal_noise_ratio` over the images. It is
    also what `MetaReconstructor.score` returns, for images as they are passed to it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_meta.metrics import psnr
    >>> psnr(np.zeros((2, 4, 4)), np.full((2, 4, 4), 0.1))
    20.0
    """
    y_true, y_pred, data_range = _checked(y_true, y_pred, data_range)
    errors = ((y_true - y_pred) ** 2).reshape(len(y_true), -1).mean(axis=1)
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(data_range**2 / errors)))


def ssim(
    y_true: Any,
    y_pred: Any,
    *,
    data_range: float | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> float:
    """Structural similarity, the mean over images.

    Parameters
    ----------
    y_true : array-like of shape (n, H, W), (n, H, W, C), or (n, n_pixels) with `image_shape`
        The images.
    y_pred : array-like of the same number of values
        Their reconstructions.
    data_range : float, default=None
        As in `psnr`.
    image_shape : (H, W) or (H, W, C), default=None
        Of flat images.

    Returns
    -------
    float
        At most 1.

    Raises
    ------
    ImportError
        Without scikit-image.
    ValueError
        If the images are of other shapes, of unknown shape, or smaller than 3x3 pixels.

    References
    ----------
    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli (2004), "Image quality assessment: from
    error visibility to structural similarity", IEEE Transactions on Image Processing.
    """
    similarity = _structural_similarity()
    y_true, y_pred, data_range = _checked(y_true, y_pred, data_range)
    shape = y_true.shape[1:] if image_shape is None else tuple(image_shape)
    if len(shape) not in (2, 3) or np.prod(shape) != np.prod(y_true.shape[1:]):
        raise ValueError(
            f"y_true has shape {y_true.shape} and image_shape is {image_shape!r}; expected images "
            "(n, H, W) or (n, H, W, C), or flat ones with image_shape=(H, W) or (H, W, C)."
        )
    side = min(shape[:2])
    if side < _SMALLEST_SIDE:
        raise ValueError(
            f"images have {shape[0]}x{shape[1]} pixels, expected at least 3x3: structural "
            "similarity compares windows."
        )
    options = {
        "data_range": data_range,
        "channel_axis": -1 if len(shape) == 3 else None,
        "win_size": min(_WINDOW, side - 1 + side % 2),
    }
    pairs = zip(y_true.reshape(-1, *shape), y_pred.reshape(-1, *shape), strict=True)
    return float(np.mean([similarity(a, b, **options) for a, b in pairs]))


def psnr_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Score reconstructions by `psnr`: ``GridSearchCV(..., scoring=psnr_scorer)``.

    Parameters
    ----------
    estimator : MetaReconstructor, or a Pipeline that ends with one
        Fitted.
    X : array-like
        Measurements.
    y : array-like of shape (n, H, W), (n, H, W, C) or (n, n_pixels)
        The images.
    """
    return psnr(y, estimator.predict(X))


def ssim_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Score reconstructions by `ssim`: ``GridSearchCV(..., scoring=ssim_scorer)``.

    Parameters
    ----------
    estimator : MetaReconstructor, or a Pipeline that ends with one
        Fitted.
    X : array-like
        Measurements.
    y : array-like of shape (n, H, W), (n, H, W, C) or (n, n_pixels)
        The images.
    """
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    flat = np.ndim(y) == 2
    return ssim(y, estimator.predict(X), image_shape=last.image_shape_ if flat else None)


def _checked(
    y_true: Any, y_pred: Any, data_range: float | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Both of the shape of `y_true`, float64."""
    is_number = isinstance(data_range, Real) and not isinstance(data_range, bool)
    if data_range is not None and not (is_number and 0 < data_range < np.inf):
        raise ValueError(f"data_range is {data_range!r}, expected a number > 0, or None.")
    dtype = np.asarray(y_true).dtype
    y_true, y_pred = _images(y_true, "y_true"), _images(y_pred, "y_pred")
    check_consistent_length(y_true, y_pred)
    # A channel may be left out of grey images.
    shapes = [a.shape[:3] if a.shape[3:] == (1,) else a.shape for a in (y_true, y_pred)]
    is_same = shapes[0] == shapes[1] or 2 in (y_true.ndim, y_pred.ndim)
    if not is_same or y_true.size != y_pred.size:
        raise ValueError(
            f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}, expected the same number "
            "of pixels in the same order."
        )
    if data_range is None:
        data_range = _range_of(y_true, dtype)
    return y_true, y_pred.reshape(y_true.shape), float(data_range)


def _images(values: Any, name: str) -> np.ndarray:
    """Return images as finite float64; errors name the argument, and print no arrays."""
    if np.ndim(values) < 2:
        raise ValueError(
            f"{name} has shape {np.shape(values)}, expected images of shape (n, H, W) or "
            "(n, H, W, C), or flat ones (n, n_pixels). Labels are nothing to score images by."
        )
    if np.iscomplexobj(values):
        raise ValueError(f"{name} is complex, expected real numbers; pass np.abs({name}).")
    return check_array(values, allow_nd=True, dtype=np.float64, input_name=name)


def _range_of(images: np.ndarray, dtype: np.dtype) -> float:
    low, high = float(images.min()), float(images.max())
    if 0 <= low and high <= 1:
        return 1.0
    if dtype.kind == "u":
        return float(np.iinfo(dtype).max)
    return high - low if high > low else 1.0


def _structural_similarity() -> Any:
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise ImportError(
            "Structural similarity needs scikit-image: pip install scikit-image, or "
            "pip install 'sklearn-meta[images]'."
        ) from error
    return structural_similarity
