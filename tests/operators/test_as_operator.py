"""Every kind of operator that users have, and what is said about those that are wrong."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla
import torch
from scipy import ndimage
from torch import nn

from sklearn_meta.operators import (
    Blur,
    Downsample,
    Fourier,
    Identity,
    Mask,
    Operator,
    PoissonCount,
    Saturation,
    Stack,
    as_operator,
)
from sklearn_meta.operators._from_numpy import FromNumpy
from sklearn_meta.operators._from_physics import FromPhysics
from sklearn_meta.operators._recognise import CirculantGram, DiagonalGram, FewEigenvalues

from ._operators import KERNEL, SHAPE, Physics, batch, linear_operator, random, sparse

LARGE = (46, 44)


def black_box(operator):
    """The two products of one of our operators, as a linear operator of SciPy."""
    return sla.LinearOperator(
        (operator.n_measurements, operator.n_pixels),
        matvec=lambda x: (operator @ x.ravel()).ravel(),
        rmatvec=lambda y: (operator.T @ y.ravel()).ravel(),
        dtype=np.float64,
    )


def images(shape, n=3):
    return batch(shape, n).numpy()


def assert_is_matrix(operator, matrix):
    x, y = images(operator.image_shape), images((len(matrix),))
    np.testing.assert_allclose((operator @ x).reshape(3, -1), x.reshape(3, -1) @ matrix.T)
    back = operator.T @ y.reshape(3, *operator.measurement_shape)
    np.testing.assert_allclose(back.reshape(3, -1), y @ matrix)


MATRIX = random(12, 35)
SPARSE = sparse(12, 35)
KEPT = random(*SHAPE) < 0.6


@pytest.mark.parametrize(
    ("given", "matrix"),
    [
        (MATRIX, MATRIX),
        (MATRIX.astype(np.float32), MATRIX.astype(np.float32).astype(float)),
        (MATRIX > 0.5, (MATRIX > 0.5).astype(float)),
        (MATRIX.tolist(), MATRIX),
        (torch.from_numpy(MATRIX), MATRIX),
        (SPARSE, SPARSE.toarray()),
        (SPARSE.tocoo(), SPARSE.toarray()),
        (sp.csc_matrix(SPARSE), SPARSE.toarray()),
        (sp.eye_array(35, format="csr")[[30, 2, 2]], np.eye(35)[[30, 2, 2]]),
        (sp.csr_array(np.diag([0.0, 2.0] * 17 + [3.0])), np.diag([0.0, 2.0] * 17 + [3.0])),
        (linear_operator(MATRIX), MATRIX),
        (sla.aslinearoperator(SPARSE), SPARSE.toarray()),
    ],
    ids=["array", "single", "bool", "list", "tensor", "csr", "coo", "csc", "selection", "diagonal"]
    + ["linear operator", "linear operator of sparse"],
)
def test_matrices(given, matrix):
    assert_is_matrix(as_operator(given, SHAPE), matrix)
    reshaped = as_operator(given, SHAPE, (len(matrix), 1))
    assert reshaped.measurement_shape == (len(matrix), 1)
    assert_is_matrix(reshaped, matrix)


def test_own_operators_pass():
    blur = Blur(SHAPE, KERNEL)
    assert as_operator(blur, SHAPE) is blur
    assert as_operator(blur, None) is blur
    assert as_operator(blur, SHAPE, (35,)).measurement_shape == (35,)
    with pytest.raises(ValueError, match=r"takes images of shape \(5, 7\)"):
        as_operator(blur, (7, 5))


def test_physics_sees_channels_first():
    x = images((6, 4, 2))
    measured = as_operator(Physics(), (6, 4, 2)) @ x
    assert measured.shape == (3, 2, 4, 4)
    for c in range(2):
        one = as_operator(Physics(), (6, 4)) @ np.ascontiguousarray(x[..., c])
        np.testing.assert_allclose(measured[:, c], one[:, 0], rtol=1e-6)


def test_deepinv():
    deepinv = pytest.importorskip("deepinv")
    physics = deepinv.physics.Blur(torch.ones(1, 1, 3, 3) / 9, padding="circular")
    x = images((8, 9))
    expected = ndimage.uniform_filter(x, (0, 3, 3), mode="wrap")
    np.testing.assert_allclose(as_operator(physics, (8, 9)) @ x, expected[:, None], atol=1e-5)


def test_pylops():
    pylops = pytest.importorskip("pylops")
    operator = as_operator(pylops.FirstDerivative((8, 9), axis=0), (8, 9))
    x = images((8, 9))
    expected = np.zeros_like(x)
    expected[:, 1:-1] = (x[:, 2:] - x[:, :-2]) / 2
    np.testing.assert_allclose((operator @ x).reshape(x.shape), expected, atol=1e-12)


# ---------------------------------------------------------------- structure


@pytest.mark.parametrize("shape", [(46, 44), (24, 21, 3)])
@pytest.mark.parametrize("own", [False, True])
def test_a_blur_is_recognised(shape, own):
    kernel = random(4, 5, *(shape[2:] if own else ()))
    found = as_operator(black_box(Blur(shape, kernel)), shape).operator
    assert isinstance(found, Blur)
    x = images(shape)
    np.testing.assert_allclose(found @ x, Blur(shape, kernel) @ x, rtol=1e-9)


@pytest.mark.parametrize("shape", [(46, 44), (31, 21), (20, 22, 2)])
@pytest.mark.parametrize("factor", [2, 3])
def test_downsampling_is_recognised(shape, factor):
    given = Downsample(shape, factor, random(3, 4))
    found = as_operator(black_box(given), shape).operator
    assert isinstance(found, Downsample)
    assert found.factor == factor
    x = images(shape)
    np.testing.assert_allclose(found @ x, given @ x, rtol=1e-9)


def solves(operator, rho=0.01):
    b = batch(operator.image_shape)
    x = operator.gram_solver()(b, rho)
    torch.testing.assert_close(operator.adjoint(operator.forward(x)) + rho * x, b)


def test_a_mask_is_recognised():
    seen = random(*LARGE) < 0.5
    operator = as_operator(black_box(Mask(LARGE, seen)), LARGE)
    solves(operator)
    assert isinstance(operator._gram, DiagonalGram)
    torch.testing.assert_close(operator._gram.values, torch.from_numpy(seen).double())


def test_a_circular_gram_is_recognised():
    shape = (70, 66)
    given = Fourier(shape, Fourier.line_mask(shape, 4, random_state=0))
    operator = as_operator(black_box(given), shape)
    solves(operator)
    assert isinstance(operator._gram, CirculantGram)


def test_few_eigenvalues_are_recognised():
    rows = np.linalg.qr(random(2024, 300))[0].T
    rows[-1] = rows[:3].sum(0) + rows[-1]  # no longer orthogonal
    sparse_like = sla.aslinearoperator(np.vstack([rows] * 5))  # too large to become a matrix
    large = as_operator(sparse_like, LARGE)
    solves(large)
    assert isinstance(large._gram, FewEigenvalues)


@pytest.mark.parametrize(
    "given",
    [Blur(LARGE, KERNEL, "reflect"), Blur(LARGE, KERNEL, "valid")],
    ids=["reflect", "valid"],
)
def test_what_is_nearly_a_convolution_is_not_taken_for_one(given):
    operator = as_operator(black_box(given), LARGE)
    assert operator.gram_solver() is None
    x = images(LARGE)
    np.testing.assert_allclose((operator @ x).reshape(3, -1), (given @ x).reshape(3, -1))


def test_recognition_takes_few_products():
    calls = {"forward": 0, "adjoint": 0}
    given = Blur(LARGE, KERNEL, "reflect")

    def product(side, function, values):
        calls[side] += 1
        return function(values.ravel()).ravel()

    counted = sla.LinearOperator(
        (given.n_measurements, given.n_pixels),
        matvec=lambda x: product("forward", lambda v: given @ v, x),
        rmatvec=lambda y: product("adjoint", lambda v: given.T @ v, y),
        dtype=np.float64,
    )
    as_operator(counted, LARGE).gram_solver()
    assert calls["forward"] <= 16
    assert calls["adjoint"] <= 12


# ---------------------------------------------------------------- errors


def scaled(matrix, forward=None, adjoint=None, dtype=np.float64):
    return sla.LinearOperator(
        matrix.shape,
        matvec=forward or (lambda x: matrix @ x),
        rmatvec=adjoint or (lambda y: matrix.T @ y),
        dtype=dtype,
    )


INFINITE = MATRIX.copy()
INFINITE[3, 4] = np.nan


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MATRIX[:, :30], r"30 columns.*have 35 pixels\.$"),
        (MATRIX.T, r"12 columns.*transpose would fit"),
        (SPARSE.T, r"12 columns.*transpose would fit"),
        (linear_operator(MATRIX.T), r"12 columns.*transpose would fit"),
        (MATRIX[0], r"must be a matrix of shape \(m, 35\)"),
        (MATRIX * 1j, "stack real and imaginary parts"),
        (SPARSE * 1j, "stack real and imaginary parts"),
        (INFINITE, "not finite"),
        (sp.csr_array(INFINITE), "not finite"),
        (np.full((12, 35), "dark"), "must hold numbers"),
        (np.zeros((0, 35)), "is empty"),
        (scaled(MATRIX, dtype=np.complex128), "stack real and imaginary parts"),
        (scaled(MATRIX, lambda x: MATRIX @ x * (1 + 1j)), "matvec.*complex"),
        (scaled(MATRIX, lambda x: MATRIX @ x + np.nan), "matvec of.*NaN or infinite"),
        (scaled(MATRIX, None, lambda y: MATRIX.T @ y / 0.0), "rmatvec of.*NaN or infinite"),
        (scaled(MATRIX, lambda x: x[:4]), "matvec of.*failed"),
        (scaled(MATRIX, None, lambda y: y), "rmatvec of.*failed"),
        (scaled(MATRIX, lambda x: np.sqrt(np.abs(MATRIX @ x))), "^matvec of .* is not linear"),
        (scaled(MATRIX, lambda x: MATRIX @ x + 1), "^matvec of .* is not linear.*subtract"),
        (scaled(MATRIX, None, lambda y: MATRIX.T @ np.tanh(y)), "^rmatvec of .* is not linear"),
        (scaled(MATRIX, None, lambda y: 2.5 * MATRIX.T @ y), r"the adjoint times 2\.5\."),
        (scaled(MATRIX, None, lambda y: -(MATRIX.T @ y)), r"the adjoint times -1\."),
        (scaled(MATRIX, None, lambda y: MATRIX.T @ y[::-1]), "rmatvec of .*not the adjoint.*both"),
        (sla.LinearOperator((12, 35), matvec=lambda x: MATRIX @ x), "A has no rmatvec"),
        (sp.csr_array((0, 35)), "A has no rows"),
        ([[1.0] * 35, [1.0]], "the matrix A must hold numbers, in rows of one length"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_errors(given, message):
    with pytest.raises(ValueError, match=message):
        as_operator(given, SHAPE)


class Duck:
    """The least that counts as a linear operator."""

    shape = MATRIX.shape

    def matvec(self, x):
        return MATRIX @ x

    def rmatvec(self, y):
        return MATRIX.T @ y


def test_a_linear_operator_needs_three_attributes():
    assert_is_matrix(as_operator(Duck(), SHAPE), MATRIX)
    lame = type("Lame", (), {"shape": Duck.shape, "matvec": Duck.matvec})()
    with pytest.raises(ValueError, match="A has no rmatvec, its adjoint"):
        as_operator(lame, SHAPE)


def test_sides_that_work_in_place_leave_the_image_alone():
    def doubled(function, values):
        values *= 2
        return function(values) / 2

    matrix = sparse(12, 35)
    given = scaled(
        matrix,
        lambda x: doubled(lambda v: matrix @ v, x),
        lambda y: doubled(lambda v: matrix.T @ v, y),
    )
    operator = FromNumpy(SHAPE, given)
    for n in (1, 3):
        x, y = batch(SHAPE, n), batch((12,), n)
        measured, back = operator.forward(x), operator.adjoint(y)
        assert torch.equal(x, batch(SHAPE, n))
        assert torch.equal(y, batch((12,), n))
        np.testing.assert_allclose(measured, x.flatten(1).numpy() @ matrix.toarray().T)
        np.testing.assert_allclose(back.flatten(1), y.numpy() @ matrix.toarray())
    assert_is_matrix(as_operator(given, SHAPE), matrix.toarray())


def test_both_products_with_the_adjoint_are_checked():
    class Lying(sla.LinearOperator):
        def _matvec(self, x):
            return MATRIX @ x.ravel()

        def _rmatvec(self, y):
            return 2.0 * MATRIX.T @ y.ravel()

        def _rmatmat(self, y):
            return MATRIX.T @ y

    with pytest.raises(ValueError, match="^rmatvec of .* by itself and in a batch"):
        as_operator(Lying(np.float64, MATRIX.shape), SHAPE)


def test_measurements_that_change_are_refused():
    rng = np.random.default_rng(0)
    noisy = scaled(MATRIX, lambda x: MATRIX @ x.ravel() + rng.normal(size=12))
    with pytest.raises(ValueError, match="must not add noise"):
        as_operator(noisy, SHAPE)


@pytest.mark.parametrize("given", ["blur", 3.0, object(), None, {}])
def test_what_is_no_operator(given):
    with pytest.raises((TypeError, ValueError), match="A must be|the matrix A"):
        as_operator(given, SHAPE)


@pytest.mark.parametrize("shape", [5, (5,), (5, 0), (1, 2, 3, 4), (2.5, 3), "ab"])
def test_image_shape(shape):
    with pytest.raises(ValueError, match=r"image_shape must be \(H, W\)"):
        as_operator(MATRIX, shape)


@pytest.mark.parametrize("shape", [(5, 5), 12, (-3, -4), (), (2.0, 6.0), "ab"])
def test_measurement_shape_has_to_fit(shape):
    with pytest.raises(ValueError, match="measurement_shape"):
        as_operator(MATRIX, SHAPE, shape)


def test_counts_keep_their_noise():
    counts = PoissonCount(SHAPE, 4.0)
    assert as_operator(counts, SHAPE, SHAPE) is counts
    with pytest.raises(ValueError, match=r"measurement_shape is \(35,\)"):
        as_operator(counts, SHAPE, (35,))


class WrongSide(Operator):
    """One of a user's own, with a side to be broken."""

    def __init__(self, forward=lambda x: x, adjoint=lambda y: y):
        self._sides = forward, adjoint
        self.set_shapes(SHAPE, SHAPE)

    def forward(self, x):
        return self._sides[0](x)

    def adjoint(self, y):
        return self._sides[1](y)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"adjoint": lambda y: y.roll(1, 2)}, "^adjoint of WrongSide is not the adjoint"),
        ({"forward": lambda x: x[:, :4]}, "^forward of WrongSide must return the shape"),
        ({"adjoint": lambda y: y.flatten(1)}, "^adjoint of WrongSide must return the shape"),
        ({"forward": lambda x: x.numpy()}, "^forward of WrongSide must return a tensor"),
        ({"forward": lambda x: x * 1j}, "^forward of WrongSide returns complex"),
        ({"forward": lambda x: x - x.mean(0)}, "by itself and in a batch"),
        ({"forward": lambda x: x.sqrt().nan_to_num()}, "^forward of WrongSide is not linear"),
        ({"forward": lambda x: x.mul_(2) / 2}, "^forward of WrongSide changes its input in place"),
        ({"adjoint": lambda y: y.mul_(2) / 2}, "^adjoint of WrongSide changes its input in place"),
    ],
)
def test_own_operators_are_checked(sides, message):
    assert as_operator(WrongSide(), SHAPE).gram_solver() is not None
    with pytest.raises(ValueError, match=message):
        as_operator(WrongSide(**sides), SHAPE)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda A: Mask(SHAPE, KEPT) @ A,
        lambda A: Stack(Identity(SHAPE), Mask(SHAPE, KEPT) @ A),
        lambda A: Saturation(None, A),
        lambda A: A.T,
    ],
    ids=["compose", "stack", "law", "adjoint"],
)
def test_own_operators_are_checked_inside_of_others(wrap):
    right = wrap(WrongSide())
    assert as_operator(right, None) is right
    with pytest.raises(ValueError, match=r"^adjoint of WrongSide.*the adjoint times 3\."):
        as_operator(wrap(WrongSide(adjoint=lambda y: 3 * y)), None)


