"""Episodes of tables as a gate is trained on them: what the experts foresaw, once and for all."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sklearn_meta.learners._class_prior import ClassPrior
from sklearn_meta.learners._column_prior import ColumnPrior
from sklearn_meta.learners._gate import N_FACTS, Gate
from sklearn_meta.learners._mixture import Mixture, Panel
from sklearn_meta.learners._named_classes import NamedClasses
from sklearn_meta.learners._named_table import NamedTable
from sklearn_meta.learners.experts import log_score
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._table_task import TableTask

N_QUERY = 16
FEWEST_SHOTS, MOST_SHOTS = 3, 1200
SHARE_OF_ALL_CLASSES = 0.5  # of episodes whose support has a row of every class
LARGEST_SHARE = 0.75  # of a table's rows that are support
FEWEST_EPISODES, MOST_EPISODES, ALL_EPISODES = 4, 40, 1200
SHARE_OF_TIME = 0.5  # of what meta-training may take
LOWEST_LOG_SCORE = -30.0
FEWEST_TABLES = 24  # of fewer parts are made
NOTHING = -1e6  # score of what is not there
LARGEST_ERROR = 20.0


def gate_episodes(
    tables: Sequence[TableTask],
    rng: np.random.Generator,
    max_time: float = math.inf,
    n_episodes: int | None = None,
    priors: Sequence[ColumnPrior | ClassPrior] | None = None,
) -> TaskStore:
    """Let the experts foresee query rows of random episodes of every table.

    Parameters
    ----------
    tables : sequence of TableTask
    rng : numpy.random.Generator
    max_time : float, default=inf
        Seconds that meta-training may take. At least two episodes of every table are drawn.
    n_episodes : int, optional
        Episodes of a table; by default the more the fewer tables there are.
    priors : sequence of ColumnPrior or ClassPrior, optional
        For each table what other tables' names promise.

    Returns
    -------
    TaskStore
        A row is an episode, as `unpack` reads it. Tables without an episode, whose rows are all of
        one class or value, are left out. Of few tables each is cut into several, with some of its
        columns and classes.

    Raises
    ------
    ValueError
        If there is no episode at all.
    """
    started = time.perf_counter()
    if priors is None:
        priors = [None] * len(tables)
    if len(tables) < FEWEST_TABLES:
        n_parts = math.ceil(FEWEST_TABLES / len(tables))
        priors = [prior for prior in priors for _ in range(n_parts)]
        tables = [table.part(rng) for table in tables for _ in range(n_parts)]
    n_tables = len(tables)
    if n_episodes is None:
        n_episodes = min(max(ALL_EPISODES // n_tables, FEWEST_EPISODES), MOST_EPISODES)
    found: dict[int, list[np.ndarray]] = {t: [] for t in range(n_tables)}
    for round_ in range(n_episodes):
        for t, table in enumerate(tables):
            row = _episode(table, rng, priors[t])
            if row is not None:
                found[t].append(row)
        if round_ and time.perf_counter() - started > SHARE_OF_TIME * max_time:
            break
    found = {t: rows for t, rows in found.items() if rows}
    if not found:
        raise ValueError(
            "tasks: no task has rows of two classes, or of two values, to adapt on and to be "
            "judged on; expected such tasks."
        )
    x = np.concatenate([np.stack(rows) for rows in found.values()])
    offsets = np.cumsum([0, *map(len, found.values())])
    nothing = np.zeros((len(x), 1), np.float32)
    names = [f"{tables[t].name}, {t}" for t in found]
    return TaskStore(x, nothing, offsets, names)


def unpack(rows: Tensor, gate: Gate) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Facts (..., F), scores (..., V + 1), log scores and errors (..., V + 1, Q) of episodes.

    The last is the expert of names, as one variant.
    """
    v = gate.n_variants + 1
    facts, scores, rest = rows.split([N_FACTS, v, rows.shape[-1] - N_FACTS - v], -1)
    log_scores, errors = rest.unflatten(-1, (2, v, N_QUERY)).unbind(-3)
    return facts, scores, log_scores, errors


