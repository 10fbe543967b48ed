"""Phase retrieval from magnitudes of random and of Fourier measurements."""

from __future__ import annotations

import pytest
import torch

from sklearn_meta.learners.reconstruction._phase import (
    PhaseSearch,
    _updates,
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
    x, misfit = retrieve_phase(operator, operator.forward(truth))
    torch.testing.assert_close(x, truth, rtol=0, atol=2e-3)
    assert (misfit < 1e-3).all()


def test_fourier_magnitudes_give_the_image_or_its_likes():
    operator, truth = PhaseRetrieval(SHAPE), images(3)
    x, misfit = retrieve_phase(operator, operator.forward(truth))
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
    x, misfit = retrieve_phase(operator, operator.forward(truth))
    sign = torch.where((x * truth).sum((1, 2)) < 0, -1.0, 1.0)[:, None, None]
    torch.testing.assert_close(sign * x, truth, rtol=0, atol=1e-2)
    assert (x.sum((1, 2)) >= 0).all() and (misfit < 1e-2).all()


def test_missing_magnitudes_are_left_out():
    operator, truth = gaussian(5), images(2)
    y = operator.forward(truth)
    y[:, ::6] = torch.nan
    x, _ = retrieve_phase(operator, y)
    torch.testing.assert_close(x, truth, rtol=0, atol=1e-2)


def test_least_squares_inverts_its_operator():
    operator, truth = PhaseRetrieval(SHAPE), images(2)
    invert = least_squares(operator)
    torch.testing.assert_close(invert(operator.inner.forward(truth)), truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["gaussian", "fourier"])
def test_batch_and_one_by_one_agree(kind):
    operator = gaussian(2) if kind == "gaussian" else PhaseRetrieval(SHAPE)
    y = operator.forward(images(3)).float()
    y = y + 0.02 * torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    search = PhaseSearch(n_waves=3, n_reflections=60)
    together, _ = retrieve_phase(operator, y, search)
    for k in range(3):
        alone, _ = retrieve_phase(operator, y[k : k + 1], search)
        torch.testing.assert_close(together[k : k + 1], alone, rtol=0, atol=1e-4)


def test_measurements_by_a_matrix_or_a_fast_transform_cost_what_they_take():
    assert _updates(PhaseRetrieval((64, 64))) == 64 * 64
    assert _updates(gaussian(4)) == 36
    large = RandomProjection((32, 32), 2048, random_state=0)
    assert _updates(PhaseRetrieval(None, large)) >= 4 * 32 * 32


@pytest.mark.parametrize("n_pixels", [64, 1024, 4096, 2**18])
def test_work_is_bounded(n_pixels):
    search = PhaseSearch()
    waves = list(search.waves(n_pixels))
    work = n_pixels * sum(n * (steps + search.n_projections) for n, steps in waves)
    one_start = n_pixels * (search.n_reflections + search.n_projections)
    assert work <= max(search.budget, one_start)
    assert waves[0][0] >= 1 and len(waves) <= search.n_waves


def test_solved_images_are_left_alone():
    operator, calls = gaussian(4), []
    y = operator.forward(images(2))

    class Counting(PhaseRetrieval):
        def nearest(self, z, y, slack=0.0):
            calls.append(len(z))
            return super().nearest(z, y, slack)

    search = PhaseSearch()
    _, misfit = retrieve_phase(Counting(None, operator.inner), y, search)
    assert (misfit < 1e-3).all()
    # A first wave of reflections and projections, and the fit in range.
    assert len(calls) == search.n_reflections + search.n_projections + 200


def test_misfit_of_the_truth_is_zero():
    operator = PhaseRetrieval(None, RandomProjection(SHAPE, 60, random_state=0))
    misfit = misfit_of(operator, images(1), operator.forward(images(1)))
    torch.testing.assert_close(misfit, torch.zeros(1).double())
