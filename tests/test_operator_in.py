"""Operators as users pass them to the estimator: what is refused, and what is remembered."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from sklearn_meta import MetaReconstructor, Task
from sklearn_meta._operator_in import read_operator
from sklearn_meta.operators import Blur, Mask, Saturation

SHAPE = (3, 4)
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(5, 12))
IMAGES = torch.from_numpy(RNG.random((2, *SHAPE)))


class Physics:
    def __init__(self, matrix):
        self.matrix = matrix

    def A(self, x):
        return x.flatten(1) @ self.matrix.T.to(x)

    def A_adjoint(self, y):
        return (y @ self.matrix.to(y)).reshape(len(y), 1, *SHAPE)


class Layer(torch.nn.Module):
    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix
        self.A = torch.nn.Identity()

    def forward(self, x):
        return x.flatten(1) @ self.matrix.T.to(x)


def of_list(rows):
    def double():
        for row in rows:
            row[:] = [2 * value for value in row]

    return rows, double


def of_array(make):
    numbers = MATRIX.copy()
    return make(numbers), lambda: np.multiply(numbers, 2, out=numbers)


def of_tensor(make):
    numbers = torch.tensor(MATRIX)
    return make(numbers), lambda: numbers.mul_(2)


def of_sparse():
    table = sparse.csr_array(MATRIX)
    return table, lambda: np.multiply(table.data, 2, out=table.data)


@pytest.mark.parametrize(
    "case",
    [
        lambda: of_array(lambda numbers: numbers),
        lambda: of_list(MATRIX.tolist()),
        of_sparse,
        lambda: of_tensor(lambda numbers: numbers),
        lambda: of_array(aslinearoperator),
        lambda: of_tensor(lambda numbers: lambda x: x.flatten(1) @ numbers.T.to(x)),
        lambda: of_tensor(Layer),
        lambda: of_tensor(Physics),
    ],
)
def test_operators_that_are_changed_in_place_are_read_anew(case):
    operator, double = case()
    first = read_operator(operator, SHAPE)
    assert read_operator(operator, SHAPE) is first
    before = first.forward(IMAGES)
    double()
    np.testing.assert_allclose(read_operator(operator, SHAPE).forward(IMAGES), 2 * before)


def test_laws_that_change_beyond_one_are_read_anew():
    limit = torch.tensor(5.0)
    operator = lambda x: x.clip(max=float(limit))  # noqa: E731
    assert float(read_operator(operator, SHAPE).forward(100 * IMAGES).max()) == 5
    limit.fill_(3.0)
    assert float(read_operator(operator, SHAPE).forward(100 * IMAGES).max()) == 3


def test_fits_after_a_change_in_place_are_those_of_the_changed_operator():
    images = RNG.random((60, *SHAPE))
    meta = MetaReconstructor(learner="gaussian", noise=1e-6).fit_tasks([Task(y=images)])
    numbers = MATRIX.copy()
    model = MetaReconstructor(
        prior=meta.prior_, operator=aslinearoperator(numbers), image_shape=SHAPE, noise=1e-6
    )
    X = images.reshape(60, -1) @ MATRIX.T
    found = model.fit(X).predict(X)
    numbers *= 2
    np.testing.assert_allclose(model.fit(2 * X).predict(2 * X), found, atol=1e-6)


@pytest.mark.parametrize(
    "operator",
    [
        np.zeros((5, 12)),
        sparse.csr_array((5, 12)),
        aslinearoperator(np.zeros((5, 12))),
        Mask(SHAPE, np.zeros(SHAPE, bool)),
        Blur(SHAPE, np.zeros((3, 3))),
    ],
)
def test_an_operator_that_measures_nothing_is_refused(operator):
    with pytest.raises(ValueError, match="operator measures nothing: it gives 0 for any image"):
        MetaReconstructor(operator=operator, image_shape=SHAPE).fit(np.ones((2, 5)))


def test_an_image_of_which_nothing_is_measured_is_named():
    masks = np.ones((3, *SHAPE), bool)
    masks[1] = False
    with pytest.raises(ValueError, match="operator measures nothing of image 1"):
        read_operator(Mask(SHAPE, masks), SHAPE)
    with pytest.raises(ValueError, match="task '0': operator measures nothing of image 1"):
        MetaReconstructor().fit_tasks([Task(y=np.ones((3, *SHAPE)), operator=Mask(SHAPE, masks))])


def test_one_entry_is_something():
    matrix = np.zeros((5, 12))
    matrix[3, 7] = 1e-9
    assert read_operator(matrix, SHAPE).n_measurements == 5
    assert read_operator(Saturation(SHAPE), SHAPE).n_pixels == 12


@pytest.mark.parametrize(
    ("operator", "error", "message"),
    [
        ("blur", TypeError, "operator cannot be used: A must be .* got str"),
        (None, TypeError, "operator cannot be used: A must be"),
        (MATRIX.T, ValueError, "operator cannot be used: A has 5 columns"),
        (MATRIX + 1j, ValueError, "operator cannot be used: .* must be real"),
        ([[1, 2], [3]], ValueError, "operator cannot be used: .* rows of one length"),
        ([["a"] * 12], ValueError, "operator cannot be used: .* must hold numbers"),
        (lambda x: x.nothing, ValueError, "operator cannot be used: the operator failed"),
        (lambda x: 0 * x, ValueError, "cannot be used: .* does not depend on the image"),
        (torch.rand(5, 12).to_sparse(), TypeError, "operator cannot be used: A is a sparse tensor"),
    ],
)
def test_errors_name_the_parameter(operator, error, message):
    with pytest.raises(error, match=message):
        read_operator(operator, SHAPE)