def _episode(
    table: TableTask, rng: np.random.Generator, prior: ColumnPrior | ClassPrior | None
) -> np.ndarray | None:
    """One row of `gate_episodes`; None where the support has but one class or value."""
    most = min(MOST_SHOTS, math.floor(LARGEST_SHARE * table.n_rows), table.n_rows - 1)
    low = min(FEWEST_SHOTS, most)
    n_rows = int(np.exp(rng.uniform(math.log(low), math.log(most + 1))))
    order = rng.permutation(table.n_rows)
    support, query = order[:n_rows], order[n_rows:]
    ways = 0
    if table.y.dtype.kind != "f":
        if rng.random() < SHARE_OF_ALL_CLASSES:
            support, query = _each_class_first(table.y, order, n_rows)
        classes = np.unique(table.y[support])
        ways = len(classes)
        query = query[np.isin(table.y[query], classes)]
    values = np.unique(table.y[support])
    if len(values) < 2 or not len(query):
        return None
    query = query[:N_QUERY] if len(query) >= N_QUERY else rng.choice(query, N_QUERY)
    x, x_query, encoder = table.encode(support, query)
    y, y_query = (torch.from_numpy(part) for part in table.targets(support, query))
    names = None
    if prior is not None and not ways:
        scaler = table.scaler(support)
        names = NamedTable.of(
            prior, encoder.columns(), float(scaler.center_[0]), float(scaler.scale_[0])
        )
    if ways:
        lookup = torch.from_numpy(classes)
        y, y_query = torch.searchsorted(lookup, y), torch.searchsorted(lookup, y_query)
        if prior is not None and table.labels is not None:
            labels = [table.labels[c] for c in classes]
            names = NamedClasses.of(prior, encoder.columns(), labels)
    with torch.no_grad():
        x, x_query = (torch.from_numpy(part)[None].double() for part in (x, x_query))
        panel = Panel.of(x, y[None], ways or None, names)
        forecast, _ = Mixture.of_all(panel).forecast(x_query)
        serves = panel.left_out[0, :, 0].isfinite()
        full = forecast.new_full((2, len(serves) + 1, N_QUERY), LOWEST_LOG_SCORE)
        full[1] = 0.0
        full[0, :-1][serves] = log_score(forecast, y_query[None])[0]
        scores = panel.left_out[0].sum(-1)
        named = torch.full_like(scores[:1], NOTHING)
        if not ways:
            full[1, :-1][serves] = forecast[0, ..., 0] - y_query
        if panel.named is not None:
            own = panel.named_left_out[0].sum(-1)
            log_weight = own.log_softmax(-1)
            foreseen = panel.named.forecast(x_query[0])
            named[0] = (log_weight + own).logsumexp(-1)
            full[0, -1] = (log_weight[:, None] + log_score(foreseen, y_query[None])[0]).logsumexp(0)
            if not ways:
                full[1, -1] = log_weight.exp() @ foreseen[0, ..., 0] - y_query
        full[0].clamp_(min=LOWEST_LOG_SCORE)
        full[1].clamp_(-LARGEST_ERROR, LARGEST_ERROR)
    # A store holds finite numbers; so low a score is as good as none.
    scores = torch.cat([scores, named]).clamp_min(NOTHING)
    return torch.cat([panel.facts[0], scores, full.flatten()]).float().numpy()


def _each_class_first(
    y: np.ndarray, order: np.ndarray, n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows so that the support begins with one of each class, as users make sure of."""
    first = np.unique(y[order], return_index=True)[1]
    first = np.sort(first)[:n_rows]  # in their random order: of many classes some
    others = np.delete(order, first)
    rows = np.concatenate([order[first], others])
    return rows[:n_rows], rows[n_rows:]
