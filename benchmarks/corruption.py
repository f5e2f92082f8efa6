"""Corruptions, images a second and against the generators' algorithms, picture by picture; and how long all
95 sets take.
"""

import io
import statistics
import time
from collections.abc import Callable
from importlib import metadata

import numpy as np
import PIL
import scipy
import skimage
import torch
from PIL import Image
from scipy.ndimage import zoom
from skimage import color, filters, util

from specfreq import data
from specfreq.corruptions import CIFAR, corrupt, names

COUNT, ROUNDS, SET = 64, 5, 10_000
# as imagecorruptions has them; its others are restated here, or another algorithm (elastic_transform)
LEFT_TO_PACKAGE = ("defocus_blur", "motion_blur", "snow", "frost", "spatter")


def glass_blur(x: np.ndarray, sigma: float, delta: int, times: int) -> np.ndarray:
    x = np.uint8(filters.gaussian(x / 255, sigma, channel_axis=-1) * 255)
    for _ in range(times):
        for h in range(x.shape[0] - delta, delta, -1):
            for w in range(x.shape[1] - delta, delta, -1):
                dx, dy = np.random.randint(-delta, delta, 2)
                x[h, w] = x[h + dy, w + dx]
    return filters.gaussian(x / 255, sigma, channel_axis=-1)


def zoom_blur(x: np.ndarray, stop: float, step: float) -> np.ndarray:
    total, factors = x / 255, np.arange(1, stop, step)
    for factor in factors:
        side = int(np.ceil(len(x) / factor))
        top = (len(x) - side) // 2
        large = zoom(x[top : top + side, top : top + side] / 255, (factor, factor, 1), order=1)
        cut = (len(large) - len(x)) // 2
        total = total + large[cut : cut + len(x), cut : cut + len(x)]
    return total / (len(factors) + 1)


def fog(x: np.ndarray, amount: float, decay: float) -> np.ndarray:
    land, step, wibble = np.zeros(x.shape[:2]), len(x), 100.0

    def fresh(total: np.ndarray) -> np.ndarray:
        return total / 4 + wibble * np.random.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = land[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        land[half::step, half::step] = fresh(pairs + np.roll(pairs, -1, 1))
        centres = land[half::step, half::step]
        land[::step, half::step] = fresh(centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1))
        land[half::step, ::step] = fresh(centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0))
        step, wibble = half, wibble / decay
    land -= land.min()
    x = x / 255
    return (x + amount * (land / land.max())[..., None]) * x.max() / (x.max() + amount)


def value(x: np.ndarray, channel: int, factor: float, offset: float) -> np.ndarray:
    hsv = color.rgb2hsv(x / 255)
    hsv[..., channel] = np.clip(factor * hsv[..., channel] + offset, 0, 1)
    return color.hsv2rgb(hsv)


def jpeg(x: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


def pixelate(x: np.ndarray, share: float) -> np.ndarray:
    small = Image.fromarray(x).resize((int(len(x) * share),) * 2, Image.Resampling.BOX)
    return np.asarray(small.resize(x.shape[1::-1], Image.Resampling.BOX)) / 255


RESTATED: dict[str, Callable[..., np.ndarray]] = {
    "gaussian_noise": lambda x, sd: x / 255 + np.random.normal(size=x.shape, scale=sd),
    "shot_noise": lambda x, photons: np.random.poisson(x / 255 * photons) / photons,
    "impulse_noise": lambda x, amount: util.random_noise(x / 255, mode="s&p", amount=amount),
    "speckle_noise": lambda x, sd: x / 255 + x / 255 * np.random.normal(size=x.shape, scale=sd),
    "gaussian_blur": lambda x, sigma: filters.gaussian(x / 255, sigma, channel_axis=-1),
    "glass_blur": glass_blur,
    "zoom_blur": zoom_blur,
    "fog": fog,
    "brightness": lambda x, added: value(x, 2, 1, added),
    "saturate": lambda x, factor, offset: value(x, 1, factor, offset),
    "contrast": lambda x, factor: (x / 255 - x.mean((0, 1)) / 255) * factor + x.mean((0, 1)) / 255,
    "jpeg_compression": jpeg,
    "pixelate": pixelate,
}


def peer(name: str, severity: int) -> tuple[Callable[[np.ndarray], np.ndarray], str] | None:
    """What the generator does to a picture, (H, W, 3) bytes to bytes, and whose constants: CIFAR's, or
    imagecorruptions' own.
    """
    if name in RESTATED:
        constants = CIFAR.constants[name][severity - 1]
        given = constants if isinstance(constants, tuple) else (constants,)
        return lambda x: np.uint8(np.clip(RESTATED[name](x, *given), 0, 1) * 255), CIFAR.name
    try:
        import imagecorruptions
    except ImportError:
        return None
    if name not in LEFT_TO_PACKAGE:
        return None
    return lambda x: imagecorruptions.corrupt(x, severity, name), "imagenet-c"


def seconds(call: Callable) -> float:
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run() -> None:
    images = data.load("photos", "test", COUNT).images
    pictures, x, whole = list(images.permute(0, 2, 3, 1).contiguous().numpy()), images / 255, 0.0
    versions = f"NumPy {np.__version__}, SciPy {scipy.__version__}, "
    versions += f"scikit-image {skimage.__version__}, Pillow {PIL.__version__}"
    try:
        versions += (
            f", imagecorruptions {metadata.version('imagecorruptions')} (for {', '.join(LEFT_TO_PACKAGE)})"
        )
    except metadata.PackageNotFoundError:
        versions += f"; imagecorruptions is not installed, so {', '.join(LEFT_TO_PACKAGE)} have no peer"
    np.random.seed(0)
    print(
        f"\nCorrupting {COUNT} images of 3x32x32, medians of {ROUNDS} rounds. Peers, picture by picture: "
        f"{versions}."
    )
    print("                        images a second, severities 1 to 5           as many times as fast at 3")
    for name in names():
        times = [
            statistics.median(seconds(lambda s=s, name=name: corrupt(x, name, s)) for _ in range(ROUNDS))
            for s in range(1, 6)
        ]
        whole += sum(times) / COUNT
        rates = " ".join(f"{COUNT / t:8.0f}" for t in times)
        if found := peer(name, 3):
            call, recipe = found
            theirs, ours = (
                [seconds(work) for _ in range(ROUNDS)]
                for work in (lambda: [call(p) for p in pictures], lambda: corrupt(x, name, 3, recipe=recipe))  # noqa: B023
            )
            ratio = f"{statistics.median(a / b for a, b in zip(theirs, ours, strict=True)):8.1f}"
        else:
            ratio = "       -"
        print(f"  {name:18}{rates}{ratio}")
    print(
        f"All {5 * len(names())} sets of {SET} images: {whole * SET:.0f} s, on {torch.get_num_threads()} "
        "thread."
    )
