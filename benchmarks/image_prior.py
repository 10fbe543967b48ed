"""Train the denoiser of the bundled image prior, on images that we draw ourselves.

First it learns to remove white noise, then to reconstruct: through the steps of half-quadratic
splitting, under random operators.

    python benchmarks/image_prior.py draw --out pool       # 72 shards of 250 images
    python benchmarks/image_prior.py denoise --pool pool --out denoiser.pt
    python benchmarks/image_prior.py unroll --pool pool --start denoiser.pt --out unrolled.pt
    python benchmarks/image_prior.py export --start unrolled.pt --out prior.safetensors

`denoise` and `unroll` wait for shards that are not drawn yet, write a checkpoint every minute and
go on from it.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from _image_prior_operators import random_operator, random_relative_level

from sklearn_meta import __version__
from sklearn_meta._learn_images import image_prior
from sklearn_meta.datasets import make_dead_leaves
from sklearn_meta.learners.reconstruction import Learned
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction._unrolled_steps import Problem, Scalars, learn_steps
from sklearn_meta.learners.reconstruction.plug_and_play import PlugAndPlay
from sklearn_meta.networks.denoiser import Denoiser

SHARDS, PER_SHARD, SIDE = 72, 250, 128
FIRST_SHARDS, STEPS_A_SHARD = 6, 300
BATCH, PATCH = 16, 64
RECONSTRUCTED = 6


def shard_path(folder, k):
    return Path(folder) / f"{k:03d}.npy"


def draw(args):
    """Shards of grey images; of every fifth the planes of brightness and colour, apart."""
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for k in range(args.first, SHARDS, args.every):
        if shard_path(args.out, k).exists():
            continue
        if k % 5 == 4:
            colour = make_dead_leaves(PER_SHARD, (SIDE, SIDE, 3), random_state=k)
            r, g, b = np.moveaxis(colour, -1, 0)
            planes = (r + g + b) / 3, (r - b) / 2**0.5 + 0.5, (r - 2 * g + b) / 6**0.5 + 0.5
            images = np.concatenate([p[i::3] for i, p in enumerate(planes)])
        else:
            images = make_dead_leaves(PER_SHARD, (SIDE, SIDE), random_state=k)
        part = shard_path(args.out, k).with_suffix(".part.npy")
        np.save(part, np.round(images.clip(0, 1) * 255).astype(np.uint8))
        part.rename(shard_path(args.out, k))


class Pool:
    """Patches of the images drawn so far: by step s the shards up to 6 + s / 300, always."""

    def __init__(self, folder, seed):
        self.folder, self.images = folder, []
        self.rng = np.random.default_rng(seed)

    def patches(self, step, n, side):
        while len(self.images) < min(SHARDS, FIRST_SHARDS + step // STEPS_A_SHARD):
            path = shard_path(self.folder, len(self.images))
            while not path.exists():
                time.sleep(1)
            self.images.append(np.load(path))
        rng = self.rng
        out = np.empty((n, 1, side, side), np.float32)
        for patch in out:
            shard = self.images[rng.integers(len(self.images))]
            i, j = rng.integers(0, SIDE - side + 1, 2)
            x = shard[rng.integers(len(shard)), i : i + side, j : j + side] / np.float32(255)
            x = np.rot90(x, rng.integers(4))
            x = x[::-1] if rng.random() < 0.5 else x
            if rng.random() < 0.5:  # less contrast, brighter or darker
                a = rng.uniform(0.3, 1.0)
                x = a * x + rng.uniform(0, 1 - a)
            patch[0] = 1 - x if rng.random() < 0.3 else x
        return torch.from_numpy(out)


def noise_levels(rng, n):
    """Mostly uniform up to 55 / 255, a fifth log-uniform up to 0.5."""
    sigma = rng.uniform(0, 55 / 255, n)
    wide = np.exp(rng.uniform(np.log(0.5 / 255), np.log(0.5), n))
    return torch.from_numpy(np.where(rng.random(n) < 0.2, wide, sigma).astype(np.float32))


def learning_rate(step, steps, peak):
    warm = min(1.0, (step + 1) / 500)
    return peak * warm * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def save(path, state):
    torch.save(state, f"{path}.part")
    Path(f"{path}.part").rename(path)


def denoise(args):
    torch.set_num_threads(args.threads)
    net = Denoiser(generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    mean = {k: v.detach().clone() for k, v in net.state_dict().items()}
    opt = torch.optim.Adam(net.parameters(), betas=(0.9, 0.99))
    start = 0
    if Path(args.out).exists():
        state = torch.load(args.out, weights_only=True)
        net.load_state_dict(state["net"]), opt.load_state_dict(state["opt"])
        mean, start = state["mean"], state["step"]
    pool = Pool(args.pool, [1, start])
    print(sum(p.numel() for p in net.parameters()), "weights; from step", start, flush=True)
    begun = saved = time.time()
    sums, count = np.zeros(3), np.zeros(3)
    noise = torch.Generator().manual_seed(start)
    for step in range(start, args.steps):
        for group in opt.param_groups:
            group["lr"] = learning_rate(step, args.steps, 8e-4)
        x = pool.patches(step, BATCH, PATCH)
        sigma = noise_levels(pool.rng, BATCH).reshape(-1, 1, 1, 1)
        y = x + sigma * torch.randn(x.shape, generator=noise)
        y = y.to(memory_format=torch.channels_last)
        error = (net(y, sigma) - x).square().mean((1, 2, 3))
        loss = ((error + 1e-6).sqrt() / (sigma.flatten() + 0.01).sqrt()).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        opt.step()
        decay = min(0.9995, step / (step + 10))
        with torch.no_grad():
            for k, v in net.state_dict().items():
                mean[k].lerp_(v, 1 - decay)
        band = np.digitize(sigma.flatten().numpy() * 255, [20, 35])
        np.add.at(sums, band, -10 * np.log10(error.detach().numpy() + 1e-8))
        np.add.at(count, band, 1)
        if step % 500 == 499:
            seconds = (time.time() - begun) / (step + 1 - start)
            dB = " ".join(f"{v:.2f}" for v in sums / np.maximum(count, 1))
            print(f"step {step + 1}: {dB} dB below 20, 35, above; {seconds:.3f} s/step", flush=True)
            sums, count = np.zeros(3), np.zeros(3)
        if time.time() - saved > 60 or step == args.steps - 1:
            state = dict(net=net.state_dict(), mean=mean, opt=opt.state_dict(), step=step + 1)
            save(args.out, state)
            saved = time.time()


def unroll(args):
    """Fine-tune end to end; the logarithm of each operator's error, so that all count alike."""
    torch.set_num_threads(args.threads)
    denoiser = Denoiser()
    denoiser.load_state_dict(torch.load(args.start, weights_only=True)["mean"])
    module = UnrolledModule(denoiser).to(memory_format=torch.channels_last)
    scalars = [module.log_factors, module.relaxation]
    opt = torch.optim.Adam(
        [{"params": list(denoiser.parameters())}, {"params": scalars, "scale": 30.0}],
        betas=(0.9, 0.99),
    )
    mean = {k: v.detach().clone() for k, v in module.state_dict().items()}
    start = 0
    if Path(args.out).exists():
        state = torch.load(args.out, weights_only=True)
        module.load_state_dict(state["now"]), opt.load_state_dict(state["opt"])
        mean, start = state["mean"], state["step"]
    pool, noise = Pool(args.pool, [2, start]), torch.Generator().manual_seed(10**6 + start)
    begun = saved = time.time()
    seen = {}
    for step in range(start, args.steps):
        for group in opt.param_groups:
            group["lr"] = learning_rate(step, args.steps, 2e-4) * group.get("scale", 1.0)
        name, psnr, loss = reconstruction_loss(module, pool, noise)
        loss = loss + 0.5 * white_noise_loss(denoiser, pool, noise)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 0.5)
        opt.step()
        decay = min(0.999, step / (step + 10))
        with torch.no_grad():
            for k, v in module.state_dict().items():
                mean[k].lerp_(v, 1 - decay)
        seen.setdefault(name, []).append(psnr)
        if step % 250 == 249:
            seconds = (time.time() - begun) / (step + 1 - start)
            dB = " ".join(f"{k} {np.mean(v):.2f}" for k, v in sorted(seen.items()))
            shown = " ".join(f"{v:.2f}" for p in scalars for v in p.flatten().tolist())
            print(f"step {step + 1}: {dB} dB; {shown}; {seconds:.3f} s/step", flush=True)
            seen = {}
        if time.time() - saved > 60 or step == args.steps - 1:
            state = dict(now=module.state_dict(), mean=mean, opt=opt.state_dict(), step=step + 1)
            save(args.out, state)
            saved = time.time()


