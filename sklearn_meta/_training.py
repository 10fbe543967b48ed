"""The meta-training loop: one, for every learner."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from sklearn_meta._training_checkpoint import Checkpoint, identity
from sklearn_meta._training_config import TrainingConfig, resolve
from sklearn_meta._training_split import episode_sampler, hold_out
from sklearn_meta._training_state import History, Progress, Weights
from sklearn_meta.learners._base import Learner
from sklearn_meta.tasks import TaskStore
from sklearn_meta.tasks._class_index import has_class_episodes
from sklearn_meta.tasks._episodes import TaskBatch

__all__ = ["History", "TrainingConfig", "meta_train", "resolve"]

EVAL_EVERY = 50  # iterations
LARGEST_GRADIENT = 1.0
AVERAGE_DECAY = 0.98
MAX_BAD_IN_ROW, MAX_BAD = 5, 20
CHECKPOINT_SECONDS = 30.0
# Multiplications in one pass forward, about, from which a second thread is worth waking.
WORK_FOR_THREADS = 2e8


def meta_train(
    learner: Learner,
    module: nn.Module,
    store: TaskStore,
    *,
    config: TrainingConfig,
    rng: np.random.Generator,
    validation_store: TaskStore | None = None,
    device: torch.device | str,
    verbose: int = 0,
    checkpoint: str | os.PathLike | None = None,
    threads: int | str = "auto",
) -> tuple[nn.Module, History]:
    """Train a learner's module on episodes of many tasks.

    AdamW at a constant step size, gradients clipped, until the held-out tasks are not foreseen
    better any more; then the step size decays to zero. What is judged, and returned, are moving
    averages of the weights: far better than the weights themselves at a constant step size.

    Parameters
    ----------
    learner : Learner
        Its ``loss`` is minimised: the sum over members, each of which is clipped, judged and
        restored on its own. In ``module.eval()`` mode the loss judges the held-out episodes.
    module : nn.Module
        Trained in place. May define ``parameter_groups(lr, weight_decay)``, groups for AdamW, and
        ``members``, see `Weights`. At return it is on ``device``, in eval mode, and holds the
        weights that did best on the held-out tasks (without any: the last average).
    store : TaskStore
        The tasks. ``TaskBatch.task`` is a position in it, whatever is held out.
    config : TrainingConfig
        Resolved or not.
    rng : numpy.random.Generator
        The only source of chance: same seed, same bits, as long as ``max_time`` does not bind.
    validation_store : TaskStore, optional
        Tasks to be judged on; ``TaskBatch.task`` is then -1. Else a learner that is
        ``cross_fitted`` judges each member on its own fold; else whole tasks are held out; with
        fewer than 4 tasks, the judgement is on other draws from the same tasks.
    device : torch.device or str
    verbose : int, default=0
        From 1 on there is a progress bar on stderr.
    checkpoint : str or path-like, optional
        File that is written now and then, from which the same call goes on after a crash or an
        interruption, with the random numbers of the run that wrote it. Removed at the end.
    threads : int or "auto", default="auto"
        Number of torch's CPU threads while training. "auto" takes one where the work is small:
        a second thread would then cost more than it saves.

    Returns
    -------
    module : nn.Module
        What the learner's ``finish`` makes of the trained module, in eval mode.
    history : History

    Raises
    ------
    FloatingPointError
        If losses or gradients are not finite time and again.
    ValueError
        If a parameter is out of range or the checkpoint belongs to another run.

    Warns
    -----
    UserWarning
        If it was interrupted from the keyboard; the best weights so far are kept.
    """
    config = resolve(config, store)
    if validation_store is not None and not config.early_stopping:
        raise ValueError(
            "Validation tasks are of no use with early_stopping=False: leave one of them out."
        )
    module.to(device)
    with _torch_threads(threads, module, store, config):
        weights = Weights(module)
        try:
            run = _Run(learner, module, weights, store, config, rng, validation_store, checkpoint)
            run.train(verbose)
        finally:
            weights.release()
            module.eval()
        with torch.no_grad():
            return learner.finish(module, run.held_out), run.history


class _Run:
    """One meta-training: everything between the first step and the last."""

    def __init__(
        self,
        learner: Learner,
        module: nn.Module,
        weights: Weights,
        store: TaskStore,
        config: TrainingConfig,
        rng: np.random.Generator,
        validation_store: TaskStore | None,
        checkpoint: str | os.PathLike | None,
    ) -> None:
        self.started = self.last_saved = time.perf_counter()
        self.learner, self.module, self.weights, self.config = learner, module, weights, config
        never = [math.inf] * weights.n_members
        self.progress = Progress(rng.integers(2**63, size=3).tolist(), never)
        self.checkpoint = saved = None
        if checkpoint is not None:
            run = identity(learner, module, store, config, validation_store)
            self.checkpoint = Checkpoint(checkpoint, run)
            saved = self.checkpoint.load()
        if saved is not None:
            self.progress = Progress(**saved[1]["progress"])
        split_rng, validation_rng, sampler_rng = map(np.random.default_rng, self.progress.seeds)

        split = hold_out(learner, store, validation_store, config, split_rng, validation_rng)
        self.history = History(validation=split.kind)
        self.held_out = [self._place(batch) for batch in split.episodes]
        if not self.held_out:
            weights.best = weights.average  # nothing to judge by: the last are the best
        self.tasks = torch.from_numpy(split.train)
        self.sampler = episode_sampler(split.store, config, sampler_rng)
        rate, alpha = config.learning_rate_init, config.alpha
        own_groups = getattr(module, "parameter_groups", None)
        self.optimizer = torch.optim.AdamW(
            [weights.vector] if own_groups is None else own_groups(rate, alpha),
            lr=rate,
            weight_decay=alpha,
            fused=weights.vector.device.type in ("cpu", "cuda"),
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        if saved is not None:
            self._restore(*saved)

    def train(self, verbose: int) -> None:
        """Train until it is time to stop, or until Ctrl-C."""
        with tqdm(
            desc="meta-training",
            total=self.config.max_iter,
            initial=self.progress.iteration,
            disable=verbose < 1,
            file=sys.stderr,
        ) as bar:
            try:
                self._loop(bar)
            except KeyboardInterrupt:
                self.history.stopped = "interrupted"
                warnings.warn(
                    f"Meta-training was interrupted at iteration {self.progress.iteration}; "
                    "the best weights so far are kept.",
                    UserWarning,
                    stacklevel=3,
                )
        self.history.seconds = self._seconds()
        if self.checkpoint is not None and self.history.stopped != "interrupted":
            self.checkpoint.remove()

    def _loop(self, bar: tqdm) -> None:
        progress, history = self.progress, self.history
        self.module.train()
        if self.held_out and progress.iteration == 0:
            self._judge()  # the start is a candidate too: training never returns anything worse
        while (stopped := progress.schedule(self.config, self._seconds())) is None:
            self._step()
            if progress.iteration % EVAL_EVERY == 0:
                self._evaluate(bar)
            self._save_if_due()
            bar.update()
        if progress.iteration % EVAL_EVERY:
            self._evaluate(bar)
        history.stopped = stopped

    def _step(self) -> None:
        progress = self.progress
        batch = self.sampler.draw()
        batch = replace(batch, task=self.tasks[batch.task])  # as numbered in the whole store
        losses, norms = self._backward(self._place(batch))
        bad = [not math.isfinite(loss + norm) for loss, norm in zip(losses, norms, strict=True)]
        if any(bad):
            self._recover(bad)
        else:
            self.weights.clip(norms, LARGEST_GRADIENT)
            factor = progress.learning_rate_factor()
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            self.optimizer.step()
            it = progress.iteration
            self.weights.follow(min(AVERAGE_DECAY, (1 + it) / (10 + it)))
            progress.bad_in_row = 0
            progress.loss_sum += sum(losses) / len(losses)
            progress.n_losses += 1
        progress.iteration += 1

    def _backward(self, batch: TaskBatch) -> tuple[list[float], list[float]]:
        """Compute the gradient; return each member's loss and gradient norm."""
        self.weights.gradient.zero_()
        try:
            losses = self._losses(batch)
            losses.sum().backward()
        except torch.linalg.LinAlgError:
            nothing = [math.nan] * self.weights.n_members
            return nothing, nothing
        norms = self.weights.gradient_norms()
        both = torch.stack([losses.detach(), norms]).tolist()  # one wait for the device, not two
        return both[0], both[1]

    def _losses(self, batch: TaskBatch) -> torch.Tensor:
        """Return the loss of each member, of shape (n_members,)."""
        losses = self.learner.loss(self.module, batch)
        n_members = self.weights.n_members
        if n_members == 1:
            return losses.sum().reshape(1)
        if losses.shape != (n_members,):
            raise ValueError(
                f"{type(self.learner).__name__}.loss returned shape {tuple(losses.shape)}, "
                f"expected ({n_members},): one value a member."
            )
        return losses

    def _recover(self, bad: list[bool]) -> None:
        """Leave a region where numbers are not finite: back to the best, on with smaller steps."""
        progress = self.progress
        progress.bad += 1
        progress.bad_in_row += 1
        if progress.bad_in_row >= MAX_BAD_IN_ROW or progress.bad >= MAX_BAD:
            raise FloatingPointError(
                f"Meta-training met {progress.bad} losses or gradients that are not finite, "
                f"{progress.bad_in_row} of them in a row, by iteration {progress.iteration}. Lower "
                f"learning_rate_init (it is {self.config.learning_rate_init:g}) and check the "
                "units of X and y: a few huge values are enough."
            )
        self.weights.go_back(bad)
        progress.slowdown /= 2

    def _evaluate(self, bar: tqdm) -> None:
        """Write the history, and judge the weights if there is something to judge them by."""
        progress, history = self.progress, self.history
        history.iteration.append(progress.iteration)
        history.loss.append(progress.loss_sum / max(progress.n_losses, 1))
        progress.loss_sum, progress.n_losses = 0.0, 0
        shown = {"loss": history.loss[-1]}
        if self.held_out:
            history.validation_loss.append(self._judge())
            shown["held_out"] = history.validation_loss[-1]
        shown["tasks/s"] = progress.iteration * self.config.batch_size / self._seconds()
        bar.set_postfix(shown, refresh=False)

    def _judge(self) -> float:
        """Score the average weights on the held-out episodes; keep those of members that gain."""
        progress = self.progress
        self.module.eval()
        with self.weights.averaged(), torch.no_grad():
            try:
                losses = torch.stack([self._losses(batch) for batch in self.held_out])
                scores = losses.mean(dim=0).tolist()
            except torch.linalg.LinAlgError:
                scores = [math.inf] * self.weights.n_members
        self.module.train()
        scores = [score if math.isfinite(score) else math.inf for score in scores]
        better = progress.judge(scores, self.config.tol)
        if any(better):
            self.weights.keep(better)
            self.history.best_iteration = progress.iteration
            self.history.best_score = sum(progress.best) / len(scores)
        return sum(scores) / len(scores)

    def _place(self, batch: TaskBatch) -> TaskBatch:
        """Put a batch where the weights are."""
        return batch.to(self.weights.vector.device, self.weights.vector.dtype)

    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    def _save_if_due(self) -> None:
        if self.checkpoint is None or time.perf_counter() - self.last_saved < CHECKPOINT_SECONDS:
            return
        self.last_saved = time.perf_counter()
        self.history.seconds = self._seconds()
        sampler = self.sampler.state_dict()
        tensors = {
            "vector": self.weights.vector,
            "average": self.weights.average,
            "best": self.weights.best,
            "queue": torch.from_numpy(sampler["queue"]),
        }
        tensors |= {f"buffers/{name}": b for name, b in self.module.named_buffers()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"moments/{i}/{name}": value for name, value in moments.items()}
        state = {
            "progress": asdict(self.progress),
            "history": asdict(self.history),
            "rng": sampler["rng"],
        }
        self.checkpoint.save(tensors, state)

    def _restore(self, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        """Go on from what `_save_if_due` saved; `progress` is in place already."""
        self.history = History(**state["history"])
        self.started -= self.history.seconds
        self.sampler.load_state_dict({"rng": state["rng"], "queue": tensors["queue"].numpy()})
        for name in ("vector", "average", "best"):
            getattr(self.weights, name).copy_(tensors[name])
        for name, buffer in self.module.named_buffers():
            buffer.copy_(tensors[f"buffers/{name}"])
        optimizer = self.optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith("moments/"):
                _, i, moment = name.split("/")
                optimizer["state"].setdefault(int(i), {})[moment] = value
        self.optimizer.load_state_dict(optimizer)


@contextmanager
def _torch_threads(
    threads: int | str, module: nn.Module, store: TaskStore, config: TrainingConfig
) -> Iterator[None]:
    """Set torch's number of threads for a while."""
    before = torch.get_num_threads()
    if threads == "auto":
        # A rule on sizes, not a measurement: the number of threads decides the last bits.
        n_rows = config.batch_size * (config.shots[1] + config.n_query)
        n_positions = 1 if store.image_shape is None else math.prod(store.image_shape[-2:])
        if has_class_episodes(store):
            n_rows *= config.n_ways
        n_weights = sum(p.numel() for p in module.parameters())
        threads = before if n_weights * n_rows * n_positions > WORK_FOR_THREADS else 1
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
