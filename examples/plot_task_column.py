"""
====================================
One long table, in a pipeline, tuned
====================================

Eleven American firms, 1935 to 1954: what a firm invests, given its market value and its capital
(the Grunfeld panel of statsmodels). Five years of each firm are known and the others are asked for.
The rows come as one long table. With ``task_column="firm"`` the estimator meta-trains over the
firms and adapts to each; to scikit-learn it is a regressor like any other.
"""

# %%
# The table
# ---------

import matplotlib.pyplot as plt
import numpy as np
import statsmodels.api as sm
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from sklearn_meta import MetaRegressor

table = sm.datasets.grunfeld.load_pandas().data
X, y = table[["firm", "value", "capital"]], np.log(table["invest"])


def draw_known_years(seed):
    """Mark five random years of each firm."""
    return table.index.isin(table.groupby("firm").sample(5, random_state=seed).index)


known = draw_known_years(0)

# %%
# Pipeline and search
# -------------------
# Value and capital count by their logarithms; the firm passes through. ``use_prior`` says how far
# to trust what the firms share: 0 is each firm by itself, 1 the prior alone, "auto" weighs the two
# by their evidence. It is an adaptation parameter, so any search may tune it. Each candidate
# meta-trains anew in every fold: no row of a test fold leaks into the prior.

logarithms = make_column_transformer(
    (FunctionTransformer(np.log, feature_names_out="one-to-one"), ["value", "capital"]),
    remainder="passthrough",
    verbose_feature_names_out=False,
).set_output(transform="pandas")
pipeline = Pipeline(
    [
        ("logarithms", logarithms),
        ("meta", MetaRegressor(task_column="firm", max_iter=200, random_state=0)),
    ]
)
folds = StratifiedKFold(3, shuffle=True, random_state=0).split(X[known], X["firm"][known])
search = GridSearchCV(
    pipeline,
    {"meta__use_prior": [0.0, 0.5, "auto"]},
    cv=list(folds),
    scoring="neg_root_mean_squared_error",
).fit(X[known], y[known])
for candidate, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"{candidate}: cross-validated error {-score:.3f}")

# %%
# The gain
# --------
# Against one model for all firms, the same with an intercept for each firm (fixed effects), and
# each firm alone; with the years above and four other draws of them.

pooled = make_pipeline(
    make_column_transformer((FunctionTransformer(np.log), ["value", "capital"])), RidgeCV()
)
fixed_effects = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(), ["firm"]), (FunctionTransformer(np.log), ["value", "capital"])
    ),
    RidgeCV(),
)
models = {
    "pooled": pooled,
    "fixed effects": fixed_effects,
    "each firm alone": clone(pipeline).set_params(meta__use_prior=0.0),
    "MetaRegressor, tuned": clone(search.best_estimator_),
}
errors = {name: [] for name in models}
for seed in range(5):
    known = draw_known_years(seed)
    for name, model in models.items():
        predicted = model.fit(X[known], y[known]).predict(X[~known])
        errors[name].append(root_mean_squared_error(y[~known], predicted))
for name, values in errors.items():
    print(f"{name}: test error {np.mean(values):.3f}, from {min(values):.3f} to {max(values):.3f}")

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=(1, 1.6)
)
candidates = [str(candidate["meta__use_prior"]) for candidate in search.cv_results_["params"]]
bars = left.bar(candidates, -search.cv_results_["mean_test_score"], color="C0", width=0.6)
left.bar_label(bars, fmt="%.2f", padding=2)
left.set(xlabel="use_prior", ylabel="Cross-validated error", title="The search")
left.margins(y=0.15)

for row, values in enumerate(errors.values()):
    color = "C0" if row == len(errors) - 1 else "0.7"
    right.barh(row, np.mean(values), color=color, height=0.6)
    right.plot(values, np.full(len(values), row), "k.", alpha=0.6)
right.set_yticks(range(len(errors)), list(errors))
right.invert_yaxis()
right.set(xlabel="Root mean squared error of log investment", title="Years not known")
plt.show()
