"""Random forward operators, from which the bundled image prior learns to reconstruct."""

import numpy as np

from sklearn_meta.operators import Blur, Downsample, Fourier, Mask, Radon, RandomProjection

FAMILIES = {
    "mask": 0.20,
    "blur": 0.22,
    "downsample": 0.16,
    "projection": 0.18,
    "fourier": 0.15,
    "radon": 0.09,
}


def random_operator(rng):
    """Draw an operator for small images.

    Returns
    -------
    name : str
    operator : Operator
    sigma : float or None
        Noise level; None where it is relative to the measurements, see `random_relative_level`.
    """
    name = rng.choice(list(FAMILIES), p=list(FAMILIES.values()))
    sigma = np.exp(rng.uniform(np.log(0.5), np.log(12))) / 255 if rng.random() < 0.9 else 0.0
    return name, globals()[f"_{name}"](rng), None if name == "radon" else sigma


def random_relative_level(rng):
    """Noise level over the largest measurement."""
    return np.exp(rng.uniform(np.log(0.002), np.log(0.03)))


def gaussian_kernel(size, width, ratio=1.0, angle=0.0):
    r = np.arange(size) - size // 2
    y, x = np.meshgrid(r, r, indexing="ij")
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    k = np.exp(-0.5 * ((u / width) ** 2 + (v / (width * ratio)) ** 2))
    return k / k.sum()


def motion_kernel(rng, size):
    """Path of a shaking camera: a random walk whose velocity changes slowly."""
    k = np.zeros((size, size))
    place, speed = np.array([size / 2, size / 2]), rng.normal(0, 1, 2)
    for _ in range(rng.integers(20, 120)):
        speed = 0.9 * speed + rng.uniform(0.1, 0.5) * rng.normal(0, 1, 2)
        place = place + speed * 0.25
        i, j = np.clip(place.astype(int), 0, size - 1)
        k[i, j] += 1
    return k / k.sum()


def _mask(rng):
    kind = rng.random()
    if kind < 0.7:
        seen = rng.random((64, 64)) < np.exp(rng.uniform(np.log(0.08), np.log(0.9)))
    elif kind < 0.8:  # lost lines
        seen = np.repeat(rng.random((64, 1)) < rng.uniform(0.4, 0.9), 64, axis=1)
        seen = seen if rng.random() < 0.5 else seen.T
    else:  # holes
        seen = np.ones((64, 64), bool)
        for _ in range(rng.integers(2, 12)):
            i, j = rng.integers(0, 64, 2)
            h, w = rng.integers(2, 16, 2)
            seen[i : i + h, j : j + w] = False
    if not seen.any():
        seen[::8, ::8] = True
    return Mask((64, 64), seen)


def _blur(rng):
    kind = rng.random()
    if kind < 0.4:
        width = rng.uniform(0.4, 2.6)
        kernel = gaussian_kernel(17, width, rng.uniform(0.4, 1.0), rng.uniform(0, np.pi))
    elif kind < 0.8:
        kernel = motion_kernel(rng, rng.choice([9, 13, 17]))
    elif kind < 0.9:  # out of focus
        r = np.hypot(*np.mgrid[-7:8, -7:8])
        kernel = np.clip(rng.uniform(1, 4.5) + 0.5 - r, 0, 1)
    else:
        kernel = rng.random((5, 5)) ** 3
    return Blur((64, 64), kernel / kernel.sum())


def _downsample(rng):
    factor = int(rng.choice([2, 3, 4], p=[0.5, 0.35, 0.15]))
    if rng.random() < 0.8:
        kernel = gaussian_kernel(4 * factor + 1, factor * rng.uniform(0.3, 0.65))
    else:
        kernel = np.full((factor, factor), 1 / factor**2)
    return Downsample((60, 60), factor, kernel)


def _projection(rng):
    share, seed = np.exp(rng.uniform(np.log(0.06), np.log(0.6))), int(rng.integers(2**31))
    kind = rng.random()
    if kind < 0.5:
        n = int(share * 4096)
        return RandomProjection((64, 64), n, "hadamard", random_state=seed)
    if kind < 0.85:
        block = int(rng.choice([16, 32]))
        n = max(1, int(share * block**2))
        return RandomProjection((64, 64), n, "orthogonal", block=block, random_state=seed)
    return RandomProjection((32, 32), max(1, int(share * 1024)), "gaussian", random_state=seed)


def _fourier(rng):
    if rng.random() < 0.75:
        mask = Fourier.line_mask(
            (64, 64),
            rng.uniform(2, 6),
            center_fraction=rng.uniform(0.04, 0.12),
            axis=int(rng.integers(2)),
            random_state=int(rng.integers(2**31)),
        )
    else:  # denser in the middle
        f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2))
        mask = rng.random((64, 64)) < np.exp(-((f / rng.uniform(0.1, 0.3)) ** 2)) + 0.05
        mask[0, 0] = True
    return Fourier((64, 64), mask)


def _radon(rng):
    n = int(np.exp(rng.uniform(np.log(12), np.log(70))))
    reach = 180.0 if rng.random() < 0.8 else rng.uniform(100, 170)
    return Radon((56, 56), rng.uniform(0, 180) + np.arange(n) * reach / n)
