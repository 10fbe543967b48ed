"""A small denoiser that denoises a little, and images."""

import numpy as np
import torch

from sklearn_meta._training import TrainingConfig, meta_train
from sklearn_meta.learners.reconstruction._base import ImageTask, Learned, Training
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.networks.denoiser import Denoiser


def images(n=6, image_shape=(16, 16), seed=0):
    """Smooth images with an edge, float64."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: image_shape[0], : image_shape[1]]
    out = np.empty((n, *image_shape))
    for x in out:
        a, b, c = rng.normal(size=3)
        plane = a * rows / len(rows) + b * columns / len(rows) + 0.5 * c
        edge = np.cos(3 * a) * rows + np.sin(3 * a) * columns > 8 * abs(b)
        gray = 1 / (1 + np.exp(-plane)) * np.where(edge, 1.0, 0.4)
        x[...] = gray if len(image_shape) == 2 else gray[..., None] * rng.uniform(0.3, 1, 3)
    return out


def start(seed=0):
    """Weights of a small module, as a prior holds them."""
    generator = torch.Generator().manual_seed(seed)
    module = UnrolledModule(Denoiser((8, 8), (1, 1), generator), 4)
    weights = {name: t.numpy() for name, t in module.state_dict().items()}
    weights["calibration"] = np.round(255 * images(4, (32, 32), 1)).astype(np.uint8)
    return Learned(weights, {"scale": 1.0, "sigma": None})


def measured(operator, x, sigma, seed=0):
    """Measurements (n, *measurement_shape), float64, with noise."""
    y = operator.forward(torch.as_tensor(x))
    generator = torch.Generator().manual_seed(seed)
    return y + sigma * torch.randn(y.shape, generator=generator, dtype=y.dtype)


def task(operator, n=6, sigma=0.02, seed=0, name="0"):
    """A task of pairs."""
    x = images(n, operator.image_shape, seed)
    return ImageTask(measured(operator, x, sigma, seed).numpy(), x, operator, name)


def training(seed=0, **config):
    """How the tests meta-train: a few short steps."""
    config = {"max_iter": 20, "learning_rate_init": 1e-3, "decay_iterations": 5} | config
    rng = np.random.default_rng(seed)
    return Training(rng, config=TrainingConfig(**config), meta_train=meta_train, start=start())
