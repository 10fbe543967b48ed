"""Random projections, Radon and Fourier transforms: exact small cases."""

import math
import pickle

import numpy as np
import pytest
import torch

from sklearn_meta.operators._function_operators import LinearFunction
from sklearn_meta.operators._hadamard import hadamard
from sklearn_meta.operators._materialize import materialize
from sklearn_meta.operators.fourier import Fourier
from sklearn_meta.operators.projection import RandomProjection
from sklearn_meta.operators.radon import Radon

LINE = Fourier.line_mask((7, 6), 2, random_state=0)
OPERATORS = {
    "gaussian": RandomProjection((5, 7), 11, random_state=0),
    "orthogonal colour": RandomProjection((5, 6, 3), 9, "orthogonal", random_state=0),
    "hadamard": RandomProjection((4, 8), 10, "hadamard", random_state=0),
    "hadamard padded colour": RandomProjection((5, 7, 2), 50, "hadamard", random_state=0),
    "blocks": RandomProjection((6, 9), 4, "orthogonal", block=3, random_state=0),
    "hadamard blocks colour": RandomProjection((8, 4, 3), 5, "hadamard", block=4, random_state=0),
    "gaussian blocks": RandomProjection((4, 6, 2), 3, block=2, random_state=0),
    "radon": Radon((6, 9), 7),
    "radon limited colour": Radon((5, 5, 2), np.linspace(-40, 40, 4), n_detectors=6),
    "fourier": Fourier((6, 5)),
    "fourier lines": Fourier((7, 6), LINE),
    "fourier scattered": Fourier((6, 4), np.arange(24).reshape(6, 4) % 3 == 0),
    "fourier colour": Fourier((7, 6, 3), LINE),
    "fourier frame": Fourier((4, 5, 2), oversampling=2),
    "fourier frame mask": Fourier((3, 3), np.arange(36).reshape(6, 6) % 4 == 0, oversampling=2),
}


@pytest.fixture(params=OPERATORS, ids=str)
def operator(request):
    return OPERATORS[request.param]


def images(shape, n=3, seed=0):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed)).double()


def test_adjoint(operator):
    x, y = images(operator.image_shape), images(operator.measurement_shape, seed=1)
    measured, back = operator.forward(x), operator.adjoint(y)
    assert measured.shape == y.shape
    assert back.shape == x.shape
    left, right = (measured * y).flatten(1).sum(1), (x * back).flatten(1).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_derivatives_of_both_sides(operator):
    for side, shape in (
        (operator.forward, operator.image_shape),
        (operator.adjoint, operator.measurement_shape),
    ):
        x = images(shape, 1).requires_grad_()
        assert torch.autograd.gradcheck(side, x, fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda v, f=side: f(v).square(), x, fast_mode=True)


def test_gram_solver_solves(operator):
    solve = operator.gram_solver(torch.tensor([1.0, 0.5, 2.0]).double().reshape(3, 1, 1))
    b, rho = images(operator.image_shape), torch.tensor([0.3, 1e-3, 5.0]).double()
    if solve is None:
        assert operator.image_shape == (3, 3)
        return
    shape = (3, *[1] * len(operator.image_shape))
    x = solve(b, rho.reshape(shape))
    gram = operator.adjoint(operator.forward(x))
    weight = torch.tensor([1.0, 0.5, 2.0]).double().reshape(shape)
    torch.testing.assert_close(weight * gram + rho.reshape(shape) * x, b, rtol=1e-8, atol=1e-8)


def test_one_weight_for_all(operator):
    solve = operator.gram_solver(0.7)
    if solve is not None:
        x = solve(images(operator.image_shape), 0.2)
        gram = operator.adjoint(operator.forward(x))
        torch.testing.assert_close(0.7 * gram + 0.2 * x, images(operator.image_shape))


def test_single_precision_and_pickle(operator):
    x = images(operator.image_shape)
    y = operator.forward(x.float())
    assert y.dtype == torch.float32
    assert operator.adjoint(y).dtype == torch.float32
    copy = pickle.loads(pickle.dumps(operator))
    torch.testing.assert_close(copy.forward(x), operator.forward(x), rtol=0, atol=0)
    torch.testing.assert_close(y.double(), operator.forward(x), rtol=1e-4, atol=1e-4)


def test_channels_are_measured_one_by_one():
    for build in (
        lambda s: RandomProjection(s, 5, block=2, random_state=3),
        lambda s: RandomProjection(s, 5, "hadamard", random_state=3),
        lambda s: Radon(s, 5),
        lambda s: Fourier(s, LINE[:4, :6] | True),
    ):
        x = images((4, 6, 3))
        colour, grey = build((4, 6, 3)).forward(x), build((4, 6))
        for c in range(3):
            torch.testing.assert_close(colour[..., c], grey.forward(x[..., c]))


def test_hadamard_is_orthonormal_and_symmetric():
    matrix = hadamard(torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix @ matrix, torch.eye(8, dtype=torch.float64))
    assert (matrix[0] == 1 / math.sqrt(8)).all()