def reconstruction_loss(module, pool, noise):
    """Family, PSNR, and loss of one batch under one random operator."""
    rng = pool.rng
    name, operator, sigma = random_operator(rng)
    x = pool.patches(SHARDS * STEPS_A_SHARD, RECONSTRUCTED, PATCH)[:, 0]
    x = x[:, : operator.image_shape[0], : operator.image_shape[1]].contiguous()
    with torch.no_grad():
        y = operator.forward(x)
        sigma = random_relative_level(rng) * float(y.abs().max()) if sigma is None else sigma
        problem = Problem(operator, y + sigma * torch.randn(y.shape, generator=noise), sigma)
    problem.term.max_iter, problem.term.tol = 12, 1e-4  # enough to learn from
    steps = int(rng.integers(4, len(module.log_factors) + 1))
    denoised, image, _ = learn_steps(module, problem, x, steps, Scalars())
    mse = torch.stack([(z - x).square().mean() for z in (*denoised, image)]) + 1e-7
    weight = torch.full((len(mse),), 0.3 / len(denoised))
    weight[-1] = 1.0
    return name, -10 * math.log10(mse[-1].item()), 0.5 * (weight * mse.log()).sum()


def export(args):
    """Half precision, for PlugAndPlay and Unrolled; the images are of a seed not trained on."""
    state = torch.load(args.start, weights_only=True)
    weights = {name: t.half().contiguous().numpy() for name, t in state["mean"].items()}
    calibration = make_dead_leaves(4, (SIDE, SIDE), random_state=12345)
    weights["calibration"] = np.round(calibration * 255).astype(np.uint8)
    meta = {
        "n_tasks": state["step"],
        "n_images": SHARDS * PER_SHARD,
        "versions": {"sklearn_meta": __version__, "torch": str(torch.__version__)},
        "meta_parameters": {},
        "made_by": "benchmarks/image_prior.py, images of datasets.make_dead_leaves",
    }
    learned = Learned(weights, {"scale": 1.0, "sigma": None})
    image_prior(PlugAndPlay(), learned, [(SIDE, SIDE)], meta).save(args.out)
    print(f"{args.out}: {Path(args.out).stat().st_size} bytes")


