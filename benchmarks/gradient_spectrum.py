"""The gradient spectrum: what a series of it costs a training, and spectra of many gradients against the
original's loop over images.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.timing import spread
from specfreq import ImageSet, measures, models
from specfreq.measures.gradient_spectrum import profiled, published_profiles

GRADIENTS, LOOPED, ROUNDS, GOAL = 10_000, 500, 9, 50
EPOCH, BATCH, SHARE = 50_000, 128, 5  # images and batch of a training; of its epoch, %, the series may take
SERIES = ("gradient-spectrum:size=1000", "feature-discrimination:size=500")


def original(gradients: np.ndarray) -> np.ndarray:
    """Mean profile of gradients (N, 3, H, W), image by image as the program has it: sum of the channels,
    |FFT|, rings about the middle of the array, from 0 to 1.
    """
    profiles = []
    for gradient in gradients:
        amplitude = np.abs(np.fft.fftshift(np.fft.fft2(gradient.sum(0))))
        y, x = np.indices(amplitude.shape)
        middle = [(axis.max() - axis.min()) / 2 for axis in (x, y)]
        distance = np.hypot(x - middle[0], y - middle[1])
        order = np.argsort(distance.flat)
        ring = distance.flat[order].astype(int)
        last = np.where(np.diff(ring))[0]
        sums = np.cumsum(amplitude.flat[order], dtype=float)
        profile = np.diff(sums[last]) / np.diff(last)
        profiles.append((profile - profile.min()) / (profile.max() - profile.min()))
    return np.mean(profiles, axis=0)


def seconds(call: Callable[[], object]) -> float:
    """Of this processor: what else runs on the machine does not count."""
    start = time.process_time()
    call()
    return time.process_time() - start


def run() -> None:
    against_the_loop()
    beside_a_training()


def against_the_loop() -> None:
    gradients = torch.randn(GRADIENTS, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def ours() -> torch.Tensor:
        return torch.cat([published_profiles(part) for part in gradients.split(BATCH)]).mean(0)

    def whole() -> torch.Tensor:
        return torch.cat([profiled(part)[1] for part in gradients.split(BATCH)]).mean(0)

    looped = gradients[:LOOPED].numpy()
    gap = np.abs(published_profiles(gradients[:LOOPED]).double().mean(0).numpy() - original(looped)).max()
    assert gap < 1e-4, gap
    ours()
    whole()
    rounds = []
    for _ in range(ROUNDS):
        loop = seconds(lambda: original(looped)) * GRADIENTS / LOOPED
        rounds.append((seconds(ours), seconds(whole), loop))
    mine, more, theirs = np.median(rounds, axis=0)
    print(f"\nGradient spectra of {GRADIENTS:,} gradients of 3x32x32, float32; {ROUNDS} rounds:")
    print(f"  the original's loop over images, restated in NumPy {np.__version__}: {theirs:.2f} s")
    for what, place in (
        (f"the same profile, {mine:.3f} s; goal >= {GOAL}", 0),
        (f"power of all channels, with shares and centroid, {more:.3f} s", 1),
    ):
        ratio = spread([times[2] / times[place] for times in rounds])
        print(f"  {what:62}{ratio.median:5.0f} x ({ratio.lower:.0f} .. {ratio.upper:.0f})")


def beside_a_training() -> None:
    """The measures of the series against the steps of an epoch, forward and backward alone."""
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (2000, 3, 32, 32), generator=g, dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(2000) % 10, tuple("0123456789"), "noise")
    net = models.build("airbench:width=24", 10).to(memory_format=torch.channels_last)
    model = models.Classifier(net, torch.full((3,), 0.5), torch.full((3,), 0.25))
    x = (pixels[:BATCH] / 255).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        model.train()
        F.cross_entropy(model(x), images.labels[:BATCH]).backward()

    calls = {"step": step, **{s: lambda s=s: measures.compute(s, model, images) for s in SERIES}}
    for call in calls.values():
        call()
    rounds = [{what: seconds(call) for what, call in calls.items()} for _ in range(ROUNDS // 3)]
    print(f"\nA series beside airbench:width=24, epochs of {EPOCH:,} images in batches of {BATCH}:")
    of_epoch = [{s: 100 * r[s] / (r["step"] * EPOCH / BATCH) for s in SERIES} for r in rounds]
    for each in SERIES:
        share = spread([r[each] for r in of_epoch])
        print(f"  {each:34}{share.median:6.2f} % of an epoch ({share.lower:.2f} .. {share.upper:.2f})")
    both = spread([sum(r.values()) for r in of_epoch])
    print(f"  {'both':34}{both.median:6.2f} % ({both.lower:.2f} .. {both.upper:.2f}), goal < {SHARE} %")
