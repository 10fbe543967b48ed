"""Small tables for experts, and what is left of one without some of its rows."""

from dataclasses import replace

import torch

from sklearn_meta.learners.experts import Table

KINDS = ("regression", "classification")


def draw(kind, n_tables=3, n_rows=20, n_columns=4, n_classes=3, seed=0):
    """Rows, targets and number of classes of tables with a signal in their first columns."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tables, n_rows, n_columns, generator=generator, dtype=torch.float64)
    noise = torch.randn(n_tables, n_rows, n_classes, generator=generator, dtype=torch.float64)
    slopes = torch.randn(n_columns, n_classes, generator=generator, dtype=torch.float64)
    score = x @ slopes + 0.5 * noise
    if kind == "regression":
        y = score[..., 0]
        y = y - y.mean(1, keepdim=True)
        return x, y / y.std(1, keepdim=True, unbiased=False).clamp_min(1e-6), None
    return x, score.argmax(-1), n_classes


def fit(expert, x, y, n_classes):
    return expert.fit(Table.of(x, y, n_classes))


def everything(expert, kind):
    return torch.arange(expert.n_variants[kind])


def without(table, rows):
    """The table without the rows at these positions, columns scaled and ranked as before."""
    used = torch.ones(table.values.shape[1], dtype=torch.bool)
    used[rows] = False
    codes = None if table.codes is None else table.codes[:, used]
    return replace(
        table, values=table.values[:, used], targets=table.targets[:, used], codes=codes, held=None
    )
