"""
======================
House prices and rents
======================

One file holds house prices, another one rents, from another country: other columns, another
currency, another unit of area. Yet size and bedrooms drive both. Where columns of different tables
share a name, :class:`~sklearn_meta.MetaRegressor` learns in which direction and how strongly they
drive the target, free of units, so that a few rows of a town that no table holds already tell much.

Use it on files of your own, each with the name of its target::

    python plot_house_prices_and_rents.py --house a.csv --target price --rent b.csv --target rent \\
        --new c.csv --new-target price

There may be more files than two. Where a file has a column of places (see ``--place``), each place
is a task. Without ``--new``, the new towns are a third of the places of the first file or, if it
names none, half of its rows. Without any file, the tables are generated.
"""

# %%
# Files or generated tables
# -------------------------

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_meta import MetaRegressor, Task

SHOTS = (5, 10, 20, 50)
FEWEST_ROWS = 80  # of a place
MOST_ROWS = 300  # of a task
FEWEST_OTHERS = 20  # that are asked about
PLACES = ("place", "town", "city", "district", "neighborhood", "neighbourhood", "location")

parser = argparse.ArgumentParser(description="House prices and rents in one meta-training.")
parser.add_argument("--house", "--rent", dest="files", action="append", metavar="CSV", default=[])
parser.add_argument("--target", dest="targets", action="append", metavar="COLUMN", default=[])
parser.add_argument("--new", metavar="CSV", help="the new town; default: see above")
parser.add_argument("--new-target", metavar="COLUMN", help="default: that of the first file")
parser.add_argument("--place", help=f"column of places; default: a text named {', '.join(PLACES)}")
parser.add_argument("--save", metavar="PNG", help="save the picture")
options = parser.parse_args()
if len(options.targets) != len(options.files):
    parser.error("give one --target for each --house and --rent, in the same order")


def generate_houses(rng):
    """Prices in thousands; each town has a level of its own and weighs area in its own way."""
    towns = []
    for town in range(9):
        n = rng.integers(120, 200)
        area = np.exp(rng.normal(4.8, 0.35, n))  # square metres
        bedrooms = np.clip(np.round(area / 40 + rng.normal(scale=0.8, size=n)), 1, 7)
        age = np.round(rng.gamma(2, 18, n))
        garden = np.where(rng.random(n) < 0.3, 0, np.round(area * rng.gamma(2, 1.5, n)))
        garage = rng.binomial(2, 1 / (1 + np.exp(-(area - 120) / 40)))
        condition = np.clip(np.round(rng.normal(1.6, 0.8, n) - age / 100), 0, 3).astype(int)
        log_price = (
            rng.normal(5.5, 0.5)
            + rng.normal(0.75, 0.12) * (np.log(area) - 4.8)
            + rng.normal(0.05, 0.02) * bedrooms
            - rng.normal(0.004, 0.001) * age
            + rng.normal(0.03, 0.01) * np.log1p(garden)
            + rng.normal(0.08, 0.02) * garage
            + rng.normal(0.12, 0.03) * condition
            + rng.normal(scale=0.15, size=n)
        )
        table = pd.DataFrame(
            {"town": f"town {town + 1}", "area": area.round(), "bedrooms": bedrooms, "age": age}
            | {"garden": garden, "garage": garage}
            | {"condition": np.array(["poor", "fair", "good", "new"])[condition]}
            | {"price": np.exp(log_price).round(1)}
        )
        for column, share in (("age", 0.1), ("garden", 0.15), ("condition", 0.05)):
            table.loc[rng.random(n) < share, column] = None
        towns.append(table)
    return pd.concat(towns, ignore_index=True)


def generate_rents(rng):
    """Monthly rents in another currency; area in square feet, and the year instead of the age."""
    cities = []
    for city in range(6):
        n = rng.integers(120, 200)
        area = np.exp(rng.normal(6.6, 0.35, n))  # square feet
        bedrooms = np.clip(np.round(area / 500 + rng.normal(scale=0.6, size=n)), 0, 5)
        year = np.round(2020 - rng.gamma(2, 18, n))
        floor = rng.poisson(2, n)
        kitchen = rng.choice(["none", "simple", "fitted"], n, p=[0.2, 0.5, 0.3])
        log_rent = (
            rng.normal(9.5, 0.4)
            + rng.normal(0.65, 0.1) * (np.log(area) - 6.6)
            + rng.normal(0.06, 0.02) * bedrooms
            + rng.normal(0.003, 0.001) * (year - 1980)
            + rng.normal(0.01, 0.01) * floor
            + rng.normal(0.15, 0.04) * (kitchen == "fitted")
            + rng.normal(scale=0.15, size=n)
        )
        table = pd.DataFrame(
            {"city": f"city {city + 1}", "area": area.round(), "bedrooms": bedrooms, "year": year}
            | {"floor": floor, "kitchen": kitchen, "rent": np.exp(log_rent).round()}
        )
        table.loc[rng.random(n) < 0.1, "year"] = None
        cities.append(table)
    return pd.concat(cities, ignore_index=True)


# %%
# Tasks
# -----
# The target is the logarithm of a price or a rent: currencies become a shift, which each task
# settles for itself.


