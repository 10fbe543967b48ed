"""A mixture of Gaussians over small patches of images, whose mean is free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from sklearn_meta.learners.reconstruction._mixture_em import maximise, responsibilities
from sklearn_meta.learners.reconstruction._planes import to_planes

#: Side of patches, and that of images with a side below the limit.
SIDE, SMALL_SIDE, SMALL_LIMIT = 8, 6, 24

#: Patches that are drawn, patches for each component, most components.
MOST_PATCHES, PER_COMPONENT, MOST_COMPONENTS = 40_000, 400, 64

#: Rows that the pooled covariance counts for in each component, and steps of the fit.
STRENGTH, STEPS = 1.0, 15

#: Floor of variances, as a share of the mean variance of a direction.
FLOOR = 1e-4

#: Directions whose variance is less than this share of the noise's are 0 in an estimate.
NEGLIGIBLE = 0.1

#: Patches at once, which bounds the memory.
AT_ONCE = 2**14


@dataclass(frozen=True, eq=False)
class PatchMixture:
    """Patches ``x = c + bases[k] @ u`` with any mean c, and u from ``N(0, diag(variances[k]))``.

    Parameters
    ----------
    weights : Tensor of shape (k,)
    bases : Tensor of shape (k, side * side, side * side - 1)
        Orthonormal columns, each of sum 0.
    variances : Tensor of shape (k, side * side - 1)
        Falling.
    """

    weights: Tensor
    bases: Tensor
    variances: Tensor

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device) -> PatchMixture:
        """Make it from `arrays`."""
        names = cls.__dataclass_fields__
        return cls(*(torch.tensor(arrays[name]).to(device, torch.float32) for name in names))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what `from_arrays` takes."""
        return {name: getattr(self, name).cpu().numpy() for name in self.__dataclass_fields__}

    @property
    def side(self) -> int:
        """Side of a patch in pixels."""
        return round(self.bases.shape[1] ** 0.5)

    def denoise(self, planes: Tensor, levels: Tensor) -> Tensor:
        """Estimate every patch by its likeliest component, and average where patches overlap.

        Parameters
        ----------
        planes : Tensor of shape (n, H, W)
        levels : Tensor of shape (n,)
            Standard deviation of the noise.
        """
        clean = [self._denoised(*pair) for pair in zip(planes, levels.tolist(), strict=True)]
        return torch.stack(clean) if clean else planes

    def _denoised(self, plane: Tensor, level: float) -> Tensor:
        side, (height, width) = self.side, plane.shape
        total = torch.zeros_like(plane)
        n_rows = max(1, AT_ONCE // (width - side + 1))
        estimator = _PatchEstimator(self, level)
        for top in range(0, height - side + 1, n_rows):
            bottom = min(top + n_rows, height - side + 1) + side - 1
            strip = plane[top:bottom]
            patches = strip.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)
            clean = estimator(patches).T[None]
            total[top:bottom] += torch.nn.functional.fold(clean, tuple(strip.shape), side)[0, 0]
        rows, columns = (_n_windows(n, side, plane) for n in (height, width))
        return total / (rows[:, None] * columns)


def _n_windows(n: int, side: int, like: Tensor) -> Tensor:
    """Number of windows that hold each of n places; shape (n,)."""
    i = torch.arange(n).to(like)
    return torch.minimum(i + 1, n - i).clamp(max=min(side, n - side + 1))


