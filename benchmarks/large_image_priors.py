"""Gaussian priors of large images against plug and play and total variation.

Both are learned from 90 generated images of two sizes and judged on 4 others of a third size.

    python benchmarks/large_image_priors.py
"""

import time

import numpy as np
import torch
from _image_prior_operators import gaussian_kernel
from skimage.restoration import denoise_tv_chambolle

from sklearn_meta import MetaReconstructor, Task
from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.learners.reconstruction import GaussianMixturePrior, GaussianPrior
from sklearn_meta.metrics import psnr
from sklearn_meta.operators import Blur, Downsample, Identity, Mask, RandomProjection

SHAPE = (128, 128)
TV_STEPS, TV_WEIGHTS = 100, np.geomspace(3e-4, 0.3, 10)


def problems():
    """Name -> operator and noise."""
    few = np.random.default_rng(0).random(SHAPE) < 0.3
    return {
        "denoising": (Identity(SHAPE), 0.1),
        "blur": (Blur(SHAPE, gaussian_kernel(13, 1.6), boundary="reflect"), 0.01),
        "30 % of pixels": (Mask(SHAPE, few), 0.02),
        "half the side": (Downsample(SHAPE, 2, np.full((2, 2), 0.25)), 0.01),
        "20 % of projections": (RandomProjection(SHAPE, 3277, "hadamard", random_state=0), 0.01),
    }


def total_variation(operator, y, weight):
    """Accelerated proximal gradients (Beck, Teboulle 2009); its denoiser is scikit-image's."""
    x = z = operator.adjoint(y)
    step, t = 1.0 / operator.norm() ** 2, 1.0
    for _ in range(1 if isinstance(operator, Identity) else TV_STEPS):
        down = (z - step * operator.adjoint(operator.forward(z) - y)).numpy()
        new = [denoise_tv_chambolle(one, weight=weight * step, max_num_iter=50) for one in down]
        new, after = torch.from_numpy(np.stack(new)), (1 + (1 + 4 * t * t) ** 0.5) / 2
        z, x, t = new + (t - 1) / after * (new - x), new, after
    return x.numpy()


def main():
    groups = [(60, (96, 96)), (30, (64, 120))]
    tasks = [Task(y=make_dead_leaves(n, s, random_state=i)) for i, (n, s) in enumerate(groups)]
    truth = make_dead_leaves(4, SHAPE, random_state=99).astype(float)
    rng = np.random.default_rng(1)
    priors = {}
    for learner in (GaussianPrior(), GaussianMixturePrior()):
        begun = time.process_time()
        priors[type(learner).__name__] = MetaReconstructor(
            learner=learner, random_state=0
        ).fit_tasks(tasks)
        print(f"{type(learner).__name__}: learned in {time.process_time() - begun:.1f} s of CPU")
    priors["PlugAndPlay"] = MetaReconstructor("image", learner="plug_and_play")
    for name, (operator, sigma) in problems().items():
        y = operator @ truth
        y = y + sigma * rng.normal(size=y.shape)
        for method, meta in priors.items():
            for noise in (sigma, "auto"):
                begun = time.process_time()
                model = meta.set_params(noise=noise).adapt(operator=operator)
                x = model.predict_images(y)
                each = (time.process_time() - begun) / len(x)
                print(f"{name}: {method} noise={noise} {psnr(truth, x):.2f} dB, {each:.2f} s")
        found = [total_variation(operator, torch.from_numpy(y), w) for w in TV_WEIGHTS]
        best = max(psnr(truth, x) for x in found)
        print(f"{name}: total variation, best weight of {len(TV_WEIGHTS)}: {best:.2f} dB")


if __name__ == "__main__":
    main()
