import itertools
import pickle

import numpy as np
import pytest
import torch

from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.learners.reconstruction import Noise, regress_operator
from sklearn_meta.learners.reconstruction._moved_kernel import Grid, KernelFamily, grids
from sklearn_meta.learners.reconstruction._operator_regression import (
    candidate_families,
    choose_family,
)
from sklearn_meta.learners.reconstruction._ordered_pixels import (
    LikeliestOrderedFamily,
    OrderedFamily,
)
from sklearn_meta.learners.reconstruction._row_families import DenseFamily, OwnPixelFamily
from sklearn_meta.operators import Blur, Downsample, Mask

SHAPE = (9, 8)
SIGMA = 0.02
KERNEL = np.outer([0.2, 0.5, 0.3], [0.1, 0.6, 0.3])


def pairs(operator, n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, *SHAPE))
    y = operator(torch.from_numpy(x)).numpy()
    return x, y + SIGMA * rng.normal(size=y.shape)


def dense(x):
    matrix = torch.from_numpy(np.random.default_rng(5).normal(size=(20, 72)) / np.sqrt(20))
    return x.flatten(1) @ matrix.T


def zero_padded(x):
    kernel = torch.from_numpy(KERNEL)[None, None]
    return torch.nn.functional.conv2d(x[:, None], kernel, padding="same")[:, 0]


def seen_pixels(x):
    return x.flatten(1)[:, torch.arange(0, 72, 3)]


def test_dense_rows_are_bayesian_regression():
    x, y = pairs(dense, 15)
    images, measurements = torch.from_numpy(x).flatten(1), torch.from_numpy(y)
    family = DenseFamily(images, measurements, SHAPE)
    found = family.rows(SIGMA**2)
    # The posterior covariance tells the scale of the prior that was found.
    direction = torch.linalg.svd(images).Vh[-1]
    scale = float(direction @ found.covariance @ direction)
    precision = images.T @ images / SIGMA**2 + torch.eye(72) / scale
    covariance = torch.linalg.inv(precision)
    torch.testing.assert_close(found.covariance, covariance, rtol=1e-6, atol=1e-9)
    expected = measurements.T @ images @ covariance / SIGMA**2
    torch.testing.assert_close(found.matrix, expected, rtol=1e-5, atol=1e-7)
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(15, dtype=torch.float64),
        scale * images @ images.T + SIGMA**2 * torch.eye(15),
    )
    expected = float(marginal.log_prob(measurements.T).sum()) - np.log(17)  # scales
    assert family.log_evidence(SIGMA**2) == pytest.approx(expected)


@pytest.mark.parametrize("border", ["circular", "reflect", "valid", "zero"])
def test_a_convolution_is_found_from_two_pairs(border):
    measure = zero_padded if border == "zero" else Blur(SHAPE, KERNEL, boundary=border).forward
    x, y = pairs(measure, 2)
    found = regress_operator(y, x, Noise(SIGMA))
    new = torch.from_numpy(np.random.default_rng(9).random((5, *SHAPE)))
    error = (found.forward(new) - measure(new)).square().mean().sqrt()
    assert error < 3 * SIGMA


def test_downsampling_is_a_kernel_every_few_pixels():
    operator = Downsample((8, 8), 2)
    x = np.random.default_rng(0).random((4, 8, 8))
    y = operator.forward(torch.from_numpy(x))
    found = regress_operator(y.numpy(), x, Noise(SIGMA))
    new = torch.from_numpy(np.random.default_rng(9).random((5, 8, 8)))
    error = (found.forward(new) - operator.forward(new)).square().mean().sqrt()
    assert error < 2 * SIGMA


def test_pixels_are_recognised():
    x, y = pairs(seen_pixels, 10)
    found = regress_operator(y, x, Noise(SIGMA))
    expected = seen_pixels(torch.eye(72, dtype=torch.float64).reshape(72, *SHAPE)).T
    torch.testing.assert_close(found.matrix, expected, atol=1e-6, rtol=0)


def test_dense_operators_are_found_from_many_pairs_only():
    few, many = (regress_operator(*pairs(dense, n)[::-1], Noise(SIGMA)) for n in (20, 300))
    truth = dense(torch.eye(72, dtype=torch.float64).reshape(72, *SHAPE)).T
    assert (many.matrix - truth).square().mean() < 0.01 * truth.square().mean()
    assert (few.matrix - truth).square().mean() > 0.1 * truth.square().mean()
    moment = torch.eye(72, dtype=torch.float64)
    assert (few.excess(moment) > 10 * many.excess(moment)).all()


