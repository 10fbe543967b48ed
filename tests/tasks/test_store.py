import numpy as np
import pytest

from sklearn_meta.tasks import TaskStore

XS = [np.full((n, 2), t, dtype=float) for t, n in enumerate([3, 1, 4])]
YS = [np.full(n, t, dtype=float) for t, n in enumerate([3, 1, 4])]
NAMES = ["a", "b", "c"]


@pytest.fixture
def store():
    return TaskStore.from_lists(XS, YS, NAMES)


def test_rows_of_each_task(store):
    assert store.n_tasks == 3
    assert store.counts.tolist() == [3, 1, 4]
    assert store.x.dtype == np.float32 and store.x.shape == (8, 2)
    assert store.y.dtype == np.float32 and store.y.shape == (8, 1)
    for t in range(3):
        np.testing.assert_array_equal(store.x[store.rows(t)], XS[t])
    assert store.task_of_row.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert repr(store) == "TaskStore(3 tasks, 8 rows, x of shape (8, 2))"


def test_class_codes_are_integers():
    store = TaskStore.from_lists(XS, [y.astype(np.int32) for y in YS], NAMES)
    assert store.y.dtype == np.int64 and store.y.shape == (8,)


def test_subset_shares_the_rows(store):
    view = store.subset([2, 0])
    assert view.x is store.x and view.y is store.y
    assert view.names == ["c", "a"] and view.counts.tolist() == [4, 3]
    np.testing.assert_array_equal(view.x[view.rows(0)], XS[2])
    assert view.task_of_row.tolist() == [1, 1, 1, -1, 0, 0, 0, 0]
    np.testing.assert_array_equal(view.subset([1]).x[view.subset([1]).rows(0)], XS[0])
    assert store.names == NAMES


def test_replace_keeps_the_tasks(store):
    wide = store.subset([2]).replace(x=np.ones((8, 5)))
    assert wide.x.shape == (8, 5) and wide.y is store.y and wide.names == ["c"]
    assert store.x.shape == (8, 2)
    with pytest.raises(ValueError, match="x and y have 7 rows, expected 8 as before"):
        store.replace(x=np.ones((7, 5)), y=np.ones(7))
    with pytest.raises(ValueError, match="x has 8 rows and y has 7"):
        store.replace(y=np.ones(7))


def test_float32_arrays_are_not_copied():
    x, y = np.ones((4, 2), dtype=np.float32), np.ones(4, dtype=np.int64)
    store = TaskStore(x, y, [0, 2, 4], ["a", "b"])
    assert store.x is x and store.y is y and store.ways is None


def test_faults():
    x, y = np.ones((4, 2)), np.ones(4)
    for arguments, match in [
        ((x, y[:3], [0, 4], ["a"]), "x has 4 rows and y has 3"),
        ((x[:, 0], y, [0, 4], ["a"]), r"x has shape \(4,\)"),
        ((x, y, [0, 4], ["a", "b"]), "names has 2 names, expected 1"),
        ((x, y, [0, 3], ["a"]), "offsets must begin with 0 and end with 4"),
        ((x, y, [0, 4, 4], ["a", "b"]), "task 'b' has no rows"),
        ((x, y, [0, 4], ["a"], y[:2]), r"ways has shape \(2,\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            TaskStore(*arguments)
    with pytest.raises(ValueError, match="task 'b' has 1 rows in xs and 4 in ys"):
        TaskStore.from_lists(XS, [YS[0], YS[2], YS[1]], NAMES)
    with pytest.raises(ValueError, match="0, 0 and 0 items"):
        TaskStore.from_lists([], [], [])
    with pytest.raises(ValueError, match="task_indices is empty"):
        TaskStore.from_lists(XS, YS, NAMES).subset([])
