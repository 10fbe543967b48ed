"""The prior of a table by itself, whose rows are taken for images of one row of pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf_shrinkage

from sklearn_meta._learn_images import image_prior
from sklearn_meta._prior import Prior
from sklearn_meta.learners.reconstruction import GaussianPrior, Learned, Noise
from sklearn_meta.learners.reconstruction._factored import FactoredMixture

#: More columns than this are images, of which nobody said so.
MOST_COLUMNS = 1024

#: Smallest variance of a direction, as a share of the mean variance of the columns.
FLOOR = 1e-6


def prior_of_table(rows: np.ndarray, noise: Noise) -> tuple[Prior, Noise]:
    """Gaussian prior of the rows of a table without their noise, and the noise.

    Mean and covariance are those of the values that are known, the covariance shrunken as
    Ledoit and Wolf do. Where the noise is not given, it is the most that the covariance admits:
    its smallest eigenvalue, none for a table of one column or of no more rows than columns.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        NaN is missing.
    noise : Noise

    Raises
    ------
    ValueError
        If the table has more columns than `MOST_COLUMNS`.

    References
    ----------
    O. Ledoit, M. Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis.
    """
    n_rows, n_columns = rows.shape
    if n_columns > MOST_COLUMNS:
        raise ValueError(
            f"X has {n_columns} columns, and neither operator nor image_shape says what they "
            "measure: pass image_shape=(H, W) or (H, W, C) where X holds noisy images, or "
            "operator=."
        )
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    mean = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(count, 1)
    centered = np.where(known, rows - mean, 0.0)
    pairs = known.T.astype(float) @ known
    covariance = centered.T @ centered / np.maximum(pairs, 1)
    if n_rows > 1:
        share = ledoit_wolf_shrinkage(centered, assume_centered=True)
        target = np.trace(covariance) / n_columns * np.eye(n_columns)
        shrunken = (1 - share) * covariance + share * target
    else:
        shrunken = covariance
    values, vectors = np.linalg.eigh(shrunken)
    sigma = noise.sigma
    if sigma is None:
        admits = n_columns > 1 and n_rows > n_columns
        sigma = math.sqrt(max(np.linalg.eigvalsh(covariance)[0], 0.0)) if admits else 0.0
    floor = FLOOR * values.mean() + 1e-12
    values = np.maximum(values - np.square(np.mean(sigma)), floor)
    mixture = FactoredMixture.single(
        torch.from_numpy(mean), torch.from_numpy((vectors * values) @ vectors.T)
    )
    facts = {"sigma": float(np.mean(sigma)), "image_shape": [1, n_columns]}
    learned = Learned(mixture.arrays(), facts)
    prior = image_prior(GaussianPrior(), learned, [(1, n_columns)], {"n_tasks": 1})
    return prior, Noise(sigma, noise.gain)
