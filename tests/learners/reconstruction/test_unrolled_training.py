"""The loop of meta-training on tasks of images: checkpoints, interruption, time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_meta import _training
from sklearn_meta.learners.reconstruction._unrolled_module import UnrolledModule
from sklearn_meta.learners.reconstruction.unrolled import Unrolled
from sklearn_meta.operators import Blur
from sklearn_meta.tasks._image_store import ImageBatch, ImageSet

from ._tiny import images, measured, start, task, training

OPERATOR = Blur((12, 12), np.ones((3, 3)) / 9)


def tasks(n=4):
    return [task(OPERATOR, 3, seed=s, name=str(s)) for s in range(n)]


def weights_alike(a, b):
    return all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_goes_on_from_a_checkpoint(tmp_path, monkeypatch):
    how = training(max_iter=12)
    whole = Unrolled(2).learn(tasks(), None, how)
    path = tmp_path / "run.safetensors"
    monkeypatch.setattr(_training, "CHECKPOINT_SECONDS", 0.0)
    steps = []

    class Stopped(Exception):
        pass

    class Fragile(Unrolled):
        def loss(self, module, batch):
            steps.append(module.training)
            if sum(steps) == 7:
                raise Stopped
            return super().loss(module, batch)

    Fragile.__qualname__ = "Unrolled"  # the checkpoint is that of the same learner
    with pytest.raises(Stopped):
        Fragile(2).learn(tasks(), None, replace(training(max_iter=12), checkpoint=path))
    assert path.exists()
    resumed = Unrolled(2).learn(tasks(), None, replace(training(max_iter=12), checkpoint=path))
    assert not path.exists()
    assert weights_alike(whole, resumed)


def test_a_checkpoint_of_other_tasks_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    monkeypatch.setattr(_training, "CHECKPOINT_SECONDS", 0.0)

    class Interrupted(Unrolled):
        def loss(self, module, batch):
            if module.training and path.exists():
                raise KeyboardInterrupt
            return super().loss(module, batch)

    Interrupted.__qualname__ = "Unrolled"
    how = replace(training(max_iter=12), checkpoint=path)
    with pytest.warns(UserWarning, match="interrupted"):
        learned = Interrupted(2).learn(tasks(), None, how)
    assert learned.history.stopped == "interrupted"
    with pytest.raises(ValueError, match="another run"):
        Unrolled(2).learn(tasks(5), None, replace(training(max_iter=12), checkpoint=path))


def test_ends_in_time():
    learned = Unrolled(2).learn(tasks(), None, training(max_iter=100000, max_time=1.0))
    assert learned.history.stopped == "max_time"
    assert learned.history.seconds < 10


def test_given_validation_tasks_judge():
    learned = Unrolled(2).learn(tasks(), tasks(2), training(max_iter=3))
    assert learned.history.validation == "given"


def test_meta_training_goes_back_to_the_start_where_held_out_tasks_lose_nothing():
    learner, module = Unrolled(2), UnrolledModule.of_weights(start().weights).mark_start()
    x = torch.from_numpy(images(3, (12, 12)))
    y = measured(OPERATOR, x, 0.02)
    held_out = [ImageBatch((ImageSet(OPERATOR, x, y, 0.02),), torch.tensor([0]))]
    with torch.no_grad():
        module.log_factors += 1e-6  # changes nothing to speak of
        back = learner.finish(module, held_out)
        module.log_factors += 8.0  # measurements weigh nothing
        away = learner.finish(module, held_out)
        losses = [float(learner.loss(m, held_out[0])) for m in (away, module)]
    begin = dict(zip(dict(module.named_parameters()), module.start, strict=True))["log_factors"]
    torch.testing.assert_close(back.log_factors, begin + 0.5e-6, rtol=0, atol=1e-7)
    torch.testing.assert_close(away.log_factors, begin + 4.0, rtol=0, atol=1e-5)
    assert losses[0] < losses[1]
