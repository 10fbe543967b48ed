"""A user's own module as a network: copied, never changed, rows with any leading axes."""

import copy

import pytest
import torch
from torch import nn

from sklearn_meta.networks import Template


def rows(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def mlp():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))


def conv():
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.ReLU())


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)])
def test_any_leading_axes(leading):
    template = Template(mlp(), 6, None)
    out = template(rows(*leading, 6))
    assert out.shape == (*leading, template.n_features) and template.n_features == 4
    torch.testing.assert_close(out, template.module(rows(*leading, 6).reshape(-1, 6)).view_as(out))


def test_images_come_with_channels_and_features_are_flat():
    template = Template(conv(), 24, (2, 3, 4)).eval()
    assert template.n_features == 3 * 2 * 3
    x = rows(5, 24)
    torch.testing.assert_close(template(x), template.module(x.view(5, 2, 3, 4)).flatten(1))
    assert Template(nn.Flatten(), 24, (4, 6)).n_features == 24


def test_the_module_is_copied_and_its_weights_are_the_start():
    module = mlp()
    before = copy.deepcopy(module.state_dict())
    template = Template(module, 6, None)
    torch.testing.assert_close(template(rows(3, 6)), module(rows(3, 6)))
    optimizer = torch.optim.SGD(template.parameters(), lr=1.0)
    template(rows(3, 6)).sum().backward()
    optimizer.step()
    assert all(torch.equal(before[name], w) for name, w in module.state_dict().items())
    assert not torch.equal(template.module[0].weight, module[0].weight)
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_a_trial_leaves_running_statistics_and_mode_as_they_are(training):
    module = conv().train(training)
    template = Template(module, 24, (2, 3, 4))
    assert template.module.training == module.training == training
    for name, value in module.state_dict().items():
        assert torch.equal(template.module.state_dict()[name], value)
    assert int(template.module[1].num_batches_tracked) == 0


def test_frozen_layers_stay_frozen():
    module = mlp()
    module[0].requires_grad_(False)
    frozen = [p.requires_grad for p in Template(module, 6, None).parameters()]
    assert frozen == [False, False, True, True]


def test_weights_become_single_precision():
    template = Template(mlp().double(), 6, None)
    assert template(rows(2, 6)).dtype == torch.float32


class Sums(nn.Module):
    def forward(self, x):
        return x.sum()


@pytest.mark.parametrize(
    ("module", "image_shape"),
    [(nn.Linear(5, 2), None), (conv(), (4, 6)), (Sums(), None)],
)
def test_modules_that_do_not_take_the_rows_are_refused(module, image_shape):
    with pytest.raises(ValueError, match="that does not take rows of shape"):
        Template(module, 6 if image_shape is None else 24, image_shape)
