import pickle
import subprocess
import sys

import numpy as np
import pytest

from sklearn_meta import tasks
from sklearn_meta.tasks import Task


def test_repr_tells_name_and_size():
    assert repr(Task(np.zeros((20, 5)), np.zeros(20), name="a")) == (
        "Task(name='a', 20 rows, 5 columns)"
    )
    assert repr(Task([[1.0]], [0])) == "Task(1 row, 1 column)"
    assert repr(Task([[1.0]], operator=slice(1))) == "Task(1 row, 1 column, no y, operator=slice)"


def test_task_unpacks_as_pair():
    X, y = Task("X", "y", name="a")
    assert (X, y) == ("X", "y")


def test_task_is_immutable_and_pickles():
    task = Task([[1.0]], [2.0], name="a")
    with pytest.raises(AttributeError):
        task.X = 0
    copied = pickle.loads(pickle.dumps(task))
    assert (copied.X, copied.y, copied.name) == ([[1.0]], [2.0], "a")


def test_all_names_exist_and_unknown_ones_do_not():
    assert all(hasattr(tasks, name) for name in tasks.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tasks.nothing


def test_checking_tasks_needs_no_torch_and_no_dataframe_library():
    code = (
        "import sys; import sklearn_meta.tasks as t; t.check_tasks([([[1.]], [1]), ([[1.]], [1])]);"
        "assert not {'torch', 'pandas', 'polars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
