"""The engines of ROF denoising: they agree, and an image's bits depend on nothing but the image."""

import sys

import pytest
import torch
from torch.testing import assert_close

from specfreq import tv

each_engine = pytest.mark.parametrize("engine", ["plain", "fused"])
each_algorithm = pytest.mark.parametrize("algorithm", tv.ALGORITHMS)
each_kind = pytest.mark.parametrize("channels", ["separate", "joint"])


def test_the_engines_agree_within_the_gap(noisy):
    one, other = (tv.denoise(noisy, 0.1, tol=1e-5, engine=engine).image for engine in ("plain", "fused"))
    assert_close(one, other, rtol=0, atol=1e-3)


@each_engine
@each_kind
@each_algorithm
def test_an_image_does_not_depend_on_its_batch(noisy, engine, channels, algorithm):
    options = {"engine": engine, "channels": channels, "algorithm": algorithm, "tol": 1e-3}
    f = torch.cat([noisy, torch.zeros(1, 3, 16, 20), 0.01 * noisy])
    together = tv.solve(f, 0.1, **options)
    for k in range(len(f)):
        for mine, alone in zip(together, tv.solve(f[k], 0.1, **options), strict=True):
            assert torch.equal(mine[k], alone)


@each_engine
def test_threads_and_memory_layout_do_not_matter(noisy, engine):
    u = tv.denoise(noisy, 0.1, engine=engine)
    layouts = (
        noisy.contiguous(memory_format=torch.channels_last),
        noisy.flip(0).flip(0),
        noisy.mT.contiguous().mT,
    )
    threads = torch.get_num_threads()
    try:
        for count, f in zip((1, 2, 3), layouts, strict=True):
            torch.set_num_threads(count)
            assert torch.equal(tv.denoise(f, 0.1, engine=engine).image, u.image)
    finally:
        torch.set_num_threads(threads)


@each_engine
@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
def test_images_that_stop_at_different_times_do_not_disturb_each_other(photos, engine, kind):
    generator = torch.Generator().manual_seed(7)
    f = torch.stack([photos[k % 3, :, :9, :7] * 0.8**k + 0.01 * k for k in range(23)]).to(kind)
    weight = 10 ** (-3 * torch.rand(23, generator=generator, dtype=torch.float64))
    order = torch.randperm(23, generator=generator)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        together = tv.solve(f, weight, engine=engine)
        assert len(together.iterations.unique()) > 5
        torch.set_num_threads(3)
        shuffled = tv.solve(f[order], weight[order], engine=engine)
        alone = [tv.solve(f[k], weight[k], engine=engine) for k in range(0, 23, 6)]
    finally:
        torch.set_num_threads(threads)
    for mine, other in zip(together, shuffled, strict=True):
        assert torch.equal(mine[order], other)
    for k, single in zip(range(0, 23, 6), alone, strict=True):
        for mine, other in zip(together, single, strict=True):
            assert torch.equal(mine[k], other)


def test_parts_of_a_batch_that_is_too_large_to_be_held_at_once_join_seamlessly(noisy, monkeypatch):
    expected, curve = tv.solve(noisy, 0.1), tv.convergence(noisy, 0.1)
    monkeypatch.setattr("specfreq.tv.rof.AT_ONCE", 4 * 320)
    for mine, other in zip(tv.solve(noisy, 0.1), expected, strict=True):
        assert torch.equal(mine, other)
    for mine, other in zip(tv.convergence(noisy, 0.1), curve, strict=True):
        assert torch.equal(mine, other)


@each_algorithm
@each_kind
def test_convergence_is_what_denoise_goes_through(noisy, algorithm, channels):
    f = torch.cat([noisy, torch.zeros(1, 3, 16, 20)])
    result = tv.denoise(f, 0.1, algorithm=algorithm, channels=channels)
    iterations, gap = tv.convergence(f, 0.1, algorithm=algorithm, channels=channels)
    assert (
        iterations[0] == 0 and (iterations.diff() >= 10).all() and iterations[-1] == result.iterations.max()
    )
    assert gap.shape == (len(iterations), 4) and torch.equal(gap[-1], result.gap)
    for k in range(4):
        last = (gap[:, k] == gap[-1, k]).int().argmax()
        assert iterations[last] == result.iterations[k]
    assert (gap[0, :3] > 0.1).all() and (gap[:, 3] == 0).all()


def test_without_numba_it_is_the_plain_engine(noisy, monkeypatch):
    expected = tv.denoise(noisy, 0.1, engine="plain").image
    monkeypatch.setitem(sys.modules, "specfreq.tv.fused", None)
    assert torch.equal(tv.denoise(noisy, 0.1).image, expected)
    with pytest.raises(ValueError, match="needs numba"):
        tv.denoise(noisy, 0.1, engine="fused")


def test_code_that_cannot_be_kept_on_disk_is_compiled_all_the_same():
    from specfreq.tv.kernels import entry

    namespace = {"__name__": "nowhere"}
    exec("def double(x):\n    return 2 * x", namespace)  # numba finds no file beside which to keep it
    kernels = entry(namespace["double"])
    assert kernels["float32"](3) == kernels["float64"](3) == 6
    assert len({kernel.py_func.__qualname__ for kernel in kernels.values()}) == 2


def test_the_chip_engine_is_for_gpus(noisy):
    with pytest.raises(ValueError, match="engine 'chip' does not work on cpu"):
        tv.denoise(noisy, 0.1, engine="chip")


@pytest.mark.parametrize("graph", ["eager", "aot_eager"])
def test_a_compiled_program_runs_the_solver_uncompiled(graph):
    """What is before and after it is compiled; the solver and its derivative are the same to the bit."""
    from torch._dynamo.testing import CompileCounterWithBackend

    def program(images):
        return tv.denoise(images / 2, 0.1, engine="plain").image + 1

    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    counted = CompileCounterWithBackend(graph)
    compiled = torch.compile(program, backend=counted)
    slopes = []
    for run in (program, compiled):
        f = images.clone().requires_grad_()
        u = run(f)
        u.square().sum().backward()
        slopes.append((u.detach(), f.grad))
    assert all(map(torch.equal, *slopes))
    assert (counted.frame_count, counted.op_count) == (2, 2)  # the division, and the sum
