"""The augmentations against the original program: APR-S picture by picture, APR-P on a batch, and the bare
transforms; and against the steps of a training that they feed.
"""

import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch import Generator, Tensor
from torch.fft import irfft2, rfft2
from torch.nn import functional as F

from benchmarks.fourier import batched
from benchmarks.timing import processor, spread
from specfreq import augment, data, fourier, models
from specfreq.augment import operations
from specfreq.train.feed import Feed

BATCH, ROUNDS, AT_LEAST = 128, 30, 20
ORIGINAL, PAIRED = "the original", "the original's APR-P"
SPECS = (
    "apr-s",
    "apr-s:channels=1",
    "apr-s:channels=1,overflow=wrap",
    "apr-p",
    "apr-p:channels=1",
    "apr-sp",
    "augmix",
)
SPECS += ("amplitude-mix", "hybrid-augment", "vipaug", "afa")
TRAINED, SHARE = ("apr-p", "apr-s", "apr-sp", "augmix", "tv"), 10  # of a step, %, that these may take


def operation(picture: Image.Image) -> Image.Image:
    """One of the nine operations at level 3, by Pillow."""
    level, sign, side = random.uniform(0.1, 3), random.choice((-1, 1)), picture.width

    def affine(*matrix: float) -> Image.Image:
        return picture.transform(
            picture.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
        )

    match random.choice(operations.NAMES):
        case "autocontrast":
            return ImageOps.autocontrast(picture)
        case "equalize":
            return ImageOps.equalize(picture)
        case "posterize":
            return ImageOps.posterize(picture, 4 - int(level * 0.4))
        case "solarize":
            return ImageOps.solarize(picture, 256 - int(level * 25.6))
        case "rotate":
            return picture.rotate(sign * int(level * 3), resample=Image.Resampling.BILINEAR)
        case "shear_x":
            return affine(1, sign * level * 0.03, 0, 0, 1, 0)
        case "shear_y":
            return affine(1, 0, 0, sign * level * 0.03, 1, 0)
        case "translate_x":
            return affine(1, 0, sign * int(level * side / 30), 0, 1, 0)
        case "translate_y":
            return affine(1, 0, 0, 0, 1, sign * int(level * side / 30))


def single(picture: Image.Image) -> Image.Image:
    """APR-S of one picture as the original does it in the loader: Pillow, then full complex transforms in
    double precision.
    """
    picture = operation(picture)
    if random.random() > 0.5:
        return picture
    first, second = (np.fft.fftshift(np.fft.fftn(np.asarray(x))) for x in (picture, operation(picture)))
    mixtures = [np.abs(a) * np.exp(1j * np.angle(p)) for a, p in ((first, second), (second, first))]
    mixed = np.fft.ifftn(np.fft.ifftshift(mixtures[random.random() > 0.5]))
    return Image.fromarray(np.trunc(mixed.real).astype(np.int64).astype(np.uint8))


def seconds(call: Callable) -> float:
    call()  # fills the caches that others emptied
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run() -> None:
    transforms()
    beside_steps()


def transforms() -> None:
    generator = torch.Generator().manual_seed(0)
    images = data.load("photos", "train", size=BATCH).images
    pictures, floats = [Image.fromarray(x) for x in images.permute(0, 2, 3, 1).numpy()], images / 255
    random.seed(0)
    calls = {
        ORIGINAL: lambda: [single(picture) for picture in pictures],
        PAIRED: lambda: batched(floats[torch.randperm(BATCH)], floats),
    }
    for spec in SPECS:
        calls[spec] = partial(augment.build(spec), floats, generator=generator)
    calls |= parts(images, generator)
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(ROUNDS)]

    print(
        f"\nAugmenting {BATCH} images of 3x32x32 as bare transforms, draws and checks included, float32; "
        f"{ROUNDS} rounds."
    )
    speed = BATCH / statistics.median(times[ORIGINAL] for times in rounds)
    print(
        f"APR-S of the original, picture by picture, Pillow {PIL.__version__} and NumPy: {speed:.0f} images "
        "a second."
    )
    print("As many times as fast, median (quartiles):")
    for name in list(calls)[2:]:
        times = spread([each[ORIGINAL] / each[name] for each in rounds])
        goal = f"  target >= {AT_LEAST}" if name == "apr-s" else ""
        print(f"  {name:40}{times.median:7.1f} ({times.lower:.1f} .. {times.upper:.1f}){goal}")
    print(
        "APR-P of the original, full complex transforms of the batch; as many times as fast, checks and "
        "draws included:"
    )
    for name in ("apr-p:channels=1", "apr-p"):
        times = spread([each[PAIRED] / each[name] for each in rounds])
        print(f"  {name:40}{times.median:7.1f} ({times.lower:.1f} .. {times.upper:.1f})")


def parts(images: Tensor, generator: Generator) -> dict[str, Callable]:
    """Where the time of APR-S goes: both steps of operations, and the recombination of half of the images."""
    apr, half = augment.build("apr-s"), images[: BATCH // 2] * 1.0
    rows = apr.draw(BATCH, generator)
    (first, second), (level, again) = (rows[name].unbind(1) for name in ("operation", "level"))
    return {
        "apr-s, drawn before, of bytes": partial(apr.before, images, rows),
        "  of that, the first operation": partial(operations.apply, images, first, level),
        "  the second, of half of the images": partial(
            operations.apply, images[::2], second[::2], again[::2]
        ),
        "  their recombination": partial(fourier.recombine, half, half.flip(0)),
        "  a bare rfft2 and irfft2 of that half": lambda: irfft2(rfft2(half)),
    }


def beside_steps() -> None:
    """What the views of a batch cost more than plain images, of the step on as many: forward and backward."""
    images = data.load("photos", "train").images.repeat(2, 1, 1, 1)[: 4 * BATCH]
    net = models.build("airbench:width=16", 10).to(memory_format=torch.channels_last)
    model = models.Classifier(net, torch.full((3,), 0.5), torch.full((3,), 0.25)).train()

    def fed(spec: str) -> Callable[[], object]:
        drawn = {"seed": 0, "shift": 2, "border": "reflect", "flip": True, "alternate": True}
        feed = Feed(images, augment.build(spec).fit(images), **drawn)
        parts = feed.order(0).split(BATCH)
        return lambda: list(feed.views(0, parts))

    def step(views: int) -> Callable[[], object]:
        x = torch.rand(views * BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        y = torch.arange(len(x)) % 10
        return lambda: F.cross_entropy(model(x), y).backward()

    shown = {spec: augment.build(spec).shown for spec in TRAINED}
    calls = {spec: fed(spec) for spec in ("none", *TRAINED)} | {n: step(n) for n in {*shown.values()}}
    rounds = [{what: seconds(call) for what, call in calls.items()} for _ in range(ROUNDS // 2)]
    print(f"\nViews of {BATCH} images beside a step of airbench:width=16 on them, float32, {processor()}:")
    for spec, views in shown.items():
        more = [(r[spec] - r["none"]) / (len(images) // BATCH) / r[views] for r in rounds]
        share = spread([100 * each for each in more])
        print(
            f"  {spec:12}{views} views{share.median:8.1f} % ({share.lower:.1f} .. {share.upper:.1f}), "
            f"goal < {SHARE} %"
        )
