"""The data step: optimal, exact at zero noise, differentiable, and the same batched."""

import pytest
import torch

from sklearn_meta.learners.reconstruction._data_step import DataTerm, conjugate_gradients
from tests.learners.reconstruction._operators import Dense, Eigen, dense


def draw(shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", [Dense, Eigen])
def test_optimal(kind):
    operator = dense(kind=kind)
    y, z, rho = draw((3, 12)), draw((3, 4, 5), 2), torch.tensor([0.1, 1.0, 7.0]).double()
    term = DataTerm(operator, y, tol=1e-12)
    x = term.prox(z, rho).requires_grad_()
    cost = (operator(x) - y).square().sum() + (rho[:, None, None] * (x - z).square()).sum()
    (gradient,) = torch.autograd.grad(cost, x)
    assert gradient.abs().max() < 1e-9


@pytest.mark.parametrize("kind", [Dense, Eigen])
def test_weights_and_missing_measurements(kind):
    operator, weights = dense(kind=kind), draw((2, 12), 3).square()
    y, z = draw((2, 12)), draw((2, 4, 5), 2)
    y[0, 3], y[1, 7:] = float("nan"), float("nan")
    x = DataTerm(operator, y, weights, tol=1e-12).prox(z, 0.5).requires_grad_()
    misfit = torch.where(torch.isnan(y), 0.0, operator(x) - y.nan_to_num())
    (gradient,) = torch.autograd.grad((weights * misfit**2).sum() + 0.5 * (x - z).square().sum(), x)
    assert gradient.abs().max() < 1e-9
    assert DataTerm(operator, y).misfit(x.detach())[0, 3] == 0


def test_fast_and_iterated_agree():
    y, z = draw((3, 12)), draw((3, 4, 5), 2)
    exact, iterated = (DataTerm(dense(kind=k), y, tol=1e-12).prox(z, 0.01) for k in (Eigen, Dense))
    torch.testing.assert_close(exact, iterated)


def test_no_noise_and_an_invertible_operator():
    operator = dense(n_measurements=20)
    truth = draw((2, 4, 5))
    term = DataTerm(operator, operator(truth), max_iter=200, tol=1e-14)
    torch.testing.assert_close(term.prox(draw((2, 4, 5), 2), 1e-12), truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [Dense, Eigen])
def test_derivatives(kind):
    operator = dense((2, 3), 4, kind=kind)
    y, z = draw((2, 4)).requires_grad_(), draw((2, 2, 3), 2).requires_grad_()
    rho = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)

    def prox(y, z, rho):
        return DataTerm(operator, y, tol=1e-14).prox(z, rho)

    assert torch.autograd.gradcheck(prox, (y, z, rho))
    assert torch.autograd.gradgradcheck(prox, (y, z, rho))


def test_batched_equals_one_by_one():
    y, z, rho = draw((3, 12)), draw((3, 4, 5), 2), torch.tensor([1e-3, 1.0, 1e3]).double()
    y[1] = 0
    z[1] = 0
    together = DataTerm(dense(), y, max_iter=7, tol=1e-3).prox(z, rho)
    for k in range(3):
        term = DataTerm(dense(), y[k : k + 1], max_iter=7, tol=1e-3)
        torch.testing.assert_close(term.prox(z[k : k + 1], rho[k]), together[k : k + 1])
    assert not together[1].any()


def test_start_changes_nothing_but_the_way():
    y, z = draw((2, 12)), draw((2, 4, 5), 2)
    term = DataTerm(dense(), y, tol=1e-12)
    torch.testing.assert_close(term.prox(z, 0.1), term.prox(z, 0.1, start=torch.zeros_like(z)))


def test_conjugate_gradients_stop_by_number():
    matrix = torch.diag(torch.arange(1.0, 31.0).double())
    b = torch.ones((1, 30), dtype=torch.float64)
    errors = [
        (conjugate_gradients(lambda x: x @ matrix, b, None, n, 0.0) * torch.diag(matrix) - b).norm()
        for n in (2, 10, 30)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9
