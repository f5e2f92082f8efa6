"""The Fourier heat map: the share of its time inside the network, against the original's algorithm and a bare
forward pass.
"""

import random
import time
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.timing import spread
from specfreq import ImageSet, measures, models
from specfreq.core.devices import exact

IMAGES, STEP, ROUNDS, BATCH = 200, 8, 9, 100
SHARE = 0.9  # of the time inside the network, at least
WHOLE, ORIGINAL = 514, 544  # waves of the whole map at 32x32, ours and the original program's
ON_GPU, SECONDS = 10_000, 30  # images, and what the whole map may take


class Disturbed(Dataset):
    """Pictures of a data set, each disturbed by one wave as the original does it: in the loader, with signs
    of its own.
    """

    def __init__(self, images: Tensor, labels: Tensor, k: tuple[int, int], norm: float):
        self.images, self.labels = [Image.fromarray(x) for x in images.permute(0, 2, 3, 1).numpy()], labels
        spectrum = torch.zeros(32, 17, dtype=torch.complex64)
        spectrum[k] = 1
        wave = torch.fft.irfft2(spectrum, s=(32, 32))
        self.wave = norm * wave / wave.norm()
        self.transform = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Lambda(self.disturb)]
        )

    def disturb(self, image: Tensor) -> Tensor:
        signs = [random.randrange(-1, 2, 2) for _ in image]
        return (image + torch.stack([s * self.wave for s in signs])).clamp(0, 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.labels[index]


class Timed(nn.Module):
    """A network, and how long it has worked on how many images."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.seconds, self.images = net, 0.0, 0

    def forward(self, images: Tensor) -> Tensor:
        start = time.perf_counter()
        logits = self.net(images)
        self.seconds += time.perf_counter() - start
        self.images += len(images)
        return logits


def classifier(model: str) -> nn.Module:
    return models.Classifier(models.build(model, 10), torch.full((3,), 0.5), torch.full((3,), 0.25)).eval()


def pictures(count: int) -> ImageSet:
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=g, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 10, tuple("0123456789"), "noise")


def original(model: nn.Module, images: ImageSet) -> float:
    """The error with one wave, by a pass through the data."""
    k = (random.randrange(32), random.randrange(17))
    wrong = 0
    with torch.no_grad():
        for x, y in DataLoader(Disturbed(images.images, images.labels, k, 4.0), BATCH):
            wrong += int((model(x).argmax(1) != y).sum())
    return wrong / len(images)


def seconds_per_image(model: Timed, call: Callable) -> tuple[float, float]:
    """Of one call, for each image that the network saw: seconds in all, and inside the network."""
    model.seconds, model.images = 0.0, 0
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) / model.images, model.seconds / model.images


def run() -> None:
    for model in ("resnet20", "resnet8"):
        compare(model)
    on_gpu()


def compare(name: str) -> None:
    model, images = Timed(classifier(name)), pictures(IMAGES)
    floats = (images.images[:BATCH] / 255).contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode(), exact(torch.device("cpu")):
            for _ in range(4):
                model(floats)

    calls = {
        "bare": bare,
        "specfreq": lambda: measures.compute(f"fourier-heatmap:step={STEP}", model, images, batch=BATCH),
        "original": lambda: original(model, images),
    }
    for call in calls.values():
        call()
    rounds = [{what: seconds_per_image(model, call) for what, call in calls.items()} for _ in range(ROUNDS)]

    # (rounds, 2): in all, inside
    per_image = {what: np.array([each[what] for each in rounds]) for what in calls}
    # for a whole map of one image
    ours, theirs = (
        WHOLE * per_image["specfreq"],
        ORIGINAL * per_image["original"],
    )
    outside = (theirs[:, 0] - theirs[:, 1]) / (ours[:, 0] - ours[:, 1])
    print(
        f"\nFourier heat map of {name}, {IMAGES} images of 3x32x32, float32; {ROUNDS} rounds, median "
        "(quartiles):"
    )
    for what, ratios, goal in (
        ("share of the time inside the network", ours[:, 1] / ours[:, 0], f"  target >= {SHARE}"),
        (
            f"the same of the original's algorithm, torchvision {torchvision.__version__}",
            theirs[:, 1] / theirs[:, 0],
            "",
        ),
        (
            "time for an image over that of a bare forward pass",
            per_image["specfreq"][:, 0] / per_image["bare"][:, 0],
            "",
        ),
        ("the original's time for a whole map over ours", theirs[:, 0] / ours[:, 0], ""),
        ("the same outside of the network", outside, ""),
    ):
        times = spread(ratios.tolist())
        print(f"  {what:68}{times.median:7.3f} ({times.lower:.3f} .. {times.upper:.3f}){goal}")
    print(f"  A whole map of {WHOLE} waves takes {1000 * np.median(ours[:, 0]):.0f} s for each 1,000 images.")


def on_gpu() -> None:
    """On a GPU: the whole map of ResNet-18 over 10,000 images, bfloat16."""
    if not torch.cuda.is_available():
        print(
            f"  The whole map of ResNet-18 over {ON_GPU:,} images is measured on a GPU; this machine has "
            "none."
        )
        return
    model, images, times = (
        classifier("resnet18").cuda().to(memory_format=torch.channels_last),
        pictures(ON_GPU),
        [],
    )
    measures.compute("fourier-heatmap:step=8", model, images, precision="bfloat16")
    for _ in range(3):
        start = time.perf_counter()
        # its results are on the CPU: nothing is pending
        measures.compute("fourier-heatmap", model, images, precision="bfloat16")
        times.append(time.perf_counter() - start)
    shown = ", ".join(f"{t:.1f}" for t in times)
    took = f"median {np.median(times):.1f} s ({shown}); target <= {SECONDS} s"
    print(f"  ResNet-18, {WHOLE} waves x {ON_GPU:,} images, bfloat16: {took}")