@pytest.mark.parametrize("kind", ["orthogonal", "hadamard"])
def test_rows_are_orthonormal(kind):
    matrix = materialize(RandomProjection((4, 4), 9, kind, random_state=0)).matrix
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(9, dtype=torch.float64))


def test_a_matrix_is_found_by_few_units_at_a_time():
    matrix, seen = images((3,), 100 * 80, seed=2), []

    def function(x):
        seen.append(x.numel())
        return x.flatten(1) @ matrix

    found = materialize(LinearFunction(function, (100, 80), (3,)), use_adjoint=False).matrix
    torch.testing.assert_close(found, matrix.T)
    assert max(seen) <= 2**22  # all at once would be 2**26 numbers


def test_padded_hadamard_rows_have_unit_length():
    matrix = materialize(RandomProjection((3, 5), 16, "hadamard", random_state=0)).matrix
    torch.testing.assert_close(matrix.square().sum(1), torch.ones(16, dtype=torch.float64))


def test_gaussian_entries_keep_the_energy_on_average():
    matrix = RandomProjection((20, 20), 300, random_state=0).core.matrix
    assert float(matrix.var()) == pytest.approx(1 / 300, rel=0.02)


def test_every_block_is_measured_by_the_same_rows():
    operator = RandomProjection((4, 6), 3, block=2, random_state=0)
    x = torch.zeros((1, 4, 6), dtype=torch.float64)
    x[0, 2:, 2:4] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    y = operator.forward(x)[0]
    assert (y[[0, 1, 2, 3, 5]] == 0).all()
    torch.testing.assert_close(y[4], operator.core.matrix @ torch.arange(1.0, 5.0).double())


def test_the_same_seed_draws_the_same_rows():
    one, two = (RandomProjection((4, 4), 5, "hadamard", random_state=7) for _ in range(2))
    x = images((4, 4))
    assert torch.equal(one.forward(x), two.forward(x))


def test_right_angles_sum_rows_and_columns():
    x = images((4, 6))
    y = Radon((4, 6), [0, 90], n_detectors=6).forward(x)
    torch.testing.assert_close(y[:, 0], x.sum(1))
    torch.testing.assert_close(y[:, 1, 1:5], x.sum(2))


def test_every_angle_holds_the_whole_image():
    x = images((9, 5))
    y = Radon((9, 5), 11).forward(x)
    torch.testing.assert_close(y.sum(2), x.sum((1, 2))[:, None].expand(-1, 11))


def test_fourier_is_that_of_numpy():
    x = images((7, 6))
    expected = np.fft.fft2(x.numpy(), norm="ortho")[:, LINE]
    y = Fourier((7, 6), LINE).forward(x).numpy()
    np.testing.assert_allclose(y[:, 0] + 1j * y[:, 1], expected, atol=1e-12)
    framed = Fourier((7, 6), oversampling=2).forward(x).numpy()
    expected = np.fft.fft2(x.numpy(), s=(14, 12), norm="ortho")
    np.testing.assert_allclose(framed[:, 0] + 1j * framed[:, 1], expected, atol=1e-12)


def test_line_mask():
    mask = Fourier.line_mask((64, 10), 4, random_state=0)
    lines = mask.all(1)
    assert (mask.any(1) == lines).all()
    assert lines.sum() == 16
    assert lines[[0, 1, 2, -1, -2]].all()
    across = Fourier.line_mask((5, 40), 4, axis=1, center_fraction=0, random_state=0)
    assert across.all(0).sum() == 10


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomProjection((4, 4), 5, "bernoulli"), "kind must be"),
        (lambda: RandomProjection((4, 4), 17, "orthogonal"), "from 1 to 16"),
        (lambda: RandomProjection((4, 5), 3, block=2), "do not divide"),
        (lambda: RandomProjection((256, 256), 16384), "does not fit into memory"),
        (lambda: RandomProjection((4, 4), 2.5), "n_measurements must be a positive int; got 2.5"),
        (lambda: RandomProjection((4, 4), None), "n_measurements must be a positive int"),
        (lambda: RandomProjection((4, 4), -1), "n_measurements must be a positive int"),
        (lambda: RandomProjection((5, 5), 2, block=2.5), "block must be a positive int"),
        (lambda: Radon((4, 4), 0), "number of angles must be a positive int"),
        (lambda: Radon((4, 4), None), "number of angles must be a positive int"),
        (lambda: Radon((4, 4), np.nan), "number of angles must be a positive int"),
        (lambda: Radon((4, 4), [0.0, np.nan]), "not finite"),
        (lambda: Radon((4, 4), 3, n_detectors=0), "n_detectors"),
        (lambda: Fourier((4, 4), np.zeros((4, 4))), "keeps no frequency"),
        (lambda: Fourier((4, 4), np.ones((4, 5))), "mask has shape"),
        (lambda: Fourier((4, 4), oversampling=1.5), "oversampling"),
        (lambda: Fourier.line_mask((4, 4), 0.5), "acceleration"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
