"""Half-quadratic splitting: known fixed points, derivatives, and the smooth start."""

import torch

from sklearn_meta.learners.reconstruction._data_step import DataTerm
from sklearn_meta.learners.reconstruction._half_quadratic import (
    half_quadratic,
    laplacian,
    roughness,
    smooth_start,
)
from sklearn_meta.operators import Mask
from tests.learners.reconstruction._operators import Dense, dense


def draw(shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_shrinkage_converges_to_ridge():
    operator, y = dense(), draw((2, 12))
    term = DataTerm(operator, y, tol=1e-13)
    rho = torch.tensor(0.5, dtype=torch.float64)
    # z = x / (1 + c) is the proximal map of c |z|^2 / 2 at rho = 1; half-quadratic minimises
    # |Ax-y|^2 + rho |x-z|^2 + rho c |z|^2 over both.
    c = 0.3
    x, _ = half_quadratic(
        term,
        lambda x, level, k: x / (1 + c),
        torch.zeros(2, 4, 5).double(),
        [rho] * 300,
        [rho] * 300,
    )
    ridge = rho * c / (1 + c)
    matrix = operator.matrix
    expected = torch.linalg.solve(
        matrix.T @ matrix + ridge * torch.eye(20).double(), matrix.T @ y.T
    ).T.reshape(2, 4, 5)
    torch.testing.assert_close(x, expected, rtol=1e-6, atol=1e-8)


def test_derivatives_of_unrolled_steps():
    operator, y, start = dense((2, 3), 4), draw((2, 4)), draw((2, 2, 3), 2)
    term = DataTerm(operator, y, tol=1e-14)
    scale = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    levels = torch.tensor([0.5, 0.2], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[0.3, 0.4], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)

    def run(scale, levels, weights):
        def denoise(x, level, k):
            return x / (1 + scale * level)

        return half_quadratic(term, denoise, start, levels, weights)

    assert torch.autograd.gradcheck(run, (scale, levels, weights))


def test_smooth_start_is_optimal():
    operator, y = dense(), draw((2, 12))
    stiffness = torch.tensor([0.1, 1.0]).double()
    term = DataTerm(operator, y)
    x = smooth_start(term, stiffness, max_iter=200).requires_grad_()
    energy = sum(torch.diff(x, dim=d).square().flatten(1).sum(1) for d in (1, 2))
    cost = (operator(x) - y).square().sum() + (stiffness * energy).sum()
    (gradient,) = torch.autograd.grad(cost, x)
    assert gradient.norm() < 1e-3 * term.back_projection.norm()


def test_what_is_not_seen_starts_at_the_grey_that_fits():
    seen = torch.ones(24, 24)
    seen[4:20, 4:20] = 0
    operator = Mask((24, 24), seen)
    y = torch.full((2, *operator.measurement_shape), 0.7)
    start = smooth_start(DataTerm(operator, y), 1e-2, max_iter=1)
    torch.testing.assert_close(start, torch.full((2, 24, 24), 0.7))


def test_grey_that_no_measurement_sees_is_not_divided_by():
    differences = Dense((4, 4), torch.diff(torch.eye(16, dtype=torch.float64), dim=0))
    y = torch.randn((2, 15), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert smooth_start(DataTerm(differences, y), 1e-2).abs().max() < 100


def test_laplacian_is_the_gradient_of_roughness():
    x = draw((1, 5, 5, 3)).requires_grad_()
    energy = sum(torch.diff(x, dim=d).square().sum() for d in (1, 2))
    (gradient,) = torch.autograd.grad(energy / 2, x)
    torch.testing.assert_close(laplacian(x), gradient)
    assert laplacian(torch.ones(1, 1, 7)).abs().max() == 0
    torch.testing.assert_close(roughness(x), energy[None] / 2 / (5 * 4 * 3))
