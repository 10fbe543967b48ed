"""Mixtures of Gaussians with more components than images would allow: covariances are shrunken."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from sklearn_meta.learners.reconstruction._factored import FactoredMixture

#: Share of the variance that components may differ in, and most coordinates for it. Few pixels
#: are kept whole.
SHARE, MOST_COORDINATES, FEW_PIXELS = 0.97, 200, 100


def fit_mixture(
    rows: Tensor,
    mean: Tensor,
    covariance: Tensor,
    n_components: int,
    strength: float,
    rng: np.random.Generator,
    n_steps: int = 8,
) -> FactoredMixture:
    """Fit a mixture by expectation maximisation, in the leading eigenvectors of a covariance.

    Covariances have an inverse Wishart prior whose mean is the pooled one: that of component k is
    ``(S_k + strength * W) / (n_k + strength)`` with its scatter S_k and the mean scatter W.

    Parameters
    ----------
    rows : Tensor of shape (N, n), float64
    mean : Tensor of shape (n,)
    covariance : Tensor of shape (n, n)
        Positive definite. Its trailing directions are shared by all components.
    n_components : int
    strength : float
        In rows.
    rng : numpy.random.Generator
    n_steps : int, default=8

    Returns
    -------
    FactoredMixture

    References
    ----------
    C. Fraley, A. E. Raftery (2007), "Bayesian regularization for normal mixture estimation and
    model-based clustering", Journal of Classification.
    """
    if n_components == 1:
        return FactoredMixture.single(mean, covariance)
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    n_pixels = len(values)
    d = n_pixels
    if n_pixels > FEW_PIXELS:
        share = values.cumsum(0) / values.sum()
        d = min(MOST_COORDINATES, int((share < SHARE).sum()) + 1)
    # Single precision until the last step: halves the time, and the floor is far above its error.
    z = ((rows - mean) @ vectors[:, :d]).float()
    floor = float(values[-1]) * torch.eye(d, dtype=z.dtype, device=z.device)
    seed = int(rng.integers(2**31))
    labels = KMeans(n_components, n_init=1, max_iter=30, random_state=seed).fit_predict(
        z.cpu().numpy()
    )
    share = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), n_components)
    share = share.to(z)
    for _ in range(n_steps - 1):
        share = responsibilities(z, *maximise(z, share, strength, floor))
    weights, means, covariances = maximise(z.double(), share.double(), strength, floor.double())
    return FactoredMixture(mean, vectors, values[d:], weights, means, covariances)


def maximise(
    z: Tensor, share: Tensor, strength: float, floor: Tensor, is_centred: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (k,), means (k, d) and covariances (k, d, d) by shares (N, k) of rows z (N, d).

    Parameters
    ----------
    z, share : Tensor
    strength : float
        See `fit_mixture`.
    floor : Tensor of shape (d, d)
        Added to the covariances.
    is_centred : bool, default=False
        Whether means are 0.
    """
    counts = share.sum(0)
    means = (share.T @ z) / counts.clamp(min=1e-6)[:, None]
    means = torch.zeros_like(means) if is_centred else means
    scatters = []
    for k in range(len(means)):
        # Rows that do not belong to the component cost time and say nothing.
        own = share[:, k] > 1e-6
        away = (z[own] - means[k]) * share[own, k : k + 1].sqrt()
        scatters.append(away.T @ away)
    scatter = torch.stack(scatters)
    pooled = scatter.sum(0) / len(z)
    total = (counts + strength)[:, None, None]
    weights = (counts + 1) / (counts + 1).sum()
    return weights, means, (scatter + strength * pooled) / total + floor


def responsibilities(z: Tensor, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """Share (N, k) that each component has in each row of z (N, d)."""
    factors = torch.linalg.cholesky(covariances)
    log = []
    for weight, mean, factor in zip(weights, means, factors, strict=True):
        white = torch.linalg.solve_triangular(factor, (z - mean).T, upper=False)
        log.append(
            math.log(float(weight)) - factor.diagonal().log().sum() - 0.5 * white.square().sum(0)
        )
    return torch.stack(log, 1).softmax(1)
