"""
===========================
A panel of countries
===========================

How many children a woman has falls over the years along a curve that differs from country to
country in level, time and pace, and yet is much alike. We know a few years of a new country and ask
for the others. A pooled model takes all countries for one; a local model has a handful of rows.
Meta-training learns from other countries what such curves share and how far they differ.

The data are World Bank figures of the fertility rate, 1960 to 2011, that ship with statsmodels.
"""

# %%
# One long table becomes one task a country
# -----------------------------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
import statsmodels.api as sm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from sklearn_meta import MetaRegressor, tasks_from_table
from sklearn_meta.inspection import ShotCurveDisplay

AGGREGATES = [
    "Latin America & Caribbean (all income levels)",
    "OECD members",
    "Other small states",
    "Pacific island small states",
]
wide = sm.datasets.fertility.load_pandas().data
wide = wide[~wide["Country Name"].isin(AGGREGATES)]
years = [str(year) for year in range(1960, 2012)]
table = wide.melt("Country Name", years, "year", "rate").dropna().astype({"year": int})
tasks = tasks_from_table(table[["year"]], table["rate"], groups=table["Country Name"])
tasks = {name: task for name, task in tasks.items() if len(task.y) >= 40}

names = np.random.default_rng(0).permutation(list(tasks)).tolist()
old = {name: tasks[name] for name in names[: len(names) // 2]}
new = {name: tasks[name] for name in names[len(names) // 2 :]}
print(f"{len(old)} countries to learn from, {len(new)} new ones")

# %%
# Meta-training, and what there was before
# ----------------------------------------
# The pooled model is a spline through the rows of all old countries; with an offset it is moved to
# the level of the new country. The local model is a Gaussian process on the new rows alone.


class Offset(RegressorMixin, BaseEstimator):
    """Another model, moved to the mean of the new rows."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        self.offset_ = np.mean(y - self.model.predict(X))
        return self

    def predict(self, X):
        return self.model.predict(X) + self.offset_


meta = MetaRegressor(random_state=0, max_iter=1000).fit_tasks(old)

old_rows = table[table["Country Name"].isin(list(old))]
pooled = make_pipeline(SplineTransformer(6), RidgeCV()).fit(old_rows[["year"]], old_rows["rate"])
pooled = FrozenEstimator(pooled)
kernel = ConstantKernel(1.0) * RBF(1.0, (0.3, 30.0)) + WhiteKernel(1e-2, (1e-5, 1.0))
local = make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True))
# A handful of rows often leaves a kernel parameter at its bound.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

# %%
# The gain
# --------
# Every model sees the same years of the same new countries. Bands are 95 % intervals over
# countries.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
display = ShotCurveDisplay.from_estimator(
    meta,
    new,
    name="MetaRegressor",
    baselines={"pooled": pooled, "pooled + offset": Offset(pooled), "local": local},
    shots=(1, 2, 3, 5, 10),
    scoring="neg_root_mean_squared_error",
    random_state=0,
    ax=left,
)
left.set(ylabel="minus root mean squared error", xlabel="Known years", ylim=(-2.2, 0))
for name, result in display.results.items():
    print(f"\n{name}\n{result}")

# %%
# One new country: three years known, and what each model makes of them. The band holds 90 % of the
# prior's predictions.

country = "Brazil"
X, y = new[country].X, new[country].y
rows = np.sort(np.random.default_rng(1).choice(len(y), 3, replace=False))
model = meta.adapt(X.iloc[rows], y[rows])
mean, std = model.predict(X, return_std=True)

year = X["year"]
right.plot(year, y, color="0.6", linewidth=3, label="truth")
right.plot(year, mean, color="C0", label="MetaRegressor")
low, high = mean - 1.645 * std, mean + 1.645 * std
right.fill_between(year, low, high, color="C0", alpha=0.2, linewidth=0)
right.plot(
    year, Offset(pooled).fit(X.iloc[rows], y[rows]).predict(X), "C2", label="pooled + offset"
)
right.plot(year, local.fit(X.iloc[rows], y[rows]).predict(X), color="C3", label="local")
right.plot(year.iloc[rows], y[rows], "ko", label="three known years")
right.set(title=country, xlabel="Year", ylabel="Children a woman")
right.legend(fontsize="small")
plt.show()
