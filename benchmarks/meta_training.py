"""Speed and memory of meta-training: second-order MAML by this library and by its peers.

Same network, same start, same episodes and the same plain outer steps for all, interleaved in one
process; peak memory from a process each. That all compute the same is shown by the loss of the
second meta-step in single precision, which follows from the first meta-gradient, and by the losses
of five meta-steps in double precision. In single precision later losses of 5 inner steps through
convolutions are chaotic: a rounding error flips a ReLU or a maximum, second derivatives blow it up,
and the loop drifts even from itself.

    python benchmarks/meta_training.py --problem sinusoid
    python benchmarks/meta_training.py --problem omniglot --data background28.npz --steps 1 5

learn2learn is its own package where that is installed, else its algorithm (clone the module, then
a differentiable update, task by task); higher and torchopt are left out where not installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from _meta_training_peers import ENGINES, Batch, Problem
from torch import nn

N_CHECKED = 5
OUTER_RATE = 0.01


def make_problem(name: str, n_steps: int) -> Problem:
    """Network at its start, by the command line's problem."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "sinusoid":
            layers = [nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)]
            return Problem(name, nn.Sequential(*layers), nn.functional.mse_loss, 0.01, n_steps)
        layers = []
        for n_in in (1, 64, 64, 64):
            convolution = nn.Conv2d(n_in, 64, 3, padding=1, bias=False)
            layers += [convolution, nn.MaxPool2d(2), nn.GroupNorm(1, 64), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 5))
    shaped = _Images(*network)
    return Problem(name, shaped, nn.functional.cross_entropy, 0.1, n_steps)


class _Images(nn.Sequential):
    """Layers that take rows of 28x28 pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.view(-1, 1, 28, 28))


def batches(problem: str, path: str | None, seed: int = 0) -> Iterator[Batch]:
    """Batches of tasks: support, then query; each x (T, n, n_inputs)."""
    rng = np.random.default_rng(seed)
    if problem == "sinusoid":
        while True:
            amplitude, phase = rng.uniform(0.1, 5, (25, 1, 1)), rng.uniform(0, np.pi, (25, 1, 1))
            x = rng.uniform(-5, 5, (25, 20, 1))
            x, y = (
                torch.tensor(a, dtype=torch.float32) for a in (x, amplitude * np.sin(x + phase))
            )
            yield x[:, :10], y[:, :10], x[:, 10:], y[:, 10:]
    drawings = _drawings(path, rng)
    labels = torch.arange(5)
    while True:
        tasks = []
        for _ in range(16):
            classes = rng.choice(len(drawings), 5, replace=False)
            tasks.append([drawings[c][rng.choice(len(drawings[c]), 6, False)] for c in classes])
        x = torch.tensor(np.array(tasks), dtype=torch.float32)
        support, query = x[:, :, 0], x[:, :, 1:].flatten(1, 2)
        yield support, labels.repeat(16, 1), query, labels.repeat_interleave(5).repeat(16, 1)


def _drawings(path: str | None, rng: np.random.Generator) -> list[np.ndarray]:
    """Images (n, 784) of each class: of an npz with images, alphabet and character, or noise."""
    if path is None:
        return list(rng.random((50, 20, 784)))
    data = np.load(path)
    images = data["images"].reshape(len(data["images"]), -1) / 255
    names = np.stack([data["alphabet"].astype(int), data["character"].astype(int)], 1)
    code = np.unique(names, axis=0, return_inverse=True)[1].ravel()
    return np.split(images[np.argsort(code, kind="stable")], np.cumsum(np.bincount(code))[:-1])


class Run:
    """One engine in its own meta-training."""

    def __init__(
        self,
        name: str,
        problem: Problem,
        args: argparse.Namespace,
        dtype: torch.dtype = torch.float32,
    ):
        problem.network.to(dtype)
        self.parameters, self.gradient = ENGINES[name](problem)
        self.batches = batches(problem.name, args.data)
        self.dtype = dtype
        self.losses, self.seconds = [], []

    def step(self) -> None:
        """One meta-step."""
        batch = [t.to(self.dtype) if t.is_floating_point() else t for t in next(self.batches)]
        start = time.perf_counter()
        for p in self.parameters:
            p.grad = None
        self.losses.append(self.gradient(batch))
        with torch.no_grad():
            for p in self.parameters:
                p -= OUTER_RATE * p.grad
        self.seconds.append(time.perf_counter() - start)


def peak_memory(name: str, n_steps: int, args: argparse.Namespace) -> float:
    """MiB that meta-steps take beyond what is taken before, in a process of its own."""
    command = [sys.executable, __file__, "--problem", args.problem, "--steps", str(n_steps)]
    command += ["--threads", str(args.threads), "--memory-of", name]
    command += ["--data", args.data] if args.data else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(name: str, args: argparse.Namespace) -> float:
    """MiB by which the peak of this process grows in three meta-steps."""
    run = Run(name, make_problem(args.problem, args.steps[0]), args)
    before = _peak()
    for _ in range(3):
        run.step()
    return _peak() - before


def _peak() -> float:
    """MiB of this process at most so far (Linux)."""
    # What getrusage tells is never less than the process had that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def double_gap(n_steps: int, args: argparse.Namespace) -> float:
    """Largest difference of our losses from the loop's, in double precision."""
    losses = []
    for name in ("sklearn_meta", "torch loop"):
        run = Run(name, make_problem(args.problem, n_steps), args, torch.float64)
        for _ in range(N_CHECKED):
            run.step()
        losses.append(run.losses)
    return max(abs(a - b) for a, b in zip(*losses, strict=True))


def compare(n_steps: int, args: argparse.Namespace) -> None:
    """Print the table of one number of inner steps."""
    runs, missing = {}, []
    for name in ENGINES:
        if name.endswith("mixed") and args.problem == "sinusoid":
            continue
        try:
            runs[name] = Run(name, make_problem(args.problem, n_steps), args)
        except ImportError:
            missing.append(name)
    stop = time.monotonic() + args.seconds
    while time.monotonic() < stop or len(runs["torch loop"].losses) < N_CHECKED:
        for run in runs.values():
            run.step()
    print(f"\n{args.problem}, {n_steps} inner steps, {args.threads} thread(s); best of the steps\n")
    print("| engine | meta-steps/s | times torch loop | peak MiB | gap of the second loss |")
    print("|---|---:|---:|---:|---:|")
    base, reference = min(runs["torch loop"].seconds), runs["torch loop"].losses
    for name, run in runs.items():
        gap = abs(run.losses[1] - reference[1])
        rate, ratio = 1 / min(run.seconds), base / min(run.seconds)
        memory = f"{peak_memory(name, n_steps, args):.0f}" if args.memory else "-"
        print(f"| {name} | {rate:.1f} | {ratio:.2f} | {memory} | {gap:.1e} |")
    gap = double_gap(n_steps, args)
    print(f"\nDouble precision, {N_CHECKED} meta-steps: our losses are the loop's to {gap:.1e}.")
    if missing:
        print(f"\nNot installed: {', '.join(missing)}.")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problem", choices=["sinusoid", "omniglot"], default="sinusoid")
    parser.add_argument("--data", help="npz with images, alphabet and character; else noise")
    parser.add_argument("--steps", type=int, nargs="+", help="inner steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20, help="for all engines together")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory-of", choices=list(ENGINES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.steps = args.steps or ([5] if args.problem == "sinusoid" else [1, 5])
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(measure_memory(args.memory_of, args))
        return
    for n_steps in args.steps:
        compare(n_steps, args)


if __name__ == "__main__":
    main()