class OneSided(Operator):
    def __init__(self):
        self.set_shapes(SHAPE, SHAPE[:1])

    def forward(self, x):
        return x.sum(2)


def test_an_operator_of_ones_own_needs_its_adjoint():
    with pytest.raises(ValueError, match="^OneSided has no adjoint.*or is_linear to be False"):
        as_operator(OneSided(), SHAPE)


class Clipped:
    """A physics that is not linear has no adjoint."""

    def A(self, x):
        return x[:, :1].clamp(0.3, 0.6)


def test_physics_that_is_not_linear():
    operator = as_operator(Clipped(), (6, 4))
    assert not operator.is_linear
    x = images((6, 4))
    np.testing.assert_allclose((operator @ x).reshape(x.shape), x.clip(0.3, 0.6), rtol=1e-6)


class Failing:
    def A(self, x):
        return x[:, 3]


def test_physics_that_fails():
    with pytest.raises(
        ValueError, match=r"^A of Failing failed on a batch of shape \(1, 1, 6, 4\)"
    ):
        as_operator(Failing(), (6, 4))


class WrongPhysics(Physics):
    def A_adjoint(self, y):
        return 3.0 * super().A_adjoint(y)


def test_physics_is_checked():
    with pytest.raises(ValueError, match=r"^A_adjoint of WrongPhysics.*the adjoint times 3"):
        as_operator(WrongPhysics(), SHAPE)


