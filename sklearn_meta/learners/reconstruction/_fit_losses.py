"""What `Unrolled` is fitted to an operator by: images, or measurements alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._held_out_rows import hide_rows, misfit_of_rows
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import (
    Calibrated,
    Problem,
    Scalars,
    learn_steps,
    problem_of,
    run_steps,
    simulated,
)
from sklearn_meta.operators import Operator

_BEFORE = 0.3  # weight of all steps before the reconstruction, against 1 of that
_SMALL = 1e-7  # of mean square errors: 70 dB


@dataclass(frozen=True, eq=False)
class Setting:
    """An operator, its noise, and how many steps invert it.

    Parameters
    ----------
    operator : Operator
        Linear.
    sigma, gain : float
        See `Noise`.
    steps : int
    scalars : Scalars
    """

    operator: Operator
    sigma: float
    gain: float
    steps: int
    scalars: Scalars


Loss = Callable[[UnrolledModule], Tensor]


def steps_loss(denoised: Sequence[Tensor], image: Tensor, truth: Tensor) -> Tensor:
    """Mean logarithm of errors: an operator that is hard counts as much as one that is easy.

    Half the logarithm of the mean square error of the reconstruction, and less of what each step
    denoised, if that is given.
    """
    errors = torch.stack([(z - truth).square().mean() for z in (*denoised, image)]) + _SMALL
    weights = torch.full((len(errors),), _BEFORE / max(len(denoised), 1)).to(errors)
    weights[-1] = 1.0
    return 0.5 * (weights * errors.log()).sum()


def supervised_loss(
    setting: Setting, truths: Tensor, n_images: int, generator: torch.Generator
) -> Loss:
    """Loss on images, turned and measured afresh each time."""

    def loss(module: UnrolledModule) -> Tensor:
        chosen = torch.randperm(len(truths), generator=generator)[:n_images]
        truth = _turned(truths[chosen.to(truths.device)], generator)
        operator = setting.operator
        problem = simulated(operator, truth, setting.sigma, generator, setting.gain)
        denoised, image, _ = learn_steps(module, problem, truth, setting.steps, setting.scalars)
        return steps_loss(denoised, image, truth)

    return loss


def splitting_loss(
    setting: Setting,
    calibrated: Calibrated | None,
    measurements: Tensor,
    n_images: int,
    generator: torch.Generator,
) -> Loss:
    """Loss on measurements whose images are unknown: some rows foretell the others.

    References
    ----------
    B. Yaman, S. A. H. Hosseini, S. Moeller, J. Ellermann, K. Uğurbil, M. Akçakaya (2020),
    "Self-supervised learning of physics-guided reconstruction neural networks without fully
    sampled reference data", Magnetic Resonance in Medicine.
    """

    def loss(module: UnrolledModule) -> Tensor:
        operator, y = _some(setting.operator, measurements, n_images, generator)
        kept, hidden = hide_rows(y, generator)
        problem = problem_of(operator, kept, setting.sigma, setting.gain)
        image = run_steps(module, problem, calibrated, setting.scalars)
        return 0.5 * (misfit_of_rows(operator, image, y, hidden).mean() + _SMALL).log()

    return loss


def sure_loss(
    setting: Setting,
    calibrated: Calibrated | None,
    measurements: Tensor,
    n_images: int,
    generator: torch.Generator,
) -> Loss:
    """Stein's unbiased estimate of the error of the measurements, its divergence by a random probe.

    References
    ----------
    S. Ramani, T. Blu, M. Unser (2008), "Monte-Carlo SURE: a black-box optimization of
    regularization parameters for general denoising algorithms", IEEE Transactions on Image
    Processing.
    """

    def loss(module: UnrolledModule) -> Tensor:
        operator, y = _some(setting.operator, measurements, n_images, generator)
        sigma = max(setting.sigma, 1e-6)
        probe = torch.randn(y.shape, generator=generator, dtype=torch.float32).to(y)

        def measured(values: Tensor) -> Tensor:
            problem = Problem(operator, values, sigma)
            return operator.forward(run_steps(module, problem, calibrated, setting.scalars))

        clean, reach = measured(y), 0.1 * sigma
        known = ~torch.isnan(y)
        slope = torch.where(known, probe * (measured(y + reach * probe) - clean), 0.0) / reach
        misfit = torch.where(known, clean - y, 0.0).square()
        estimate = misfit.mean() + 2 * sigma**2 * slope.mean() - sigma**2 * known.float().mean()
        return estimate / sigma**2

    return loss


def equivariance_loss(
    setting: Setting,
    calibrated: Calibrated | None,
    measurements: Tensor,
    n_images: int,
    generator: torch.Generator,
) -> Loss:
    """What is reconstructed, turned and measured again, must be reconstructed again.

    References
    ----------
    D. Chen, J. Tachella, M. E. Davies (2021), "Equivariant imaging: learning beyond the range
    space", ICCV.
    """

    def loss(module: UnrolledModule) -> Tensor:
        operator, y = _some(setting.operator, measurements, n_images, generator)
        problem = problem_of(operator, y, setting.sigma, setting.gain)
        with torch.no_grad():  # else the network is drawn to images that are easy
            image = run_steps(module, problem, calibrated, setting.scalars)
            image = _turned(image, generator)
        again = simulated(operator, image, setting.sigma, generator, setting.gain)
        back = run_steps(module, again, calibrated, setting.scalars)
        return 0.5 * ((back - image).square().mean() + _SMALL).log()

    return loss


def _turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn images (n, H, W[, C]) by a random symmetry that keeps their shape."""
    turns, flip = torch.randint(0, 4, (2,), generator=generator).tolist()
    turns = turns if images.shape[1] == images.shape[2] else turns // 2 * 2
    images = torch.rot90(images, turns, (1, 2))
    return images.flip(2) if flip % 2 else images


def _some(
    operator: Operator, measurements: Tensor, n: int, generator: torch.Generator
) -> tuple[Operator, Tensor]:
    chosen = torch.randperm(len(measurements), generator=generator)[:n]
    return operator.select(chosen), measurements[chosen.to(measurements.device)]
