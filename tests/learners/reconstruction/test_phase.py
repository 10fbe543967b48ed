"""Phase retrieval from magnitudes of random and of Fourier measurements."""

from __future__ import annotations

import pytest
import torch

from sklearn_meta.learners.reconstruction._phase import (
    PhaseSearch,
    least_squares,
    misfit_of,
    retrieve_phase,
)
from sklearn_meta.operators import PhaseRetrieval, RandomProjection, as_operator

SHAPE = (6, 6)


def images(n: int) -> torch.Tensor:
    """Bright strokes on black."""
    generator = torch.Generator().manual_seed(1)
    x = torch.zeros((n, *SHAPE), dtype=torch.float64)
    x[:, 1:5, 1:5] = torch.rand((n, 4, 4), generator=generator, dtype=torch.float64)
    return x


def gaussian(ratio: float) -> PhaseRetrieval:
    n = SHAPE[0] * SHAPE[1]
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn((int(ratio * n), n), generator=generator, dtype=torch.float64)
    return PhaseRetrieval(None, as_operator(rows.numpy() / n**0.5, SHAPE))


@pytest.mark.parametrize("ratio", [2, 4])
def test_random_magnitudes_give_the_image(ratio):
    operator, truth = gaussian(ratio), images(4)
    x, misfit = retrieve_phase(operator, operator.forward(truth), torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, truth, rtol=0, atol=2e-3)
    assert (misfit < 1e-3).all()


def test_fourier_magnitudes_give_the_image_or_its_likes():
    operator, truth = PhaseRetrieval(SHAPE), images(3)
    x, misfit = retrieve_phase(operator, operator.forward(truth), torch.Generator().manual_seed(0))
    assert (misfit < 2e-2 * operator.forward(truth).square().mean().sqrt()).all()
    best = torch.full((3,), torch.inf).double()
    for turned in (x, x.flip(1, 2)):
        for row in range(-5, 6):
            for column in range(-5, 6):
                error = (turned.roll((row, column), (1, 2)) - truth).square().mean((1, 2))
                best = torch.minimum(best, error)
    assert (best < 1e-3).all()


def test_images_of_other_ranges_up_to_sign():
    operator, truth = gaussian(5), 3 * images(2) - 0.5
    x, misfit = retrieve_phase(operator, operator.forward(truth), torch.Generator().manual_seed(0))
    sign = torch.where((x * truth).sum((1, 2)) < 0, -1.0, 1.0)[:, None, None]
    torch.testing.assert_close(sign * x, truth, rtol=0, atol=1e-2)
    assert (x.sum((1, 2)) >= 0).all() and (misfit < 1e-2).all()


def test_missing_magnitudes_are_left_out():
    operator, truth = gaussian(5), images(2)
    y = operator.forward(truth)
    y[:, ::6] = torch.nan
    x, _ = retrieve_phase(operator, y, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, truth, rtol=0, atol=1e-2)


def test_least_squares_inverts_its_operator():
    operator, truth = PhaseRetrieval(SHAPE), images(2)
    invert = least_squares(operator)
    torch.testing.assert_close(invert(operator.inner.forward(truth)), truth, rtol=0, atol=1e-4)


def test_same_generator_same_image():
    operator = PhaseRetrieval(None, RandomProjection(SHAPE, 60, random_state=0))
    y = operator.forward(images(1))
    search = PhaseSearch(n_starts=4, n_waves=1, n_reflections=50)
    first, second = (
        retrieve_phase(operator, y, torch.Generator().manual_seed(3), search)[0] for _ in "ab"
    )
    assert torch.equal(first, second)
    torch.testing.assert_close(misfit_of(operator, images(1), y), torch.zeros(1).double())
