"""What holds for every operator."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import GridSearchCV
from torch.autograd import gradcheck, gradgradcheck

from sklearn_meta import operators
from sklearn_meta.operators import Compose, Identity, Operator

from ._operators import ALL, LINEAR, NONLINEAR, PER_SAMPLE, ROUNDING, SHAPE, SINGLE, batch, random

SIDES = {**LINEAR, **PER_SAMPLE}


def parameters(cases):
    return pytest.mark.parametrize("name", cases)


class Holder(BaseEstimator):
    def __init__(self, operator=None):
        self.operator = operator


def test_every_public_operator_is_here():
    public = {getattr(operators, name) for name in operators.__all__} - {Operator}
    public = {entry for entry in public if isinstance(entry, type)}
    assert public <= {type(operator) for operator in ALL.values()}


@parameters(ALL)
def test_shapes_precision_and_values_by_ones(name):
    operator = ALL[name]
    x = batch(operator.image_shape)
    y = operator.forward(x)
    assert y.shape == (3, *operator.measurement_shape)
    assert y.dtype == torch.float64
    low = operator.forward(x.float())
    assert low.dtype == torch.float32
    if name not in ROUNDING:
        torch.testing.assert_close(low.double(), y, rtol=1e-4, atol=1e-4)
    for i in range(3):
        one = operator.select([i]).forward(x[i : i + 1])
        torch.testing.assert_close(one, y[i : i + 1], rtol=1e-6, atol=1e-6)


@parameters(ALL)
def test_applied_to_arrays(name):
    operator = ALL[name]
    x = batch(operator.image_shape)
    y = operator.forward(x).numpy()
    np.testing.assert_array_equal(operator @ x.numpy(), y)
    np.testing.assert_array_equal(operator @ x.flatten(1).numpy(), y.reshape(3, -1))
    assert isinstance(operator @ x, torch.Tensor)
    if operator.n_samples is None:
        one = operator @ x[0].flatten().numpy()
        np.testing.assert_allclose(one, y[0].ravel(), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="takes arrays of shape"):
        operator @ np.zeros((3, 2))


@parameters(ALL)
def test_whole_numbers_are_numbers(name):
    operator = ALL[name]
    x = (10 * batch(operator.image_shape)).long()
    y = operator @ x.double()
    assert torch.equal(operator @ x, y)
    np.testing.assert_array_equal(operator @ x.numpy(), y.numpy())


@parameters(ALL)
def test_the_result_shares_nothing_with_the_image(name):
    operator = ALL[name]
    x = batch(operator.image_shape)
    for values in (x, x.numpy()):
        y = operator @ values
        y += 1
        assert torch.equal(x, batch(operator.image_shape))


@parameters(LINEAR)
def test_differentiable_after_inference_mode(name):
    operator = copy.copy(LINEAR[name])  # without what others cast
    x = batch(operator.image_shape, dtype=torch.float32)
    expected = operator.adjoint(operator.forward(x))
    operator = copy.copy(operator)
    with torch.inference_mode():
        torch.testing.assert_close(operator.adjoint(operator.forward(x)), expected)
        operator.gram_solver()
    x.requires_grad_()
    y = operator.forward(x)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * operator.adjoint(y.detach()))


@parameters(NONLINEAR)
def test_derivatives_in_inference_mode(name):
    operator = NONLINEAR[name]
    x, y = batch(operator.image_shape), batch(operator.measurement_shape)
    expected = operator.vjp(x, y), operator.jvp(x, x)
    with torch.inference_mode():
        again = x.clone()
        torch.testing.assert_close(operator.vjp(again, y.clone()), expected[0])
        torch.testing.assert_close(operator.jvp(again, again), expected[1])


def test_any_layout_of_arrays():
    x = batch(SHAPE).numpy()
    frozen = x.copy()
    frozen.flags.writeable = False
    for values in (x[::-1][::-1], np.asfortranarray(x), frozen, x.astype(">f8"), x.tolist()):
        np.testing.assert_array_equal(LINEAR["blur"] @ values, LINEAR["blur"] @ x)


def test_what_is_not_real_is_not_measured():
    operator, x = LINEAR["matrix"], batch(SHAPE)
    for values in (x * 1j, (x * 1j).numpy()):
        with pytest.raises(ValueError, match="Dense takes real values; got complex"):
            operator @ values
    with pytest.raises(ValueError, match="Dense takes arrays of numbers; got ndarray"):
        operator @ np.full(SHAPE, "dark")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_operators(n_jobs):
    class Measure(RegressorMixin, BaseEstimator):  # local: workers cannot import this file
        def __init__(self, operator=None):
            self.operator = operator

        def fit(self, X, y):
            return self

        def predict(self, X):
            return self.operator @ X

    candidates = [LINEAR["mask"], LINEAR["blur"], LINEAR["identity"]]
    X = random(8, 35)
    search = GridSearchCV(Measure(), {"operator": candidates}, cv=2, n_jobs=n_jobs)
    search.fit(X, LINEAR["blur"] @ X)
    np.testing.assert_allclose(search.predict(X), LINEAR["blur"] @ X)
    assert search.best_index_ == 1
    assert search.best_score_ == pytest.approx(1.0)


@parameters(ALL)
def test_pickles_and_is_shared_by_copies(name):
    operator = ALL[name]
    x = batch(operator.image_shape)
    y = operator.forward(x)
    operator.forward(x.float())  # fills the caches
    again = pickle.loads(pickle.dumps(operator))
    torch.testing.assert_close(again.forward(x), y)
    assert copy.deepcopy(operator) is operator
    assert clone(Holder(operator)).operator is operator
    assert repr(operator) == repr(again)


@parameters(SIDES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_dot(name, dtype):
    operator = SIDES[name]
    x = batch(operator.image_shape, dtype=dtype)
    y = batch(operator.measurement_shape, dtype=dtype, seed=1)
    back = operator.adjoint(y)
    assert back.shape == x.shape
    assert back.dtype == dtype
    measured = operator.forward(x)
    tolerance = 1e-10 if dtype == torch.float64 and name not in SINGLE else 1e-5
    left = (measured.double() * y.double()).flatten(1).sum(1)
    right = (x.double() * back.double()).flatten(1).sum(1)
    size = measured.double().flatten(1).norm(dim=1) * y.double().flatten(1).norm(dim=1)
    assert ((left - right).abs() <= tolerance * size).all()


@parameters(SIDES)
def test_linear(name):
    operator = SIDES[name]
    assert operator.is_linear
    x, z = batch(operator.image_shape), batch(operator.image_shape, seed=1)
    parts = 2.0 * operator.forward(x) - 3.0 * operator.forward(z)
    torch.testing.assert_close(operator.forward(2.0 * x - 3.0 * z), parts, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(operator.jvp(x, z), operator.forward(z))
    y = operator.forward(x)
    torch.testing.assert_close(operator.vjp(x, y), operator.adjoint(y))


@parameters([name for name in {**SIDES, **NONLINEAR} if name not in SINGLE])
def test_differentiable_twice(name):
    operator = {**SIDES, **NONLINEAR}[name]
    x = batch(operator.image_shape, n=operator.n_samples or 1).requires_grad_()
    assert gradcheck(operator.forward, x, fast_mode=True)
    assert gradgradcheck(lambda x: operator.forward(x) ** 2, x, fast_mode=True)
    if operator.is_linear:
        y = batch(operator.measurement_shape, n=operator.n_samples or 1).requires_grad_()
        assert gradcheck(operator.adjoint, y, fast_mode=True)
        assert gradgradcheck(lambda y: operator.adjoint(y) ** 2, y, fast_mode=True)


@parameters(NONLINEAR)
def test_derivatives_of_what_is_not_linear(name):
    operator = NONLINEAR[name]
    assert not operator.is_linear
    x, v = batch(operator.image_shape), batch(operator.image_shape, seed=1)
    y = batch(operator.measurement_shape, seed=2)
    step = 1e-6
    change = (operator.forward(x + step * v) - operator.forward(x - step * v)) / (2 * step)
    torch.testing.assert_close(operator.jvp(x, v), change, rtol=1e-5, atol=1e-6)
    left = (operator.jvp(x, v) * y).flatten(1).sum(1)
    right = (v * operator.vjp(x, y)).flatten(1).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)
    assert operator.gram_solver() is None
    for refused in (lambda: operator.T, operator.norm, operator.condition):
        with pytest.raises(TypeError, match="not linear"):
            refused()
    with pytest.raises(TypeError, match="not linear"):
        operator.adjoint(y)


@parameters([name for name in SIDES if name not in SINGLE])
def test_gram_solver(name):
    operator = SIDES[name]
    b = batch(operator.image_shape, n=operator.n_samples or 2).requires_grad_()
    weight = torch.linspace(0.5, 2.0, len(b), dtype=torch.float64)
    rho = torch.linspace(0.1, 0.3, len(b), dtype=torch.float64)
    weight, rho = (value.reshape(-1, *[1] * (b.ndim - 1)) for value in (weight, rho))
    for w, r in ((1.0, 0.1), (weight, rho)):
        solve = operator.gram_solver(w)
        if solve is None:
            return
        x = solve(b, r)
        torch.testing.assert_close(
            w * operator.adjoint(operator.forward(x)) + r * x, b, rtol=1e-8, atol=1e-8
        )
    assert gradcheck(solve, (b, rho.requires_grad_()), fast_mode=True)
    low = solve(b.detach().float(), rho.detach().float())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), x.detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "name",
    ["identity", "mask", "masks", "blur", "blur of colours", "downsample", "downsample of colours"]
    + ["matrix", "tall matrix", "orthogonal rows", "sparse selection", "sparse means"]
    + ["linear operator", "linear operator of a blur", "adjoint with a solver"],
)
def test_has_an_exact_solver(name):
    assert SIDES[name].gram_solver() is not None


@parameters(LINEAR)
def test_norm_and_condition(name):
    operator = LINEAR[name]
    matrix = operator.forward(
        torch.eye(operator.n_pixels).double().reshape(-1, *operator.image_shape)
    )
    values = torch.linalg.svdvals(matrix.flatten(1).T)
    assert operator.norm() == pytest.approx(float(values[0]), rel=0.02)
    if operator.n_measurements < operator.n_pixels or values[-1] < 1e-12 * values[0]:
        assert operator.condition() > 1e10
    elif name not in SINGLE:
        assert operator.condition() == pytest.approx(float(values[0] / values[-1]), rel=1e-4)


@parameters(SIDES)
def test_transposed(name):
    operator = SIDES[name]
    y = batch(operator.measurement_shape)
    assert operator.T.image_shape == operator.measurement_shape
    torch.testing.assert_close(operator.T @ y, operator.adjoint(y))
    x = batch(operator.image_shape)
    torch.testing.assert_close(operator.T.T @ x, operator @ x)


def test_composition_is_associative():
    a, b, c = LINEAR["blur, valid"], LINEAR["blur, reflect"], LINEAR["blur"]
    x = batch(c.image_shape)
    expected = a.forward(b.forward(c.forward(x)))
    for composed in ((a @ b) @ c, a @ (b @ c), Compose(a, b, c)):
        torch.testing.assert_close(composed @ x, expected)
        assert len(composed.operators) == 3
    torch.testing.assert_close((Identity(a.measurement_shape) @ a) @ x, a @ x)
    torch.testing.assert_close(((a @ b) @ (a @ b).T) @ expected, a @ b @ (b.T @ (a.T @ expected)))
