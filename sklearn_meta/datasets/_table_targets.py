"""Targets of synthetic tables: a noisy score as a number in some unit, or as a class."""

from __future__ import annotations

import numpy as np
from scipy.special import expit


def draw_target(score: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Turn a score of shape (n_rows,) into a target of regression; return its style too."""
    style = str(rng.choice(list(STYLES), p=list(STYLES.values())))
    y = _styled(score, style, rng)
    if np.ptp(y) == 0.0:
        y, style = score, "plain"
    if style in ("plain", "skewed", "bounded"):
        y = 10.0 ** np.clip(rng.normal(0.8, 1.2), -3.0, 5.0) * (
            y + (rng.choice([0.0, 2.0, 10.0]) if style == "plain" else 0.0)
        )
    return y, style


def draw_frequencies(n_classes: int, least: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the frequencies of classes, shape (n_classes,), none below `least`."""
    if n_classes == 2:
        minority = rng.uniform(0.3, 0.5) if rng.random() < 0.5 else rng.uniform(0.03, 0.4)
        shares = np.array([minority, 1.0 - minority])
    else:
        shares = rng.dirichlet(np.full(n_classes, rng.choice([1.5, 5.0, 500.0])))
    least = min(least, 1.0 / n_classes)
    return least + (1.0 - n_classes * least) * shares


def classes_in_order(score: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Cut a score of shape (n_rows,) into classes at the quantiles that `frequencies` ask for."""
    counts = _counts(len(score), frequencies)
    labels = np.empty(len(score), dtype=np.int64)
    labels[np.argsort(score, kind="stable")] = np.repeat(np.arange(len(counts)), counts)
    return labels


def classes_by_score(scores: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Give each row the class of its highest score, offset so as to be about as frequent as asked.

    `scores` has shape (n_rows, n_classes). With noise in the scores these are draws from a
    probit regression.
    """
    offsets = np.zeros(scores.shape[1])
    for _ in range(12):
        counts = np.bincount(np.argmax(scores + offsets, axis=1), minlength=scores.shape[1]) / len(
            scores
        )
        offsets += 0.5 * np.log((frequencies + 0.01) / (counts + 0.01))
    return np.argmax(scores + offsets, axis=1)


def with_wrong_labels(
    labels: np.ndarray, share: float, frequencies: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw the label of a share of rows anew, whatever their score."""
    wrong = rng.random(len(labels)) < share
    drawn = rng.choice(len(frequencies), len(labels), p=frequencies)
    return np.where(wrong, drawn, labels)


def with_every_class(
    labels: np.ndarray, n_classes: int, rng: np.random.Generator, least: int = 2
) -> np.ndarray:
    """Move random rows of the largest class to those that have less than `least` rows."""
    labels = labels.copy()
    counts = np.bincount(labels, minlength=n_classes)
    for label in np.flatnonzero(counts < least):
        while counts[label] < least:
            largest = int(np.argmax(counts))
            labels[rng.choice(np.flatnonzero(labels == largest))] = label
            counts[largest] -= 1
            counts[label] += 1
    return labels


def _counts(n_rows: int, frequencies: np.ndarray) -> np.ndarray:
    edges = np.round(n_rows * np.cumsum(frequencies)).astype(np.int64)
    edges[-1] = n_rows
    return np.diff(edges, prepend=0)


def _styled(score: np.ndarray, style: str, rng: np.random.Generator) -> np.ndarray:
    if style == "skewed":
        return np.exp(rng.uniform(0.4, 1.5) * score)
    if style == "bounded":
        return expit(rng.uniform(0.7, 2.5) * (score + rng.normal(0.0, 0.5)))
    if style == "count":
        return np.floor(np.exp(rng.uniform(0.5, 4.0) + rng.uniform(0.3, 1.1) * score))
    if style == "whole":
        return np.round(np.exp(rng.uniform(1.0, 5.0)) * (score + rng.choice([0.0, 3.0])))
    if style == "mostly zero":
        return np.maximum(np.expm1(rng.uniform(0.2, 1.0) * (score + rng.normal(0.3, 0.4))), 0.0)
    return score


STYLES = {
    "plain": 0.28,
    "skewed": 0.16,
    "bounded": 0.07,
    "count": 0.16,
    "whole": 0.28,
    "mostly zero": 0.05,
}
"""Styles of targets of regression and how frequent they are."""
