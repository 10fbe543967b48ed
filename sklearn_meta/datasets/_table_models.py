"""Models of synthetic tables: the latents of all columns, and the noisy score that is the target.

Most families are a function of some of correlated latents, plus noise. Two make the latents
themselves: a structural network, in which columns may be effects of the target, effects of the
target alone, and clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _table_functions as functions
from ._table_columns import draw_latents
from ._table_functions import standardised

FUNCTIONS = {
    "linear": functions.linear,
    "additive": functions.additive,
    "interactions": functions.interactions,
    "trees": functions.trees,
    "gaussian_process": functions.gaussian_process,
    "prototypes": functions.prototypes,
    "parity": functions.parity,
}
"""Families whose target is a function of given columns."""

FAMILIES = {
    "linear": 0.2,
    "additive": 0.18,
    "interactions": 0.09,
    "network": 0.15,
    "effects": 0.12,
    "trees": 0.08,
    "gaussian_process": 0.06,
    "clusters": 0.06,
    "prototypes": 0.03,
    "parity": 0.03,
}
"""Names of the families and how frequent they are: small real tables are mostly near additive."""

FAMILIES_OF_CLASSES = {
    name: (frequency + 0.2 * (name == "clusters")) / 1.2 for name, frequency in FAMILIES.items()
}
"""The same for several unordered classes, which more often are clusters."""

_ACTIVATIONS = (
    lambda x: x,
    np.tanh,
    lambda x: np.maximum(x, 0.0),
    np.abs,
    lambda x: (x > 0.3).astype(np.float64),
    lambda x: np.sin(2.0 * x),
)


@dataclass(frozen=True)
class Model:
    """Latents and scores of one table.

    Attributes
    ----------
    latents : ndarray of shape (n_rows, n_columns)
    signal : ndarray of shape (n_rows, n_outputs)
        What causes of the target say of it, of mean 0 and variance 1.
    score : ndarray of shape (n_rows, n_outputs)
        The signal with noise, of about variance 1; the share of the signal in it is given.
    """

    latents: np.ndarray
    signal: np.ndarray
    score: np.ndarray


def of_function(
    family: str,
    latents: np.ndarray,
    inputs: np.ndarray,
    n_outputs: int,
    share: float,
    rng: np.random.Generator,
) -> Model:
    """Make the target a function of `inputs`, shape (n_rows, n_inputs), and of noise."""
    signal = FUNCTIONS[family](inputs, n_outputs, rng)
    # Whatever else real columns do to a target, more of most means more or less of it.
    if family not in ("linear", "additive") and rng.random() < 0.6:
        signal = functions.with_trend(signal, inputs, n_outputs, rng)
    signal = _never_constant(signal, inputs, rng)
    return Model(latents, signal, mix(signal, _noise(signal, inputs, rng), share))


def of_clusters(
    n_rows: int, n_columns: int, n_outputs: int, share: float, rng: np.random.Generator
) -> Model:
    """Rows lie in clusters with means, and at times covariances, of their own; so does the target.

    With several outputs each has clusters of its own, else the values of clusters differ.
    """
    n_clusters = n_outputs * int(rng.choice([1, 1, 2, 3])) if n_outputs > 1 else rng.integers(2, 9)
    cluster = rng.choice(n_clusters, n_rows, p=rng.dirichlet(np.full(n_clusters, 5.0)))
    relevant = rng.random(n_columns) < rng.uniform(0.3, 1.0)
    relevant[rng.integers(n_columns)] = True
    separation = np.exp(rng.uniform(-0.3, 1.6)) / np.sqrt(relevant.sum()) ** rng.uniform(0.3, 1.0)
    means = separation * 1.5 * rng.standard_normal((n_clusters, n_columns)) * relevant
    spreads = np.exp(rng.choice([0.0, 0.5]) * rng.standard_normal((n_clusters, n_columns)))
    latents = standardised(means[cluster] + draw_latents(n_rows, n_columns, rng) * spreads[cluster])
    if n_outputs > 1:
        signal = (cluster[:, None] % n_outputs == np.arange(n_outputs)).astype(np.float64)
    else:
        signal = rng.standard_normal((n_clusters, 1))[cluster]
    signal = _never_constant(signal, latents, rng)
    return Model(latents, signal, mix(signal, rng.standard_normal(signal.shape), share))


def of_effects(
    n_rows: int, n_columns: int, n_outputs: int, share: float, rng: np.random.Generator
) -> Model:
    """Columns are effects of what the target is: symptoms of a disease, answers of a person.

    Each tells of one output, more or less; together they tell more than any alone.
    """
    signal = standardised(rng.standard_normal((n_rows, n_outputs)))
    strength = rng.beta(1.0, 3.0, n_columns) * (rng.random(n_columns) < rng.uniform(0.3, 1.0))
    strength[rng.integers(n_columns)] = rng.uniform(0.1, 0.7)
    sign = rng.choice([-1.0, 1.0], n_columns)
    effect = sign * signal[:, rng.integers(n_outputs, size=n_columns)]
    latents = mix(effect, draw_latents(n_rows, n_columns, rng), strength)
    score = mix(signal, standardised(rng.standard_normal(signal.shape)), share)
    return Model(standardised(latents), signal, score)


def of_network(
    n_rows: int, n_columns: int, n_outputs: int, share: float, rng: np.random.Generator
) -> Model:
    """Nodes of a random layered graph, each a function of some before it plus noise.

    Columns and target are picked among all nodes: a column may be a cause of the target, an
    effect of it, or share a cause with it. The idea of N. Hollmann, S. Müller, K. Eggensperger and
    F. Hutter (2023), TabPFN: A Transformer That Solves Small Tabular Classification Problems in a
    Second, ICLR.
    """
    n_layers = int(rng.integers(2, 5))
    width = int(np.ceil((n_columns + n_outputs) * rng.uniform(1.0, 1.6) / n_layers)) + n_outputs
    target_layer = int(rng.integers(1, n_layers))
    layers = [draw_latents(n_rows, width, rng)]
    outputs = rng.permutation(width)[:n_outputs]
    signal = np.zeros((n_rows, n_outputs))
    for depth in range(1, n_layers):
        drive = standardised(_next_layer(layers[-1], rng))
        shares = rng.beta(3.0, 1.0, size=width)
        if depth == target_layer:
            drive[:, outputs] = _never_constant(drive[:, outputs], layers[-1], rng)
            signal, shares[outputs] = drive[:, outputs], share
        layers.append(mix(drive, rng.standard_normal(drive.shape), shares))
    score = layers[target_layer][:, outputs]
    layers[target_layer] = np.delete(layers[target_layer], outputs, axis=1)
    others = np.concatenate(layers, axis=1)
    picked = rng.permutation(others.shape[1])[:n_columns]
    return Model(standardised(others[:, picked]), signal, score)


def mix(signal: np.ndarray, noise: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Add noise so that `share` of the variance is the signal's, both of variance 1."""
    return np.sqrt(share) * signal + np.sqrt(1.0 - np.asarray(share)) * noise


