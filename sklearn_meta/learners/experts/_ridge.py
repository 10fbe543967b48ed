"""Ridge regression in the principal directions of a kernel: all regularisations from one solve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners._linalg import cholesky

#: Variances of the noise, in units of the variance of the function.
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RELATIVE_RANK = 1e-9
LARGEST_LEVERAGE = 0.9999


@dataclass(frozen=True, eq=False, slots=True)
class Directions:
    """Rows in the principal directions of a kernel; leading axes are a batch.

    Attributes
    ----------
    rows : Tensor of shape (..., n, r)
        Orthogonal columns.
    squares : Tensor of shape (..., r)
        Squared lengths of the columns.
    turn : Tensor of shape (..., m, r)
        Takes the similarities of a row to the m landmarks to its coordinates.
    """

    rows: Tensor
    squares: Tensor
    turn: Tensor

    @classmethod
    def of_all(cls, kernel: Tensor) -> Directions:
        """Directions from the similarities (..., n, n) of all rows: exact."""
        squares, vectors = torch.linalg.eigh(kernel)
        kept = squares > RELATIVE_RANK * squares[..., -1:]
        length = torch.where(kept, squares, 1.0).sqrt()
        squares = squares * kept
        return cls(
            vectors * (length * kept)[..., None, :],
            squares,
            vectors * (kept / length)[..., None, :],
        )

    @classmethod
    def of_landmarks(cls, kernel: Tensor, among: Tensor) -> Directions:
        """The same from similarities (..., n, m) to landmarks, and (..., m, m) among them.

        C. K. I. Williams, M. Seeger (2001). Using the Nystroem method to speed up kernel machines.
        """
        m = among.shape[-1]
        scale = among.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        identity = torch.eye(m, dtype=among.dtype, device=among.device)
        whiten = torch.linalg.solve_triangular(
            cholesky(among + 1e-8 * scale * identity), identity, upper=False
        ).mT
        features = kernel @ whiten
        squares, vectors = torch.linalg.eigh(features.mT @ features)
        return cls(features @ vectors, squares.clamp_min(0), whiten @ vectors)


def ridge(directions: Directions, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for all `NOISES` at once.

    Parameters
    ----------
    directions : Directions
    targets : Tensor of shape (..., n, m)

    Returns
    -------
    coefficients : Tensor of shape (..., L, r, m)
        One for each noise.
    shrink : Tensor of shape (..., L, r)
        Variance that is left in each direction, in units of the noise.
    """
    noise = torch.tensor(NOISES, dtype=targets.dtype, device=targets.device)
    shrink = 1 / (directions.squares[..., None, :] + noise[:, None])
    projected = directions.rows.mT @ targets
    return shrink[..., None] * projected[..., None, :, :], shrink


def left_out(directions: Directions, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Predict each row from all others, exactly.

    Returns
    -------
    mean : Tensor of shape (..., L, n, m)
    leverage : Tensor of shape (..., L, n)
    """
    coefficients, shrink = ridge(directions, targets)
    fitted = directions.rows[..., None, :, :] @ coefficients
    leverage = shrink @ directions.rows.square().mT
    leverage = leverage.clamp_max(LARGEST_LEVERAGE)
    own = leverage[..., None]
    return (fitted - own * targets[..., None, :, :]) / (1 - own), leverage
