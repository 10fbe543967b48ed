"""A denoiser of planes made one of images: any range of values, any size, turned or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_meta.learners.reconstruction._planes import from_planes, levels_of_planes, to_planes

_TILE, _MARGIN = 512, 32
_PIXELS_AT_ONCE = 2**19
_SHARE = 0.005  # of the pixels at either end that the range leaves out
_LEAST_RANGE = 1e-6
N_TURNS = 8


class ImageDenoiser:
    """Denoise images of shape (n, H, W[, C]) by a network of one channel, or the user's callable.

    Values are moved such that those of `like` begin at 0 and end at 1, which networks are trained
    for; each plane of colour by itself.

    Parameters
    ----------
    denoise : Module (planes, levels) -> planes, or callable (x, sigma) -> z
        A callable that is no network of ours takes images (1, C, H, W) and a float.
    like : Tensor of shape (n, H, W[, C])
        Images near those that are denoised.
    own : bool
        Whether `denoise` is the user's.
    moves : bool, default=True
        Whether values are moved; else they are about in [0, 1].
    """

    def __init__(self, denoise: Callable[..., Tensor], like: Tensor, own: bool, moves: bool = True):
        self.denoise, self.own = denoise, own
        self.low, self.width = like.new_zeros(1, 1, 1, 1), like.new_ones(1, 1, 1, 1)
        if moves:
            self.low, self.width = _range((like if own else to_planes(like)).flatten(1))
        self.shape = tuple(like.shape[1:])

    def __call__(self, x: Tensor, level: Tensor, turn: int = 0) -> Tensor:
        """Denoise images.

        Parameters
        ----------
        x : Tensor of shape (n, H, W[, C])
        level : Tensor that broadcasts to `x`
            Standard deviation of the noise.
        turn : int
            Which of the eight turns and reflections the network sees.
        """
        if self.own:
            return self._by_callable(x, level, turn)
        planes = (to_planes(x) - self.low) / self.width
        levels = levels_of_planes(level, x.shape) / self.width
        both = torch.cat([planes, levels], 1)
        clean = turned_back(self._in_parts(turned(both, turn)), turn)
        return from_planes(clean * self.width + self.low, self.shape)

    def averaged(self, x: Tensor, level: Tensor, n_turns: int) -> Tensor:
        """Mean over so many turns, at most eight."""
        turns = range(min(n_turns, N_TURNS))
        return sum(self(x, level, turn) for turn in turns) / len(turns)

    def _in_parts(self, both: Tensor) -> Tensor:
        """Run the network on batches and tiles of bounded size: memory is linear in pixels."""
        height, width = both.shape[-2:]
        if height > _TILE + 2 * _MARGIN or width > _TILE + 2 * _MARGIN:
            return self._in_tiles(both)
        size = max(1, _PIXELS_AT_ONCE // (height * width))
        parts = (part.to(torch.float32) for part in both.split(size))
        return torch.cat([self.denoise(p[:, :1], p[:, 1:]) for p in parts]).to(both)

    def _in_tiles(self, both: Tensor) -> Tensor:
        height, width = both.shape[-2:]
        clean = torch.empty_like(both[:, :1])
        for top in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                first, begin = max(0, top - _MARGIN), max(0, left - _MARGIN)
                bottom, right = min(height, top + _TILE), min(width, left + _TILE)
                tile = both[..., first : bottom + _MARGIN, begin : right + _MARGIN]
                done = self._in_parts(tile)[..., top - first :, left - begin :]
                clean[..., top:bottom, left:right] = done[..., : bottom - top, : right - left]
        return clean

    def _by_callable(self, x: Tensor, level: Tensor, turn: int) -> Tensor:
        images = x[:, None] if x.ndim == 3 else x.movedim(-1, 1)
        low, width = self.low, self.width
        sizes = (
            level.expand(x.shape).flatten(1).square().mean(1).sqrt() / width.flatten()
        ).tolist()
        scaled = turned((images - low) / width, turn).to(torch.float32).contiguous()
        clean = [self._denoised(one[None], sigma) for one, sigma in zip(scaled, sizes, strict=True)]
        done = turned_back(torch.cat(clean).to(x), turn) * width + low
        return done[:, 0] if x.ndim == 3 else done.movedim(1, -1)

    def _denoised(self, x: Tensor, sigma: float) -> Tensor:
        """What the user's denoiser makes of an image (1, C, H, W), checked."""
        clean = self.denoise(x, sigma)
        wanted = f"expected a tensor of shape {tuple(x.shape)}, as that of the image it was given"
        if not isinstance(clean, Tensor):
            hint = " (torch.from_numpy makes one)" if isinstance(clean, np.ndarray) else ""
            raise TypeError(f"denoiser returned {type(clean).__name__}, {wanted}{hint}.")
        if clean.shape != x.shape:
            raise ValueError(f"denoiser returned a tensor of shape {tuple(clean.shape)}, {wanted}.")
        # Where the image itself was not finite, the denoiser is not to blame.
        if not clean.isfinite().all() and x.isfinite().all():
            raise ValueError(
                f"denoiser returned NaN or infinite values at sigma={sigma:.3g}, expected finite "
                "ones: the image it was given is finite."
            )
        return clean


def turned(planes: Tensor, turn: int) -> Tensor:
    """Turn or reflect planes (..., H, W) in one of eight ways."""
    planes = planes.transpose(-1, -2) if turn & 1 else planes
    return planes.flip(_axes(turn)) if turn > 1 else planes


def turned_back(planes: Tensor, turn: int) -> Tensor:
    """Undo `turned`."""
    planes = planes.flip(_axes(turn)) if turn > 1 else planes
    return planes.transpose(-1, -2) if turn & 1 else planes


def _axes(turn: int) -> list[int]:
    return [axis for axis, bit in ((-2, 1), (-1, 2)) if turn >> bit & 1]


def is_network(denoise: Callable[..., Tensor]) -> bool:
    """Whether it takes one plane and a map of levels, as `networks.Denoiser` does."""
    return isinstance(denoise, nn.Module) and hasattr(denoise, "multiple")


def _range(values: Tensor) -> tuple[Tensor, Tensor]:
    """Robust ends of values (n, m), as offset and width that broadcast to (n, 1, 1, 1)."""
    some = values[:, :: max(1, values.shape[1] // 2**16)]
    ends = some.quantile(torch.tensor([_SHARE, 1 - _SHARE]).to(values), dim=1)
    width = (ends[1] - ends[0]).clamp_min(_LEAST_RANGE * float(values.abs().max().clamp_min(1e-30)))
    return ends[0].reshape(-1, 1, 1, 1), width.reshape(-1, 1, 1, 1)


def ranges(x: Tensor) -> Tensor:
    """Width of the range of the values of images (n, H, W[, C]); shape (n,)."""
    return _range(x.flatten(1))[1].flatten()
