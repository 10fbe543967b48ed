"""What `InContext` learns, and how it brings a support of any kind before the experts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_meta.learners._base import IMPOSSIBLE, Signature
from sklearn_meta.learners._class_prior import ClassPrior
from sklearn_meta.learners._column_prior import ColumnPrior
from sklearn_meta.learners._gate import Gate
from sklearn_meta.learners._gate_episodes import unpack
from sklearn_meta.learners._mixture import Mixture, Panel
from sklearn_meta.learners._named_classes import NamedClasses
from sklearn_meta.learners._named_table import NamedTable
from sklearn_meta.preprocessing._column_names import EncodedColumn
from sklearn_meta.tasks._episodes import TaskBatch

WEIGHT_OF_ERRORS = 0.5  # of squared errors, in variances of the support, beside the log score
LARGEST_SHARE = 1 - 1e-6  # of the expert of names
LARGEST_SQUARE = 9.0  # farther errors teach the gate no more
FEWEST_TO_TELL = 4  # tables held out
STEPS = (0.25, 0.5, 1.0)


class InContextModule(nn.Module):
    """The gate, what names of columns promise, and what goes in and comes out.

    Parameters
    ----------
    signature : Signature
    columns : dict of str to ndarray
        A `ColumnPrior`, or for classes a `ClassPrior`, as arrays; empty where tables have no names.
    generator : torch.Generator
    """

    def __init__(
        self, signature: Signature, columns: dict[str, np.ndarray], generator: torch.Generator
    ):
        super().__init__()
        self.kind, self.n_outputs = signature.kind, signature.n_outputs
        self.gate = Gate("regression" if self.kind == "regression" else "classification", generator)
        self.columns = nn.Module()
        for name, array in columns.items():
            self.columns.register_buffer(name, torch.tensor(array))
        self._named: NamedTable | NamedClasses | None = None

    @property
    def column_prior(self) -> ColumnPrior | ClassPrior | None:
        """What names of columns promise."""
        arrays = {name: b.cpu().numpy() for name, b in self.columns.named_buffers()}
        prior = ColumnPrior if self.kind == "regression" else ClassPrior
        return prior.from_arrays(arrays) if arrays else None

    def open(
        self,
        columns: Sequence[EncodedColumn],
        center: float = 0.0,
        scale: float = 1.0,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Serve one table alone, whose columns have names.

        Parameters
        ----------
        columns : sequence of EncodedColumn
        center, scale : float
            A target is ``center + scale * y`` in units of its own, if `y` is what the learner sees.
        labels : sequence of str, optional
            What the classes are called, in the order of their codes.
        """
        prior = self.column_prior
        if prior is None:
            return
        if self.kind == "classification" and labels is not None:
            self._named = NamedClasses.of(prior, columns, labels)
        elif self.kind == "regression" and self.n_outputs == 1:
            self._named = NamedTable.of(prior, columns, center, scale)

    def panel(self, x: Tensor, y: Tensor, ways: int) -> Panel:
        """Fit all experts to one support of at least one row.

        Parameters
        ----------
        x : Tensor of shape (n, p)
        y : Tensor of shape (n,), or (n, k) for several targets or labels
            Each target is a table of its own: the columns are the same.
        ways : int
            Number of classes.
        """
        x = x.double()
        if self.kind == "classification":
            named = self._named if self._named and self._named.n_classes == ways else None
            return Panel.of(x[None], y[None], ways, named)
        x = x.expand(y.shape[1], *x.shape)
        if self.kind == "multilabel":
            return Panel.of(x, y.long().T, 2)
        return Panel.of(x, y.double().T, None, self._named)

    def components(self, mixture: Mixture | None, x: Tensor) -> tuple[Tensor, Tensor]:
        """Forecasts of numbers: components (rows, k, V', 2) and their log weights (rows, k, V')."""
        if mixture is None:  # a scaled target is about standard normal
            parts = x.new_zeros(len(x), self.n_outputs, 1, 2)
            return parts, parts[..., 0]
        forecast, log_weight = mixture.forecast(x.double().expand(self.n_outputs, *x.shape))
        forecast = forecast.permute(2, 0, 1, 3)
        return forecast, log_weight.expand(forecast.shape[:-1])

    def log_probabilities(self, mixture: Mixture | None, x: Tensor, ways: int) -> Tensor:
        """Log probabilities of classes (rows, C), or of no and yes for each label (rows, k, 2)."""
        labels = self.kind == "multilabel"
        if mixture is None:
            shape = (len(x), self.n_outputs, 2) if labels else (len(x), ways)
            return x.new_zeros(shape).log_softmax(-1)
        x = x.double().expand(self.n_outputs if labels else 1, *x.shape)
        forecast, log_weight = mixture.forecast(x)
        log_p = (forecast + log_weight[..., None, None]).logsumexp(1)
        return log_p.transpose(0, 1) if labels else log_p[0]

    def gate_loss(self, rows: Tensor) -> Tensor:
        """Loss (...) of the gate on episodes (..., width), see `gate_episodes`.

        Minus the log score of the mixture on the query and, for numbers, its squared error too:
        a log score alone cares little for the mean where it is unsure.
        """
        facts, scores, log_scores, errors = unpack(rows, self.gate)
        scores, named = scores[..., :-1], scores[..., -1:]
        log_weight = self.gate(scores, facts)
        log_named = self.gate.log_share_of_names(log_weight, scores, named, facts)[..., None]
        others = torch.log1p(-log_named.exp().clamp_max(LARGEST_SHARE))
        log_weight = torch.cat([log_weight + others, log_named], -1)
        loss = -(log_weight[..., None] + log_scores).logsumexp(-2).mean(-1)
        if self.kind == "regression":
            error = (log_weight.exp()[..., None] * errors).sum(-2).square()
            loss = loss + WEIGHT_OF_ERRORS * error.clamp_max(LARGEST_SQUARE).mean(-1)
        return loss

    def accept(self, held_out: Sequence[TaskBatch]) -> None:
        """Go back towards the weights at the start, as far as tables held out are better for.

        The step is taken that they are best for, if that is by more than chance; with too few of
        them to tell none is. Where nothing was held out all that was learned is kept.
        """
        with torch.no_grad():
            learned = [p.clone() for p in self.gate.parameters()]
            rows = [(batch.query.x, batch.query.mask) for batch in held_out]

            def losses(step: float) -> Tensor:
                """Loss (T,) of each table."""
                self._step(learned, step)
                parts = [(self.gate_loss(x) * m).sum(-1) / m.sum(-1) for x, m in rows]
                return torch.cat(parts)

            best = 0.0 if held_out else 1.0
            if sum(len(x) for x, _ in rows) >= FEWEST_TO_TELL:
                before, least = losses(0.0), 0.0
                for step in STEPS:
                    gain = before - losses(step)
                    sure = float(gain.mean() - gain.std() / len(gain) ** 0.5)
                    if sure > least:
                        best, least = step, sure
            self._step(learned, best)

    def _step(self, learned: list[Tensor], step: float) -> None:
        pairs = zip(self.gate.parameters(), self.gate.start, learned, strict=True)
        for parameter, start, end in pairs:
            parameter.copy_(start + step * (end - start))


def padded(parts: list[Tensor], width: int, value: float) -> Tensor:
    """Stack tensors (rows, ..., w) whose last axes differ, filled up with a value."""
    return torch.stack([nn.functional.pad(p, (0, width - p.shape[-1]), value=value) for p in parts])


def impossible_beyond(log_p: list[Tensor], n_classes: int) -> Tensor:
    """Log probabilities (T, rows, C) of tasks that have different numbers of classes."""
    return padded(log_p, n_classes, IMPOSSIBLE)
