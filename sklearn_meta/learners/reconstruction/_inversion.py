"""Reconstruction by an adapted `Unrolled`: on schedules found when first needed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sklearn_meta.learners.reconstruction._held_out_rows import hide_rows, share_on_rows
from sklearn_meta.learners.reconstruction._unrolled_model import UnrolledModel, UnrolledState
from sklearn_meta.learners.reconstruction._unrolled_steps import (
    Calibrated,
    Problem,
    Scalars,
    find_schedule,
    problem_of,
    run_steps,
    simulated,
)

# Of images for a schedule: enough, for errors are means over all of them; and for one of
# measurements some of which are missing.
_PIXELS, _PIXELS_OF_PATTERN = 2**15, 2**13


@dataclass(frozen=True, eq=False)
class Inversion:
    """Reconstruction of images of one noise level.

    Parameters
    ----------
    model : UnrolledModel
    state : UnrolledState
    sigma, gain : float
        Of the noise, of images and measurements divided by their scale; see `Noise`.
    """

    model: UnrolledModel
    state: UnrolledState
    sigma: float
    gain: float

    def images(self, y: Tensor, steps: tuple[int, ...], known: Tensor | None = None) -> Tensor:
        """Reconstruct images that miss the same measurements.

        Where the prior was adapted, its own reconstruction and the adapted one are blended, for
        each image as hidden measurements tell.

        Parameters
        ----------
        y : Tensor of shape ``(n, *measurement_shape)``
        steps : tuple of int
            Numbers to try; see `find_schedule`.
        known : Tensor of bool of shape (1, *measurement_shape), default=None
            Which measurements there are; all by default.

        Returns
        -------
        Tensor of shape ``(n, *image_shape)``
        """
        problem = self._problem(y)
        adapted = self._run(problem, steps, known)
        if not self.state.is_adapted or problem.is_denoising:
            return adapted
        prior = replace(self, state=replace(self.state, scalars=Scalars(), weights=None))
        kept, hidden = hide_rows(y, torch.Generator().manual_seed(1))
        partial = self._problem(kept)
        both = [each._run(partial, steps, known) for each in (prior, self)]
        share = share_on_rows(self.state.operator, *both, y, hidden)
        own = prior._run(problem, steps, known)
        return own + share.reshape(-1, *[1] * (own.ndim - 1)) * (adapted - own)

    def _problem(self, y: Tensor) -> Problem:
        return problem_of(self.state.operator, y, self.sigma, self.gain)

    def _run(self, problem: Problem, steps: tuple[int, ...], known: Tensor | None) -> Tensor:
        module, scalars = self.state.module(self.model), self.state.scalars
        if problem.is_denoising:
            return problem.denoised(module, scalars)
        return run_steps(module, problem, self._schedule(steps, known), scalars)

    def _schedule(self, steps: tuple[int, ...], known: Tensor | None) -> Calibrated:
        """Schedule of this noise and of these missing measurements; found once."""
        state = self.state
        pattern = None if known is None else known.cpu().numpy().tobytes()
        key = (self.sigma, self.gain, pattern, steps, state.weights is None, state.scalars)
        if key not in state.schedules:
            n_pixels = _PIXELS if known is None else _PIXELS_OF_PATTERN
            truth = self.model.known_images(state.operator, n_pixels).to(torch.float64)
            noise = torch.Generator().manual_seed(0)
            problem = simulated(state.operator, truth, self.sigma, noise, self.gain, known)
            module = state.module(self.model)
            state.schedules[key] = find_schedule(module, problem, truth, steps, state.scalars)
        return state.schedules[key]
