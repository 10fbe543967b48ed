"""The multilayer perceptron: shapes, and where its start comes from."""

import pytest
import torch

from sklearn_meta.networks import MLP


def make(seed=0):
    return MLP(5, (8, 3), torch.Generator().manual_seed(seed))


def test_rows_are_mapped_one_by_one():
    x = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1))
    network = make()
    assert network(x).shape == (2, 4, 3)
    torch.testing.assert_close(network(x)[1, 2], network(x[1, 2]))


def test_the_start_comes_from_the_generator_alone():
    before = torch.get_rng_state()
    first, again, other = (make(s).state_dict() for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(
        torch.equal(first[k], again[k]) and not torch.equal(first[k], other[k]) for k in first
    )


@pytest.mark.parametrize("hidden", [(), (4, 0)])
def test_widths_are_checked(hidden):
    with pytest.raises(ValueError, match="expected positive widths"):
        MLP(5, hidden, torch.Generator())
