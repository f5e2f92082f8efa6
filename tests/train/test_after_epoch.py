"""What is asked after each epoch of a training changes nothing of it."""

import pytest
import torch
from torch import nn

from specfreq import models, train

RECIPE = train.Recipe(epochs=3, batch=10, lr=0.05, shift=1)


@pytest.fixture(scope="module")
def images():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    return torch.rand(40, 1, 8, 8, generator=g) / 2 + labels[:, None, None, None] / 3, labels


def network():
    torch.manual_seed(0)
    net = nn.Sequential(models.build("resnet8", 2, 1), nn.Dropout(0.1))
    return models.Classifier(net, torch.zeros(1), torch.ones(1))


@pytest.mark.parametrize(
    "changes", [{}, {"ema": 0.8}, {"adversary": "fgsm"}, {"optimizer": "adam", "lr": 0.01}]
)
def test_whatever_is_done_after_an_epoch_the_training_ends_in_the_same_bits(images, changes):
    recipe, plain, asked = RECIPE.model_copy(update=changes), network(), network()
    expected, seen = train.fit(plain, *images, recipe), []
    flags = torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision()

    def meddle(epoch, model):
        assert not any(module.training for module in model.modules())
        assert torch.backends.cudnn.deterministic and torch.is_grad_enabled()
        assert all(p.grad is None for p in model.parameters())
        seen.append(epoch)
        model.train()(images[0]).sum().backward()  # gradients, statistics, and masks of the global stream
        torch.manual_seed(1)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.deterministic = False
        torch.set_grad_enabled(False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()

    assert train.fit(asked, *images, recipe, after_epoch=meddle) == expected
    assert seen == [1, 2, 3]
    for name, value in plain.state_dict().items():
        assert torch.equal(value, asked.state_dict()[name]), name
    assert flags == (torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision())
    assert torch.is_grad_enabled()


def test_what_is_shown_is_the_network_of_that_epoch(images):
    shown, steps = [], []
    model = network()
    train.fit(
        model,
        *images,
        RECIPE,
        after_step=lambda epoch, step: steps.append(model.net[0].head.weight.detach().clone()),
        after_epoch=lambda epoch, copied: shown.append(copied.net[0].head.weight.detach()),
    )
    for copied, weight in zip(shown, steps[3::4], strict=True):
        assert torch.equal(copied, weight)
