"""Human names: what pages call arms, image sets, networks and quantities, each said in one place."""

import pytest

from specfreq import data, models
from specfreq.evidence import names


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resnet8", "ResNet-8"),
        ("airbench:width=24", "airbench94, width 24"),
        ("airbench:width=64", "airbench94"),  # the default
        ("resnet20:norm=group", "ResNet-20, group normalisation"),
        ("allconv:as_published=true", "All-CNN, as published"),
        ("mine:net", "mine:net"),  # of a reader, or of another version
    ],
)
def test_networks_have_the_names_of_the_field(spec, said):
    assert names.model(spec) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cifar10", "CIFAR-10"),
        (" fashion-mnist", "Fashion-MNIST"),
        ("planted:band=high", "planted evidence, band high"),
        ("folder:celeba-64/faces?size=32", "celeba-64/faces at 32 pixels"),
        ("array:svhn-1083.npz", "svhn-1083.npz"),
        ("filtered:of=cifar10,filter=whitening", "CIFAR-10, filtered, filter whitening"),
        ('filtered:of="planted:band=high",filter=none', "planted evidence, band high, filtered, filter none"),
        ("discs", "discs"),
    ],
)
def test_image_sets_have_the_names_of_the_field(name, said):
    assert data.label(name) == said


def test_every_network_and_every_set_that_is_complete_by_its_name_has_one():
    complete = [name for name, home in data.HOMES.items() if home in data.COMPLETE]
    assert set(complete) == data.TITLES.keys()
    titles = [*map(data.label, complete), *map(models.label, models.names())]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ("none, epochs=10", "Plain, 10 epochs"),
        ("tv:bands=1", "Amplified texture, band 1 alone"),
        ("tv:bands=3+4", "Amplified texture, bands 3 and 4"),
        ("tv:gains=integers,per=batch", "Amplified texture as published"),
        ("condat", "Condat, over-relaxed"),
        ("border alone", "border alone"),
    ],
)
def test_arms_read_as_words(arm, said):
    assert names.label(arm) == said
