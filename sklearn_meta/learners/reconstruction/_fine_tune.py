"""Fit the denoiser of `Unrolled` to one operator, through its steps, and not far from the prior."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklearn_meta.learners.reconstruction._fit_losses import Loss
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule

_LARGEST_GRADIENT = 0.5
_WARM_UP = 5  # steps


def fine_tune(
    module: UnrolledModule,
    losses: Sequence[Loss],
    n_iter: int,
    learning_rate: float,
    *,
    anchor: float = 0.0,
    scales_only: bool = False,
) -> UnrolledModule:
    """Return a module whose denoiser is fitted; the one given stays as it is.

    Parameters
    ----------
    module : UnrolledModule
    losses : sequence of callable
        Module -> loss; all are minimised, added up.
    n_iter : int
    learning_rate : float
        Of Adam, at first; it decays to 0.
    anchor : float, default=0.0
        Weight of the squared distance of the weights to the prior's, over their squared norm.
    scales_only : bool, default=False
        Whether only one factor for each channel of each convolution is fitted.
    """
    fitted = copy.deepcopy(module).train().requires_grad_(False)
    prior = dict(fitted.denoiser.named_parameters())
    start = _scales(fitted.denoiser) if scales_only else prior
    trained = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(trained.values(), lr=learning_rate, betas=(0.9, 0.99))
    size = sum(p.square().sum() for p in prior.values())
    call = _Call(fitted)
    for k in range(n_iter):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (k + 1) / _WARM_UP) * (1 - k / n_iter)
        with torch.enable_grad():
            weights = {n: prior[n] * t if scales_only else t for n, t in trained.items()}
            named = {f"module.denoiser.{name}": value for name, value in weights.items()}
            loss = sum(torch.func.functional_call(call, named, (one,)) for one in losses)
            if anchor:
                moved = sum((w - prior[n]).square().sum() for n, w in weights.items())
                loss = loss + anchor * moved / size
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(trained.values(), _LARGEST_GRADIENT)
        optimizer.step()
    with torch.no_grad():
        for name, value in trained.items():
            prior[name].copy_(prior[name] * value if scales_only else value)
    return fitted.eval()


class _Call(nn.Module):
    """Computes a loss of a module by `forward`, which is what weights can be put under."""

    def __init__(self, module: UnrolledModule):
        super().__init__()
        self.module = module

    def forward(self, loss: Loss) -> Tensor:
        return loss(self.module)


def _scales(denoiser: nn.Module) -> dict[str, Tensor]:
    """One for each channel that a convolution puts out, shaped like its weights."""
    scales = {}
    for name, convolution in denoiser.named_modules():
        if isinstance(convolution, (nn.Conv2d, nn.ConvTranspose2d)):
            shape = [1, 1, 1, 1]
            axis = 0 if isinstance(convolution, nn.Conv2d) else 1
            shape[axis] = convolution.weight.shape[axis]
            scales[f"{name}.weight"] = torch.ones(shape).to(convolution.weight)
    return scales
