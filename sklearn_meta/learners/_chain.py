"""Gradient steps through linear layers, written out: a stack of tasks in a few matrix products.

The backward pass is written by hand, and so is its derivative in a direction (B. A. Pearlmutter,
1994, Fast exact multiplication by the Hessian), which is all that the outer gradient needs of a
step. Automatic differentiation then sees one operation a step.

The bias of a layer is the last column of its weight, for inputs whose last column is 1. Products
add themselves to the weights that they change, so that no gradient is ever held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from ._links import Link


def _relu(z: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.relu(z)
    return value, value.sign()


def _silu(z: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.sigmoid(z)
    value = z * s
    return value, s + value * (1 - s)


def _silu_bend(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))


#: Value and slope of each activation, and its second derivative where that is not 0.
SLOPES = {"relu": _relu, "silu": _silu}
BENDS = {"relu": None, "silu": _silu_bend}


@dataclass(frozen=True)
class Chain:
    """Linear layers with an activation between them, none after the last.

    Attributes
    ----------
    names : tuple of (str, str)
        Of the weight and the bias of each layer.
    activation : {"relu", "silu"}
    link : Link
        The loss of the outputs.
    """

    names: tuple[tuple[str, str], ...]
    activation: str
    link: Link

    def join(self, parameters: Mapping[str, Tensor]) -> list[Tensor]:
        """Weight and bias of each layer side by side, (T, n_out, n_in + 1)."""
        return [torch.cat([parameters[w], parameters[b][..., None]], -1) for w, b in self.names]

    def split(self, joined: Sequence[Tensor]) -> dict[str, Tensor]:
        """Undo `join`; tensors are views."""
        parameters = {}
        for (weight, bias), both in zip(self.names, joined, strict=True):
            parameters[weight], column = both.split([both.shape[-1] - 1, 1], -1)
            parameters[bias] = column[..., 0]
        return parameters

    def backward(
        self, layers: Sequence[Tensor], x: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[list[Tensor]]]:
        """Run the layers and propagate errors: the gradient of layer i is ``errors.mT @ inputs``.

        Parameters
        ----------
        layers : sequence of Tensor of shape (T, n_out, n_in + 1)
        x : Tensor of shape (T, n, n_inputs + 1)
            Rows, with a column of ones.
        target : Tensor of shape (T, n, n_outputs)
        weight : Tensor of shape (T, n, 1)
            Of each row in the loss, times the scale of the link.

        Returns
        -------
        inputs, errors : lists of Tensor, one a layer
            Of shapes (T, n, n_in + 1) and (T, n, n_out).
        rest : lists of Tensor
            What `tangent` needs besides.
        """
        inputs, slopes, sums = [x], [], []
        for layer in layers[:-1]:
            z = torch.bmm(inputs[-1], layer.mT)
            value, slope = SLOPES[self.activation](z)
            inputs.append(pad(value, (0, 1), value=1.0))
            slopes.append(slope)
            sums.append(z)
        mean = self.link.mean(torch.bmm(inputs[-1], layers[-1].mT))
        errors, propagated = [(mean - target) * weight], []
        for layer, slope in zip(reversed(layers[1:]), reversed(slopes), strict=True):
            propagated.append(torch.bmm(errors[-1], layer[..., :-1]))
            errors.append(propagated[-1] * slope)
        bent = [] if BENDS[self.activation] is None else [sums, propagated[::-1]]
        return inputs, errors[::-1], [[mean], slopes, *bent]

    def tangent(
        self,
        layers: Sequence[Tensor],
        moves: Sequence[Tensor],
        weight: Tensor,
        inputs: Sequence[Tensor],
        errors: Sequence[Tensor],
        rest: Sequence[Sequence[Tensor]],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Derivatives of what `backward` returns when the layers move in a direction.

        Returns
        -------
        d_inputs, d_errors : lists of Tensor, one a layer
            The rows do not move: ``d_inputs[0]`` is for the layer after them.
        """
        bend = BENDS[self.activation]
        (mean,), slopes, *bent = rest
        d_inputs: list[Tensor] = []
        d_sums = []
        for i, (layer, move) in enumerate(zip(layers, moves, strict=True)):
            d_sums.append(torch.bmm(inputs[i], move.mT))
            if i:
                d_sums[i].baddbmm_(d_inputs[-1], layer.mT)
            if i + 1 < len(layers):
                d_inputs.append(pad(d_sums[i] * slopes[i], (0, 1)))
        d_errors = [self.link.tangent(mean, d_sums[-1]) * weight]
        for i in range(len(layers) - 1, 0, -1):
            d_error = torch.bmm(d_errors[-1], layers[i][..., :-1])
            d_error = d_error.baddbmm_(errors[i], moves[i][..., :-1]).mul_(slopes[i - 1])
            if bend is not None:
                sums, propagated = bent
                d_error += propagated[i - 1] * bend(sums[i - 1]) * d_sums[i - 1]
            d_errors.append(d_error)
        return d_inputs, d_errors[::-1]


