"""One network for many tasks at once, each task with parameters of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


def stacked_call(network: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run any network on the rows of many tasks, with stacked parameters.

    Parameters
    ----------
    network : nn.Module
        Maps (n, n_inputs) to (n, n_features). Its buffers are common to all tasks.
    parameters : mapping of str to Tensor of shape (T, *shape)
        Named parameters of the network, the task axis first.
    x : Tensor of shape (T, n, n_inputs)

    Returns
    -------
    Tensor of shape (T, n, n_features)
        As often differentiable as the network is.
    """

    def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(network, parameters, (x,))

    parameters = dict(parameters)
    try:
        return vmap(one, randomness="different")(parameters, x)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError:
        # Some layers, such as the user's own autograd functions, know no batches of parameters.
        tasks = range(x.shape[0])
        return torch.stack([one({k: p[t] for k, p in parameters.items()}, x[t]) for t in tasks])
