"""Prequential evidence against a walk from block to block."""

import dataclasses

import pytest
import torch

from sklearn_meta.learners._prequential import prequential
from sklearn_meta.tasks._episodes import Rows

from ._families import Case, trained

CASES = [
    Case("maml", "regression", False),
    Case("maml", "classification", False),
    Case("maml", "multilabel", True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 11])
def test_it_is_the_sum_of_blocks_each_foreseen_from_the_rows_before(case, n):
    module, learner = trained(case), case.learner
    support, expected = case.support(module, [n]), 0.0
    start = 0
    for stop in [b for b in (1, 2, 4, 8) if b < n] + [n]:
        parts = []
        for rows in (slice(0, start), slice(start, stop)):
            x, y, mask = (t[:, rows] for t in (support.x, support.y, support.mask))
            parts.append(Rows(x, y, mask, support.ways))
        seen, block = parts
        state = learner.adapt(module, seen)
        predicted = learner.predict(module, state, block.x)
        expected += predicted.log_prob(block.y.to(block.x.dtype)).sum().item()
        start = stop
    assert prequential(learner, module, support).item() == pytest.approx(expected)


def test_padding_between_rows_does_not_matter():
    case = CASES[0]
    module = trained(case)
    support = case.support(module, [6, 3])
    gaps = torch.tensor([[0, 1, 6, 2, 3, 7, 4, 5], [0, 3, 1, 4, 5, 2, 6, 7]])
    wide = Rows(
        *(
            torch.nn.functional.pad(t, p)
            for t, p in zip(
                (support.x, support.y, support.mask),
                ((0, 0, 0, 2), (0, 0, 0, 2), (0, 2)),
                strict=True,
            )
        )
    )
    index = gaps[..., None]
    spread = Rows(
        wide.x.take_along_dim(index, 1),
        wide.y.take_along_dim(index, 1),
        wide.mask.take_along_dim(gaps, 1),
    )
    assert not torch.equal(spread.mask, wide.mask)
    torch.testing.assert_close(
        prequential(case.learner, module, spread), prequential(case.learner, module, support)
    )


def test_no_rows_and_no_columns_of_rows_give_exactly_zero():
    case = CASES[0]
    module = trained(case)
    support = case.support(module, [3, 2])
    empty = dataclasses.replace(support, mask=torch.zeros_like(support.mask))
    assert (prequential(case.learner, module, empty) == 0).all()
    nothing = Rows(support.x[:, :0], support.y[:, :0], support.mask[:, :0])
    assert (prequential(case.learner, module, nothing) == 0).all()
