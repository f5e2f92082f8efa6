"""AugMix: the mixtures one by one, the distributions, the divergence by hand; and amplitude mix against its
program.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import augment, fourier
from specfreq.augment import AmplitudeMix, AugMix, operations
from specfreq.core.images import to_bytes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.rand(12, 3, 9, 8, generator=generator())


def test_mixtures_are_chains_in_shares(images):
    """Chain by chain, operation by operation, image by image."""
    mix = AugMix(width=2, severity=5)
    rows = mix.draw(12, generator())
    plain, *mixtures = mix.views(images, rows)
    assert torch.equal(plain, images) and len(mixtures) == 2
    for i in range(12):
        for v, mixture in enumerate(mixtures):
            out = 0
            for w in range(2):
                x = to_bytes(images[i : i + 1])
                for o, level in zip(rows["operation"][i, v, w], rows["level"][i, v, w], strict=True):
                    x = operations.apply(x, o[None], level[None])
                out = out + rows["weights"][i, v, w] * x[0] / 255
            m = rows["share"][i, v]
            assert_close(mixture[i], (1 - m) * images[i] + m * out, rtol=0, atol=1e-6)
    assert torch.equal(mix.transform(images, rows), mixtures[0])


def test_depths_weights_and_shares_are_distributed_as_published():
    rows = AugMix().draw(6000, generator())
    depth = (rows["operation"] >= 0).sum(-1)
    assert depth.shape == (6000, 2, 3)
    assert (torch.bincount(depth.flatten())[1:] - 12_000).abs().max() < 5 * (36_000 * 2 / 9) ** 0.5
    assert_close(rows["weights"].sum(-1), torch.ones(6000, 2))
    # Dirichlet(1, 1, 1): mean 1/3, variance 1/18; Beta(1, 1): uniform
    weights, share = rows["weights"][..., 0], rows["share"]
    assert abs(weights.mean() - 1 / 3) < 5 / 18**0.5 / 110 and abs(weights.var() - 1 / 18) < 0.004
    assert abs(share.mean() - 0.5) < 5 / 12**0.5 / 110 and abs(share.var() - 1 / 12) < 0.005
    assert set((AugMix(depth=2).draw(50, generator())["operation"] >= 0).sum(-1).flatten().tolist()) == {2}
    even = AugMix(alpha=1000).draw(500, generator())
    assert (even["weights"] - 1 / 3).abs().max() < 0.1 and (even["share"] - 0.5).abs().max() < 0.1


def test_the_loss_is_the_cross_entropy_of_the_image_and_a_divergence():
    """By NumPy, from the definition of the Kullback-Leibler divergence."""
    logits, labels = torch.randn(3, 20, 5, generator=generator(), dtype=torch.float64), torch.arange(20) % 5
    p = np.exp(logits.numpy())
    p /= p.sum(-1, keepdims=True)
    divergence = np.mean([(q * np.log(q / p.mean(0))).sum(-1).mean() for q in p])
    expected = -np.log(p[0, range(20), labels]).mean() + 12 * divergence
    assert_close(AugMix().loss(tuple(logits), labels, F.cross_entropy).item(), expected)
    same = (logits[0],) * 3
    assert_close(AugMix().loss(same, labels, F.cross_entropy), F.cross_entropy(logits[0], labels))


def test_certain_answers_leave_loss_and_gradient_finite():
    logits = torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]], [[0.0, 0.0]]], requires_grad=True)
    loss = AugMix().loss(tuple(logits), torch.tensor([0]), F.cross_entropy)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_without_consistency_the_network_sees_one_mixture_alone(images):
    mix = AugMix(consistency=0)
    (view,) = mix.views(images, mix.draw(12, generator()))
    assert not torch.equal(view, images)
    logits, labels = torch.randn(12, 3, generator=generator()), torch.arange(12) % 3
    assert_close(mix.loss((logits,), labels, F.cross_entropy), F.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    "spec", ["width=0", "depth=-1", "alpha=0", "alpha=nan", "severity=10", "severity=0", "consistency=-1"]
)
def test_impossible_mixtures_are_refused(spec):
    with pytest.raises(ValueError, match=spec.split("=")[0]):
        augment.build(f"augmix:{spec}")


def test_amplitude_mix_is_the_mixture_of_amplitudes_with_the_own_phase(images):
    """The program's formula, in NumPy."""
    mix, x = AmplitudeMix(), images.double()
    rows = mix.draw(12, generator())
    own, donor = np.fft.fft2(x.numpy()), np.fft.fft2(x.flip(0).numpy())
    share = rows["share"].numpy()[:, None, None, None]
    amplitude = share * np.abs(donor) + (1 - share) * np.abs(own)
    expected = np.clip(np.fft.ifft2(amplitude * np.exp(1j * np.angle(own))).real, 0, 1)
    assert_close(mix.transform(x, rows, x.flip(0)), torch.from_numpy(expected), rtol=0, atol=1e-7)


def test_shares_are_uniform_up_to_alpha_and_a_swap_takes_all(images):
    share = AmplitudeMix(alpha=0.4).draw(10_000, generator())["share"]
    assert share.min() >= 0 and share.max() <= 0.4 and abs(share.mean() - 0.2) < 5 * 0.4 / 12**0.5 / 100
    swap = AmplitudeMix(swap=True)
    out = swap.transform(images, swap.draw(12, generator()), images.flip(0))
    assert_close(out, fourier.recombine(images.flip(0), images).clamp(0, 1))
    still = AmplitudeMix(alpha=0)
    assert_close(still.transform(images, still.draw(12, generator()), images.flip(0)), images)


def test_both_views_count_half():
    logits, labels = torch.randn(2, 12, 3, generator=generator()), torch.arange(12) % 3
    expected = (F.cross_entropy(logits[0], labels) + F.cross_entropy(logits[1], labels)) / 2
    for spec in ("amplitude-mix", "afa"):
        assert_close(augment.build(spec).loss(tuple(logits), labels, F.cross_entropy), expected)