class Parameters(nn.Module):
    def __init__(self):
        super().__init__()
        self.factors = nn.Parameter(torch.arange(1.0, 8.0))

    def A(self, x):
        return x.mul_(self.factors)

    def A_adjoint(self, y):
        return self.A(y)


def test_physics_may_have_parameters_and_work_in_place():
    operator = FromPhysics(SHAPE, Parameters())
    x = batch(SHAPE, dtype=torch.float32)
    before = x.clone()
    expected = before.numpy() * np.arange(1.0, 8.0, dtype=np.float32)
    np.testing.assert_allclose(operator.forward(x)[:, 0], expected)
    assert torch.equal(x, before)
    np.testing.assert_allclose(operator @ x.numpy(), expected[:, None], rtol=1e-6)


class Views:
    def A(self, x):
        return x.view(len(x), -1).cumsum(1)

    def A_adjoint(self, y):
        return (
            y.view(len(y), 3, 6, 4)
            .flip(1, 2, 3)
            .view(len(y), -1)
            .cumsum(1)
            .view(len(y), 3, 6, 4)
            .flip(1, 2, 3)
        )


def test_physics_sees_the_usual_layout():
    x = images((6, 4, 3))
    expected = x.transpose(0, 3, 1, 2).reshape(3, -1).cumsum(1)
    operator = FromPhysics((6, 4, 3), Views())
    np.testing.assert_allclose(operator @ x, expected)
    back = operator.adjoint(operator.forward(torch.from_numpy(x)))
    assert float((back * torch.from_numpy(x)).sum()) == pytest.approx((expected**2).sum())


