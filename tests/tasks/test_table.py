import time

import numpy as np
import pytest

from sklearn_meta.tasks import Task, tasks_from_table
from sklearn_meta.tasks._table import group_codes, pop_column

X = np.arange(12.0).reshape(6, 2)
Y = np.arange(6)
GROUPS = ["b", "a", "b", "c", "a", "b"]
ROWS = {"b": [0, 2, 5], "a": [1, 4], "c": [3]}


def check_split(tasks, X, y):
    assert list(tasks) == list(ROWS)  # order of first appearance
    for name, rows in ROWS.items():
        assert isinstance(tasks[name], Task) and tasks[name].name == name
        np.testing.assert_array_equal(np.asarray(tasks[name].X), np.asarray(X)[rows])
        np.testing.assert_array_equal(tasks[name].y, np.asarray(y)[rows])


def test_rows_keep_their_order():
    check_split(tasks_from_table(X, Y, GROUPS), X, Y)
    check_split(tasks_from_table(X.tolist(), Y.tolist(), np.array(GROUPS)), X, Y)
    check_split(tasks_from_table(X, np.c_[Y, Y], np.array(GROUPS, dtype=object)), X, np.c_[Y, Y])


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("column", ["school", 1, -2])
def test_groups_may_be_a_column_of_a_frame(library, column):
    lib = pytest.importorskip(library)
    frame = lib.DataFrame({"u": X[:, 0], "school": GROUPS, "v": X[:, 1]})
    tasks = tasks_from_table(frame, lib.Series(Y), column)
    check_split(tasks, X, Y)
    assert type(tasks["b"].X) is type(frame)
    assert list(tasks["b"].X.columns) == ["u", "v"]
    assert list(frame.columns) == ["u", "school", "v"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_groups_may_stand_beside_a_frame(library):
    lib = pytest.importorskip(library)
    frame = lib.DataFrame({"u": X[:, 0], "v": X[:, 1]})
    check_split(tasks_from_table(frame, Y, lib.Series(GROUPS)), X, Y)


def test_pandas_category_column_with_unused_levels():
    pd = pytest.importorskip("pandas")
    groups = pd.Categorical(GROUPS, categories=["z", "a", "b", "c"])
    check_split(tasks_from_table(pd.DataFrame(X).assign(g=groups), Y, "g"), X, Y)


def test_groups_may_be_a_column_of_an_array():
    ids = np.array([2, 1, 2, 3, 1, 2])
    tasks = tasks_from_table(np.c_[X, ids], Y, 2)
    assert list(tasks) == ["2", "1", "3"]  # not "2.0"
    np.testing.assert_array_equal(tasks["2"].X, X[[0, 2, 5]])


def test_sorted_table_is_not_copied():
    tasks = tasks_from_table(X, Y, [0, 0, 0, 1, 1, 1])
    assert np.shares_memory(tasks["1"].X, X)


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        (GROUPS[:5], "X has 6 rows, y has 6 and groups has 5"),
        ([*GROUPS[:5], None], "groups is missing in row 5"),
        ([0, np.nan, 0, 1, 1, 1], "groups is missing in row 1"),
        (np.zeros((6, 2)), r"groups has shape \(6, 2\)"),
        ([1, "1", 1, 2, 2, 2], "different labels that are all written '1'"),
        ("school", "X has no column named 'school'; it is an array"),
        (2, "X has no column 2: it has 2 columns"),
    ],
)
def test_faults(groups, match):
    with pytest.raises(ValueError, match=match):
        tasks_from_table(X, Y, groups)


def test_fault_in_y():
    with pytest.raises(ValueError, match="y has 5 and groups has 6"):
        tasks_from_table(X, Y[:5], GROUPS)
    with pytest.raises(ValueError, match="y has no and"):
        tasks_from_table(X, 1, GROUPS)


def test_missing_group_of_pandas():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="groups is missing in row 1"):
        group_codes(pd.Series([1, None, 2], dtype="Int64"))


def test_group_codes_number_by_first_appearance():
    for groups in (GROUPS, np.array(GROUPS), np.array([9, 4, 9, 5, 4, 9])):
        codes, names = group_codes(groups)
        assert codes.tolist() == [0, 1, 0, 2, 1, 0]
        assert names == [str(groups[0]), str(groups[1]), str(groups[3])]


def test_pop_column_names_what_there_is():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["u", "v"])
    with pytest.raises(ValueError, match=r"no column named 'w'; its columns are \['u', 'v'\]"):
        pop_column(frame, "w")
    with pytest.raises(ValueError, match="no columns beside 'u'"):
        pop_column(frame[["u"]], "u")


def test_many_groups_are_split_fast():
    rng = np.random.default_rng(0)
    groups = rng.integers(50_000, size=200_000)
    start = time.perf_counter()
    tasks = tasks_from_table(rng.normal(size=(200_000, 3)), np.arange(200_000), groups)
    assert time.perf_counter() - start < 5  # about 0.3 s on an idle machine
    for name, task in tasks.items():
        assert (groups[task.y] == int(name)).all() and (np.diff(task.y) > 0).all()
