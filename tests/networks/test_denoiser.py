import pytest
import torch

from sklearn_meta.networks import Denoiser


@pytest.fixture
def denoiser():
    return Denoiser((8, 12), (1, 1), torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (16, 16), (9, 33)])
def test_any_size(denoiser, size):
    x = torch.rand(2, 1, *size, dtype=torch.float64)
    assert denoiser(x, 0.1).shape == x.shape


@pytest.mark.parametrize("factor", [0.01, 3.0])
def test_scales_with_the_image(denoiser, factor):
    x = torch.rand(2, 1, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(denoiser(factor * x, factor * 0.2), factor * denoiser(x, 0.2))


def test_one_noise_level_each_equals_one_by_one(denoiser):
    x, sigma = torch.rand(3, 1, 8, 8, dtype=torch.float64), torch.tensor([0.1, 0.2, 0.3])
    batch = denoiser(x, sigma.double().reshape(-1, 1, 1, 1))
    single = [denoiser(x[i : i + 1], float(sigma.double()[i])) for i in range(3)]
    torch.testing.assert_close(batch, torch.cat(single))


def test_shifts_by_its_period(denoiser):
    """Away from borders, an image that moves by the network's stride moves the estimate along."""
    x = torch.zeros(1, 1, 96, 96, dtype=torch.float64)
    x[..., 40:48, 40:48] = torch.rand(8, 8, dtype=torch.float64)
    moved = denoiser(x.roll((4, 4), (2, 3)), 0.1)
    torch.testing.assert_close(moved[..., 32:64, 32:64], denoiser(x, 0.1)[..., 28:60, 28:60])


def test_draws_from_its_generator_alone():
    before = torch.get_rng_state()
    first, second = (Denoiser((4,), (1,), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="same length"):
        Denoiser((4, 8), (1,))


def test_size_of_the_default():
    assert sum(p.numel() for p in Denoiser().parameters()) <= 1_000_000
