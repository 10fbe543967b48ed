"""Heterogeneous tables: other columns, other units and another target in each task."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_meta.tasks import Task

from . import _table_models as models
from ._draw import check_count, check_counts, generators
from ._table_columns import (
    LEVELS,
    draw_kinds,
    draw_latents,
    draw_levels,
    draw_missing,
    observe,
    to_units,
)
from ._table_functions import standardised
from ._table_targets import (
    classes_by_score,
    classes_in_order,
    draw_frequencies,
    draw_target,
    with_every_class,
    with_wrong_labels,
)


def make_table_tasks(
    n_tasks: int = 100,
    n_rows: int | tuple[int, int] = (40, 600),
    *,
    kind: str = "classification",
    n_features: int | tuple[int, int] = (2, 40),
    n_classes: int | tuple[int, int] = (2, 8),
    random_state: Any = None,
    return_parameters: bool = False,
) -> Any:
    """Make tables that have nothing in common but what tables people work with are like.

    Each has correlated columns of several kinds (skewed, counted, graded, binary, bimodal, mostly
    zero, categorical; rounded, in arbitrary units, some irrelevant, duplicated or partly missing)
    and a target from a family of its own: linear, additive, with interactions, trees, a Gaussian
    process, clusters, nearest prototypes, exclusive or, a node of a structural network whose
    columns may be effects of the target, or the common cause of all columns that tell of it. Two of
    five are linear or additive. Noise takes
    between hardly anything and nearly all of a target.

    Meta-training on such draws is the idea of N. Hollmann, S. Müller, K. Eggensperger and F. Hutter
    (2023), TabPFN: A Transformer That Solves Small Tabular Classification Problems in a Second,
    ICLR.

    Parameters
    ----------
    n_tasks : int, default=100
    n_rows : int or (int, int), default=(40, 600)
        Rows of a task, or their smallest and largest number; the logarithm of it is uniform.
    kind : {"classification", "regression"}, default="classification"
    n_features : int or (int, int), default=(2, 40)
        Columns of a task, or their smallest and largest number; the logarithm of it is uniform.
    n_classes : int or (int, int), default=(2, 8)
        Classes of a task, or their smallest and largest number; few are more frequent. A task has
        at most half as many classes as rows. Not used for regression.
    random_state : int, RandomState, Generator or None, default=None
        The first tasks of a longer list are those of a shorter one.
    return_parameters : bool, default=False
        Whether to return what the tasks were made with too.

    Returns
    -------
    tasks : list of Task
        ``X`` of shape (n_rows, n_features): float64 with NaN for missing values where all columns
        are numeric, else of dtype object with numbers, levels (str) and None for missing levels.
        ``y`` of shape (n_rows,): int64 codes of classes with at least two rows each, or float64 in
        any unit, never constant. Named "table_0", ...
    parameters : dict
        Lists with one entry a task: "family", a name; "signal_share", the share of the variance of
        a noisy score that is the signal's, not the noise's; "signal", of mean 0 and variance 1, and
        "score", both of shape (n_rows, n_scores); "target", how the score became `y`:
        "argmax" or "ordered" for classes, else a style such as "skewed"; "label_noise", the share
        of rows whose label is drawn whatever the score; "columns", a tuple of the kinds of columns.
        Only if `return_parameters`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_table_tasks
    >>> make_table_tasks(3, (20, 60), n_features=(3, 9), random_state=0)[0].name
    'table_0'
    """
    counts = check_counts("n_rows", n_rows, least=4)
    widths = check_counts("n_features", n_features)
    ways = check_counts("n_classes", n_classes, least=2)
    if kind not in ("classification", "regression"):
        raise ValueError(f"kind is {kind!r}, expected 'classification' or 'regression'.")
    if kind == "classification" and counts[0] < 2 * ways[0]:
        raise ValueError(
            f"n_rows is {n_rows!r} and n_classes {n_classes!r}, expected at least two rows a class."
        )
    _, rngs = generators(check_count("n_tasks", n_tasks), random_state)
    tasks: list[Task] = []
    drawn: dict[str, list[Any]] = {}
    for t, rng in enumerate(rngs):
        n_task_rows, n_columns = _log_uniform(counts, rng), _log_uniform(widths, rng)
        n = _few(ways[0], min(ways[1], n_task_rows // 2), rng) if kind == "classification" else 1
        X, y, parameters = _table(n_task_rows, n_columns, n, rng)
        tasks.append(Task(X, y, name=f"table_{t}"))
        for name, value in parameters.items():
            drawn.setdefault(name, []).append(value)
    return (tasks, drawn) if return_parameters else tasks


def _table(
    n_rows: int, n_columns: int, n_classes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Draw X, y and their parameters; one class stands for regression."""
    ordered = n_classes <= 2 or rng.random() < 0.25
    n_scores = 1 if ordered else n_classes
    frequency = models.FAMILIES if ordered else models.FAMILIES_OF_CLASSES
    family = str(rng.choice(list(frequency), p=list(frequency.values())))
    # A class tells less than a number, and tables that people keep tell their classes apart.
    share = 0.05 + 0.93 * rng.beta(1.8, 0.6 if n_classes == 1 else 0.3 if ordered else 0.18)
    kinds = draw_kinds(n_columns, rng)
    if family == "network":
        model = models.of_network(n_rows, n_columns, n_scores, share, rng)
        seen, _ = _observed(model.latents, kinds, rng)
    elif family == "effects":
        model = models.of_effects(n_rows, n_columns, n_scores, share, rng)
        seen, _ = _observed(model.latents, kinds, rng)
    elif family == "clusters":
        model = models.of_clusters(n_rows, n_columns, n_scores, share, rng)
        seen, _ = _observed(model.latents, kinds, rng)
    else:
        latents = draw_latents(n_rows, n_columns, rng)
        seen, inputs = _observed(latents, kinds, rng)
        relevant = _relevant(n_columns, rng)
        model = models.of_function(family, latents, inputs[:, relevant], n_scores, share, rng)
    X = _assembled(seen, kinds, draw_missing(model.latents, rng), rng)
    label_noise = 0.0
    if n_classes == 1:
        y, target = draw_target(model.score[:, 0], rng)
    else:
        target = "ordered" if ordered else "argmax"
        frequencies = draw_frequencies(n_classes, 2.0 / n_rows, rng)
        if ordered:
            y = classes_in_order(model.score[:, 0], frequencies)
        else:
            y = classes_by_score(model.score, frequencies)
        if rng.random() < 0.2:
            label_noise = float(rng.uniform(0.0, 0.15))
            y = with_wrong_labels(y, label_noise, frequencies, rng)
        y = rng.permutation(n_classes)[with_every_class(y, n_classes, rng)]
    return (
        X,
        y,
        {
            "family": family,
            "signal_share": float(share),
            "signal": model.signal,
            "score": model.score,
            "target": target,
            "label_noise": label_noise,
            "columns": tuple(kinds.tolist()),
        },
    )


