"""
=======================================
Sinusoids: one family, several learners
=======================================

Every task is a sinusoid of its own amplitude and phase. From five rows of it the whole curve is to
be drawn. No model that knows these five rows alone can do that; one that has learned what the old
tasks share can. This is the first experiment of MAML (Finn et al., 2017).
"""

# %%
# Tasks
# -----
# ``make_sinusoids`` draws a family of tasks. They are a little noisy here; without noise the
# best learner is right to many digits, which no plot shows.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from sklearn_meta import MetaRegressor
from sklearn_meta.datasets import make_sinusoids
from sklearn_meta.inspection import ShotCurveDisplay

old = make_sinusoids(500, 20, noise=0.1, random_state=0)
new = make_sinusoids(50, 40, noise=0.1, random_state=1)
print(old[0])

# %%
# Two learners
# ------------
# MAML learns a network from which a few steps of gradient descent lead to each task.
# ``BayesianLinear``, the default, learns features in which each task is a linear model, and solves
# for it. Nothing but ``learner=`` and the widths of the network change.

learners = {
    "BayesianLinear": MetaRegressor(max_iter=300, random_state=0),
    "MAML": MetaRegressor(learner="maml", network=(40, 40), max_iter=500, random_state=0),
}
for meta in learners.values():
    meta.fit_tasks(old)

# %%
# One new sinusoid
# ----------------
# The local model is a Gaussian process that sees the same five rows. The band holds 90 % of the
# predictions of ``BayesianLinear``.

kernel = ConstantKernel(4.0, "fixed") * RBF(1.5, "fixed") + WhiteKernel(0.01, "fixed")
local = GaussianProcessRegressor(kernel)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
(task,), parameters = make_sinusoids(1, 5, noise=0.1, random_state=7, return_parameters=True)
grid = np.linspace(-5, 5, 200)[:, None]
truth = parameters["amplitude"] * np.sin(grid[:, 0] + parameters["phase"])
left.plot(grid, truth, color="0.6", linewidth=3, label="truth")
for name, meta in learners.items():
    model = meta.adapt(*task)
    mean, std = model.predict(grid, return_std=True)
    (line,) = left.plot(grid, mean, label=name)
    if name == "BayesianLinear":
        low, high = mean - 1.645 * std, mean + 1.645 * std
        left.fill_between(grid[:, 0], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
left.plot(grid, local.fit(*task).predict(grid), label="Gaussian process")
left.plot(task.X, task.y, "ko", label="five known rows")
left.set(xlabel="x", ylabel="y", ylim=(-6, 6), title="A new sinusoid")
left.legend(fontsize="small", loc="lower left")

# %%
# Many of them
# ------------

scoring = {
    "scoring": "neg_root_mean_squared_error",
    "shots": (2, 3, 5, 10),
    "n_query": 20,
    "random_state": 0,
}
for name, meta in learners.items():
    baselines = {"Gaussian process": local} if name == "MAML" else None
    display = ShotCurveDisplay.from_estimator(
        meta, new, name=name, baselines=baselines, ax=right, **scoring
    )
    for label, result in display.results.items():
        print(f"\n{label}\n{result}")
right.set(xlabel="Known rows", ylabel="minus root mean squared error", title="50 new sinusoids")
plt.show()
