"""A Gaussian process on one table whose mean is what the names of the columns promise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners._column_prior import Expected

#: Variances of the parts of the kernel, where the target has variance 1.
LEVEL, LINEAR, SMOOTH, RANKS, SLOPE = 100.0, 0.4, 0.2, 0.2, 0.1
#: Variances of the noise; each is a variant.
NOISES = (0.1, 0.3, 0.8)
#: Degrees of freedom of the noise.
TAILS = 3.0
#: Rows that the standard deviation of a known column counts for.
PRIOR_ROWS = 3.0
#: Rows that the prior variance of the errors counts for.
PRIOR_ERRORS = 20.0
#: Of more rows, so many are conditioned on.
MAX_ROWS = 512
CLIP = 4.0  # standard deviations
SMALLEST_SCALE = 1e-9
#: Standard deviations that the scale of the target may be off what other tables promise.
FAR = 3.0


@dataclass(frozen=True, eq=False, slots=True)
class NamedGP:
    """Gaussian process with linear, smooth and rank kernels, given a support; V variants of noise.

    Attributes
    ----------
    center, weight : Tensor of shape (d,)
        Columns are centred and multiplied by a weight, 0 where they are constant.
    ordered : Tensor of shape (d, m)
        Encoded values of the support in ascending order.
    slopes : Tensor of shape (d,)
        Of the prior mean.
    rows, ranks : Tensor of shape (m, d)
        Support rows that are conditioned on.
    level, scale : Tensor of shape ()
        Of the target.
    solved : Tensor of shape (V, m)
        Inverse covariance times the support's residuals from the prior mean.
    inverse : Tensor of shape (V, m, m)
        Inverse covariance of the support.
    spread : Tensor of shape (V,)
        Variance of errors, relative to what the kernel and the noise say.
    left_out : Tensor of shape (V, n, 2)
        Mean and log variance of each row of the support, foreseen from the others.
    """

    center: Tensor
    weight: Tensor
    ordered: Tensor
    slopes: Tensor
    rows: Tensor
    ranks: Tensor
    level: Tensor
    scale: Tensor
    solved: Tensor
    inverse: Tensor
    spread: Tensor
    left_out: Tensor

    @classmethod
    def adapt(cls, z: Tensor, y: Tensor, log_sd: Tensor, expected: Expected) -> NamedGP:
        """Condition on a support.

        Parameters
        ----------
        z : Tensor of shape (n, d), float64
            Encoded rows, at least one.
        y : Tensor of shape (n,), float64
        log_sd : Tensor of shape (d,)
            Of the columns before they were scaled, see `EncodedColumn`; NaN where not known.
        expected : Expected
        """
        slopes, known_log_sd, n_tables = (
            torch.as_tensor(a, dtype=z.dtype, device=z.device)
            for a in (expected.slopes, expected.log_sd, expected.n_tables)
        )
        center = z.mean(0)
        known = torch.where(log_sd.isfinite(), n_tables.clamp_max(2) / 2 * PRIOR_ROWS, 0.0)
        variance = known * (2 * (known_log_sd - log_sd.nan_to_num())).exp()
        variance = (z - center).square().sum(0) + variance
        sd = (variance / (len(z) - 1 + known).clamp_min(SMALLEST_SCALE)).sqrt()
        weight = torch.where(sd > SMALLEST_SCALE, 1 / sd, 0.0)
        slopes = slopes * (weight > 0)
        level, scale = y.mean(), _scale(y, expected)
        n = len(z)
        values = ((z - center) * weight).clamp(-CLIP, CLIP)
        chosen = torch.arange(n, device=z.device)
        if n > MAX_ROWS:  # an order that does not depend on that of the rows
            chosen = values.square().sum(1).argsort()[chosen[:MAX_ROWS] * n // MAX_ROWS]
        ordered = z[chosen].mT.sort(-1).values.contiguous()
        rows, ranks = values[chosen], _ranks(ordered, z[chosen])
        kernel = covariance(rows, ranks, rows, ranks, slopes, _count(weight))
        target = (y - level) / scale
        residual = target[chosen] - rows @ slopes
        inverse, noise = solve(kernel, residual)
        solved = inverse @ residual
        mean, variance = foresee(inverse, residual, noise)
        errors = ((residual - mean).square() / variance).sum(1)
        spread = (errors + PRIOR_ERRORS) / (len(rows) + PRIOR_ERRORS)
        state = cls(
            *(center, weight, ordered, slopes, rows, ranks, level, scale),
            *(solved, inverse, spread, y.new_zeros(0)),
        )
        left_out = state.predict(z) if n > MAX_ROWS else y.new_empty(len(NOISES), n, 2)
        left_out[:, chosen] = state._forecast(mean + rows @ slopes, variance)
        object.__setattr__(state, "left_out", left_out)
        return state

    def predict(self, z: Tensor) -> Tensor:
        """Mean and log variance (V, rows, 2) of encoded rows (rows, d)."""
        rows = ((z - self.center) * self.weight).clamp(-CLIP, CLIP)
        ranks = _ranks(self.ordered, z)
        d = _count(self.weight)
        cross = covariance(rows, ranks, self.rows, self.ranks, self.slopes, d)
        own = LEVEL + SMOOTH + RANKS + SLOPE * (rows @ self.slopes).square()
        own = own + LINEAR / d * rows.square().sum(1)
        mean = self.solved @ cross.mT + rows @ self.slopes
        latent = own - ((cross @ self.inverse) * cross).sum(-1)
        noises = torch.tensor(NOISES, dtype=z.dtype, device=z.device)[:, None]
        return self._forecast(mean, latent.clamp_min(0) + noises)

    def _forecast(self, mean: Tensor, variance: Tensor) -> Tensor:
        log_variance = (variance * self.spread[:, None]).log() + 2 * self.scale.log()
        return torch.stack([self.level + self.scale * mean, log_variance], -1)


def covariance(
    a: Tensor, a_ranks: Tensor, b: Tensor, b_ranks: Tensor, slopes: Tensor, d: int
) -> Tensor:
    """Prior covariance (n, m) of rows (n, ..) and (m, ..), and their ranks, by d columns."""
    products = a @ b.mT
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * products
    distance = torch.cdist(a_ranks, b_ranks, p=1.0)
    return (
        LEVEL
        + LINEAR / d * products
        + SMOOTH * (squares.clamp_min(0) / (-2 * d)).exp()
        + RANKS * (-3 / d * distance).exp()
        + SLOPE * torch.outer(a @ slopes, b @ slopes)
    )


def solve(kernel: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse covariances (V, m, m) and variances of the noise (V, m), outliers trusted less.

    The weights are those of Student's noise after one step of expectation maximisation, with each
    residual as the other rows foresee it.

    K. L. Lange, R. J. A. Little, J. M. G. Taylor (1989). Robust statistical modeling using the t
    distribution.
    """
    base = torch.tensor(NOISES, dtype=kernel.dtype, device=kernel.device)[:, None]
    noise = base.expand(-1, len(kernel))
    inverse = _inverse(kernel, noise)
    precision = inverse.diagonal(dim1=-2, dim2=-1)
    error = (inverse @ residual) / precision
    trust = ((TAILS + 1) / (TAILS + error.square() * precision)).clamp_max(1)
    noise = base / trust
    return _inverse(kernel, noise), noise


