"""Experts: closed-form models of one table that foresee each of its rows from the others."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from sklearn_meta.learners.experts._expert import MAX_LANDMARKS, Expert, Table, log_score
from sklearn_meta.learners.experts._kernels import additive, laplace, linear, radial
from sklearn_meta.learners.experts._warp import Warp
from sklearn_meta.learners.experts.base_rate import BaseRate
from sklearn_meta.learners.experts.boosting import Boosting
from sklearn_meta.learners.experts.forest import Forest
from sklearn_meta.learners.experts.kernel_ridge import KernelRidge
from sklearn_meta.learners.experts.logistic_ridge import LogisticRidge
from sklearn_meta.learners.experts.naive_bayes import NaiveBayes
from sklearn_meta.learners.experts.neighbours import Neighbours

#: In the order in which the gate knows them.
EXPERTS: dict[str, Expert] = {
    "base_rate": BaseRate(),
    "linear": KernelRidge(linear),
    "linear_relevance": KernelRidge(linear, power=1),
    "linear_sparse": KernelRidge(linear, power=2),
    "radial": KernelRidge(partial(radial, length=2.0)),
    "radial_relevance": KernelRidge(partial(radial, length=2.0), power=1),
    "radial_short": KernelRidge(partial(radial, length=0.7), power=1),
    "laplace": KernelRidge(partial(laplace, length=2.0)),
    "laplace_relevance": KernelRidge(partial(laplace, length=2.0), power=1),
    "additive": KernelRidge(additive, max_rows=MAX_LANDMARKS),
    "logistic": LogisticRidge(),
    "naive_bayes": NaiveBayes(ranks=False),
    "naive_bayes_ranks": NaiveBayes(ranks=True),
    "neighbours": Neighbours(),
    "forest": Forest(),
    "boosting": Boosting(),
}


class Slot(NamedTuple):
    """An expert and the view of the target that it is fitted to.

    Attributes
    ----------
    expert : str
        Its name.
    warped : bool
        Whether it sees the logarithm of the target, see `Warp`.
    n_variants : int
    """

    expert: str
    warped: bool
    n_variants: int


def _slots(kind: str) -> tuple[Slot, ...]:
    views = {name: (False, True) if expert.warps else (False,) for name, expert in EXPERTS.items()}
    if kind == "classification":
        views = dict.fromkeys(EXPERTS, (False,))
    return tuple(
        Slot(name, warped, EXPERTS[name].n_variants[kind])
        for name in EXPERTS
        for warped in views[name]
        if EXPERTS[name].n_variants[kind]
    )


#: What a gate weighs, by kind of target and in the order of its weights; the base rate first.
SLOTS = {kind: _slots(kind) for kind in ("regression", "classification")}

__all__ = ["EXPERTS", "SLOTS", "Expert", "Slot", "Table", "Warp", "log_score"]
