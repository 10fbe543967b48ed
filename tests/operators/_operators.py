"""Small instances of every operator, linear and not: odd and non-square sides, colour, batches."""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla
import torch
from torch import nn

from sklearn_meta.operators import (
    Blur,
    Compose,
    Downsample,
    Fourier,
    Gamma,
    Identity,
    Mask,
    PhaseRetrieval,
    PoissonCount,
    Quantization,
    Radon,
    RandomProjection,
    Saturation,
    Stack,
    as_operator,
)
from sklearn_meta.operators._from_numpy import FromNumpy
from sklearn_meta.operators._from_physics import FromPhysics
from sklearn_meta.operators._function_operators import LinearFunction


class Physics(nn.Module):
    """What deepinv calls a linear physics: a blur of one column, in single precision."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.tensor([0.5, 0.3, 0.2]).reshape(1, 1, 3, 1))

    def A(self, x):
        channels = self.kernel.expand(x.shape[1], 1, 3, 1)
        return nn.functional.conv2d(x, channels, groups=x.shape[1])

    def A_adjoint(self, y):
        channels = self.kernel.expand(y.shape[1], 1, 3, 1)
        return nn.functional.conv_transpose2d(y, channels, groups=y.shape[1])


class ByNumpy:
    """A physics that computes outside of torch, in double precision: sums along each line."""

    def A(self, x):
        return torch.from_numpy(np.cumsum(x.numpy(), -1)).to(x)

    def A_adjoint(self, y):
        return torch.from_numpy(np.cumsum(y.numpy()[..., ::-1], -1)[..., ::-1].copy()).to(y)


class Curved:
    """A physics that is not linear."""

    def A(self, x):
        return torch.tanh(x.cumsum(-1))


def running_sums(x):
    return x.cumsum(1).cumsum(2)


def sums_and_a_constant(x):
    return x.cumsum(1) + 0.5


def products(x):
    return x * x.mean((1, 2), keepdim=True)


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def linear_operator(matrix):
    """What SciPy and PyLops call a linear operator, with two functions."""
    return sla.LinearOperator(
        matrix.shape,
        matvec=lambda x: matrix @ x,
        rmatvec=lambda y: matrix.T @ y,
        dtype=np.float64,
    )


def sparse(m, n_pixels):
    return sp.random_array((m, n_pixels), density=0.2, rng=np.random.default_rng(0), format="csr")


SHAPE, COLOUR = (5, 7), (6, 4, 3)
KERNEL = random(3, 5) - 0.2
EVEN = random(4, 2, seed=1)
OWN = random(3, 3, 3, seed=2)

LINEAR = {
    "identity": Identity(SHAPE),
    "mask": Mask(SHAPE, random(*SHAPE) < 0.6),
    "mask of colours": Mask(COLOUR, random(*COLOUR) < 0.6),
    "blur": Blur(SHAPE, KERNEL),
    "blur of even size": Blur(SHAPE, EVEN),
    "blur of colours": Blur(COLOUR, OWN),
    "blur wider than the image": Blur((4, 3), random(7, 6)),
    "blur, reflect": Blur(SHAPE, KERNEL, "reflect"),
    "blur of even size, reflect": Blur(SHAPE, EVEN, "reflect"),
    "blur wider than the image, reflect": Blur((4, 3), random(9, 8), "reflect"),
    "blur, valid": Blur(SHAPE, KERNEL, "valid"),
    "blur of even size, valid": Blur(COLOUR, EVEN, "valid"),
    "downsample": Downsample((6, 8), 2, KERNEL),
    "downsample of colours": Downsample((6, 9, 3), 3, OWN),
    "downsample, sides with a rest": Downsample(SHAPE, 2, EVEN),
    "downsample without blur": Downsample((4, 6), 2),
    "gaussian": RandomProjection(SHAPE, 11, random_state=0),
    "hadamard of colours": RandomProjection((5, 7, 2), 20, "hadamard", random_state=0),
    "blocks": RandomProjection((6, 9), 4, "orthogonal", block=3, random_state=0),
    "radon": Radon((6, 9), 7),
    "radon of colours": Radon((5, 4, 2), np.linspace(-40, 40, 4), n_detectors=6),
    "fourier": Fourier((7, 6), Fourier.line_mask((7, 6), 2, random_state=0)),
    "fourier of colours": Fourier((7, 6, 3)),
    "poisson count": PoissonCount(SHAPE, 30.0),
    "compose": Compose(Mask(SHAPE, random(*SHAPE) < 0.6), Blur(SHAPE, KERNEL)),
    "compose with a flat one": as_operator(random(4, 35), SHAPE) @ Blur(SHAPE, EVEN),
    "stack": Stack(Blur(SHAPE, KERNEL), Downsample(SHAPE, 2)),
    "adjoint": Blur(SHAPE, KERNEL, "valid").T,
    "adjoint with a solver": Downsample((6, 8), 2, KERNEL).T,
    "matrix": as_operator(random(12, 35), SHAPE),
    "tall matrix": as_operator(random(40, 24), (2, 4, 3)),
    "orthogonal rows": as_operator(3 * np.linalg.qr(random(35, 9))[0].T, SHAPE, (3, 3)),
    "sparse selection": as_operator(sp.eye_array(35, format="csr")[[3, 30, 4]], SHAPE),
    "sparse means": as_operator(sp.kron(sp.eye_array(12), np.full((1, 6), 1 / 6)), COLOUR),
    "sparse": as_operator(sparse(20, 35), SHAPE),
    "linear operator": as_operator(linear_operator(random(12, 35)), SHAPE),
    "linear operator of a blur": as_operator(
        sla.aslinearoperator(sp.kron(sp.eye_array(6), 2 * np.eye(4) + np.roll(np.eye(4), 1, 0))),
        (6, 4),
    ),
    "physics": as_operator(Physics(), SHAPE),
    "physics of colours": as_operator(Physics(), COLOUR),
    # the adapters themselves, which small or known operators do without
    "adapter of a linear operator": FromNumpy(SHAPE, sla.aslinearoperator(sparse(12, 35))),
    "adapter of a physics": FromPhysics(SHAPE, ByNumpy()),
    "adapter of a physics, colours": FromPhysics(COLOUR, ByNumpy()),
    "adapter of a linear function": LinearFunction(running_sums, SHAPE, SHAPE),
}
PER_SAMPLE = {
    "masks": Mask(SHAPE, random(3, *SHAPE) < 0.6),
    "masks of colours": Mask(COLOUR, random(3, *COLOUR) < 0.6),
    "masks for all colours": Mask(COLOUR, random(3, *COLOUR[:2]) < 0.6),
    "blur and masks": Mask(SHAPE, random(3, *SHAPE) < 0.6) @ Blur(SHAPE, KERNEL),
    "stack with masks": Stack(Mask(SHAPE, random(3, *SHAPE) < 0.6), Identity(SHAPE)),
}
NONLINEAR = {
    "saturation": Saturation(SHAPE, low=0.05, high=0.95),
    "saturation of measurements": Saturation(SHAPE, LINEAR["gaussian"], low=-9.0, high=9.0),
    "gamma": Gamma(COLOUR),
    "phase retrieval": PhaseRetrieval((4, 3)),
    "compose, not linear": Gamma(SHAPE) @ Blur(SHAPE, np.abs(KERNEL)),
    "stack, not linear": Stack(Gamma(SHAPE), Identity(SHAPE)),
    "linear function and a constant": as_operator(sums_and_a_constant, SHAPE),
    "law of each pixel": as_operator(torch.tanh, SHAPE),
    "function": as_operator(products, SHAPE),
    "physics, not linear": as_operator(Curved(), SHAPE),
}
ROUNDING = {"quantization": Quantization(SHAPE, 4)}
# Computes in single precision itself.
SINGLE = {"physics", "physics of colours"}
ALL = {**LINEAR, **PER_SAMPLE, **NONLINEAR, **ROUNDING}


def batch(shape, n=3, dtype=torch.float64, seed=0):
    """Random values between 0.1 and 0.9."""
    generator = torch.Generator().manual_seed(seed)
    return (0.1 + 0.8 * torch.rand((n, *shape), generator=generator, dtype=torch.float64)).to(dtype)
