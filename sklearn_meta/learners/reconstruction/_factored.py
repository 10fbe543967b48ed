"""A mixture of Gaussians over images that share all but few directions, and its posterior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners._linalg import cholesky


@dataclass(frozen=True, eq=False)
class FactoredMixture:
    """Images ``x = center + basis @ [u, v]`` with `u` from a mixture and `v` independent of it.

    ``u`` holds d coordinates, ``N(means[k], covariances[k])`` with probability ``weights[k]``;
    the other n - d coordinates ``v`` are ``N(0, diag(rest))`` in every component.

    Parameters
    ----------
    center : Tensor of shape (n,)
    basis : Tensor of shape (n, n)
        Orthonormal columns.
    rest : Tensor of shape (n - d,)
        Variances.
    weights : Tensor of shape (k,)
    means : Tensor of shape (k, d)
    covariances : Tensor of shape (k, d, d)
    """

    center: Tensor
    basis: Tensor
    rest: Tensor
    weights: Tensor
    means: Tensor
    covariances: Tensor

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> FactoredMixture:
        """Make it from `arrays`."""
        names = cls.__dataclass_fields__
        return cls(*(torch.tensor(arrays[name]).to(device, torch.float64) for name in names))

    @classmethod
    def single(cls, center: Tensor, covariance: Tensor) -> FactoredMixture:
        """One Gaussian."""
        values, vectors = torch.linalg.eigh(covariance)
        weight, none = center.new_ones(1), center.new_zeros(1, 0, 0)
        return cls(center, vectors, values.clamp(min=0.0), weight, center.new_zeros(1, 0), none)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what `from_arrays` takes."""
        return {name: getattr(self, name).cpu().numpy() for name in self.__dataclass_fields__}

    @property
    def rank(self) -> int:
        """Number of coordinates in which components differ."""
        return self.means.shape[1]

    def components(self, index: Any) -> FactoredMixture:
        """Some of the components, with the weights that they have here."""
        own = (values[index] for values in (self.weights, self.means, self.covariances))
        return FactoredMixture(self.center, self.basis, self.rest, *own)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (n,) and covariance (n, n) of all images."""
        d, weights = self.rank, self.weights / self.weights.sum()
        mean = weights @ self.means
        away = self.means - mean
        spread = (weights[:, None, None] * self.covariances).sum(0)
        spread = spread + (away * weights[:, None]).T @ away
        u, v = self.basis[:, :d], self.basis[:, d:]
        return self.center + u @ mean, u @ spread @ u.T + (v * self.rest) @ v.T


def pool(members: list[FactoredMixture]) -> FactoredMixture:
    """One mixture of all components of mixtures that share center, basis and rest."""
    weights = torch.cat([member.weights for member in members]) / len(members)
    means = torch.cat([member.means for member in members])
    covariances = torch.cat([member.covariances for member in members])
    first = members[0]
    return FactoredMixture(first.center, first.basis, first.rest, weights, means, covariances)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What measurements say of images, component by component.

    Parameters
    ----------
    log_evidence : Tensor of shape (N, k)
        ``log(weights[k] p(y | k))``.
    images : Tensor of shape (k, N, n)
        Means.
    variances : Tensor of shape (k, n)
    """

    log_evidence: Tensor
    images: Tensor
    variances: Tensor

    def mean(self) -> Tensor:
        """Mean of the mixture; shape (N, n)."""
        return torch.einsum("nk,kni->ni", self.log_evidence.softmax(1), self.images)

    def std(self) -> Tensor:
        """Standard deviation of the mixture; shape (N, n)."""
        share = self.log_evidence.softmax(1)
        away = (self.images - self.mean()).square()
        return (share @ self.variances + torch.einsum("nk,kni->ni", share, away)).sqrt()


def join(parts: list[Posterior]) -> Posterior:
    """Join the posteriors of components that were conditioned apart, under different noise."""
    evidence = torch.cat([part.log_evidence for part in parts], 1)
    images = torch.cat([part.images for part in parts])
    return Posterior(evidence, images, torch.cat([part.variances for part in parts]))


class Conditioner:
    """Posterior of images given ``y = matrix @ x + n`` with independent Gaussian noise n.

    The coordinates that components share are integrated out once; each component then takes
    algebra of its `rank` alone. With no noise and no shared variance a trace of noise stands in.

    Parameters
    ----------
    mixture : FactoredMixture
    matrix : Tensor of shape (m, n)
    variance : Tensor of shape (m,)
        Of the noise.
    """

    def __init__(self, mixture: FactoredMixture, matrix: Tensor, variance: Tensor):
        self.mixture, d = mixture, mixture.rank
        seen = matrix @ mixture.basis
        self._offset, self._few = matrix @ mixture.center, seen[:, :d]
        shared = seen[:, d:] * mixture.rest.sqrt()
        total = shared @ shared.T
        floor = 1e-12 * (total.diagonal().mean() + seen.square().mean() * len(mixture.center))
        self._factor = cholesky(total + torch.diag(variance + floor + 1e-300))
        whiten = self._whiten(torch.cat([self._few, shared], 1))
        few, shared = whiten[:, :d], whiten[:, d:]
        self._white_few = few
        spread = mixture.basis[:, d:] * mixture.rest.sqrt()
        self._gain = spread @ shared.T  # of whitened measurements on pixels; shape (n, m)
        self._map = mixture.basis[:, :d] - self._gain @ few
        self._rest = spread.square().sum(1) - self._gain.square().sum(1)
        prior = cholesky(mixture.covariances) if d else mixture.covariances
        scaled = few @ prior  # (k, m, d)
        inner = torch.eye(d, dtype=few.dtype, device=few.device) + scaled.mT @ scaled
        self._inner = torch.linalg.cholesky(inner)
        self._root = torch.linalg.solve_triangular(self._inner, prior.mT, upper=False)
        self._scaled = scaled
        self._log_scale = (
            mixture.weights.log()
            - self._inner.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            - self._factor.diagonal().log().sum()
            - 0.5 * len(matrix) * math.log(2 * math.pi)
        )

    def __call__(self, measurements: Tensor) -> Posterior:
        """Condition on measurements (N, m) without NaN."""
        white = self._whiten((measurements - self._offset).T).T
        away = white - (self.mixture.means @ self._white_few.T)[:, None]  # (k, N, m)
        back = torch.linalg.solve_triangular(self._inner, (away @ self._scaled).mT, upper=False)
        energy = away.square().sum(-1) - back.square().sum(1)
        coordinates = self.mixture.means[:, None] + back.mT @ self._root  # (k, N, d)
        base = self.mixture.center + white @ self._gain.T
        variances = (self._map @ self._root.mT).square().sum(-1) + self._rest
        return Posterior(
            self._log_scale - 0.5 * energy.T,
            base + coordinates @ self._map.T,
            variances.clamp(min=0.0),
        )

    def _whiten(self, columns: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self._factor, columns, upper=False)
