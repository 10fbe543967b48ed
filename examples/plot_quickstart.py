"""
==========================================
Quickstart: digits that no task has shown
==========================================

Images of handwritten digits come under light that differs from image to image: brighter on the
left, darker at the top. A new task shows a few images of the digits 6, 7, 8 and 9 and asks which of
them the other images are. The old tasks hold the digits 0 to 5 only. They cannot say what a 7 looks
like; they can say what tells digits apart and what is mere light.
"""

# %%
# Tasks
# -----
# A task is a pair ``(X, y)``. In each old task three to five digits are to be told apart, turned
# and mirrored, so that there are many classes to learn from. Labels mean nothing beyond their
# task. The light is drawn at random for every image; the digits are those of scikit-learn.

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from sklearn_meta import MetaClassifier
from sklearn_meta.inspection import ShotCurveDisplay

digits = load_digits()
rng = np.random.default_rng(0)
down, right = np.mgrid[-1:1:8j, -1:1:8j]
light = np.stack([np.ones_like(down), down, right])


def draw_task(classes, n_images, turned):
    """Draw images of some digits, each under its own light, in random order."""
    X, y = [], []
    for digit in classes:
        rows = rng.choice(np.flatnonzero(digits.target == digit), n_images, replace=False)
        images = digits.images[rows] / 16
        if turned:
            images = np.rot90(images, rng.integers(4), axes=(1, 2))
            images = images[:, :, :: rng.choice([-1, 1])]
        images = images + np.tensordot(rng.normal(scale=0.5, size=(n_images, 3)), light, axes=1)
        X.append(images.reshape(n_images, -1))
        y.append(np.full(n_images, digit))
    order = rng.permutation(n_images * len(classes))
    return np.concatenate(X)[order], np.concatenate(y)[order]


old_tasks = [
    draw_task(rng.choice(6, rng.integers(3, 6), replace=False), 10, turned=True)
    for _ in range(1000)
]
new_tasks = [draw_task([6, 7, 8, 9], 30, turned=False) for _ in range(30)]

# %%
# Meta-training
# -------------

meta = MetaClassifier(shared_classes=False, max_iter=400, random_state=0).fit_tasks(old_tasks)

# %%
# Adaptation
# ----------
# ``adapt`` returns an ordinary fitted classifier for the task at hand.

X, y = new_tasks[0]
model = meta.adapt(X[:20], y[:20])
print(f"20 images known, accuracy on 100 others: {model.score(X[20:], y[20:]):.2f}")

# %%
# The gain
# --------
# All models get the same images of the same new tasks, of digits that meta-training never saw; the
# last two know nothing else. Bands are 95 % intervals over tasks.

figure = plt.figure(figsize=(10, 4.2), layout="constrained")
left_part, right_part = figure.subfigures(1, 2, width_ratios=(1, 1.7))
for ax, image, digit in zip(left_part.subplots(4, 4).flat, X, y, strict=False):
    ax.imshow(image.reshape(8, 8), cmap="gray_r")
    ax.set_title(digit, fontsize="small", pad=2)
    ax.set_axis_off()
left_part.suptitle("Images of a new task")

display = ShotCurveDisplay.from_estimator(
    meta,
    new_tasks,
    name="MetaClassifier, adapted",
    baselines={
        "LogisticRegression": LogisticRegression(max_iter=1000),
        "nearest class mean": NearestCentroid(),
    },
    shots=(5, 10, 15, 20, 40),
    n_query=60,
    random_state=0,
    ax=right_part.subplots(),
)
display.ax_.set(
    xlabel="Known images (support rows)",
    ylabel="Accuracy",
    ylim=(0.2, 1),
    title="Digits 6 to 9, never seen in meta-training",
)
display.ax_.axhline(0.25, color="0.6", linestyle=":", zorder=0)
for name, result in display.results.items():
    print(f"\n{name}\n{result}")

# %%
# The name of a file, given on the command line, saves the picture.

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1])
plt.show()
