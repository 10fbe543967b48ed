"""Checkpoints: a run that was cut off goes on as if it had not been."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_meta import _training
from sklearn_meta._training import TrainingConfig, meta_train
from sklearn_meta.learners._base import Learner
from sklearn_meta.tasks import TaskStore


class CutOffError(Exception):
    """Stands for a crash."""


class Pooled(Learner):
    """One linear model for all tasks; crashes at a given call."""

    def __init__(self, crash_at=None):
        self.crash_at = crash_at

    def loss(self, module, episodes):
        if module.training:
            module.calls += 1
            if self.crash_at is not None and module.calls.item() == self.crash_at[0]:
                raise self.crash_at[1]
        query = episodes.query
        residual = module.line(query.x).squeeze(-1) - query.y.reshape(query.mask.shape)
        return (residual.square() * query.mask).sum() / query.mask.sum()

    def get_params(self, deep=True):
        return {}  # where it crashes is no part of what the run is


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.utils.skip_init(nn.Linear, 2, 1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        nn.init.constant_(self.line.weight, 0.1)
        nn.init.zeros_(self.line.bias)


def make_store(seed=0):
    rng = np.random.default_rng(seed)
    xs = [rng.normal(size=(12, 2)) for _ in range(10)]
    return TaskStore.from_lists(xs, [x.sum(1) + 1.0 for x in xs], [str(t) for t in range(10)])


def make_images(disjoint=False):
    """Ten tasks of three classes of four images of two pixels."""
    x, y = np.random.default_rng(0).normal(size=(120, 2)), np.tile(np.arange(3), 40)
    labels = y + 3 * np.repeat(np.arange(10), 12) if disjoint else y
    offsets, names, ways = np.arange(0, 121, 12), [str(t) for t in range(10)], np.full(10, 3)
    return TaskStore(x, y, offsets, names, ways, labels=labels, image_shape=(1, 2))


def train(path, crash_at=None, seed=0, store=None, **options):
    module = Line()
    _, history = meta_train(
        Pooled(crash_at),
        module,
        make_store() if store is None else store,
        config=TrainingConfig(**{"max_iter": 250, "batch_size": 3} | options),
        rng=np.random.default_rng(seed),
        device="cpu",
        checkpoint=path,
    )
    return module, history


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "CHECKPOINT_SECONDS", 0.0)
    return tmp_path / "run.safetensors"


def same_bits(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("crash", [1, 2, 77, 101, 240])
def test_resumed_run_has_the_bits_of_an_uninterrupted_one(path, crash, early_stopping):
    whole, whole_history = train(None, early_stopping=early_stopping)
    with pytest.raises(CutOffError):
        train(path, (crash, CutOffError()), early_stopping=early_stopping)
    assert path.exists() == (crash > 1)
    # Another seed: what was drawn at the start of the first run is what counts.
    seed = 0 if crash == 1 else 5
    resumed, history = train(path, seed=seed, early_stopping=early_stopping)
    assert same_bits(resumed, whole)
    assert history.iteration == whole_history.iteration
    assert history.loss == whole_history.loss
    assert history.validation_loss == whole_history.validation_loss
    assert history.best_iteration == whole_history.best_iteration
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("disjoint", [True, False])
def test_resumed_run_on_images_draws_the_episodes_of_an_uninterrupted_one(path, disjoint):
    store = make_images(disjoint)
    whole, whole_history = train(None, store=store)
    with pytest.raises(CutOffError):
        train(path, (77, CutOffError()), store=store)
    resumed, history = train(path, seed=5, store=store)
    assert same_bits(resumed, whole)
    assert history.validation_loss == whole_history.validation_loss


def test_labels_that_tasks_have_in_common_make_another_run(path):
    with pytest.raises(CutOffError):
        train(path, (20, CutOffError()), store=make_images(disjoint=True))
    with pytest.raises(ValueError, match="belongs to another run"):
        train(path, store=make_images())


def test_interrupted_run_can_be_resumed(path):
    whole, _ = train(None)
    with pytest.warns(UserWarning, match="interrupted"):
        train(path, (120, KeyboardInterrupt()))
    assert path.exists()
    assert same_bits(train(path)[0], whole)


@pytest.mark.parametrize(
    "other", [{"store": make_store(1)}, {"batch_size": 4}, {"alpha": 0.5}, {"shots": 3}]
)
def test_checkpoint_of_another_run_is_refused(path, other):
    with pytest.raises(CutOffError):
        train(path, (20, CutOffError()))
    content = path.read_bytes()
    with pytest.raises(ValueError, match="run.safetensors.* belongs to another run.*Delete"):
        train(path, **other)
    assert path.read_bytes() == content


def test_file_of_another_kind_is_refused(path):
    for content in (b"", b"not a checkpoint", b"\x02" + bytes(7) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a checkpoint of sklearn_meta"):
            train(path)
        assert path.read_bytes() == content


def test_missing_folder_is_refused_before_training(path):
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        train(path.parent / "nowhere" / "run.safetensors")


def test_checkpointing_changes_no_bits_and_leaves_no_file(path):
    assert same_bits(train(path)[0], train(None)[0])
    assert not list(path.parent.iterdir())