@pytest.mark.parametrize("measure", [dense, seen_pixels, Blur(SHAPE, KERNEL).forward])
def test_excess_is_the_spread_of_measurements(measure):
    """Measurements of new images lie around the mean operator's as the posterior says."""
    x, y = pairs(measure, 30, seed=1)
    found = regress_operator(y, x, Noise(SIGMA))
    new, measured = pairs(measure, 400, seed=2)
    flat = torch.from_numpy(new).flatten(1)
    away = found.forward(torch.from_numpy(new)).numpy() - measured
    expected = found.excess(flat.T @ flat / 400).mean() + SIGMA**2
    assert np.mean(away**2) == pytest.approx(float(expected), rel=0.35)


def test_noise_is_found_from_enough_pairs():
    x, y = pairs(Blur(SHAPE, KERNEL).forward, 5)
    assert regress_operator(y, x).sigma == pytest.approx(SIGMA, rel=1.0)


def test_noise_that_is_known_later_is_as_if_known_before():
    x, y = pairs(dense, 10)
    later = regress_operator(y, x, Noise(0.3)).with_noise(SIGMA)
    assert torch.equal(later.matrix, regress_operator(y, x, Noise(SIGMA)).matrix)


def test_pairs_that_miss_a_measurement_are_left_out():
    x, y = pairs(dense, 6)
    y[2, 3] = np.nan
    kept = np.arange(6) != 2
    found = regress_operator(y, x, Noise(SIGMA))
    assert torch.equal(found.matrix, regress_operator(y[kept], x[kept], Noise(SIGMA)).matrix)
    with pytest.raises(ValueError, match="whole pairs"):
        regress_operator(np.full_like(y, np.nan), x)


def test_operator_pickles_and_is_linear():
    x, y = pairs(dense, 6)
    found = pickle.loads(pickle.dumps(regress_operator(y, x, Noise(SIGMA))))
    u, v = torch.from_numpy(x[:1]), torch.from_numpy(y[:1])
    left, right = (found.forward(u) * v).sum(), (u * found.adjoint(v)).sum()
    torch.testing.assert_close(left, right)


