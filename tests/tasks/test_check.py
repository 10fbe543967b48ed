import time

import numpy as np
import pytest
from scipy import sparse

from sklearn_meta.tasks import Task, check_tasks, tasks_from_table

X = np.arange(6.0).reshape(3, 2)
Y = np.array([0, 1, 0])
GOOD = (X, Y)


@pytest.mark.parametrize(
    "tasks",
    [
        [GOOD, GOOD],
        (Task(*GOOD), list(GOOD)),
        {"0": GOOD, 1: Task(*GOOD, name="not used")},
        [(X.tolist(), Y.tolist()), (X.tolist(), Y[:, None].tolist())],
        np.array([Task(*GOOD), Task(*GOOD)], dtype=object),
    ],
    ids=["list", "tuple", "dict", "lists", "object-array"],
)
def test_every_container_gives_the_same_tasks(tasks):
    checked = check_tasks(tasks)
    assert [task.name for task in checked] == ["0", "1"]
    for task in checked:
        np.testing.assert_array_equal(task.X, X)
        np.testing.assert_array_equal(task.y, Y)


def test_sequence_is_read_lazily_by_index():
    class Lazy:
        read = []

        def __len__(self):
            return 3

        def __getitem__(self, i):
            self.read.append(i)
            return X + i, Y

    assert check_tasks(Lazy())[2].X[0, 0] == 2
    assert Lazy.read == [0, 1, 2]


def test_data_in_good_form_is_not_copied_nor_written():
    X_read_only = X.copy()
    X_read_only.flags.writeable = False
    task = check_tasks([(X_read_only, Y)], min_tasks=1)[0]
    assert task.X is X_read_only and task.y is Y


def test_names_and_operators_are_kept():
    operator = object()
    checked = check_tasks([Task(X, Y, operator, name="a"), Task(X, Y, name=7)])
    assert [task.name for task in checked] == ["a", "7"]
    assert checked[0].operator is operator


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "bool", "object"])
def test_dtype_of_x_is_kept(dtype):
    assert check_tasks([(X.astype(dtype), Y)], min_tasks=1)[0].X.dtype == dtype


def test_other_dtypes_of_x():
    def dtype_of(X):
        return check_tasks([(X, Y)], min_tasks=1)[0].X.dtype

    assert dtype_of(X.astype("float16")) == np.float32
    assert dtype_of(X.astype(">f8")) == np.float64
    assert dtype_of(X.astype(str)) == np.dtype("O")
    mixed = check_tasks([([[1.5, "a"], [2.5, None]], [0, 1])], min_tasks=1)[0].X
    assert mixed.tolist() == [[1.5, "a"], [2.5, None]]


def test_missing_values_in_x_are_accepted():
    check_tasks([([[np.nan, 1.0]], [0]), ([[None, 1.0]], [0])])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_stay_frames(library):
    lib = pytest.importorskip(library)
    a = lib.DataFrame({"u": [1.0, None], "v": ["x", "y"], "w": [True, False]})
    b = lib.DataFrame({"v": ["x"], "w": [True], "u": [3.0]})
    y = lib.Series([1, 2])
    checked = check_tasks({"a": (a, y), "b": (b, [1])}, same_columns=True, y_numeric=True)
    assert checked[0].X is a and checked[1].X is b
    assert isinstance(checked[0].y, np.ndarray) and checked[0].y.tolist() == [1, 2]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_infinity_in_a_frame_is_found_by_column(library):
    lib = pytest.importorskip(library)
    frame = lib.DataFrame({"u": [1.0, 2.0], "s": ["x", "y"], "v": [1.0, -np.inf]})
    with pytest.raises(ValueError, match="task 'a': X holds infinity in column 'v'"):
        check_tasks({"a": (frame, [0, 1])}, min_tasks=1)
    with pytest.raises(ValueError, match="task 'a': X holds infinity in column 'v'"):
        check_tasks({"a": (frame[["u", "v"]], [0, 1])}, min_tasks=1)
    check_tasks([(frame[["s"]], [0, 1])], min_tasks=1)


def test_pandas_nullable_types():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"u": pd.array([1.0, None], "Float64"), "v": pd.array([1, 2], "Int64")})
    y = pd.Series([3, 4], dtype="Int64")
    task = check_tasks([(frame, y)], min_tasks=1, y_numeric=True)[0]
    assert task.y.dtype == np.int64
    with pytest.raises(ValueError, match="task '0': y has missing values"):
        check_tasks([(frame, y.where(y > 3))], min_tasks=1)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([[1], [2], [3]], [1, 2, 3]),
        (np.array([1, 2.5, True], dtype=object), [1, 2.5, 1]),
        (["a", "b", "a"], ["a", "b", "a"]),
        ([True, False, True], [True, False, True]),
        ([[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5, 6]]),
    ],
)
def test_targets(y, expected):
    task = check_tasks([(X, y)], min_tasks=1)[0]
    assert isinstance(task.y, np.ndarray) and task.y.tolist() == expected


def replaced(values, value):
    values = values.astype(float)
    values.flat[-1] = value
    return values


