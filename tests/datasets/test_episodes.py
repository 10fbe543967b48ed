import numpy as np
import pytest

from sklearn_meta import Task
from sklearn_meta.datasets import few_shot_episodes


def numbered_tasks(n_tasks=4, n_classes=6, n_rows=8):
    """Rows tell their task, class and number; labels are the same in all tasks."""
    grid = np.indices((n_classes, n_rows)).reshape(2, -1).T
    return [
        Task(np.insert(grid, 0, t, axis=1).astype(float), grid[:, 0], name=f"task {t}")
        for t in range(n_tasks)
    ]


@pytest.mark.parametrize("within_task", [False, True])
def test_episodes_are_balanced_disjoint_and_true_to_their_classes(within_task):
    episodes = few_shot_episodes(
        numbered_tasks(), 5, 2, 3, 200, within_task=within_task, random_state=0
    )
    for X, y, X_query, y_query in episodes:
        np.testing.assert_array_equal(np.bincount(y), [2] * 5)
        np.testing.assert_array_equal(np.bincount(y_query), [3] * 5)
        rows = np.concatenate([X, X_query])
        assert len(np.unique(rows, axis=0)) == 25
        source = {label: {tuple(r[:2]) for r in rows[np.r_[y, y_query] == label]} for label in y}
        assert all(len(classes) == 1 for classes in source.values())
        assert len(set.union(*source.values())) == 5
        if within_task:
            assert len(set(rows[:, 0])) == 1


def test_classes_and_rows_are_drawn_with_equal_probability():
    drawn = np.zeros((4, 6, 8))
    for X, *_ in few_shot_episodes(numbered_tasks(), 2, 1, 1, 9600, random_state=0):
        np.add.at(drawn, tuple(X.astype(int).T), 1)
    assert drawn.sum() == 19200  # 100 a row
    assert abs(drawn - 100).max() < 5 * 10


def test_same_seed_same_episodes_and_labels_carry_no_order():
    first, second = (few_shot_episodes(numbered_tasks(), random_state=3, n_query=4) for _ in "ab")
    for a, b, _ in zip(first, second, range(20), strict=False):
        for x, z in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, z)
    labels = [X[:, :2] @ [6, 1] for X, *_ in few_shot_episodes(numbered_tasks(), 2, 1, 1, 400)]
    ascending = np.mean([a < b for a, b in labels])
    assert abs(ascending - 0.5) < 5 * 0.025


def test_classes_with_too_few_rows_are_left_out():
    tasks = numbered_tasks(1)
    short = Task(np.full((2, 3), 99.0), [7, 7])
    episodes = few_shot_episodes([*tasks, short], 6, 1, 2, 20, random_state=0)
    assert all(np.concatenate([X, Q]).max() < 99 for X, _, Q, _ in episodes)


def test_types_of_rows_are_kept():
    X = np.zeros((20, 2), np.float32)
    episode = next(few_shot_episodes([(X, list("abcd" * 5))], 3, 1, 1, random_state=0))
    assert episode[0].dtype == np.float32 and episode[1].dtype == np.int64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ways": 30}, "30 classes of 3 rows .* in all tasks together .* at most 24"),
        ({"ways": 7, "within_task": True}, "in no task .* at most 6"),
        ({"n_query": 9}, "5 classes of 10 rows .* at most 0"),
        ({"shots": 0}, "shots is 0"),
    ],
)
def test_errors_come_before_the_first_episode(arguments, message):
    with pytest.raises(ValueError, match=message):
        few_shot_episodes(numbered_tasks(), **{"n_query": 2, **arguments})


def test_label_sets_are_refused():
    with pytest.raises(ValueError, match=r"task '0': y has shape \(4, 2\)"):
        few_shot_episodes([(np.zeros((4, 1)), np.zeros((4, 2)))])