class ChainStep(torch.autograd.Function):
    """One step of every task against the gradient of its own loss, differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,
        chain: Chain,
        first_order: bool,
        rate: float,
        x: Tensor,
        target: Tensor,
        weight: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """Step from the layers, the first half of the tensors or all of them.

        The second half, where there is one, are factors of the rate, (T or 1, n_out, n_in + 1).
        """
        n = len(chain.names)
        layers, factors = tensors[:n], tensors[n:]
        inputs, errors, rest = chain.backward(layers, x, target, weight)
        kept = [inputs, errors] + ([] if first_order else rest)
        ctx.chain, ctx.first_order, ctx.rate = chain, first_order, rate
        ctx.lengths = [len(part) for part in kept]
        ctx.save_for_backward(weight, *tensors, *(tensor for part in kept for tensor in part))
        if not factors:
            return tuple(
                torch.baddbmm(layer, error.mT, h, alpha=-rate)
                for layer, error, h in zip(layers, errors, inputs, strict=True)
            )
        return tuple(
            torch.addcmul(layer, factor, torch.bmm(error.mT, h), value=-rate)
            for layer, factor, error, h in zip(layers, factors, errors, inputs, strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple:
        """Pull gradients with respect to the new layers back to what these came from."""
        n, rate = len(ctx.chain.names), ctx.rate
        weight, *saved = ctx.saved_tensors
        layers, factors, kept = saved[:n], (), iter(saved[n:])
        if len(ctx.needs_input_grad) > 6 + n:
            factors, kept = saved[n : 2 * n], iter(saved[2 * n :])
        inputs, errors, *rest = ([next(kept) for _ in range(k)] for k in ctx.lengths)
        of_factors = []
        if factors:
            of_factors = [
                (o * torch.bmm(error.mT, h)).mul_(-rate).sum_to_size(factor.shape)
                for o, factor, error, h in zip(outer, factors, errors, inputs, strict=True)
            ]
        if ctx.first_order:
            return *[None] * 6, *outer, *of_factors
        moves = [o * f for o, f in zip(outer, factors, strict=True)] if factors else outer
        d_inputs, d_errors = ctx.chain.tangent(layers, moves, weight, inputs, errors, rest)
        of_layers = [
            torch.baddbmm(o, d_error.mT, h, alpha=-rate)
            for o, d_error, h in zip(outer, d_errors, inputs, strict=True)
        ]
        for i, d_input in enumerate(d_inputs, 1):
            of_layers[i].baddbmm_(errors[i].mT, d_input, alpha=-rate)
        of_x = None
        if ctx.needs_input_grad[3]:
            of_x = torch.bmm(d_errors[0], layers[0]).baddbmm_(errors[0], moves[0]).mul_(-rate)
        return None, None, None, of_x, None, None, *of_layers, *of_factors