def white_noise_loss(net, pool, noise):
    x = pool.patches(SHARDS * STEPS_A_SHARD, RECONSTRUCTED, PATCH)
    sigma = noise_levels(pool.rng, len(x)).reshape(-1, 1, 1, 1)
    y = x + sigma * torch.randn(x.shape, generator=noise)
    y = y.contiguous(memory_format=torch.channels_last)
    mse = (net(y, sigma) - x).square().mean((1, 2, 3))
    return 0.5 * ((mse + 1e-6) / (sigma.flatten() + 0.01)).log().mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("draw")
    one.add_argument("--out", required=True)
    one.add_argument("--first", type=int, default=0)
    one.add_argument("--every", type=int, default=1, help="with --first: shards among processes")
    one.set_defaults(run=draw)
    one = commands.add_parser("denoise")
    one.add_argument("--pool", required=True)
    one.add_argument("--out", required=True)
    one.add_argument("--steps", type=int, default=20000)
    one.add_argument("--threads", type=int, default=1)
    one.set_defaults(run=denoise)
    one = commands.add_parser("unroll")
    one.add_argument("--pool", required=True)
    one.add_argument("--start", required=True)
    one.add_argument("--out", required=True)
    one.add_argument("--steps", type=int, default=10000)
    one.add_argument("--threads", type=int, default=1)
    one.set_defaults(run=unroll)
    one = commands.add_parser("export")
    one.add_argument("--start", required=True)
    one.add_argument("--out", required=True)
    one.set_defaults(run=export)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
