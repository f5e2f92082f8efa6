"""APR-P: whose amplitude, whose phase, how often, and what the network is trained on."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import augment, fourier
from specfreq.augment import APRPair
from specfreq.core.errors import UserError


@pytest.fixture
def images():
    return torch.rand(40, 3, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def rows(count, p=1.0, seed=0):
    return APRPair(p).draw(count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [False, True])
def test_amplitude_is_the_donors_and_phase_the_images_own(images, channels):
    donors = images.flip(0)
    out = APRPair(p=1, channels=channels).transform(images, rows(40), donors)
    dims = (-3, -2, -1) if channels else (-2, -1)
    ours, donor, own = (torch.fft.fftn(x, dim=dims) for x in (out, donors, images))
    assert_close(ours.abs(), donor.abs())
    assert_close(ours / ours.abs(), own / own.abs())


def test_an_image_that_is_its_own_donor_stays(images):
    assert_close(APRPair(p=1).transform(images, rows(40), images), images)


def test_the_coin_is_tossed_for_each_image_or_for_the_batch(images):
    drawn, donors = rows(40, p=0.5), images.flip(0)
    changed = (APRPair(0.5).transform(images, drawn, donors) != images).flatten(1).any(1)
    assert torch.equal(changed, drawn["coin"]) and 0 < changed.sum() < 40
    for seed in range(8):
        drawn = rows(40, p=0.5, seed=seed)
        batch = (APRPair(0.5, per="batch").transform(images, drawn, donors) != images).flatten(1).any(1)
        assert batch.all() == batch.any() == drawn["coin"][0]


def test_draws_have_the_stated_probability_and_use_every_donor_once():
    drawn = rows(10_000, p=0.3)
    assert abs(drawn["coin"].sum() - 3000) < 5 * 2100**0.5
    assert torch.equal(drawn["donor"].sort()[0], torch.arange(10_000))


def test_donors_from_the_batch_are_a_permutation_of_it(images):
    out = APRPair(p=1, donor="batch").transform(images, rows(40))
    energy = torch.fft.fft2(out).abs().sum((1, 2, 3)).sort()[0]
    assert_close(energy, torch.fft.fft2(images).abs().sum((1, 2, 3)).sort()[0])
    assert not torch.allclose(out, images)


def test_the_network_is_trained_on_both_and_on_the_sum_of_their_losses(images):
    apr, donors, labels = APRPair(p=1), images.flip(0), torch.arange(40) % 5
    plain, mixed = apr.views(images, rows(40), donors)
    assert torch.equal(plain, images)
    assert_close(mixed, fourier.recombine(donors, images))
    logits = tuple(torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(1)))
    expected = sum(-F.log_softmax(z, 1)[range(40), labels].mean() for z in logits)
    assert_close(apr.loss(logits, labels, F.cross_entropy), expected)


def test_alone_it_is_a_transform_of_a_batch(images):
    def out(seed):
        return APRPair(p=0.5)(images, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(out(0), out(0)) and not torch.equal(out(0), out(1))
    assert out(0).shape == images.shape


def test_no_augmentation_shows_the_images_as_they_are(images):
    none = augment.build("none")
    assert none.views(images, {}) == (images,) and none(images) is images


def test_descriptions_have_one_spelling():
    assert augment.normal_form("apr-p: p=0.60, donor=set") == "apr-p"
    assert augment.normal_form("apr-p:per=batch,p=.5") == "apr-p:p=0.5,per=batch"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("aprp", "unknown augmentation 'aprp'; did you mean 'apr-p'"),
        ("apr-p:q=1", "unknown parameter 'q'"),
        ("apr-p:p=2", "p must be a probability"),
        ("apr-p:p=nan", "p must be a probability"),
        ("apr-p:per=pixel", "per=pixel is refused"),
    ],
)
def test_impossible_descriptions_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        augment.build(spec)