def foresee(inverse: Tensor, residual: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (V, m) of each row from all others, exactly; without its extra noise."""
    precision = inverse.diagonal(dim1=-2, dim2=-1)
    base = torch.tensor(NOISES, dtype=inverse.dtype, device=inverse.device)[:, None]
    variance = (1 / precision - noise + base).clamp_min(1e-9)
    return residual - (inverse @ residual) / precision, variance


def _inverse(kernel: Tensor, noise: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky(kernel + torch.diag_embed(noise)))


def _ranks(ordered: Tensor, z: Tensor) -> Tensor:
    """Share (rows, d) of the support's values below, values alike counted by half."""
    columns = z.mT.contiguous()
    below = torch.searchsorted(ordered, columns)
    up_to = torch.searchsorted(ordered, columns, right=True)
    return ((below + up_to).to(z.dtype) / (2 * ordered.shape[1])).mT


def _count(weight: Tensor) -> int:
    """Number of columns that are not constant, at least 1."""
    return max(int((weight > 0).sum()), 1)


def _scale(y: Tensor, expected: Expected) -> Tensor:
    """Scale of the target: other tables count only where the support does not contradict them."""
    mean, spread, n = expected.target_log_sd, expected.target_spread, len(y)
    own, weight = mean, 0.5 / spread
    if n > 1 and y.std() > SMALLEST_SCALE:
        own = math.log(float(y.std()))
        if abs(own - mean) > FAR * math.sqrt(spread + 0.5 / (n - 1)):
            weight = 0.0
    return y.new_tensor(math.exp((weight * mean + (n - 1) * own) / (weight + n - 1)))
