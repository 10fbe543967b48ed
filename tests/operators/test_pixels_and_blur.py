"""Masks, blur, downsampling and how operators are put together: exact values, and errors."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import ndimage, signal

from sklearn_meta.operators import Blur, Compose, Downsample, Identity, Mask, Stack

from ._operators import EVEN, KERNEL, batch, random


@pytest.mark.parametrize("shape", [(5, 7), (4, 4), (2, 3)])
@pytest.mark.parametrize("size", [(3, 5), (1, 1), (7, 3)])
def test_blur_is_that_of_scipy(shape, size):
    kernel, x = random(*size) - 0.3, random(*shape, seed=1)
    for boundary, mode in (("circular", "wrap"), ("reflect", "reflect")):
        expected = ndimage.convolve(x, kernel, mode=mode)
        np.testing.assert_allclose(Blur(shape, kernel, boundary) @ x, expected, atol=1e-12)
    if size[0] <= shape[0] and size[1] <= shape[1]:
        expected = signal.convolve2d(x, kernel, mode="valid")
        np.testing.assert_allclose(Blur(shape, kernel, "valid") @ x, expected, atol=1e-12)


@pytest.mark.parametrize("size", [(2, 4), (4, 3), (6, 8)])
def test_centre_of_a_kernel_of_even_size(size):
    kernel, x = random(*size), random(9, 10, seed=1)
    centre = (size[0] // 2, size[1] // 2)
    expected = sum(
        kernel[i, j] * np.roll(x, (i - centre[0], j - centre[1]), (0, 1))
        for i in range(size[0])
        for j in range(size[1])
    )
    circular = Blur((9, 10), kernel) @ x
    np.testing.assert_allclose(circular, expected, atol=1e-12)
    inside = np.s_[
        size[0] - 1 - centre[0] : 9 - centre[0], size[1] - 1 - centre[1] : 10 - centre[1]
    ]
    np.testing.assert_allclose((Blur((9, 10), kernel, "reflect") @ x)[inside], circular[inside])
    np.testing.assert_allclose(Blur((9, 10), kernel, "valid") @ x, circular[inside])


@pytest.mark.parametrize("boundary", ["circular", "reflect", "valid"])
def test_channels_have_their_own_kernels(boundary):
    kernel, x = random(3, 2, 4), random(6, 5, 4, seed=1)
    y = Blur((6, 5, 4), kernel, boundary) @ x
    for c in range(4):
        one = Blur((6, 5), kernel[..., c], boundary) @ np.ascontiguousarray(x[..., c])
        np.testing.assert_allclose(y[..., c], one, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 9), (7, 8), (6, 9, 2)])
def test_downsampling_keeps_every_third_pixel_of_the_blurred_image(shape):
    x = random(*shape, seed=1)
    expected = (Blur(shape, EVEN) @ x)[::3, ::3]
    np.testing.assert_allclose(Downsample(shape, 3, EVEN) @ x, expected, atol=1e-12)
    np.testing.assert_array_equal((Downsample(shape, 3) @ x).round(12), x[::3, ::3].round(12))


def test_a_blur_that_removes_nothing_is_undone():
    x = batch((6, 8))
    kernel = np.array([[0.1, 0.7, 0.1]])
    for operator in (Blur((6, 8), kernel), Downsample((6, 8), 1, kernel)):
        back = operator.gram_solver()(operator.adjoint(operator.forward(x)), 1e-8)
        torch.testing.assert_close(back, x, rtol=1e-6, atol=1e-6)


def test_hidden_pixels_are_never_looked_at():
    seen = np.array([[True, False], [True, True]])
    x = torch.tensor([[[1.0, torch.nan], [2.0, 3.0]]], requires_grad=True)
    y = Mask((2, 2), seen).forward(x)
    assert y.tolist() == [[[1.0, 0.0], [2.0, 3.0]]]
    y.sum().backward()
    assert x.grad.tolist() == [[[1.0, 0.0], [1.0, 1.0]]]


def test_masks_of_samples():
    seen = random(3, 5, 4) < 0.5
    operator, x = Mask((5, 4), seen), batch((5, 4))
    np.testing.assert_array_equal(operator @ x.numpy(), np.where(seen, x, 0))
    some = operator.select([2, 0])
    assert some.n_samples == 2
    torch.testing.assert_close(some @ x[[2, 0]], (operator @ x)[[2, 0]])
    with pytest.raises(ValueError, match="one mask for each of 3 images; got 2 images"):
        operator @ x[:2]
    with pytest.raises(ValueError, match=r"operators for \[2, 3\] images"):
        Compose(operator, some)
    assert Identity((5, 4)).select([1]).n_samples is None


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((4, 5)), r"must have the shape \(5, 4\)"),
        (np.ones(20), r"must have the shape \(5, 4\)"),
        (np.full((5, 4), 0.5), "True and False"),
        (np.full((5, 4), np.nan), "not finite"),
        (np.full((5, 4), "a"), "must hold numbers"),
        (np.full((5, 4), 1j), "must be real"),
    ],
)
def test_errors_of_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        Mask((5, 4), mask)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur((5, 4), np.ones(3)), r"kernel must have the shape \(h, w\)"),
        (lambda: Blur((5, 4), np.ones((3, 3, 2))), r"kernel must have the shape \(h, w\)"),
        (lambda: Blur((5, 4, 3), np.ones((3, 3, 2))), r"\(h, w\) or \(h, w, 3\)"),
        (lambda: Blur((5, 4), np.full((3, 3), np.inf)), "kernel holds values that are not finite"),
        (lambda: Blur((5, 4), np.ones((3, 3)), "zero"), "boundary must be one of"),
        (lambda: Blur((5, 4), np.ones((3, 5)), "valid"), "no valid pixel"),
        (lambda: Blur((5,), KERNEL), "image_shape must be"),
        (lambda: Downsample((5, 4), 0), "at least 1"),
        (lambda: Downsample((5, 4), 1.5), "whole number"),
        (lambda: Compose(), "at least one operator"),
        (lambda: Compose(Identity((5, 4)), Identity((4, 5))), r"takes images of shape \(5, 4\)"),
        (lambda: Stack(Identity((5, 4)), Identity((4, 5))), "one image_shape"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("combine", [Compose, Stack])
def test_only_operators_are_combined(combine):
    with pytest.raises(TypeError, match="as_operator"):
        combine(Identity((5, 4)), np.eye(20))
    for matrix in (np.ones((20, 20)), torch.ones((20, 20)), sp.eye_array(20, format="csr")):
        with pytest.raises(TypeError, match=r"@ Identity is not defined: op @ x measures"):
            matrix @ Identity((5, 4))


def test_stack_concatenates():
    x = batch((5, 4)).numpy()
    operator = Stack(Identity((5, 4)), Downsample((5, 4), 2))
    expected = np.concatenate([x.reshape(3, -1), x[:, ::2, ::2].reshape(3, -1)], 1)
    np.testing.assert_allclose(operator @ x, expected, atol=1e-12)


def test_condition_of_known_spectra():
    assert Identity((5, 4)).condition() == pytest.approx(1.0)
    assert Mask((5, 4), np.ones((5, 4))).condition() == pytest.approx(1.0)
    assert Mask((5, 4), random(5, 4) < 0.5).condition() == np.inf
    assert Downsample((6, 4), 2).condition() == np.inf
    kernel = np.array([[0.25, 1.0, 0.25]])
    assert Blur((5, 8), kernel).condition() == pytest.approx(3.0)
    assert Blur((5, 8), kernel).condition(n_steps=2) <= 3.0
