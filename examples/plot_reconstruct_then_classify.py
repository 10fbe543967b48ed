"""
==========================
Reconstruct, then classify
==========================

Digits are seen by 16 random sums of their pixels. Few of them are labelled. A classifier of the
sums knows nothing of digits but those few; a reconstruction brings along what other digits look
like, whose labels nobody needs. Both steps are one ``Pipeline``: the labels ``y`` go through
``MetaReconstructor`` untouched, since they are not images.
"""

# %%
# Other digits
# ------------
# The first half of the digits, without labels, is what meta-training sees. The second half exists
# as measurements only.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import MetaReconstructor, Task

LABELS = (40, 80, 160, 320)
SEEDS = range(2)

rng = np.random.default_rng(0)
images, y = load_digits(return_X_y=True)
images /= 16
old_images, images, _, y = train_test_split(images, y, test_size=0.5, random_state=0)
meta = MetaReconstructor(image_shape=(8, 8), random_state=0).fit_tasks([Task(y=old_images)])

A = rng.normal(size=(16, 64)) / 4
X = images @ A.T + 0.05 * rng.normal(size=(len(images), 16))

# %%
# A search over both steps
# ------------------------
# The operator is a plain matrix. ``noise`` of the reconstruction and ``C`` of the classifier are
# chosen together by cross-validation. The rival chooses ``C`` for the measurements.

of_measurements = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
of_images = make_pipeline(
    MetaReconstructor(prior=meta, operator=A, image_shape=(8, 8)),
    StandardScaler(),
    LogisticRegression(max_iter=2000),
)
strength = {"logisticregression__C": [0.01, 0.1, 1.0]}
noise = {"metareconstructor__noise": ["auto", 0.2]}
searches = {
    "reconstruct, then classify": GridSearchCV(of_images, strength | noise, cv=3),
    "classify the measurements": GridSearchCV(of_measurements, strength, cv=3),
}

scores = np.zeros((len(searches), len(LABELS), len(SEEDS)))
for k, n_labels in enumerate(LABELS):
    for seed in SEEDS:
        known, others, y_known, y_others = train_test_split(
            X, y, train_size=n_labels, stratify=y, random_state=seed
        )
        for m, search in enumerate(searches.values()):
            search.fit(known, y_known)
            scores[m, k, seed] = search.score(others, y_others)

print(f"accuracy with {' / '.join(map(str, LABELS))} labels")
for name, values in zip(searches, scores, strict=True):
    print(f"{name:27}", " / ".join(f"{value:.3f}" for value in values.mean(1)))
pipeline = searches["reconstruct, then classify"].best_estimator_
print("chosen last:", searches["reconstruct, then classify"].best_params_)

# %%
# The reconstructing step can be taken out of the pipeline to see what the classifier sees. Dots on
# the right are draws of the labelled digits.

reconstructor = pipeline[0]
print(f"adapted to {reconstructor.adapt_to_}, {reconstructor.image_shape_} pixels")
shown = [images[:8].reshape(-1, 8, 8), reconstructor.predict_images(X[:8])]

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.4), layout="constrained", width_ratios=(1.7, 1)
)
tiles = [np.pad(np.clip(row, 0, 1), ((0, 0), (0, 1), (0, 1))) for row in shown]
left.imshow(np.vstack([np.hstack(row) for row in tiles]), cmap="gray_r")
left.set_yticks((4, 13), ("truth", "reconstructed\nfrom 16 sums"))
left.set_xticks(4 + 9 * np.arange(8), [f"{p}" for p in pipeline.predict(X[:8])])
left.set_xlabel("Predicted class")
for (name, color), values in zip(
    {"reconstruct, then classify": "C0", "classify the measurements": "0.5"}.items(),
    scores,
    strict=True,
):
    right.plot(LABELS, values.mean(1), color=color, label=name)
    right.plot(LABELS, values, "o", color=color, ms=4)
right.set(xscale="log", xlabel="Labelled digits", title="Accuracy")
right.set_xticks(LABELS, LABELS)
right.minorticks_off()
right.legend()
plt.show()
