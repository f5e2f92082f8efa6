"""An engine that does not work gives way to the plain one, with one warning that says why."""

import logging
import sys
from importlib.util import find_spec

import pytest
import torch

from specfreq import tv
from specfreq.tv import fused, minimise
from specfreq.tv.plain import Unusable


@pytest.fixture(autouse=True)
def nothing_failed_before(monkeypatch):
    monkeypatch.setattr(minimise, "_unusable", set())
    monkeypatch.setattr(minimise, "_named", set())


@pytest.mark.parametrize("entry", ["begin", "advance", "certify"])
def test_an_engine_that_cannot_be_launched_is_named_once_and_not_tried_again(
    noisy, monkeypatch, caplog, entry
):
    expected = tv.denoise(noisy, 0.1, engine="plain").image
    working, tried = fused.Fused._share, []

    def share(self, kernel, *arguments):
        tried.append(kernel)
        if kernel is getattr(fused.kernels, entry):
            raise Unusable("OutOfResources: shared memory,\n  required 300000")
        working(self, kernel, *arguments)

    monkeypatch.setattr(fused.Fused, "_share", share)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(tv.denoise(noisy, 0.1).image, expected)
        before = len(tried)
        assert torch.equal(tv.denoise(noisy, 0.1).image, expected) and len(tried) == before
        tv.denoise(noisy[..., :9], 0.1)
        assert len(tried) > before
    assert len(caplog.records) == 1
    assert (
        "engine 'plain', as 'fused' does not work here: OutOfResources: shared memory, required 300000"
        in caplog.text
    )
    with pytest.raises(
        ValueError, match=r"engine 'fused' does not work here \(OutOfResources.*take engine='plain'"
    ):
        tv.denoise(noisy, 0.1, engine="fused")


def test_the_looks_of_an_engine_that_failed_are_forgotten(noisy, monkeypatch):
    expected = tv.convergence(noisy, 0.1, engine="plain")
    advance, count = fused.Fused.advance, []

    def tired(self, *arguments):
        count.append(1)
        if len(count) == 3:
            raise Unusable("no more")
        advance(self, *arguments)

    monkeypatch.setattr(fused.Fused, "advance", tired)
    found = tv.convergence(noisy, 0.1)
    assert torch.equal(found.gap, expected.gap) and torch.equal(found.iterations, expected.iterations)


def test_an_engine_that_is_not_installed_is_named_once(noisy, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "specfreq.tv.fused", None)
    with caplog.at_level(logging.WARNING):
        tv.denoise(noisy, 0.1)
        tv.denoise(noisy, 0.2)
    assert len(caplog.records) == 1 and "numba cannot be imported" in caplog.text


@pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
def test_kernels_of_the_chip_that_cannot_be_launched_give_way(noisy, monkeypatch, caplog):
    """There is no GPU for these images, and so no launch: what Triton raises then is as real as any."""
    from specfreq.tv import chip

    expected = tv.solve(noisy, 0.1, engine="plain")
    monkeypatch.setattr(minimise, "_engine", lambda *_: chip.Chip)
    with caplog.at_level(logging.WARNING):
        found = tv.solve(noisy, 0.1)
    assert all(torch.equal(mine, other) for mine, other in zip(found, expected, strict=True))
    assert "as 'chip' does not work here" in caplog.text
