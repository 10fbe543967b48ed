"""Experts: closed-form models of one table that foresee each of its rows from the others."""

from __future__ import annotations

from functools import partial

from sklearn_meta.learners.experts._expert import Expert, Table, log_score
from sklearn_meta.learners.experts._kernels import laplace, linear, radial
from sklearn_meta.learners.experts.base_rate import BaseRate
from sklearn_meta.learners.experts.kernel_ridge import KernelRidge
from sklearn_meta.learners.experts.logistic_ridge import LogisticRidge
from sklearn_meta.learners.experts.naive_bayes import NaiveBayes
from sklearn_meta.learners.experts.neighbours import Neighbours

#: In the order in which the gate knows them.
EXPERTS: dict[str, Expert] = {
    "base_rate": BaseRate(),
    "linear": KernelRidge(linear, relevance=False),
    "linear_relevance": KernelRidge(linear, relevance=True),
    "radial": KernelRidge(partial(radial, length=2.0), relevance=False),
    "radial_relevance": KernelRidge(partial(radial, length=2.0), relevance=True),
    "laplace": KernelRidge(partial(laplace, length=2.0), relevance=False),
    "laplace_relevance": KernelRidge(partial(laplace, length=2.0), relevance=True),
    "logistic": LogisticRidge(),
    "naive_bayes": NaiveBayes(ranks=False),
    "naive_bayes_ranks": NaiveBayes(ranks=True),
    "neighbours": Neighbours(),
}


def n_variants(kind: str) -> list[int]:
    """Number of variants of each expert for a kind of target."""
    return [expert.n_variants[kind] for expert in EXPERTS.values()]


__all__ = ["EXPERTS", "Expert", "Table", "log_score", "n_variants"]
