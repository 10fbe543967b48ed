"""A denoiser for any noise level: a U-Net of residual blocks without biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from sklearn_meta.networks._precision import computing_dtype


class Denoiser(nn.Module):
    """Estimate a clean image from one with white Gaussian noise of a given level.

    The noise level enters as a map beside the image, the network works at half the resolution and
    below, and no layer has a bias: the estimate of ``a * x`` at noise ``a * sigma`` is `a` times
    that of `x` at `sigma` for every ``a > 0``, so that images need no particular range of values.

    Parameters
    ----------
    channels : tuple of int, default=(64, 96, 96)
        Features at a half, a quarter, ... of the resolution.
    blocks : tuple of int, default=(2, 1, 1)
        Residual blocks of each resolution, on the way down as on the way up.
    generator : torch.Generator, default=None
        Source of the first weights.

    References
    ----------
    K. Zhang, W. Zuo, L. Zhang (2018), "FFDNet: toward a fast and flexible solution for CNN-based
    image denoising", IEEE Transactions on Image Processing.

    K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte (2021), "Plug-and-play image
    restoration with deep denoiser prior", IEEE PAMI.

    S. Mohan, Z. Kadkhodaie, E. Simoncelli, C. Fernandez-Granda (2020), "Robust and interpretable
    blind image denoising via bias-free convolutional neural networks", ICLR.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (64, 96, 96),
        blocks: tuple[int, ...] = (2, 1, 1),
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if len(channels) != len(blocks):
            raise ValueError(
                f"channels {channels!r} and blocks {blocks!r} must have the same length."
            )
        self.channels, self.blocks = tuple(channels), tuple(blocks)
        pairs = list(zip(channels, channels[1:], strict=False))
        self.head = _convolution(8, channels[0])
        self.down = nn.ModuleList([_blocks(c, n) for c, n in zip(channels, blocks, strict=True)])
        self.coarser = nn.ModuleList([_half(nn.Conv2d, a, b) for a, b in pairs])
        self.finer = nn.ModuleList([_half(nn.ConvTranspose2d, b, a) for a, b in pairs])
        self.up = nn.ModuleList(
            [_blocks(c, n) for c, n in zip(channels[:-1], blocks[:-1], strict=True)]
        )
        self.tail = _convolution(channels[0], 4)
        self._initialize(generator or torch.Generator().manual_seed(0))

    def _initialize(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)
            for module in self.modules():
                if isinstance(module, _Residual):
                    module.second.weight.mul_(0.1)  # blocks begin near the identity

    @property
    def multiple(self) -> int:
        """Sides are padded to multiples of this number of pixels."""
        return 2 ** len(self.channels)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Denoise images.

        Parameters
        ----------
        x : Tensor of shape (n, 1, H, W)
        sigma : float or Tensor that broadcasts to (n, 1, H, W)
            Standard deviation of the noise, in the units of `x`.

        Returns
        -------
        Tensor of shape (n, 1, H, W)
        """
        height, width = x.shape[-2:]
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand_as(x)
        both = torch.cat([x, sigma], dim=1)
        missing = -width % self.multiple, -height % self.multiple
        if any(missing):  # images may be smaller than what is missing, so no reflection
            both = F.pad(both, (0, missing[0], 0, missing[1]), mode="replicate")
        dtype = computing_dtype(x.dtype, x.device, self.training)
        with torch.autocast(x.device.type, dtype, enabled=dtype != x.dtype):
            noise = self._noise(both)
        return x - noise[..., :height, :width]

    def _noise(self, both: Tensor) -> Tensor:
        h = self.head(F.pixel_unshuffle(both, 2))
        kept = []
        for blocks, coarser in zip(self.down, self.coarser, strict=False):
            h = blocks(h)
            kept.append(h)
            h = coarser(h)
        h = self.down[-1](h)
        levels = list(zip(self.finer, self.up, kept, strict=True))
        for finer, blocks, skipped in reversed(levels):
            h = blocks(finer(h) + skipped)
        return F.pixel_shuffle(self.tail(h), 2)


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(torch.relu(self.first(h)))


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*[_Residual(channels) for _ in range(number)])


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return skip_init(nn.Conv2d, inputs, outputs, 3, padding=1, bias=False)


def _half(kind: type[nn.Module], inputs: int, outputs: int) -> nn.Module:
    return skip_init(kind, inputs, outputs, 2, 2, bias=False)