def read_tasks(name, table, target, rng):
    """Tasks of one table, one a place or, where there are none, a single one."""
    if target not in table:
        parser.error(f"{name} has no column {target!r}; there are {', '.join(table.columns)}")
    table = table[table[target] > 0].sample(frac=1, random_state=rng)
    texts = table.select_dtypes(exclude="number").columns
    place = next((column for column in texts if column.lower() in PLACES), None)
    place = options.place if options.place in table else place
    parts = {} if place is None else dict(list(table.groupby(place, observed=True)))
    parts = {key: part for key, part in parts.items() if len(part) >= FEWEST_ROWS}
    if len(parts) < 3:
        place, parts = None, {name: table}
    tasks = []
    for key, part in parts.items():
        part = part[:MOST_ROWS]
        X = part.drop(columns=[target] if place is None else [target, place])
        tasks.append(Task(X.reset_index(drop=True), np.log(part[target].to_numpy()), name=str(key)))
    return tasks


def halves(task):
    """Two tasks of half the rows each."""
    middle = len(task.y) // 2
    return [
        Task(task.X[rows].reset_index(drop=True), task.y[rows], name=f"half of {task.name}")
        for rows in (slice(middle), slice(middle, None))
    ]


rng = np.random.default_rng(0)
if options.files:
    tables = [
        (Path(name).stem, pd.read_csv(name), target)
        for name, target in zip(options.files, options.targets, strict=True)
    ]
else:
    tables = [("houses", generate_houses(rng), "price"), ("rents", generate_rents(rng), "rent")]
first, *others = [read_tasks(*table, rng) for table in tables]
if options.new:
    target = options.new_target or tables[0][2]
    new = read_tasks(Path(options.new).stem, pd.read_csv(options.new), target, rng)
else:
    first = halves(first[0]) if len(first) == 1 else first
    n_new = max(len(first) // 3, 1)
    new, first = first[:n_new], first[n_new:]
old = first + [task for tasks in others for task in tasks]
new = new[:5]
most = min(len(task.y) for task in new) - FEWEST_OTHERS
SHOTS = [n_rows for n_rows in SHOTS if n_rows <= most]
if not SHOTS or len(old) < 2:
    parser.error("give more tables, or larger ones")
print(f"{len(old)} tasks to learn from; new: {', '.join(task.name for task in new)}")

# %%
# Meta-training, and rivals
# -------------------------
# A ridge regression on the known rows has the usual encoding: levels one-hot, medians for missing
# values. ``MetaRegressor()``, fitted like any other regressor, knows no other table of houses.

meta = MetaRegressor(learner="in_context", random_state=0, max_time=8).fit_tasks(old)

ridge = make_pipeline(
    make_column_transformer(
        (
            make_pipeline(
                SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
            ),
            make_column_selector(dtype_include="number"),
        ),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    ),
    RidgeCV(np.logspace(-2, 3, 11)),
)
models = {
    "MetaRegressor, meta-trained": meta.adapt,
    "MetaRegressor() without other tables": MetaRegressor(random_state=0).fit,
    "ridge regression": lambda X, y: clone(ridge).fit(X, y),
}

# %%
# The gain
# --------
# Every model sees the same rows of the same new towns. Points are medians over draws of the known
# rows, bars hold the middle half of them: some draws of five rows lead ridge regression far astray.

n_draws = 20 // len(new)
scores = np.zeros((len(models), len(new), n_draws, len(SHOTS)))
for t, task in enumerate(new):
    for draw in range(n_draws):
        order = rng.permutation(len(task.y))
        query = order[max(SHOTS) :]
        for k, n_rows in enumerate(SHOTS):
            support = order[:n_rows]
            for m, fit in enumerate(models.values()):
                model = fit(task.X.iloc[support], task.y[support])
                predicted = model.predict(task.X.iloc[query])
                scores[m, t, draw, k] = r2_score(task.y[query], predicted)
scores = scores.reshape(len(models), -1, len(SHOTS))

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
print(f"\nMedian R2 of the log target, {' / '.join(map(str, SHOTS))} known rows")
for m, (name, color) in enumerate(zip(models, ("C0", "C9", "C1"), strict=True)):
    low, median, high = np.quantile(scores[m], [0.25, 0.5, 0.75], axis=0)
    shifted = np.array(SHOTS) * 1.02 ** (m - 1)
    ax.errorbar(shifted, median, [median - low, high - median], color=color, marker="o", label=name)
    print(f"{name:38}", " / ".join(f"{value:.2f}" for value in median))
ax.set(xlabel="Known rows of a new town", ylabel="R² of the logarithm", xscale="log")
ax.set_xticks(SHOTS, SHOTS)
ax.minorticks_off()
ax.set_ylim(max(ax.get_ylim()[0], -0.5), 1)
ax.axhline(0, color="0.6", linestyle=":", zorder=0)
ax.legend(loc="lower right")
if options.save:
    figure.savefig(options.save)
plt.show()

# %%
# On the generated tables, five rows tell as much to the meta-trained model as ten do without the
# other towns; at fifty rows next to nothing is left to gain. How much files of your own help each
# other depends on the columns whose names they share: with none, expect little.