class _PatchEstimator:
    """Wiener filters of the components at a noise level."""

    def __init__(self, mixture: PatchMixture, level: float):
        noise = max(level, 1e-12) ** 2
        ratio = mixture.variances / noise
        self.offsets = (mixture.weights.log() - 0.5 * torch.log1p(ratio).sum(1)).tolist()
        ranks = (ratio > NEGLIGIBLE).sum(1).tolist()
        self.bases = [basis[:, :rank] for basis, rank in zip(mixture.bases, ranks, strict=True)]
        gains = ratio / (1 + ratio)
        self.gains = [gain[:rank] for gain, rank in zip(gains, ranks, strict=True)]
        self.scorers = [
            basis * (0.5 / noise * gain).sqrt()
            for basis, gain in zip(self.bases, self.gains, strict=True)
        ]

    def __call__(self, patches: Tensor) -> Tensor:
        """Estimate patches (N, side * side)."""
        mean = patches.mean(1, keepdim=True)
        away = patches - mean
        scores = [
            # What the component explains of a patch, over white noise.
            torch.linalg.vector_norm(away @ scorer, dim=1).square() + offset
            for offset, scorer in zip(self.offsets, self.scorers, strict=True)
        ]
        best = torch.stack(scores).argmax(0)
        order = best.argsort(stable=True)
        counts = torch.bincount(best, minlength=len(self.bases)).tolist()
        groups = away[order].split(counts)
        parts = [
            ((group @ basis) * gain) @ basis.T
            for group, basis, gain in zip(groups, self.bases, self.gains, strict=True)
        ]
        found = torch.empty_like(away)
        found[order] = torch.cat(parts)
        return found + mean


def fit_patches(
    groups: Sequence[np.ndarray],
    n_components: int | None,
    rng: np.random.Generator,
    device: torch.device,
) -> PatchMixture:
    """Fit the mixture to patches drawn from images, by expectation maximisation.

    Parameters
    ----------
    groups : sequence of ndarray of shape (n, H, W[, C])
        Planes of colour count alike.
    n_components : int or None
        None: by the number of patches.
    rng : numpy.random.Generator
    device : torch.device
    """
    least = min(min(group.shape[1:3]) for group in groups)
    side = SMALL_SIDE if least < SMALL_LIMIT else SIDE
    patches = _draw(groups, side, rng)
    if n_components is None:
        n_components = int(np.clip(len(patches) // PER_COMPONENT, 1, MOST_COMPONENTS))
    basis = _without_mean(side)
    rows = patches @ basis
    n_components = min(n_components, len(rows.norm(dim=1).unique()))
    seed = int(rng.integers(2**31))
    # Components differ in energy, and in where it is; not in sign.
    kinds = KMeans(n_components, n_init=1, max_iter=30, random_state=seed)
    labels = torch.from_numpy(kinds.fit_predict(rows.abs().sqrt().numpy())).long()
    share = torch.nn.functional.one_hot(labels, n_components).to(device, rows.dtype)
    rows = rows.to(device)
    floor = (FLOOR * float(rows.square().mean()) + 1e-10) * torch.eye(rows.shape[1]).to(rows)
    for _ in range(STEPS - 1):
        share = responsibilities(rows, *maximise(rows, share, STRENGTH, floor, is_centred=True))
    weights, _, covariances = maximise(
        rows.double(), share.double(), STRENGTH, floor.double(), is_centred=True
    )
    values, vectors = torch.linalg.eigh(covariances)
    bases = basis.to(vectors) @ vectors.flip(2)
    return PatchMixture(weights.float(), bases.float(), values.flip(1).clamp_min(0).float())


def _draw(groups: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> Tensor:
    """Draw patches (N, side * side): of every plane as many as it has of all places."""
    images = [torch.from_numpy(np.asarray(image)[None]) for group in groups for image in group]
    places = [image[0, ..., 0].numel() if image.ndim == 4 else image[0].numel() for image in images]
    channels = 1 if images[0].ndim == 3 else images[0].shape[-1]
    wanted = np.asarray(places) * min(1.0, MOST_PATCHES / (channels * sum(places)))
    found = []
    for image, n in zip(images, np.ceil(wanted).astype(int), strict=True):
        planes = to_planes(image.float())[:, 0]
        windows = planes.unfold(1, side, 1).unfold(2, side, 1)
        i, j = (torch.from_numpy(rng.integers(0, size, n)) for size in windows.shape[1:3])
        found.append(windows[:, i, j].reshape(-1, side * side))
    return torch.cat(found)


def _without_mean(side: int) -> Tensor:
    """Orthonormal basis (side * side, side * side - 1) of patches of sum 0: cosines."""
    i = torch.arange(side, dtype=torch.float64)
    cosines = torch.cos(torch.pi / side * (i[:, None] + 0.5) * i)
    cosines = cosines / cosines.norm(dim=0)
    return torch.kron(cosines, cosines)[:, 1:].float()
