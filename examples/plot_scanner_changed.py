"""
===================
The scanner changed
===================

A reconstruction that was trained for one scanner is of no use for another. Here meta-training goes
over images that were measured by many operators. Then the scanner changes, and what is known of the
new one decides what can be done: nothing but its operator; its measurements; four images; or not
even the operator.
"""

# %%
# Meta-training across scanners
# -----------------------------
# Patches of 20x20 pixels of a brick wall. The old scanners blur or hide pixels; each is a task with
# its own operator and its own patches. Meta-training starts from the bundled prior; an unrolled
# network learns what remains after its steps towards the measurements, whatever the operator.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.transform import downscale_local_mean
from skimage.util import img_as_float
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeCV

from sklearn_meta import MetaReconstructor, Task
from sklearn_meta.metrics import psnr
from sklearn_meta.operators import Blur, Mask, RandomProjection

NOISE = 0.01

rng = np.random.default_rng(0)


def box(*shape):
    return np.full(shape, 1 / np.prod(shape))


def measured(operator, images):
    y = operator @ images
    return y + NOISE * rng.standard_normal(y.shape)


wall = downscale_local_mean(img_as_float(data.brick()), (2, 2))[:200, :200]
patches = wall.reshape(10, 20, 10, 20).swapaxes(1, 2).reshape(-1, 20, 20)
old, support, query = np.split(rng.permutation(patches), (60, 64))

shape = patches.shape[1:]
old_scanners = [Blur(shape, box(1, 5)), Blur(shape, box(5, 1)), Blur(shape, box(3, 3))]
old_scanners += [Mask(shape, rng.random(shape) < 0.4) for _ in range(3)]
tasks = [
    Task(X=measured(operator, part), y=part, operator=operator)
    for operator, part in zip(old_scanners, np.array_split(old, 6), strict=True)
]
meta = MetaReconstructor(learner="unrolled", noise=NOISE, random_state=0, max_iter=40)
meta.fit_tasks(tasks)
print(f"{meta.prior_.meta['n_images']} patches of {meta.prior_.meta['n_tasks']} scanners")

# %%
# Another scanner
# ---------------
# It takes 72 random sums of the 400 pixels, as no old one did. It can be served at once
# (zero-shot), after it has measured four patches, or after it has measured four that are known. The
# bundled prior, which has seen no wall at all, can do the same.

scanner = RandomProjection(shape, 72, "orthogonal", random_state=0)
y_support, y_query = measured(scanner, support), measured(scanner, query)
cold = MetaReconstructor(prior="image", noise=NOISE)
adapted = {
    "bundled prior, zero-shot": cold.adapt(operator=scanner),
    "bundled prior, 4 images": cold.adapt(y_support, support, operator=scanner),
    "meta-trained, zero-shot": meta.adapt(operator=scanner),
    "meta-trained, 4 measurements": meta.adapt(y_support, operator=scanner),
    "meta-trained, 4 images": meta.adapt(y_support, support, operator=scanner),
}
found = {name: model.predict_images(y_query) for name, model in adapted.items()}
for name, reconstructed in found.items():
    print(f"{name:28} {psnr(query, reconstructed):.1f} dB")

figure, axes = plt.subplots(3, 6, figsize=(12, 6.6), layout="constrained")
for column, (name, row) in zip(axes.T, (found | {"truth": query}).items(), strict=True):
    for ax, picture in zip(column, row, strict=False):
        ax.imshow(picture, cmap="gray", vmin=patches.min(), vmax=patches.max())
        ax.set_axis_off()
    quality = "" if name == "truth" else f"\n{psnr(query, row):.1f} dB"
    column[0].set_title(name.replace(", ", "\n") + quality)
plt.show()

# %%
# Nobody knows the operator
# -------------------------
# All that is left are pairs: the same objects measured by the new scanner, and seen by something
# better. ``adapt(X, y)`` regresses the operator from the pairs, with the uncertainty that remains,
# and inverts it under the prior. The images are digits of 8x8 pixels, the measurements 16 random
# sums; the prior is a mixture of Gaussians over other digits, which is what ``learner="auto"``
# learns from enough small images. Ridge regression from measurements to images, whose weight is
# cross-validated, uses the same pairs.

SHOTS = (10, 20, 50, 100, 200, 400)

digits = rng.permutation(load_digits().images / 16)
old, support, query = np.split(digits, (1000, 1400))
scanner = RandomProjection((8, 8), 16, random_state=1)
y_support, y_query = measured(scanner, support), measured(scanner, query)
meta = MetaReconstructor(random_state=0).fit_tasks([Task(y=old)])
known = meta.adapt(operator=scanner).predict_images(y_query)

scores = {"MetaReconstructor": [], "ridge": []}
unknown = {}
for n in SHOTS:
    model = meta.adapt(y_support[:n], support[:n])
    ridge = RidgeCV(np.logspace(-4, 2, 13)).fit(y_support[:n], support[:n].reshape(n, -1))
    unknown[n] = model.predict_images(y_query), ridge.predict(y_query).reshape(query.shape)
    for values, reconstructed in zip(scores.values(), unknown[n], strict=True):
        values.append(psnr(query, reconstructed))
print(f"operator known: {psnr(query, known):.1f} dB; unknown, {' / '.join(map(str, SHOTS))} pairs:")
for name, values in scores.items():
    print(f"{name:18}", " / ".join(f"{value:.1f}" for value in values))

# %%
# From about a hundred pairs on it is as if the operator were known.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 3.8), layout="constrained", width_ratios=(1.7, 1)
)
rows = {
    "truth": query,
    "operator known": known,
    "unknown, 20 pairs": unknown[20][0],
    "ridge, 20 pairs": unknown[20][1],
}
tiles = [np.pad(np.clip(row[:10], 0, 1), ((0, 0), (0, 1), (0, 1))) for row in rows.values()]
left.imshow(np.vstack([np.hstack(row) for row in tiles]), cmap="gray_r")
left.set_yticks(4 + 9 * np.arange(4), rows)
left.set_xticks([])
for (name, values), color in zip(scores.items(), ("C0", "0.5"), strict=True):
    right.plot(SHOTS, values, "o-", color=color, label=name)
right.axhline(psnr(query, known), color="C0", ls="--", label="operator known")
right.set(xscale="log", xlabel="Pairs", title="PSNR in dB")
right.set_xticks(SHOTS, SHOTS)
right.minorticks_off()
right.legend(loc="lower right", bbox_to_anchor=(1, 0.12))
plt.show()
