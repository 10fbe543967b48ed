import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from sklearn_meta.inspection import ShotCurveDisplay, TrainingCurveDisplay
from sklearn_meta.model_selection import cross_val_adapt, score_adapted

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def plt():
    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")
    matplotlib.use(before)


class Offset(RegressorMixin, BaseEstimator):
    """Predicts the shrunken mean of the support."""

    def __init__(self, shrink=1.0):
        self.shrink = shrink

    def adapt(self, X, y):
        model = Offset(self.shrink)
        model.offset_ = y.sum() / (len(y) + self.shrink)
        return model

    def predict(self, X):
        return np.full(len(X), self.offset_)


def make_tasks(n_tasks=8, n_rows=20):
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(n_rows, 1)), rng.normal() + 0.3 * rng.normal(size=n_rows))
        for _ in range(n_tasks)
    ]


def test_curve_shows_the_scores_and_their_interval():
    tasks = make_tasks()
    display = ShotCurveDisplay.from_estimator(Offset(), tasks, shots=(1, 3, 10), random_state=0)
    result = score_adapted(Offset(), tasks, shots=(1, 3, 10), random_state=0)
    line = display.lines_["Offset"]
    np.testing.assert_array_equal(line.get_xdata(), [1, 3, 10])
    np.testing.assert_array_equal(line.get_ydata(), result.mean)
    edges = display.bands_["Offset"].get_paths()[0].vertices[:, 1]
    assert edges.min() == result.low.min() and edges.max() == result.high.max()
    assert display.ax_.get_xlabel() == "Shots (support rows)"
    assert display.ax_.get_ylabel() == "pooled R2"
    assert display.figure_ is display.ax_.figure


@pytest.mark.parametrize("random_state", [0, None, "generator"])
def test_estimators_and_baselines_on_one_axis_see_the_same_rows(plt, random_state):
    if random_state == "generator":
        random_state = np.random.RandomState(0)
    _, ax = plt.subplots()
    display = ShotCurveDisplay.from_estimator(
        {"meta": Offset(), "free": Offset(shrink=0.0)},
        make_tasks(),
        baselines={"again": Offset(), "alone": Ridge()},
        shots=(1, 3),
        random_state=random_state,
        ax=ax,
        line_kw={"marker": "x"},
        band_kw={"alpha": 0.5},
    )
    assert display.ax_ is ax
    assert list(display.lines_) == ["meta", "free", "again", "alone"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == list(display.lines_)
    curves = {name: line.get_ydata() for name, line in display.lines_.items()}
    np.testing.assert_array_equal(curves["meta"], curves["again"])
    assert not np.allclose(curves["meta"], curves["free"])
    assert display.lines_["meta"].get_marker() == "x"
    assert display.bands_["meta"].get_alpha() == 0.5


def test_from_results():
    tasks = make_tasks(6, n_rows=8)
    result = cross_val_adapt(Ridge(), tasks, shots=(1, 3, 20), cv=3, random_state=0)
    display = ShotCurveDisplay.from_results(result, name="ridge")
    np.testing.assert_array_equal(display.lines_["ridge"].get_xdata(), [1, 3])  # none has 20 shots
    other = score_adapted(Ridge(), tasks, shots=2, scoring="neg_mean_absolute_error")
    both = ShotCurveDisplay.from_results({"a": result, "b": other})
    assert both.ax_ is not display.ax_
    assert both.ax_.get_ylabel() == "score"  # two metrics
    assert both.plot(both.ax_) is both
    with pytest.raises(TypeError, match="'a' is a list, expected an AdaptationResult"):
        ShotCurveDisplay.from_results({"a": [0.5]})


def test_curves_need_names_of_their_own():
    with pytest.raises(ValueError, match="both have a curve named 'Offset'"):
        ShotCurveDisplay.from_estimator(Offset(), make_tasks(), baselines={"Offset": Ridge()})


def make_history(**changes):
    history = {
        "iteration": [10, 20, 30],
        "loss": [3.0, 2.0, 1.0],
        "validation_loss": [3.0, 2.5, 2.7],
        "best_iteration": 20,
    }
    return SimpleNamespace(history_=SimpleNamespace(**history | changes))


def test_training_curve():
    display = TrainingCurveDisplay.from_estimator(make_history())
    np.testing.assert_array_equal(display.loss_line_.get_xydata(), [[10, 3], [20, 2], [30, 1]])
    np.testing.assert_array_equal(display.validation_line_.get_ydata(), [3.0, 2.5, 2.7])
    assert display.best_line_.get_xdata()[0] == 20
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["meta-training", "held out", "best"]
    assert display.plot(display.ax_, line_kw={"linewidth": 3}).loss_line_.get_linewidth() == 3


def test_training_curve_without_held_out_tasks():
    display = TrainingCurveDisplay.from_estimator(
        make_history(validation_loss=[], best_iteration=None)
    )
    assert display.validation_line_ is None and display.best_line_ is None
    display = TrainingCurveDisplay.from_estimator(make_history(validation_loss=[1, np.inf, 2]))
    np.testing.assert_array_equal(display.validation_line_.get_xdata(), [10, 30])


def test_training_curve_needs_a_history():
    with pytest.raises(NotFittedError, match="Call fit_tasks first"):
        TrainingCurveDisplay.from_estimator(Offset())


def test_matplotlib_is_imported_only_to_draw():
    code = (
        "import sys\n"
        "sys.modules['matplotlib.pyplot'] = None\n"
        "from sklearn_meta.inspection import TrainingCurveDisplay\n"
        "display = TrainingCurveDisplay(iteration=[1], loss=[1.0])\n"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules\n"
        "try:\n    display.plot()\n"
        "except ImportError as error:\n"
        "    assert 'TrainingCurveDisplay needs matplotlib to draw' in str(error)\n"
        "else:\n    raise AssertionError\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