def _next_layer(layer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    width = layer.shape[1]
    weights = rng.standard_normal((width, width)) * (
        rng.random((width, width)) < min(1.0, rng.uniform(1.0, 5.0) / width)
    )
    drive = standardised(layer @ weights) + rng.normal(0.0, 0.5, width)
    which = rng.integers(len(_ACTIVATIONS), size=width)
    # A layer of straight lines at times: a real graph of causes often is one.
    which[rng.random(width) < rng.choice([0.2, 0.8])] = 0
    for index, activation in enumerate(_ACTIVATIONS):
        drive[:, which == index] = activation(drive[:, which == index])
    return drive


def _noise(signal: np.ndarray, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw noise of variance 1 of the shape of the signal: normal, heavy-tailed or uneven."""
    kind = rng.random()
    if kind < 0.15:
        return standardised(rng.standard_t(3.5, size=signal.shape))
    noise = rng.standard_normal(signal.shape)
    if kind < 0.35:
        cause = signal[:, :1] if rng.random() < 0.5 else inputs[:, :1]
        noise *= np.exp(np.clip(rng.uniform(0.2, 0.8) * cause, -2.0, 2.0))
    return standardised(noise)


def _never_constant(signal: np.ndarray, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Standardise signals, with a column of the inputs in place of a constant one."""
    signal = standardised(signal)
    constant = ~signal.any(axis=0)
    if constant.any():
        spare = standardised(inputs)
        spare = spare[:, spare.any(axis=0)]
        if not spare.shape[1]:
            spare = standardised(rng.standard_normal((len(inputs), 1)))
        signal[:, constant] = spare[:, rng.integers(spare.shape[1], size=constant.sum())]
    return signal