def test_families_take_any_shape():
    rng = np.random.default_rng(0)
    for shape in [(1, 7), (3, 4, 3), (5, 5), (2, 9)]:
        x = torch.from_numpy(rng.random((3, int(np.prod(shape)))))
        for m in (1, x.shape[1] // 2, x.shape[1]):
            y = torch.from_numpy(rng.random((3, m)))
            for family in candidate_families(x, y, shape, (m,), [SIGMA]):
                assert np.isfinite(family.log_evidence(SIGMA**2))
                rows = family.rows(SIGMA**2)
                assert rows.operator(shape).n_measurements == m
                assert (rows.excess(x.T @ x) >= 0).all()
                assert len(rows.excess(x.T @ x)) == m


def test_grids_are_those_of_the_measurements():
    flat = list(grids((6, 6), (9,)))
    assert {grid.places for grid in flat} == {(3, 3)}
    assert [grid.border for grid in flat] == ["circular", "reflect", "zero", "valid"]
    assert {grid.places for grid in grids((6, 8, 3), (3, 8, 3))} == {(3, 8)}
    assert not list(grids((6, 6, 3), (6, 6)))


@pytest.mark.parametrize("border", ["circular", "reflect", "zero", "valid"])
@pytest.mark.parametrize("steps", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("image_shape", [(9, 8), (9, 8, 2)])
def test_operator_of_a_kernel_is_its_pixels(border, steps, image_shape):
    """Whatever form the operator has, it weighs the pixels under the kernel."""
    grid = Grid((9, 8), (1, 1) if border == "valid" else steps, (5, 3), border)
    rng = np.random.default_rng(0)
    kernel, x = torch.from_numpy(rng.random(15)), torch.from_numpy(rng.random((4, *image_shape)))
    found = grid.operator(kernel, image_shape).forward(x).reshape(4, *grid.places, -1)
    planes = torch.nn.functional.pad(x.reshape(4, 72, -1), (0, 0, 0, 1))
    seen = planes[:, grid.pixels(torch.arange(np.prod(grid.places)))]
    expected = torch.einsum("nmpc,p->nmc", seen, kernel)
    torch.testing.assert_close(found.flatten(1), expected.flatten(1))


def test_kernels_are_bayesian_regression():
    """On one grid: the evidence is that of jointly normal measurements."""
    x, y = pairs(zero_padded, 2)
    grid = Grid(SHAPE, (1, 1), (5, 5), "zero")
    images, measured = (
        torch.from_numpy(a).reshape(2, *s) for a, s in ((x, (9, 8, 1)), (y, (72, 1)))
    )
    family = KernelFamily(images, measured, grid)
    rows = family.rows(SIGMA**2)
    planes = torch.nn.functional.pad(images.reshape(2, 72), (0, 1))
    seen = planes[:, grid.pixels(torch.arange(72))].reshape(144, 25)
    away = (torch.arange(5.0, dtype=torch.float64) - 2).square()
    found = []
    for width in (0.7, 1.5, 3.0):
        prior = torch.exp(-0.5 * (away[:, None] + away) / width**2).flatten()
        for scale in torch.logspace(-2, 2, 17, dtype=torch.float64):
            own = scale * prior / prior.sum()
            covariance = (seen * own) @ seen.T + SIGMA**2 * torch.eye(144)
            normal = torch.distributions.MultivariateNormal(torch.zeros(144).double(), covariance)
            mean = own * (seen.T @ torch.linalg.solve(covariance, measured.flatten()))
            found.append((float(normal.log_prob(measured.flatten())), mean))
    evidence, mean = max(found, key=lambda pair: pair[0])
    assert family.log_evidence(SIGMA**2) == pytest.approx(evidence - np.log(3 * 17))
    torch.testing.assert_close(rows.kernel, mean, atol=1e-8, rtol=1e-6)


def test_choices_of_ordered_pixels_are_summed_over():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((2, 6)))
    y = x[:, [1, 2, 5]] + 0.1 * torch.from_numpy(rng.normal(size=(2, 3)))
    family = OrderedFamily(x, y)
    normal = torch.distributions.Normal(0.0, 0.3)
    choices = list(itertools.combinations(range(6), 3))
    logs = torch.stack([normal.log_prob(y - x[:, list(c)]).sum() for c in choices])
    expected = float(logs.logsumexp(0)) - np.log(len(choices))
    assert family.log_evidence(0.09) == pytest.approx(expected)
    seen = torch.nn.functional.one_hot(torch.tensor(choices), 6).double()
    share = torch.einsum("c,cmn->mn", logs.softmax(0), seen)
    torch.testing.assert_close(family.rows(0.09).matrix, share)
    likeliest = LikeliestOrderedFamily(x, y).rows(0.09)
    assert tuple(likeliest.index.tolist()) == choices[int(logs.argmax())]


def test_masks_in_order_are_found_from_few_pairs():
    """Pixels of smooth images are alike, but their order tells them apart."""
    x = make_dead_leaves(4, (16, 16), random_state=0).astype(float)
    seen = np.flatnonzero(np.random.default_rng(0).random(256) < 0.4)
    y = x.reshape(4, -1)[:, seen]
    y = y + 0.02 * np.random.default_rng(1).normal(size=y.shape)
    found = regress_operator(y, x, Noise(0.02)).matrix
    is_true = found[range(len(seen)), seen] > 0.5
    assert is_true.double().mean() > 0.8


def test_gains_and_hidden_pixels_are_told_apart():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((3, 50)))
    noise = 0.02 * torch.from_numpy(rng.normal(size=(3, 50)))
    mask = torch.arange(50) % 3 > 0
    masked = OwnPixelFamily(x, x * mask + noise).rows(0.02**2)
    torch.testing.assert_close(masked.mean, mask.double(), atol=0.01, rtol=0)
    gain = torch.from_numpy(1 + 0.2 * rng.normal(size=50))
    gains = OwnPixelFamily(x, gain * x + noise).rows(0.02**2)
    assert (gains.mean - gain).abs().mean() < 0.03
    assert (gains.variance > 0).all()
    same = OwnPixelFamily(x, x + noise).rows(0.02**2)
    assert (same.mean == 1).all()
    assert (same.variance == 0).all()


