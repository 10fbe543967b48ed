"""Accuracy of second-order MAML on Conv4-64 in mixed precision and in single, after the same steps.

python benchmarks/mixed_precision.py --data background28.npz

Each seed trains both from the same start on the same episodes (5-way 1-shot, 16 tasks a step, one
inner step) and scores both in single precision on the same fresh episodes of the same characters.
"""

from __future__ import annotations

import argparse
from itertools import islice

import numpy as np
import torch
from meta_training import batches
from torch.nn.functional import cross_entropy

from sklearn_meta.learners._inner_loop import Headed, descend, share
from sklearn_meta.networks import ConvNet

INNER_RATE, LEARNING_RATE, N_TASKS, N_WAYS = 0.1, 2e-3, 16, 5


def accuracies(data: str, seed: int, mixed: bool, steps: int, n_batches: int) -> np.ndarray:
    """Accuracy of each of ``n_batches * N_TASKS`` fresh tasks after meta-training."""
    generator = torch.Generator().manual_seed(seed)
    network = ConvNet((28, 28), (64,) * 4, generator, activate_last=True).train(mixed)
    headed = Headed(network, network.n_features, N_WAYS)
    own = {name: p.detach().clone() for name, p in network.named_parameters()}
    own["head.weight"] = torch.zeros(N_WAYS, network.n_features)
    own["head.bias"] = torch.zeros(N_WAYS)
    own = {name: p.requires_grad_() for name, p in own.items()}
    optimizer = torch.optim.Adam(list(own.values()), lr=LEARNING_RATE)

    def adapted(episodes: tuple) -> tuple[torch.Tensor, torch.Tensor]:
        x, y, query, target = episodes
        mask, start = torch.ones(x.shape[:2], dtype=torch.bool), share(own, N_TASKS)
        options = {"rates": INNER_RATE, "n_steps": 1, "kind": "classification"}
        parameters = descend(headed, start, x, y, mask, **options)[-1]
        return headed.stacked(parameters, query), target

    for episodes in islice(batches("omniglot", data, seed), steps):
        optimizer.zero_grad()
        outputs, target = adapted(episodes)
        cross_entropy(outputs.flatten(0, 1), target.flatten()).backward()
        optimizer.step()
    network.eval()
    found = []
    with torch.no_grad():
        for episodes in islice(batches("omniglot", data, 1000 + seed), n_batches):
            outputs, target = adapted(episodes)
            found += (outputs.argmax(-1) == target).float().mean(1).tolist()
    return np.array(found)


def main() -> None:
    """Print accuracies with 95 % intervals over tasks, and the paired difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="npz with images, alphabet and character; else noise")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    gaps = []
    for seed in range(options.seeds):
        both = [
            accuracies(options.data, seed, mixed, options.steps, options.batches)
            for mixed in (False, True)
        ]
        gaps.append(both[1] - both[0])
        print(f"seed {seed}: single {both[0].mean():.3f}, mixed {both[1].mean():.3f}", flush=True)
    gap = np.concatenate(gaps)
    half = 1.96 * gap.std(ddof=1) / np.sqrt(len(gap))
    print(f"mixed minus single, paired: {gap.mean():.4f} +- {half:.4f}")


if __name__ == "__main__":
    main()
