"""Target functions of synthetic tables: what a target is of the columns, before any noise.

Each maps inputs of shape (n_rows, n_inputs), of about unit variance, to signals of shape
(n_rows, n_outputs), of any scale, by chance constant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def linear(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Sparse to dense linear functions."""
    return Z @ (importances(Z.shape[1], rng)[:, None] * _coefficients(Z, n_outputs, rng))


def additive(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Sums of a smooth, monotone or stepped function of each column."""
    curved, bent = rng.uniform(0.2, 1.0), rng.choice([0.1, 0.4])
    shaped = np.array(Z)
    for j in np.flatnonzero(rng.random(Z.shape[1]) < curved):
        shapes = BENT if rng.random() < bent else MONOTONE
        shape = shapes[rng.integers(len(shapes))]
        shaped[:, j] = standardised(shape(rng.uniform(0.7, 2.5), Z[:, j] - rng.normal(0.0, 0.6)))
    return linear(shaped, n_outputs, rng)


def interactions(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Linear functions, and some products of columns, or slopes that a second column turns on."""
    n_pairs = int(rng.integers(1, 5))
    first, second = rng.integers(Z.shape[1], size=(2, n_pairs))
    switches = rng.random(n_pairs) < 0.5
    products = Z[:, first] * np.where(switches, Z[:, second] > 0, Z[:, second])
    weight = rng.uniform(0.2, 1.2)
    return standardised(linear(Z, n_outputs, rng)) + weight * standardised(
        products @ _coefficients(products, n_outputs, rng)
    )


def trees(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """A tree or the mean of a forest, with thresholds at values of random rows."""
    n_trees, depth = int(rng.choice([1, 1, 3, 10, 30])), int(rng.integers(1, 6))
    n_nodes = 2**depth - 1
    columns = rng.choice(Z.shape[1], size=(n_trees, n_nodes), p=_shares(Z.shape[1], rng))
    thresholds = Z[rng.integers(len(Z), size=columns.shape), columns]
    leaves = rng.standard_normal((n_trees, n_nodes + 1, n_outputs))
    tree, row = np.arange(n_trees), np.arange(len(Z))[:, None]
    node = np.zeros((len(Z), n_trees), dtype=np.intp)
    for _ in range(depth):
        node = 2 * node + 1 + (Z[row, columns[tree, node]] > thresholds[tree, node])
    return leaves[tree, node - n_nodes].sum(axis=1)


def gaussian_process(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth functions with a length scale a column, by random Fourier features.

    A. Rahimi and B. Recht (2007), Random Features for Large-Scale Kernel Machines, NeurIPS.
    """
    n_waves = 64
    inverse = importances(Z.shape[1], rng)
    inverse *= rng.uniform(0.4, 2.0) / np.linalg.norm(inverse)
    waves = inverse[:, None] * rng.standard_normal((Z.shape[1], n_waves))
    if rng.random() < 0.4:  # the spectrum of a rougher kernel, of the Matérn family
        waves /= np.sqrt(rng.chisquare(3.0, n_waves) / 3.0)
    phases = rng.uniform(0.0, 2 * np.pi, n_waves)
    return np.cos(Z @ waves + phases) @ rng.standard_normal((n_waves, n_outputs))


def prototypes(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """What the nearest of some random rows has; softly where a row is between them."""
    n_prototypes = int(rng.integers(n_outputs + 1, n_outputs + 12))
    weights = importances(Z.shape[1], rng)
    weights /= np.linalg.norm(weights)
    centres = Z[rng.integers(len(Z), size=n_prototypes)]
    distance = (((Z[:, None] - centres) * weights) ** 2).sum(axis=2)
    logits = -rng.choice([2.0, 10.0, 100.0]) * (distance - distance.min(axis=1, keepdims=True))
    nearness = np.exp(logits)
    nearness /= nearness.sum(axis=1, keepdims=True)
    return nearness @ rng.standard_normal((n_prototypes, n_outputs))


def parity(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Exclusive or of the signs of two or three columns."""
    n_signs = min(Z.shape[1], int(rng.choice([2, 2, 2, 3])))
    signal = np.empty((len(Z), n_outputs))
    for k in range(n_outputs):
        columns = rng.choice(Z.shape[1], n_signs, replace=False)
        signal[:, k] = np.sign(Z[:, columns] - rng.normal(0.0, 0.3, n_signs)).prod(axis=1)
    return signal


def with_trend(
    signal: np.ndarray, Z: np.ndarray, n_outputs: int, rng: np.random.Generator
) -> np.ndarray:
    """Add a linear function, up to half as large again as the signal."""
    trend = standardised(linear(Z, n_outputs, rng))
    return standardised(signal) + rng.uniform(0.3, 1.5) * trend


def importances(n_inputs: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how much each input matters, of shape (n_inputs,): from one of them to all alike."""
    n_kept = int(np.exp(rng.uniform(0.0, np.log(n_inputs + 0.999))))
    weights = np.zeros(n_inputs)
    weights[rng.permutation(n_inputs)[:n_kept]] = np.exp(
        rng.choice([0.1, 0.6, 1.2]) * rng.standard_normal(n_kept)
    )
    return weights


def standardised(x: np.ndarray) -> np.ndarray:
    """Shift and scale columns to mean 0 and variance 1; constant ones become 0."""
    centred = x - x.mean(axis=0)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 1e-9, spread, np.inf)


def _coefficients(Z: np.ndarray, n_outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Draw coefficients of shape (n_inputs, n_outputs), with any sign and size.

    At times they favour what many columns share, as where all of them measure one thing.
    """
    coefficients = rng.standard_normal((Z.shape[1], n_outputs))
    if rng.random() < 0.5:
        coefficients = Z.T @ (Z @ coefficients) / len(Z)
    return coefficients


def _shares(n_inputs: int, rng: np.random.Generator) -> np.ndarray:
    weights = importances(n_inputs, rng)
    return weights / weights.sum()


MONOTONE: tuple[Callable[[float, np.ndarray], np.ndarray], ...] = (
    lambda a, z: np.tanh(a * z),
    lambda a, z: np.maximum(z, 0.0),
    lambda a, z: (z > 0).astype(np.float64),
    lambda a, z: np.exp(0.5 * a * np.minimum(z, 4.0)),
)
BENT: tuple[Callable[[float, np.ndarray], np.ndarray], ...] = (
    lambda a, z: z**2,
    lambda a, z: np.sin(a * z),
    lambda a, z: np.minimum(np.abs(z), a),
    lambda a, z: np.exp(-((a * z) ** 2)),
)
"""Functions of one column z, as those of `MONOTONE`, with a parameter a of the shape."""