@pytest.mark.parametrize("sigma", [0.1, 0.01])
@pytest.mark.parametrize("shape", [(12, 14, 3), (16, 16)])
def test_identity_is_found(shape, sigma):
    x = make_dead_leaves(3, shape, random_state=0).astype(float)
    y = x + sigma * np.random.default_rng(0).normal(size=x.shape)
    found = regress_operator(y, x)
    assert torch.equal(found.forward(torch.from_numpy(x)), torch.from_numpy(x))
    assert found.sigma == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize(
    "operator",
    [
        Blur((20, 24, 3), np.ones((3, 3)) / 9),
        Blur((20, 24, 3), KERNEL, boundary="valid"),
        Downsample((20, 24, 3), 2, KERNEL),
        Mask((20, 24, 3), np.random.default_rng(0).random((20, 24)) < 0.5),
        Blur((40, 40), np.ones((1, 15)) / 15),
        Blur((40, 40), np.eye(13)[::-1] / 13, boundary="reflect"),
    ],
)
def test_colour_images_and_long_kernels(operator):
    x = make_dead_leaves(8, operator.image_shape, random_state=0).astype(float)
    x = torch.from_numpy(x)
    y = operator.forward(x)
    y = y + 0.01 * torch.from_numpy(np.random.default_rng(0).normal(size=tuple(y.shape)))
    found = regress_operator(y[:4].numpy(), x[:4].numpy())
    error = (found.forward(x[4:]) - operator.forward(x[4:])).square().mean().sqrt()
    assert error < 0.005
    assert found.sigma == pytest.approx(0.01, rel=0.1)


def test_operators_near_the_identity_are_no_worse_than_it():
    """A blur that differs from place to place is in no family; few pairs have to do."""
    shape = (16, 16)
    x = torch.from_numpy(make_dead_leaves(10, shape, random_state=0).astype(float))
    share = torch.linspace(0, 1, 16, dtype=torch.float64)
    y = (1 - share) * x + share * Blur(shape, np.ones((3, 3)) / 9).forward(x)
    found = regress_operator(y[:3].numpy(), x[:3].numpy())
    error = (found.forward(x[3:]) - y[3:]).square().mean()
    assert error < (x[3:] - y[3:]).square().mean()


def test_large_images_take_memory_linear_in_pixels():
    shape = (128, 128)
    x = torch.from_numpy(make_dead_leaves(4, shape, random_state=0).astype(float))
    line = np.exp(-0.5 * (np.arange(-6, 7) / 1.8) ** 2)
    operator = Blur(shape, np.outer(line, line) / line.sum() ** 2)
    y = operator.forward(x) + 0.01 * torch.randn(
        4, *shape, generator=torch.Generator().manual_seed(0)
    )
    found = regress_operator(y.numpy(), x.numpy())
    assert (found.forward(x) - operator.forward(x)).square().mean().sqrt() < 0.002
    assert len(pickle.dumps(found)) < 4 * (x.nbytes + y.nbytes)


def test_large_operators_of_no_structure_are_refused():
    shape = (64, 64)
    x = make_dead_leaves(3, shape, random_state=0)
    matrix = np.random.default_rng(0).normal(size=(512, 4096)) / 64
    with pytest.raises(ValueError, match="Pass operator="):
        regress_operator(x.reshape(3, -1) @ matrix.T, x)
    seen = np.flatnonzero(np.random.default_rng(1).random(4096) < 0.5)
    found = regress_operator(x.reshape(3, -1)[:, seen], x)
    flat = torch.from_numpy(x).double()
    expected = flat.flatten(1)[:, seen]
    assert (found.forward(flat) - expected).square().mean() < 1e-4


def test_levels_of_noise_are_refined():
    x, y = (torch.from_numpy(a).flatten(1) for a in pairs(Blur(SHAPE, KERNEL).forward, 5))
    family = DenseFamily(x, y, SHAPE)
    _, level = choose_family([family], [0.001, 0.003, 0.01, 0.03, 0.1, 0.3], y.numel())
    near = [family.log_evidence((level * ratio) ** 2) for ratio in (0.97, 1.0, 1.03)]
    assert near[1] >= max(near) - 0.5
