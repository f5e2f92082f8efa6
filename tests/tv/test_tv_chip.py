"""The engine for GPUs, without one: what its kernels compute, by Triton's interpreter, and that they compile
for one.
"""

import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")

INTERPRETED = """
import torch
from specfreq import tv
from specfreq.tv import chip, minimise, plain, rof, steps

def state(shape, kind, fitted, momentum):
    generator = torch.Generator().manual_seed(0)
    batch, channels, height, width = shape
    f = torch.rand(shape, generator=generator, dtype=kind) + 3
    dual = torch.rand(batch, channels, 2, height, width, generator=generator, dtype=kind) / 4
    dual[..., 0, -1, :], dual[..., 1, :, -1] = 0, 0
    weight = torch.tensor([50.0, 0.05], dtype=torch.float64)  # the first image is better off as its mean
    mean = f.mean((-2, -1))
    flat = 0.5 / weight * (f.double() - mean.double()[..., None, None]).square().sum((1, 2, 3))
    return f, mean - 0.125, mean, flat, weight, dual, torch.tensor([fitted, momentum]), momentum

for kind, close in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
    for shape in ((2, 1, 3, 4), (2, 3, 2, 3), (2, 1, 1, 5)):
        for algorithm in ("condat", "chambolle-pock-2", "fgp"):
            arguments = state(shape, kind, algorithm == "fgp", algorithm == "fgp")
            engines = plain.Plain(*arguments), chip.Chip(*(a.clone() if isinstance(a, torch.Tensor) else a for a in arguments))
            tau, sigma = steps.first_steps(algorithm, arguments[4], torch.ones(2).double(), 1e-4, torch.tensor([False, True]))
            lines = []
            for _ in range(2 if steps.varies(algorithm) else 1):
                line, (tau, sigma) = steps.coefficients(algorithm, arguments[4], tau, sigma)
                lines.append(line)
            for _ in range(2):  # once more, from what the first left
                energies = []
                for engine in engines:
                    engine.advance(lines, 2)
                    energies.append(engine.certify())
                for name in ("x", "y", "p", "new", "image"):
                    one, other = (getattr(engine, name) for engine in engines)
                    torch.testing.assert_close(one, other, rtol=close, atol=20 * close, msg=f"{kind} {shape} {algorithm} {name}")
                torch.testing.assert_close(*energies, rtol=1e-4, atol=20 * close)

f = torch.stack([torch.eye(4), torch.ones(4, 4), torch.arange(16.0).view(4, 4) / 100])[:, None]
expected = tv.solve(f, 0.05, engine="plain", tol=1e-3)
minimise._engine = lambda *_: chip.Chip
found = tv.solve(f, 0.05, tol=1e-3)
assert len(found.iterations.unique()) > 1 and torch.equal(found.iterations, expected.iterations)
torch.testing.assert_close(found.image, expected.image, rtol=0, atol=1e-6)
run, kinds = rof.run, []

def stalling(images, weight, start, tol, *others):
    kinds.append(images.dtype)
    return run(images, weight, start, 0.3 if images.dtype == torch.float32 else tol, *others)

rof.run = stalling  # float32 stops as if it stalled: the same kernels finish in float64
again = tv.solve(f[2:], 0.05, tol=1e-3)
assert kinds == [torch.float32, torch.float64] and again.image.dtype == torch.float32 and (again.gap <= 1e-3).all()
torch.testing.assert_close(again.image, expected.image[2:], rtol=0, atol=0.03)  # both are within the gap
for channels, height, width in ((1, 1, 1), (1, 1, 5), (1, 7, 1), (3, 2, 2), (3, 1, 9), (1, 8, 8)):
    block = chip._room(torch.zeros(1, channels, height, width))
    assert block[3] == 64 == block[0] * block[1] * block[2] and block[1] >= height and block[2] >= width
assert chip.Chip.fits(torch.zeros(9, 1, 64, 64)) and chip.Chip.fits(torch.zeros(9, 3, 20, 32))
assert not chip.Chip.fits(torch.zeros(9, 1, 65, 2048)) and not chip.Chip.fits(torch.zeros(9, 3, 64, 64))
"""

COMPILED = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from specfreq.tv import chip

def lowered(kernel, types, **constants):
    names = [parameter.name for parameter in kernel.params]
    signature = {name: types.get(name, "constexpr") for name in names}
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()})
    options = {"num_warps": 4, "enable_fp_fusion": False}
    return compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]

for number, sizes in (("*fp32", (1, 32, 32, 1, 32, 32)), ("*fp64", (3, 5, 7, 4, 8, 8)), ("*fp32", (1, 1, 5, 1, 1, 64))):
    sizes = dict(zip(("C", "H", "W", "C2", "H2", "W2"), sizes))
    state = dict.fromkeys(("table", "g", "x", "y", "p", "new", "f", "shift", "mean", "image"), number)
    counts = dict.fromkeys(("images", "lines", "count"), "i32")
    others = {"flat": "*fp64", "weight": "*fp64", "energies": "*fp64", "fitted": "*u8"}
    for momentum in (False, True):
        ptx = lowered(chip._advance, state | counts, inside=0.999, momentum=momentum, **sizes)
        assert ".target sm_90" in ptx and "fma.rn" not in ptx and "sqrt.approx" not in ptx
    assert ".target sm_90" in lowered(chip._certify, state | counts | others, **sizes)
"""


def run(program, tmp_path, **variables):
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_kernels_compute_what_the_plain_engine_computes(tmp_path):
    run(INTERPRETED, tmp_path, TRITON_INTERPRET="1")


@pytest.mark.skipif(
    not find_spec("triton.backends.nvidia") if find_spec("triton") else True,
    reason="no compiler for NVIDIA GPUs",
)
def test_the_kernels_compile_for_a_gpu_without_fused_or_approximate_arithmetic(tmp_path):
    run(COMPILED, tmp_path, TRITON_INTERPRET="0")


def test_kernels_are_launched_on_the_gpu_that_holds_the_images(monkeypatch):
    """Triton launches on the current GPU, which is cuda:0 while the tensors may lie on cuda:1: pointers to
    nothing.
    """
    import torch

    from specfreq.tv import chip

    current, launched = ["cuda:0"], []

    @contextlib.contextmanager
    def device_of(images):
        current.append(images.place)
        yield
        current.pop()

    class Kernel:
        def __getitem__(self, grid):
            return lambda *arguments, **options: launched.append((grid, current[-1]))

    engine = object.__new__(chip.Chip)
    engine.f = torch.zeros(5, 1, 8, 8)
    engine.f.place = "cuda:1"
    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    engine._launch(Kernel())
    assert (launched, current) == ([((5,), "cuda:1")], ["cuda:0"])
