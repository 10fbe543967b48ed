"""The precision in which convolutions are computed."""

from __future__ import annotations

import torch


def computing_dtype(dtype: torch.dtype, device: torch.device, training: bool) -> torch.dtype:
    """Choose the precision of convolutions of rows of a given one.

    Training in single precision is computed in bfloat16 on hardware that multiplies matrices of
    it faster: weights, statistics of norms and losses stay in single precision. All else is
    computed as given. The choice follows from the hardware alone, never from a timing, so that
    the same seed gives the same bits.

    Parameters
    ----------
    dtype : torch.dtype
        Of the rows.
    device : torch.device
    training : bool
    """
    if training and dtype == torch.float32 and _multiplies_bfloat16(device):
        return torch.bfloat16
    return dtype


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # Older GPUs emulate it, slowly.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Older versions of PyTorch do not tell.
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("amx_bf16", False))
    return False