@pytest.mark.parametrize(
    ("item", "error", "match"),
    [
        ((X[:2], Y), ValueError, "X has 2 rows and y has 3"),
        ((X[:0], Y[:0]), ValueError, "X has 0 rows, expected at least 1"),
        ((X[:, :0], Y), ValueError, "X has 0 columns"),
        ((X[:, 0], Y), ValueError, r"X has 1 dimension \(shape \(3,\)\)"),
        ((X[None], Y[:1]), ValueError, r"X has 3 dimensions"),
        (([[1, 2], [3]], [0, 1]), ValueError, "X cannot be read as an array"),
        ((sparse.eye_array(3), Y), TypeError, "X is sparse"),
        ((X * 1j, Y), ValueError, "X has dtype complex128"),
        ((replaced(X, np.inf), Y), ValueError, "X holds infinity in column 1"),
        (([[0, -np.inf, "s"]], [1]), ValueError, "X holds infinity in column 1"),
        ((X, None), ValueError, "has no y"),
        (Task(X), ValueError, "has no y"),
        ((X, replaced(Y, np.nan)), ValueError, r"y has missing values \(NaN\)"),
        ((X, replaced(Y, np.inf)), ValueError, "y has infinity"),
        ((X, ["a", None, "b"]), ValueError, "y has missing values"),
        ((X, ["a", np.nan, "b"]), ValueError, "y has missing values"),
        ((X, 1.0), ValueError, r"y has shape \(\)"),
        ((X, np.zeros((3, 0))), ValueError, r"y has shape \(3, 0\)"),
        ((X, sparse.eye_array(3)), TypeError, "y is sparse"),
        ((X, Y * 1j), ValueError, "y holds dtype complex128, expected numbers, booleans or"),
        ((X, Y, Y), TypeError, "is a tuple of 3 items, expected a Task or a pair"),
        (X, TypeError, "is a ndarray, expected a Task or a pair"),
    ],
)
def test_faults_of_one_task_name_it(item, error, match):
    for tasks in ({"good": GOOD, "bad one": item}, [Task(*GOOD), item]):
        name = "bad one" if isinstance(tasks, dict) else "1"
        with pytest.raises(error, match=f"^validation_tasks: task '{name}'.*{match}"):
            check_tasks(tasks, argument="validation_tasks")


@pytest.mark.parametrize("y", [["a", "b", "c"], np.array(["1", "2", "3"]), [1, "a", 2]])
def test_numeric_targets_are_required_on_demand(y):
    check_tasks([GOOD, (X, y)])
    with pytest.raises(ValueError, match="task '1': y holds .*, expected numbers"):
        check_tasks([GOOD, (X, y)], y_numeric=True)


@pytest.mark.parametrize("pair", [GOOD, list(GOOD), (X.tolist(), Y.tolist()), (X, X)])
def test_one_pair_is_told_from_a_list_of_pairs(pair):
    with pytest.raises(ValueError, match=r"tasks is one pair \(X, y\).*tasks_from_table"):
        check_tasks(pair)


def test_one_pandas_pair_is_told_from_a_list_of_pairs():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"tasks is one pair \(X, y\)"):
        check_tasks((pd.DataFrame(X), pd.Series(Y)))


@pytest.mark.parametrize(
    "tasks", [Task(*GOOD), X, X[None], sparse.eye_array(3), "tasks", 3, None, iter([GOOD, GOOD])]
)
def test_wrong_containers(tasks):
    with pytest.raises(TypeError, match="tasks is .*expected a list of Task"):
        check_tasks(tasks)


def test_too_few_tasks():
    with pytest.raises(ValueError, match="tasks holds 1 task, expected at least 2"):
        check_tasks([GOOD])
    with pytest.raises(ValueError, match="tasks holds 0 tasks, expected at least 1"):
        check_tasks([], min_tasks=1)
    assert check_tasks({}, min_tasks=0) == []


def test_two_tasks_of_one_name():
    tasks = [Task(*GOOD, name="a"), GOOD, Task(*GOOD, name="a")]
    with pytest.raises(ValueError, match="positions 0 and 2 are both named 'a'"):
        check_tasks(tasks)
    with pytest.raises(ValueError, match="positions 0 and 1 are both named '1'"):
        check_tasks({1: GOOD, "1": GOOD})


def test_tasks_that_do_not_fit_together():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["u", "v"])
    with pytest.raises(ValueError, match="task '1' has a DataFrame, but task '0' has an array"):
        check_tasks([GOOD, (frame, Y)])
    with pytest.raises(ValueError, match=r"task 'b' has 2 target\(s\) a row, but task 'a' has 1"):
        check_tasks({"a": GOOD, "b": (X, X)})

    wide, renamed = (X[:, [0, 1, 1]], Y), (frame.rename(columns={"v": "{w}"}), Y)
    check_tasks([GOOD, wide])
    check_tasks([(frame, Y), renamed])
    with pytest.raises(ValueError, match="task '1' has 3 columns, but task '0' has 2.*InContext"):
        check_tasks([GOOD, wide], same_columns=True)
    with pytest.raises(
        ValueError, match="task '1' has columns '{w}', but task '0' has columns 'v'"
    ):
        check_tasks([(frame, Y), renamed], same_columns=True)


def test_columns_of_one_name():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="task '0': X has more than one column named 'u'"):
        check_tasks([(pd.DataFrame(X, columns=["u", "u"]), Y)], min_tasks=1)


def test_what_tasks_from_table_returns_is_accepted():
    checked = check_tasks(tasks_from_table(X, Y, ["b", "a", "b"]))
    assert [task.name for task in checked] == ["b", "a"]


def test_many_tasks_are_checked_fast():
    tasks = [GOOD] * 100_000
    start = time.perf_counter()
    check_tasks(tasks, y_numeric=True, same_columns=True)
    assert time.perf_counter() - start < 15  # about 1.5 s on an idle machine
