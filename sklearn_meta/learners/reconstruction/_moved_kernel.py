"""Rows of an unknown operator that are one kernel, moved: a convolution, or every few of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import scipy.sparse as sp
import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._row_families import LOG_2PI, SCALES, RowFamily, Rows
from sklearn_meta.operators import Blur, Downsample, Operator
from sklearn_meta.operators._sparse import Sparse

#: Largest sides of short kernels, and of long ones.
SHORT, LONG = 9, 25

#: Prior widths of kernels in pixels: of round short ones, and along and across long ones.
ROUND, ALONG, ACROSS = (0.7, 1.5, 3.0), 6.0, 1.0
N_ANGLES = 8

#: Weights of less prior variance than this share of the largest are taken for 0, in long kernels.
LEAST = 0.01

#: Steps between places.
MOST_STEP = 8

#: Measurements that are looked at, and how many at a time; rows over which the uncertainty of a
#: kernel is averaged.
MOST_ROWS, CHUNK, SOME_ROWS = 2**16, 2**11, 32


@dataclass(frozen=True, eq=False)
class Grid:
    """Places of a kernel on images.

    Parameters
    ----------
    shape : (H, W)
    steps : (int, int)
        Between places, along both axes.
    sides : (int, int)
        Of the kernel.
    border : {"circular", "reflect", "zero", "valid"}
        What is beyond the border; "valid" has only places where the kernel is inside.
    """

    shape: tuple[int, int]
    steps: tuple[int, int]
    sides: tuple[int, int]
    border: str

    @property
    def places(self) -> tuple[int, int]:
        """Number of places along both axes."""
        if self.border == "valid":
            return tuple(n - side + 1 for n, side in zip(self.shape, self.sides, strict=True))
        return tuple(-(-n // step) for n, step in zip(self.shape, self.steps, strict=True))

    def pixels(self, places: Tensor) -> Tensor:
        """Pixels under the kernel (len(places), p); H * W stands for a zero beyond the border."""
        width = self.places[1]
        rows, columns = self._line(0, places // width), self._line(1, places % width)
        flat = rows[:, :, None] * self.shape[1] + columns[:, None, :]
        is_beyond = (rows < 0)[:, :, None] | (columns < 0)[:, None, :]
        return flat.masked_fill(is_beyond, self.shape[0] * self.shape[1]).flatten(1)

    def operator(self, kernel: Tensor, image_shape: tuple[int, ...]) -> Operator:
        """Operator of a kernel (p,), the same for each channel; only weights that are not 0 count.

        Operators that have a form in frequency are fast to invert; others are sparse.
        """
        turned = kernel.reshape(self.sides).flip(0, 1)
        if self.border in ("circular", "reflect", "valid") and self.steps == (1, 1):
            return Blur(image_shape, turned, self.border)
        if self.border == "circular" and self.steps[0] == self.steps[1]:
            return Downsample(image_shape, self.steps[0], turned)
        n, m = math.prod(self.shape), math.prod(self.places)
        seen = kernel.nonzero()[:, 0]
        index = self.pixels(torch.arange(m))[:, seen]
        row = torch.arange(m)[:, None].expand_as(index)
        weight = kernel[seen].expand(index.shape)
        inside = index < n
        entries = weight[inside].numpy(), (row[inside].numpy(), index[inside].numpy())
        matrix = sp.csr_array(entries, shape=(m, n))
        return Sparse(image_shape, sp.kron(matrix, sp.eye(math.prod(image_shape[2:]))))

    def _line(self, axis: int, places: Tensor) -> Tensor:
        """Rows or columns under the kernel; -1 beyond the border."""
        size, side = self.shape[axis], self.sides[axis]
        line = places[:, None] * self.steps[axis] + torch.arange(side)
        if self.border == "valid":
            return line
        line = line - side // 2
        if self.border == "circular":
            return line % size
        if self.border == "zero":
            return line.masked_fill((line < 0) | (line >= size), -1)
        return torch.minimum(line % (2 * size), 2 * size - 1 - line % (2 * size))


@dataclass(frozen=True, eq=False)
class KernelRows(Rows):
    """One kernel with mean (p,) and covariance (p, p), on the pixels of a grid."""

    grid: Grid
    kernel: Tensor
    covariance: Tensor
    n_channels: int

    def operator(self, image_shape: tuple[int, ...]) -> Operator:
        return self.grid.operator(self.kernel, image_shape)

    def excess(self, second_moment: Tensor) -> Tensor:
        m, channels = math.prod(self.grid.places), torch.arange(self.n_channels)
        some = self.grid.pixels(torch.linspace(0, m - 1, min(m, SOME_ROWS)).long())
        index = some[:, None, :] * self.n_channels + channels[:, None]
        index = index.flatten(0, 1).clamp(max=len(second_moment))
        seen = torch.nn.functional.pad(second_moment, (0, 1, 0, 1))
        seen = sum(seen[own[:, None], own] for own in index) / len(index)
        excess = (self.covariance * seen).sum().clamp(min=0.0)
        return excess.expand(m * self.n_channels)


class KernelFamily(RowFamily):
    """An unknown kernel on a grid, the same for each channel.

    Its weights are normal a priori, with variances that fall with the distance from its centre, or
    from a line through it.

    Parameters
    ----------
    images : Tensor of shape (K, H, W, C), float64
    measurements : Tensor of shape (K, m, C), float64
    grid : Grid
    is_long : bool, default=False
        Whether kernels are wide or drawn out.
    """

    def __init__(self, images: Tensor, measurements: Tensor, grid: Grid, is_long: bool = False):
        self._grid, self._n_channels = grid, images.shape[3]
        self._count = measurements.numel()
        gram, cross, self._total, self._seen = _normal_equations(
            images.permute(0, 3, 1, 2).reshape(-1, math.prod(grid.shape)),
            measurements.permute(0, 2, 1).reshape(-1, measurements.shape[1]),
            grid,
        )
        self._solved = []
        for deviation in _long(grid.sides) if is_long else _short(grid.sides):
            seen = deviation.nonzero()[:, 0]
            own = deviation[seen]
            values, vectors = torch.linalg.eigh(own[:, None] * gram[seen[:, None], seen] * own)
            root = deviation.new_zeros(len(deviation), len(seen))
            root[seen] = own[:, None] * vectors
            self._solved.append((values.clamp(min=0.0), root.T @ cross, root))

    def log_evidence(self, variance: float) -> float:
        found = max(float(evidence.max()) for evidence in self._evidence(variance))
        n_priors = len(SCALES) * len(self._solved)
        return self._count / self._seen * found - math.log(n_priors)

    def rows(self, variance: float) -> KernelRows:
        evidence = self._evidence(variance)
        best = max(range(len(evidence)), key=lambda i: float(evidence[i].max()))
        values, along, root = self._solved[best]
        precision = values / variance + 1 / SCALES[int(evidence[best].argmax())]
        kernel = root @ (along / variance / precision)
        return KernelRows(self._grid, kernel, (root / precision) @ root.T, self._n_channels)

    def _evidence(self, variance: float) -> list[Tensor]:
        """Of what was looked at, for each prior, and each scale of it."""
        scales, found = SCALES[:, None], []
        none = self._seen * (LOG_2PI + math.log(variance)) + self._total / variance
        for values, along, _ in self._solved:
            precision = values / variance + 1 / scales
            fit = ((along / variance).square() / precision).sum(1)
            found.append(0.5 * (fit - (scales * precision).log().sum(1) - none))
        return found


def grids(image_shape: tuple[int, ...], measurement_shape: tuple[int, ...]) -> Iterator[Grid]:
    """Grids of kernels with as many places as there are measurements of each channel.

    Places are every pixel, or every second, third, ..., with borders that go round, are mirrored,
    or end in zeros; or only the places where the kernel is inside.

    Parameters
    ----------
    image_shape : (H, W) or (H, W, C)
    measurement_shape : tuple of int
        With the axes of images, or flat: then the steps along both axes are taken to be equal, and
        kernels to be square.
    """
    shape, channels = image_shape[:2], math.prod(image_shape[2:])
    m = math.prod(measurement_shape)
    if m % channels or m == channels:
        return
    places = measurement_shape[:2] if len(measurement_shape) == len(image_shape) else None
    fits = (
        (lambda grid: grid.places == places)
        if places
        else (lambda grid: math.prod(grid.places) * channels == m and len(set(grid.steps)) == 1)
    )
    sides = tuple(min(SHORT, size - 1 + size % 2) for size in shape)
    for i in range(1, MOST_STEP + 1):
        for j in range(1, MOST_STEP + 1):
            for border in ("circular", "reflect", "zero"):
                grid = Grid(shape, (i, j), sides, border)
                if fits(grid):
                    yield grid
    if places:
        inside = [tuple(size - n + 1 for size, n in zip(shape, places, strict=True))]
    else:
        inside = [(side, side) for side in range(2, min(shape))]
    for sides in inside:
        if 1 < max(sides) <= LONG and min(sides) >= 1:
            grid = Grid(shape, (1, 1), sides, "valid")
            if fits(grid):
                yield grid


def longer(grid: Grid) -> Grid | None:
    """Return the grid with longer kernels, where images are large enough for them."""
    sides = tuple(min(LONG, size - 1 + size % 2) for size in grid.shape)
    if grid.border == "valid":
        return grid
    return None if max(sides) <= SHORT else Grid(grid.shape, grid.steps, sides, grid.border)


def _normal_equations(
    images: Tensor, measurements: Tensor, grid: Grid
) -> tuple[Tensor, Tensor, float, int]:
    """Gram matrix (p, p) of what is seen, its product with measurements (p,), their energy, number.

    Where there are very many measurements some are looked at.
    """
    size, (n_images, m) = math.prod(grid.sides), measurements.shape
    gram, cross, total = images.new_zeros(size, size), images.new_zeros(size), 0.0
    images = torch.nn.functional.pad(images, (0, 1))
    count = min(m, -(-MOST_ROWS // n_images))
    generator = torch.Generator().manual_seed(0)
    for image, row in zip(images, measurements, strict=True):
        places = torch.randperm(m, generator=generator)[:count] if count < m else torch.arange(m)
        for part in places.split(CHUNK):
            seen = image[grid.pixels(part)]
            gram.addmm_(seen.T, seen)
            cross.addmv_(seen.T, row[part])
        total += float(row[places].square().sum())
    return gram, cross, total, n_images * count


def _short(sides: tuple[int, int]) -> list[Tensor]:
    """Prior deviations of weights of round kernels; their mean square is 1 / p."""
    u, v = _away(sides)
    return [_normalised(torch.exp(-0.5 * (u.square() + v.square()) / w**2)) for w in ROUND]


def _long(sides: tuple[int, int]) -> list[Tensor]:
    """Prior deviations of weights of wide kernels, and of ones along lines."""
    u, v = _away(sides)
    shapes = [torch.exp(-0.5 * (u.square() + v.square()) / ALONG**2)]
    for k in range(N_ANGLES):
        cosine, sine = math.cos(math.pi * k / N_ANGLES), math.sin(math.pi * k / N_ANGLES)
        along, across = cosine * u + sine * v, cosine * v - sine * u
        shapes.append(torch.exp(-0.5 * ((along / ALONG) ** 2 + (across / ACROSS) ** 2)))
    return [_normalised(shape.where(shape > LEAST, 0.0)) for shape in shapes]


def _away(sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Distances from the centre, down and to the right."""
    lines = [torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in sides]
    u, v = torch.meshgrid(*lines, indexing="ij")
    return u.flatten(), v.flatten()


def _normalised(variance: Tensor) -> Tensor:
    return (variance / variance.sum()).sqrt()
