"""Columns of synthetic tables: correlated latents, and what of them is observed and in what units.

A column starts as a latent of about unit variance, on which the target depends, and ends as numbers
or levels as they stand in a file: skewed, counted, graded, rounded, in some unit, partly missing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import gammaincinv, ndtr

LEVELS = "abcdefghijkl"
"""Names of the levels of a categorical column."""


def draw_latents(n_rows: int, n_columns: int, rng: np.random.Generator) -> np.ndarray:
    """Draw latents of shape (n_rows, n_columns): common factors, noise of each column, copies."""
    Z = rng.standard_normal((n_rows, n_columns))
    strength = rng.choice([0.0, 0.25, 0.6, 0.9], p=[0.1, 0.25, 0.35, 0.3])
    if n_columns == 1 or strength == 0.0:
        return Z
    n_factors = 1 + int(rng.integers(max(1, n_columns // 2)))
    # Few of many factors matter to a column, so that the table has blocks of related columns.
    loadings = rng.standard_normal((n_factors, n_columns)) * rng.gamma(
        0.5, size=(n_factors, n_columns)
    )
    loadings /= np.linalg.norm(loadings, axis=0)
    common = rng.beta(4 * strength, 4 * (1 - strength), size=n_columns)
    Z = np.sqrt(common) * (rng.standard_normal((n_rows, n_factors)) @ loadings) + (
        np.sqrt(1 - common) * Z
    )
    if rng.random() < 0.15:
        copies = rng.random(n_columns) < 0.25
        origins = rng.integers(n_columns, size=n_columns)
        jitter = rng.choice([0.0, 0.02, 0.2]) * rng.standard_normal(Z.shape)
        Z[:, copies] = (Z[:, origins] + jitter)[:, copies]
    return Z


def draw_kinds(n_columns: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the kind of each column, of shape (n_columns,): names in ``NUMERIC`` or "categorical".

    Tables differ in their mixture of kinds, and half have no categorical columns.
    """
    categorical = 0.0 if rng.random() < 0.5 else rng.beta(0.9, 1.1)
    weights = rng.dirichlet(2.0 * np.array(list(NUMERIC.values())))
    kinds = rng.choice(np.array(list(NUMERIC)), n_columns, p=weights)
    return np.where(rng.random(n_columns) < categorical, "categorical", kinds)


def observe(z: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Read a numeric column off its latent of shape (n_rows,), before any unit."""
    return _OBSERVE[kind](z, rng)


def draw_levels(z: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Bin a latent into levels of unequal frequency; return codes of shape (n_rows,), and how many.

    Codes are in a random order, so that they tell no order of the levels.
    """
    n_levels = min(int(2 + rng.geometric(0.35) - 1), len(LEVELS))
    codes = np.searchsorted(_edges(n_levels, rng), ndtr(z))
    return rng.permutation(n_levels)[codes], n_levels


def to_units(x: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Give a numeric column a unit, an offset and a finite number of digits."""
    if kind in _INTEGERS:
        return x
    scale = 10.0 ** np.clip(rng.normal(0.8, 1.2), -3.0, 5.0)
    sign = -1.0 if kind in ("normal", "warped") and rng.random() < 0.5 else 1.0
    x = scale * (sign * x + (rng.choice([0.0, 3.0, 10.0]) if kind in _CENTRED else 0.0))
    if rng.random() < 0.75:
        spread = max(float(np.std(x)), 1e-12)
        x = np.round(x, int(np.clip(rng.integers(1, 4) - np.floor(np.log10(spread)) - 1, 0, 8)))
    return x


def draw_missing(Z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw which entries are missing, bool of the shape of the latents.

    At random, or where the value itself or another column is large.
    """
    missing = np.zeros(Z.shape, dtype=bool)
    if rng.random() < 0.65:
        return missing
    columns = np.flatnonzero(rng.random(Z.shape[1]) < rng.beta(1.0, 2.0))
    for j in columns:
        rate = rng.beta(0.5, 4.0)
        cause = Z[:, rng.choice([j, int(rng.integers(Z.shape[1]))])]
        dependence = rng.choice([0.0, 0.0, 0.5, 0.9])
        mixed = dependence * cause + np.sqrt(1 - dependence**2) * rng.standard_normal(len(Z))
        missing[:, j] = ndtr(mixed) > 1.0 - rate
    # A row or column of nothing is no measurement at all.
    missing[:, missing.all(axis=0)] = False
    missing[missing.all(axis=1)] = False
    return missing


def _edges(n_levels: int, rng: np.random.Generator) -> np.ndarray:
    """Draw increasing edges in (0, 1) of levels with unequal frequencies."""
    shares = rng.dirichlet(np.full(n_levels, rng.choice([1.0, 3.0, 20.0])))
    return np.cumsum(0.9 * shares + 0.1 / n_levels)[:-1]


def _skewed(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.exp(rng.uniform(0.2, 1.3) * z)


def _gamma(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return gammaincinv(np.exp(rng.uniform(-1.0, 2.0)), np.clip(ndtr(z), 1e-9, 1 - 1e-9))


def _count(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.floor(np.exp(rng.uniform(-0.5, 3.5) + rng.uniform(0.2, 1.1) * z))


def _whole(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Round numbers such as an age, a year or a score."""
    spread = np.exp(rng.uniform(0.7, 4.5))
    return np.round(spread * (z + rng.uniform(2.0, 5.0)))


def _grade(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    edges = _edges(int(rng.integers(3, 8)), rng)
    return np.searchsorted(edges, ndtr(z)) + float(rng.random() < 0.7)


def _flag(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (ndtr(z) > rng.beta(1.5, 1.2)).astype(np.float64)


def _two_modes(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return z + rng.uniform(1.0, 4.0) * (z > rng.normal(0.0, 0.7))


def _mostly_zero(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.maximum(np.expm1(rng.uniform(0.3, 1.2) * (z - rng.uniform(-0.8, 1.0))), 0.0)


def _warped(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    bend, shift = rng.uniform(0.5, 1.8), rng.normal()
    return np.sinh(bend * z + shift) if rng.random() < 0.5 else np.tanh(bend * z + shift)


_OBSERVE: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "normal": lambda z, rng: z,
    "skewed": _skewed,
    "gamma": _gamma,
    "uniform": lambda z, rng: ndtr(z),
    "count": _count,
    "whole": _whole,
    "grade": _grade,
    "flag": _flag,
    "two modes": _two_modes,
    "mostly zero": _mostly_zero,
    "warped": _warped,
}
_INTEGERS = ("count", "whole", "grade", "flag")
_CENTRED = ("normal", "uniform", "two modes", "warped")

NUMERIC = {
    "normal": 0.15,
    "skewed": 0.1,
    "gamma": 0.08,
    "uniform": 0.05,
    "count": 0.14,
    "whole": 0.2,
    "grade": 0.09,
    "flag": 0.1,
    "two modes": 0.03,
    "mostly zero": 0.03,
    "warped": 0.03,
}
"""Kinds of numeric columns and how frequent they are over all tables."""
