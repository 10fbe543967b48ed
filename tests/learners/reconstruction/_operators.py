"""Small linear operators of the tests."""

import torch

from sklearn_meta.operators import Operator


class Dense(Operator):
    """A matrix of shape (m, n), of flat images."""

    def __init__(self, image_shape, matrix):
        self.matrix = matrix
        self.set_shapes(image_shape, (len(matrix),))

    def forward(self, x):
        return x.flatten(1) @ self.matrix.to(x.dtype).T

    def adjoint(self, y):
        return (y @ self.matrix.to(y.dtype)).reshape(-1, *self.image_shape)


class Eigen(Dense):
    """The same with an exact solver."""

    def gram_solver(self, weight=1.0):
        values, vectors = torch.linalg.eigh(self.matrix.T @ self.matrix)

        def solve(b, rho):
            rho = torch.as_tensor(rho, dtype=b.dtype).reshape(-1, 1)
            u = vectors.to(b.dtype)
            return ((b.flatten(1) @ u / (weight * values.to(b.dtype) + rho)) @ u.T).reshape(b.shape)

        return solve


def dense(image_shape=(4, 5), n_measurements=12, seed=0, kind=Dense):
    """A random operator."""
    generator = torch.Generator().manual_seed(seed)
    n_pixels = torch.Size(image_shape).numel()
    shape = (n_measurements, n_pixels)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    return kind(image_shape, matrix / n_pixels**0.5)