class Layered(nn.Module):
    """A function of images, one of whose layers happens to be called A."""

    def __init__(self):
        super().__init__()
        self.A = nn.Linear(7, 4, bias=False)

    def forward(self, x):
        return torch.relu(self.A(x))


def test_a_layer_called_A_does_not_make_a_physics():
    module = Layered()
    operator = as_operator(module, SHAPE)
    x = batch(SHAPE, dtype=torch.float32) - 0.5
    torch.testing.assert_close(operator.forward(x), module(x).detach(), rtol=1e-4, atol=1e-5)


class LogPhysics:
    def A(self, x):
        return torch.log(x + 0.01)


@pytest.mark.parametrize(
    ("given", "law"),
    [(lambda x: x.sqrt(), np.sqrt), (LogPhysics(), lambda x: np.log(x + 0.01))],
    ids=["function", "physics"],
)
def test_a_law_of_each_pixel_need_not_exist_outside_of_the_unit_interval(given, law):
    x = images(SHAPE)
    operator = as_operator(given, SHAPE)
    measured = operator @ x
    np.testing.assert_allclose(measured.reshape(x.shape), law(x))
    low, high = operator.interval(torch.from_numpy(measured))
    np.testing.assert_allclose(((low + high) / 2).reshape(x.shape), x, atol=1e-6)


def test_what_is_solved_by_its_derivative_has_to_exist_everywhere():
    with pytest.raises(ValueError, match="NaN or infinite values for finite ones, between -"):
        as_operator(lambda x: x.cumsum(1).sqrt(), SHAPE)


def test_identity_matrix_is_solved_at_once():
    operator = as_operator(sp.identity(35, format="csr"), SHAPE)
    b = batch(SHAPE)
    torch.testing.assert_close(operator.gram_solver()(b, 0.5), b / 1.5)
    assert operator.norm() == Identity(SHAPE).norm() == 1.0
