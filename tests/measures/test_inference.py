"""Asking a network changes nothing about it, and no answer depends on the size of the batches."""

import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from specfreq import ImageSet, models
from specfreq.measures.inference import evaluate, logits


@pytest.fixture(scope="module")
def images():
    return torch.randint(
        0, 256, (90, 2, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


@pytest.fixture
def model():
    return models.Classifier(
        models.build("resnet8", 3, 2), torch.full((2,), 0.5), torch.full((2,), 0.25)
    ).train()


def test_logits_leave_the_mode_and_the_statistics_alone(model, images):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    out = logits(model, images)
    assert model.training and out.shape == (90, 3)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_bytes_floats_and_sets_are_the_same_images(model, images):
    out = logits(model, images)
    assert torch.equal(logits(model, images.float() / 255), out)
    assert torch.equal(logits(model, ImageSet(images, torch.arange(90) % 3, ("a", "b", "c"), "toy")), out)


def test_answers_do_not_depend_on_the_batch_size(model, images):
    assert_close(logits(model, images, batch=7), logits(model, images), rtol=1e-5, atol=1e-6)


def test_a_network_may_hold_nothing(images):
    assert logits(torch.nn.Flatten(), images).shape == (90, 288)


def test_anything_can_be_asked_about_a_batch(model, images):
    means = evaluate(model, images, lambda x: x.mean((1, 2, 3)))
    assert_close(means, images.float().mean((1, 2, 3)) / 255)


def test_the_mode_is_restored_when_the_question_fails(model, images):
    with pytest.raises(ZeroDivisionError):
        evaluate(model, images, lambda x: 1 / 0)
    assert model.training


def test_low_precision_is_near_and_not_the_same(model, images):
    exact, near = logits(model, images), logits(model, images, "bfloat16")
    assert_close(near, exact, rtol=0.1, atol=0.1)
    assert near.dtype == torch.float32 and not torch.equal(near, exact)


def test_every_part_of_a_network_keeps_its_mode():
    part = torch.nn.BatchNorm2d(1).eval()  # frozen, inside a network that is being trained
    model = torch.nn.Sequential(part, torch.nn.Flatten()).train()
    part.eval()
    evaluate(model, torch.rand(2, 1, 4, 4))
    assert model.training and not part.training


def test_neither_total_variation_nor_an_answer_imports_the_compiler():
    """It takes as long as torch itself, in every command and every worker."""
    program = (
        "import sys, torch, specfreq.experiment.runs, specfreq.train.loop, specfreq.augment.apr, specfreq.measures\n"
        "from specfreq import tv\nfrom specfreq.measures import inference\n"
        "images = tv.denoise(torch.rand(2, 3, 8, 8), 0.1, engine='plain').image\n"
        "inference.logits(torch.nn.Flatten(), images)\n"
        "print({'torch._dynamo', 'torch._inductor', 'sympy', 'matplotlib', 'torchvision'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
