"""Amplitude-phase recombination, against the bare transforms and against the algorithm of the original
program.
"""

import shutil
import time

import numpy as np
import torch
from torch import Tensor
from torch.fft import fftn, ifftn, irfft2, rfft2

from benchmarks.timing import ratio
from specfreq.fourier import recombine

BATCH, ROUNDS = (128, 3, 32, 32), 60
OURS_2D, OURS_3D, COMPILED = "specfreq, 2-D", "specfreq, 3-D", "specfreq, 2-D, torch.compile"
PER_IMAGE, BATCHED = "original, 3-D, image by image, NumPy", "original, 3-D, batched, torch"
AT_MOST = {OURS_2D: 2.5, COMPILED: 2.0}  # times the floor
AT_LEAST = {PER_IMAGE: 28, BATCHED: 7}  # times as fast at the same mathematics


def per_image(amplitude_of: np.ndarray, phase_of: np.ndarray) -> np.ndarray:
    """The 3-D formula image by image, as APR-S does in the loader: full complex transforms in double
    precision.
    """
    result = np.empty_like(phase_of)
    for i, (a, p) in enumerate(zip(amplitude_of, phase_of, strict=True)):
        spectrum = np.abs(np.fft.fftn(a)) * np.exp(1j * np.angle(np.fft.fftn(p)))
        result[i] = np.fft.ifftn(spectrum).real
    return result


def batched(amplitude_of: Tensor, phase_of: Tensor) -> Tensor:
    """The 3-D formula on a batch, as APR-P does in the training loop: full complex transforms, sines and
    cosines.
    """
    dims = (-3, -2, -1)
    spectrum = fftn(amplitude_of, dim=dims).abs() * torch.exp(1j * fftn(phase_of, dim=dims).angle())
    return ifftn(spectrum, dim=dims).real


def run() -> None:
    generator = torch.Generator().manual_seed(0)
    a, p = torch.rand(BATCH, generator=generator), torch.rand(BATCH, generator=generator)
    doubles = a.double().numpy(), p.double().numpy()  # what NumPy makes of 8-bit images
    contenders = {
        OURS_2D: lambda: recombine(a, p),
        OURS_3D: lambda: recombine(a, p, channels=True),
        BATCHED: lambda: batched(a, p),
        PER_IMAGE: lambda: per_image(*doubles),
    }
    compilation = "no C++ compiler, so torch.compile is left out"
    if any(map(shutil.which, ("c++", "g++", "clang++"))):
        compiled, start = torch.compile(recombine), time.perf_counter()
        compiled(a, p)
        compilation = f"torch.compile took {time.perf_counter() - start:.0f} s"
        contenders[COMPILED] = lambda: compiled(a, p)
    for name, call in contenders.items():
        expected = recombine(a, p, channels="3-D" in name)
        # the same mathematics
        torch.testing.assert_close(torch.as_tensor(call()).float(), expected, rtol=0, atol=1e-4)
    measured = {name: ratio(call, lambda: irfft2(rfft2(p)), ROUNDS) for name, call in contenders.items()}

    print(f"\nRecombining 128 pairs of 3x32x32 images, float32; {ROUNDS} rounds; {compilation}.")
    print("Time over that of a bare rfft2 and irfft2 of one batch, median (quartiles):")
    for name, times in sorted(measured.items(), key=lambda item: item[1]):
        goal = f"  target <= {AT_MOST[name]}" if name in AT_MOST else ""
        print(f"  {name:37}{times.median:7.2f} ({times.lower:.2f} .. {times.upper:.2f}){goal}")
    for name, goal in AT_LEAST.items():
        print(
            f"  {OURS_3D} is {measured[name].median / measured[OURS_3D].median:.1f} x as fast as {name}; "
            f"target >= {goal}"
        )
