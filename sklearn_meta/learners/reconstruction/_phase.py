"""Phase retrieval: an image from magnitudes alone, by relaxed reflections from many starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._data_step import conjugate_gradients
from sklearn_meta.operators._dense import Dense
from sklearn_meta.operators._pointwise import PointwiseLaw
from sklearn_meta.operators.fourier import Fourier

_DENSE = 2**22  # entries of a matrix whose pseudo-inverse is worth computing
_CHUNK = 2**15  # measurements that are iterated at once: more are no faster, they leave the cache
_SAME = 1.02  # misfits over the least one: traps differ by far more
_EXACT = 1e-3  # of the measurements: a misfit that no trap has
_RIDGE = 1e-6  # of the squared norm of A, in least squares
_INVERSE_STEPS = 20  # of conjugate gradients
_PRODUCTS = 512  # with entries of a matrix, that take the time of a pixel of a fast transform
_FULL_WAVES = 4  # that the budget has to suffice for, or waves have fewer starts


@dataclass(frozen=True)
class PhaseSearch:
    """How long to search.

    Parameters
    ----------
    n_starts : int
        Most random starts of each wave and image.
    n_waves : int
        Most waves; an image that is solved leaves after any of them.
    n_reflections : int
        Steps of each start in the first wave; in the k-th k times as many.
    n_projections : int
        Alternating projections that end each start.
    relaxation : float
        Step of the reflections, in (0, 2).
    budget : int
        Most updates of a pixel that are spent on an image: pixels times steps times starts, but
        for one start, which is run in any case. About three seconds with a fast transform; where
        A is a matrix, or is inverted by conjugate gradients, an update counts for so many.
    """

    n_starts: int = 16
    n_waves: int = 8
    n_reflections: int = 300
    n_projections: int = 60
    relaxation: float = 0.5
    budget: int = 2**25

    def waves(self, n_pixels: int) -> Iterator[tuple[int, int]]:
        """Yield the number of starts and of reflections of each wave that the budget allows.

        Parameters
        ----------
        n_pixels : int
            Updates that a step of a start takes.
        """
        left = self.budget // n_pixels
        usual = left // (_FULL_WAVES * (self.n_reflections + self.n_projections))
        for wave in range(self.n_waves):
            # Hard images need longer walks, which would be wasted on the others.
            n_reflections = self.n_reflections * (1 + wave)
            n_steps = n_reflections + self.n_projections
            n_starts = min(self.n_starts, max(usual, 1), left // n_steps)
            if n_starts < 1 and wave > 0:
                return
            left -= n_starts * n_steps
            yield max(n_starts, 1), n_reflections


def retrieve_phase(
    operator: PointwiseLaw, y: Tensor, search: PhaseSearch | None = None
) -> tuple[Tensor, Tensor]:
    """Find images with given magnitudes of linear measurements.

    Two sets are known in the space of ``z = A x``: that of images in [0, 1], and that of the right
    magnitudes. Relaxed reflections leave the traps that alternating projections stay in; what
    remains of bad luck, many starts remove. An image is solved when one start leaves no misfit, or
    several end at the same least one. Where no image in [0, 1] fits, the range is given up, and the
    sign of the image with it: the one of positive sum is returned.

    Starts are the same for every image, and none learns of the others: an image is what it would
    be without them.

    Parameters
    ----------
    operator : PointwiseLaw
        With `is_even`.
    y : Tensor of shape ``(n, *measurement_shape)``
        NaN where missing.
    search : PhaseSearch, default=None

    Returns
    -------
    x : Tensor of shape ``(n, *image_shape)``
    misfit : Tensor of shape (n,)
        Root mean square of ``y - F(x)``.

    References
    ----------
    V. Elser, T.-Y. Lan, T. Bendory (2018), "Benchmark problems for phase retrieval", SIAM Journal
    on Imaging Sciences.

    J. R. Fienup (1982), "Phase retrieval algorithms: a comparison", Applied Optics.
    """
    search = search or PhaseSearch()
    x, _ = _search(operator, y, search, (0.0, 1.0))
    x = fit_in_range(operator, y, x, (0.0, 1.0))
    misfit = misfit_of(operator, x, y)
    poor = torch.nonzero(misfit > 0.1 * size_of(y)).flatten()
    if len(poor):
        free, freely = _search(operator, y[poor], search, (-math.inf, math.inf))
        free = free * _per_image(torch.where(free.flatten(1).sum(1) < 0, -1.0, 1.0), free)
        better = freely < 0.5 * misfit[poor]
        x[poor[better]], misfit[poor[better]] = free[better], freely[better]
    return x, misfit


def misfit_of(operator: PointwiseLaw, x: Tensor, y: Tensor) -> Tensor:
    """Root mean square of ``y - F(x)`` where y is known; shape (n,)."""
    return (operator.forward(x) - y).flatten(1).square().nanmean(1).sqrt()


def size_of(y: Tensor) -> Tensor:
    """Root mean square of measurements where they are known; shape (n,)."""
    return y.flatten(1).square().nanmean(1).sqrt()


def fit_in_range(
    operator: PointwiseLaw, y: Tensor, start: Tensor, span: tuple[float, float], steps: int = 200
) -> Tensor:
    """Return the least-squares image within a range that has the phases of another, or nearly.

    Parameters
    ----------
    operator : PointwiseLaw
    y : Tensor of shape ``(n, *measurement_shape)``
    start : Tensor of shape ``(n, *image_shape)``
    span : (float, float)
    steps : int, default=200

    References
    ----------
    A. Beck, M. Teboulle (2009), "A fast iterative shrinkage-thresholding algorithm for linear
    inverse problems", SIAM Journal on Imaging Sciences.
    """
    inner = operator.inner
    step, x, ahead, t = 1 / inner.norm() ** 2, start, start, 1.0
    for _ in range(steps):
        z = inner.forward(ahead)
        gradient = inner.adjoint(z - operator.nearest(z, y))
        new = (ahead - step * gradient).clamp(*span)
        t, before = (1 + (1 + 4 * t * t) ** 0.5) / 2, t
        ahead = new + (before - 1) / t * (new - x)
        x = new
    return x


def least_squares(operator: PointwiseLaw) -> Callable[[Tensor], Tensor]:
    """Return the map of z to the image x with the least ``|A x - z|``, for the linear part A."""
    inner = operator.inner
    ridge = _RIDGE * inner.norm() ** 2
    if _has_inverse(operator):
        identity = torch.eye(inner.n_pixels, dtype=torch.float64)
        matrix = inner.forward(identity.reshape(-1, *inner.image_shape)).flatten(1)
        gram = matrix @ matrix.T + ridge * identity
        inverse = torch.linalg.solve(gram, matrix).T.contiguous()
        return lambda z: (z.flatten(1) @ inverse.to(z)).reshape(-1, *inner.image_shape)
    solve = inner.gram_solver()
    if solve is not None:
        return lambda z: solve(inner.adjoint(z), ridge)

    def gram(x: Tensor) -> Tensor:
        return inner.adjoint(inner.forward(x)) + ridge * x

    return lambda z: conjugate_gradients(gram, inner.adjoint(z), max_iter=_INVERSE_STEPS, tol=1e-3)


def _has_inverse(operator: PointwiseLaw) -> bool:
    """Whether the pseudo-inverse of A is computed; that of a Fourier transform is its adjoint."""
    inner = operator.inner
    is_small = inner.n_pixels * inner.n_measurements <= _DENSE
    return is_small and not (isinstance(inner, Fourier) and inner.gram_solver() is not None)


def _updates(operator: PointwiseLaw) -> int:
    """Updates of a pixel that a step of a start counts for."""
    inner = operator.inner
    products = inner.n_pixels * inner.n_measurements // _PRODUCTS
    if _has_inverse(operator):
        return max(inner.n_pixels, products)
    cost = max(inner.n_pixels, products) if isinstance(inner, Dense) else inner.n_pixels
    return cost if inner.gram_solver() is not None else _INVERSE_STEPS * cost


def _search(
    operator: PointwiseLaw, y: Tensor, search: PhaseSearch, span: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    invert = least_squares(operator)
    generator = torch.Generator().manual_seed(0)
    best = y.new_zeros((len(y), *operator.image_shape))
    least = y.new_full((len(y),), math.inf)
    exact = (_EXACT * size_of(y)).tolist()
    found: list[list[float]] = [[] for _ in range(len(y))]
    for n_starts, n_reflections in search.waves(_updates(operator)):
        shape = (n_starts, *operator.image_shape)
        starts = torch.rand(shape, generator=generator, dtype=torch.float64).to(y)
        todo = [i for i in range(len(y)) if not _is_solved(found[i], exact[i])]
        for chosen in _chunks(todo, n_starts, operator.n_measurements):
            x = _run(operator, y[chosen], invert, starts, search, n_reflections, span)
            misfit = misfit_of(operator, x, y[chosen].repeat_interleave(n_starts, 0))
            misfit, x = misfit.reshape(-1, n_starts), x.reshape(-1, *shape)
            for row, i in enumerate(chosen):
                found[i] += misfit[row].tolist()
                k = int(misfit[row].argmin())
                if misfit[row, k] < least[i]:
                    best[i], least[i] = x[row, k], misfit[row, k]
    return best, least


def _is_solved(misfits: list[float], exact: float) -> bool:
    """Whether one start left no misfit, or three came to the same end, and it is the best one."""
    if misfits and min(misfits) <= exact:
        return True
    return len(misfits) > 2 and sorted(misfits)[2] <= _SAME * min(misfits)


def _chunks(items: list[int], n_starts: int, n_measurements: int) -> Iterator[list[int]]:
    size = max(1, _CHUNK // (n_starts * n_measurements))
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _run(
    operator: PointwiseLaw,
    y: Tensor,
    invert: Callable[[Tensor], Tensor],
    starts: Tensor,
    search: PhaseSearch,
    n_reflections: int,
    span: tuple[float, float],
) -> Tensor:
    """Run the starts for each image; shape (n * n_starts, *image_shape)."""
    forward = operator.inner.forward
    x = starts.repeat(len(y), *[1] * (starts.ndim - 1))
    y = y.repeat_interleave(len(starts), 0)
    z = forward(x)
    size = operator.forward(x).flatten(1).norm(dim=1) / y.nan_to_num().flatten(1).norm(dim=1)
    z = z / _per_image(size.clamp(min=1e-12), z)
    for _ in range(n_reflections):
        inside = forward(invert(z).clamp(*span))
        z = z + search.relaxation * (operator.nearest(2 * inside - z, y) - inside)
    x = invert(z).clamp(*span)
    for _ in range(search.n_projections):
        x = invert(operator.nearest(forward(x), y)).clamp(*span)
    return x


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))
