import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern

from sklearn_meta.datasets import make_gaussian_process_tasks


@pytest.mark.parametrize("kernel", [None, RBF(0.5), Matern(0.7, nu=1.5), DotProduct(0.3)])
def test_whitened_functions_are_standard_normal(kernel):
    tasks, drawn = make_gaussian_process_tasks(
        4000, 4, kernel=kernel, noise=0.4, random_state=0, return_parameters=True
    )
    whitened = np.array(
        [
            np.linalg.solve(np.linalg.cholesky(k(X) + 0.16 * np.eye(4)), y)
            for (X, y), k in zip(tasks, drawn["kernel"], strict=True)
        ]
    )
    np.testing.assert_allclose(whitened.mean(0), 0, atol=0.08)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(4), atol=0.12)


def test_singular_covariance_gives_functions_of_its_own_span():
    """A linear kernel without noise draws straight lines through zero."""
    for X, y in make_gaussian_process_tasks(20, 6, kernel=DotProduct(0.0), random_state=0):
        slopes = y / X[:, 0]
        np.testing.assert_allclose(slopes, slopes[0], atol=1e-6)


def test_each_task_draws_one_of_several_kernels():
    small, large = ConstantKernel(0.01) * RBF(), ConstantKernel(100.0) * RBF()
    tasks, drawn = make_gaussian_process_tasks(
        600, 5, kernel=[small, large], random_state=0, return_parameters=True
    )
    is_large = np.array([kernel is large for kernel in drawn["kernel"]])
    squares = np.array([np.mean(y**2) for _, y in tasks])
    assert abs(is_large.mean() - 0.5) < 0.1
    assert abs(squares[is_large].mean() / 100 - 1) < 0.3
    assert abs(squares[~is_large].mean() / 0.01 - 1) < 0.3


def test_noise_comes_on_top_of_the_function():
    tasks, drawn = make_gaussian_process_tasks(
        100, 50, n_features=3, noise=0.2, random_state=0, return_parameters=True
    )
    noise = [y - f for (_, y), f in zip(tasks, drawn["function"], strict=True)]
    assert abs(np.std(noise) - 0.2) < 0.01
    assert tasks[0].X.shape == (50, 3)


@pytest.mark.parametrize("kernel", ["rbf", [], [RBF(), 3]])
def test_what_is_no_kernel_is_refused(kernel):
    with pytest.raises(TypeError, match=r"sklearn\.gaussian_process\.kernels"):
        make_gaussian_process_tasks(kernel=kernel)
