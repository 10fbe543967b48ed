"""Pure functions on stacked matrices."""

from __future__ import annotations

import torch
from torch import Tensor

JITTERS = (0.0, 1e-6, 1e-4, 1e-2)


def cholesky(matrix: Tensor) -> Tensor:
    """Lower Cholesky factor of (..., n, n), with as much jitter as it takes and no more.

    Raises
    ------
    torch.linalg.LinAlgError
        If a matrix is not positive definite even with a hundredth of its scale on the diagonal.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    if not info.any():
        return factor
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    scale = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    for jitter in JITTERS[1:]:
        factor, info = torch.linalg.cholesky_ex(matrix + jitter * scale * identity)
        if not info.any():
            return factor
    raise torch.linalg.LinAlgError("a covariance of the support is not positive definite")


def compress(rows: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Fewer rows with the same products ``[rows, residual]^T [rows, residual]``.

    Parameters
    ----------
    rows : Tensor of shape (..., n, m)
    residual : Tensor of shape (..., n, k)

    Returns
    -------
    rows, residual : Tensor
        Unchanged for n <= m + k, else with m + k rows (the triangular factor).
    """
    n, m = rows.shape[-2:]
    k = residual.shape[-1]
    if n <= m + k:
        return rows, residual
    triangle = torch.linalg.qr(torch.cat([rows, residual], -1), mode="r").R
    return triangle[..., :m], triangle[..., m:]