def _observed(
    latents: np.ndarray, kinds: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers or codes of levels, and what a target depends on, both of latents' shape.

    A target depends on the latent or on what is observed of it, as blood pressure or its grade may
    be what matters; on a categorical column by an effect of each level or by the latent.
    """
    seen, inputs = np.empty_like(latents), latents.copy()
    for j, kind in enumerate(kinds):
        if kind == "categorical":
            codes, n_levels = draw_levels(latents[:, j], rng)
            seen[:, j], values = codes, rng.standard_normal(n_levels)[codes]
        else:
            seen[:, j] = values = observe(latents[:, j], kind, rng)
        if rng.random() < 0.5:
            inputs[:, j] = np.clip(standardised(values), -5.0, 5.0)
    return seen, inputs


def _relevant(n_columns: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the columns, of any order, that a target depends on; at times all of them."""
    n_noise = int(n_columns * rng.uniform(0.0, 0.8)) if rng.random() < 0.4 else 0
    return rng.permutation(n_columns)[n_noise:]


def _assembled(
    seen: np.ndarray, kinds: np.ndarray, missing: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Give columns units and levels, and take missing entries out."""
    X = np.empty(seen.shape, dtype=object if "categorical" in kinds else np.float64)
    for j, kind in enumerate(kinds):
        if kind == "categorical":
            X[:, j] = np.array(list(LEVELS), dtype=object)[seen[:, j].astype(np.intp)]
            X[missing[:, j], j] = None
        else:
            X[:, j] = to_units(seen[:, j], kind, rng)
            X[missing[:, j], j] = np.nan
    if rng.random() < 0.03 and "categorical" not in kinds:
        X[:, rng.integers(X.shape[1])] = rng.integers(3)
    return X


def _log_uniform(counts: tuple[int, int], rng: np.random.Generator) -> int:
    low, high = np.log(counts[0]), np.log(counts[1] + 1)
    return min(int(np.exp(rng.uniform(low, high))), counts[1])


def _few(low: int, high: int, rng: np.random.Generator) -> int:
    """Draw a number of classes between two, both included, mostly a small one."""
    weights = (np.arange(low, high + 1) - low + 1.5) ** -2.2
    return int(rng.choice(np.arange(low, high + 1), p=weights / weights.sum()))
