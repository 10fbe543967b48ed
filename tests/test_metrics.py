"""Scores of reconstructed images against scikit-image's."""

import builtins

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_meta.metrics import psnr, psnr_scorer, ssim, ssim_scorer

skimage_metrics = pytest.importorskip("skimage.metrics")
RNG = np.random.default_rng(0)
GREY = RNG.uniform(size=(3, 12, 9))
NOISY = GREY + 0.1 * RNG.normal(size=GREY.shape)


def test_psnr_is_the_mean_of_scikit_image_over_images():
    each = [
        skimage_metrics.peak_signal_noise_ratio(a, b, data_range=1.0)
        for a, b in zip(GREY, NOISY, strict=True)
    ]
    assert psnr(GREY, NOISY) == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize("shape", [(12, 9), (12, 9, 3), (5, 4)])
def test_ssim_is_the_mean_of_scikit_image_over_images(shape):
    images = RNG.uniform(size=(2, *shape))
    noisy = images + 0.1 * RNG.normal(size=images.shape)
    options = {"data_range": 1.0, "channel_axis": -1 if len(shape) == 3 else None}
    options["win_size"] = 7 if min(shape[:2]) >= 7 else 3
    each = [
        skimage_metrics.structural_similarity(a, b, **options)
        for a, b in zip(images, noisy, strict=True)
    ]
    assert ssim(images, noisy) == pytest.approx(np.mean(each), rel=1e-12)


def test_flat_images_score_as_images():
    flat = GREY.reshape(3, -1), NOISY.reshape(3, -1)
    assert psnr(*flat) == psnr(GREY, NOISY)
    assert psnr(GREY, flat[1]) == psnr(GREY, NOISY)
    assert ssim(*flat, image_shape=(12, 9)) == ssim(GREY, NOISY)


def test_the_range_of_the_data():
    whole = np.round(GREY * 255).astype(np.uint8)
    noisy = np.round(NOISY.clip(0, 1) * 255)
    assert psnr(whole, noisy) == pytest.approx(psnr(whole / 255, noisy / 255))
    # Unsigned integers as scikit-image has it, but for masks: those are in [0, 1] as other images.
    dark, found = (GREY * 96).astype(np.uint8), (NOISY.clip(0, 1) * 96).astype(np.uint8)
    each = [skimage_metrics.peak_signal_noise_ratio(a, b) for a, b in zip(dark, found, strict=True)]
    assert psnr(dark, found) == pytest.approx(np.mean(each))
    mask = GREY > 0.5
    assert psnr(mask.astype(np.uint8), NOISY) == psnr(mask, NOISY) == psnr(1.0 * mask, NOISY)
    # Whole numbers of other kinds are numbers: scikit-image would take 2 ** 63 for the range.
    assert psnr(dark.astype(int), found) == psnr(dark.astype(float), found)
    spread = GREY.max() - GREY.min()
    assert psnr(GREY - 5, NOISY - 5) == pytest.approx(psnr(GREY, NOISY, data_range=spread))
    assert psnr(10 * GREY, 10 * NOISY, data_range=10) == pytest.approx(psnr(GREY, NOISY))


def test_exact_reconstructions():
    assert psnr(GREY, GREY) == np.inf
    assert ssim(GREY, GREY) == pytest.approx(1.0)


class Same(BaseEstimator):
    image_shape_ = (12, 9)

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return X


def test_scorers_of_estimators_and_pipelines():
    piped = make_pipeline(FunctionTransformer(), Same())
    for estimator in (Same(), piped):
        flat = NOISY.reshape(3, -1), GREY.reshape(3, -1)
        assert psnr_scorer(estimator, *flat) == psnr(GREY, NOISY)
        assert ssim_scorer(estimator, *flat) == ssim(GREY, NOISY)
    assert ssim_scorer(Same(), NOISY, GREY) == ssim(GREY, NOISY)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psnr(GREY, NOISY[:2]), "inconsistent numbers of samples"),
        (lambda: psnr(GREY, NOISY[:, :-1]), "same number of pixels"),
        (lambda: psnr(GREY, np.moveaxis(NOISY, 1, 2)), "same order"),
        (lambda: psnr(GREY, NOISY, data_range=0), "data_range is 0, expected a number > 0"),
        (lambda: psnr(GREY, NOISY, data_range="x"), "data_range is 'x', expected a number > 0"),
        (lambda: psnr(GREY, NOISY, data_range=np.inf), "data_range is inf"),
        (lambda: ssim(GREY, NOISY, data_range=[1]), r"data_range is \[1\]"),
        (lambda: psnr(np.arange(3), NOISY), r"y_true has shape \(3,\), expected images .*Labels"),
        (lambda: psnr(list("abc"), NOISY), r"y_true has shape \(3,\), expected images"),
        (lambda: psnr(GREY, NOISY[:, 0, 0]), r"y_pred has shape \(3,\), expected images"),
        (lambda: psnr(GREY + 1j, NOISY), "y_true is complex, expected real numbers"),
        (lambda: psnr_scorer(Same(), NOISY, np.arange(3)), "y_true has shape"),
        (lambda: ssim_scorer(Same(), NOISY, np.arange(3)), "y_true has shape"),
        (lambda: psnr(np.full_like(GREY, np.nan), NOISY), "contains NaN"),
        (lambda: ssim(GREY.reshape(3, -1), NOISY), "flat ones with image_shape"),
        (lambda: ssim(GREY, NOISY, image_shape=(12, 8)), "image_shape is"),
        (lambda: ssim(GREY[:, :2], NOISY[:, :2]), "at least 3x3"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_scikit_image(monkeypatch):
    imported = builtins.__import__

    def no_skimage(name, *args, **kwargs):
        if name.startswith("skimage"):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_skimage)
    assert psnr(GREY, NOISY) > 0
    with pytest.raises(ImportError, match="needs scikit-image: pip install"):
        ssim(GREY, NOISY)
