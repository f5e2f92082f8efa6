"""The pictures of the landing page: what a program fed its networks, and one small figure for each study."""

import base64
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specfreq import augment
from specfreq.core.errors import UserError, unknown
from specfreq.evidence import records
from specfreq.evidence.comparison import by_name, equal, select
from specfreq.evidence.rows import CORRECTED, PUBLISHED, Row, apart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Dot = tuple[str, Mapping[str, Any], bool]  # its name, its row, and whether it is drawn in the second colour
PICTURES = "book/_static/front"
HIGH_PASS = "gaussian-high-pass:sigma=2"
SIDE = 256  # pixels of a picture of the hero


def row(study: str, data: str, arm: str, quantity: str, series: str = CORRECTED) -> Row:
    """A row of a study's record.

    Raises:
        UserError: the record has none for that arm and quantity.
    """
    found = by_name(select(records.required(study, "arms"), data=data), series)
    if (arm, quantity) not in found:
        known = [" ".join(pair) for pair in found]
        raise unknown("arm and quantity", f"{arm} {quantity}", known, where=f"the record of {study}")
    return found[arm, quantity]


def pictures(studies: Sequence[str]) -> dict[str, bytes]:
    """The pictures of the landing page, as PNG by their place: the hero's, and of studies that have one."""
    drawn = {name: _as_png(_THUMBNAILS[name]()) for name in studies if name in _THUMBNAILS}
    return {f"{PICTURES}/{name}.png": png for name, png in {**drawn, **_hero_pictures()}.items()}


def _hero_pictures() -> dict[str, bytes]:
    """A photograph that scikit-image carries, behind the high-pass filter as published and as meant."""
    import torch
    from PIL import Image

    from specfreq import filters
    from specfreq.data.embedded import photograph

    cat = photograph("cat")
    top, left = (cat.shape[0] - SIDE) // 2 - 10, (cat.shape[1] - SIDE) // 2
    whole = torch.tensor(cat[top : top + SIDE, left : left + SIDE]).permute(2, 0, 1)[None] / 255
    published = filters.build(filters.as_published(HIGH_PASS, channels=3))(whole)
    meant = filters.build(HIGH_PASS)(whole)
    shown = {
        "hero-picture": whole,
        "hero-published": published,
        "hero-corrected": 0.5 + 0.5 * meant / meant.abs().max() * 2,
    }
    out = {}
    for name, image in shown.items():
        pixels = (255 * image[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
        out[name] = buffer.getvalue()
    return out


def _as_png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, transparent=True, metadata={"Software": None})
    return buffer.getvalue()


def _dots(rows: Sequence[_Dot], line: float | None = None) -> "Figure":
    from specfreq.figures import small

    dots = [
        {"name": name, "mean": row["mean"], "low": row["low"], "high": row["high"], "second": second}
        for name, row, second in rows
    ]
    return small.small_dots(dots, line=line)


def _band_limited() -> "Figure":
    study, data = "band-limited-training", "cifar10"
    low = "gaussian-low-pass:sigma=4"
    rows = [
        ("all", row(study, data, "none", "accuracy"), False),
        ("low", row(study, data, low, "accuracy"), False),
        ("high", row(study, data, HIGH_PASS, "accuracy"), False),
        ("black", row(study, data, HIGH_PASS, "accuracy", PUBLISHED), True),
    ]
    return _dots(rows, line=rows[0][1]["chance"])


def _swap() -> "Figure":
    study = "amplitude-versus-phase"
    rows = [
        (f"{label}, {donor.partition(' ')[0]}", row(study, "cifar10", arm, donor), arm != "none")
        for arm, label in {"none": "plain", "apr-p": "APR-P"}.items()
        for donor in ("amplitude donor", "phase donor")
    ]
    return _dots(rows)


def _beside_plain(study: str, data: str, quantity: str, names: Mapping[str, str]) -> list[_Dot]:
    """Arms by their names, below plain training of as many network passes as the first of them."""
    arms = {label: row(study, data, arm, quantity) for arm, label in names.items()}
    plain = equal(next(iter(arms.values())), records.required(study, "arms"), "none")
    if plain is None:
        raise UserError(f"the record of {study} has no plain training on {data} with {quantity}")
    return [("plain", plain, False), *((label, found, True) for label, found in arms.items())]


def _recombination() -> "Figure":
    names = {"apr-p": "APR-P", "apr-s": "APR-S", "apr-sp": "APR-SP", "augmix": "AugMix"}
    return _dots(_beside_plain("amplitude-phase-recombination", "cifar10", "corruption error", names))


def _heatmaps() -> "Figure":
    from specfreq.figures import small

    maps = records.required("fourier-heatmaps", "maps")
    shown = _beside_plain("fourier-heatmaps", "cifar10", "all", {"apr-sp": "APR-SP"})
    return small.small_maps({name: maps[found["arm"]]["error"] for name, found, _ in shown})


def _priority() -> "Figure":
    from specfreq.figures import small

    plain = records.required("learning-priority", "spectra")["cifar10"]["Plain"]
    density = {
        f"epoch {epoch}": each[1:] for epoch, each in zip(plain["epochs"], plain["density"], strict=True)
    }
    return small.small_lines(density, plain["radii"][1:], log=True)


def _density() -> "Figure":
    from specfreq.augment import cdes
    from specfreq.figures import small

    return small.small_lines({"target": cdes.target(32, 32).tolist()}, range(1, 17))


def _consistency() -> "Figure":
    """Two photographs, and between them the low frequencies of one with the high ones of the other."""
    import torch

    from specfreq import fourier
    from specfreq.core.images import luminance
    from specfreq.data.embedded import photograph
    from specfreq.figures import small

    cat, coffee = (
        luminance(torch.tensor(photograph(name)[20:276, 100:356]).permute(2, 0, 1)[None] / 255)
        for name in ("cat", "coffee")
    )
    mixed = fourier.low_pass(coffee, 12) + fourier.high_pass(cat, 12)
    shown = torch.cat([cat, mixed, coffee])[:, 0].clamp(0, 1)
    return small.small_pictures((255 * shown).byte().numpy(), columns=3)


def _scaling() -> "Figure":
    names = {"fsda": "FSDA", "fsda-random": "drawn", "apr-sp": "APR-SP", "augmix": "AugMix"}
    return _dots(_beside_plain("frequency-scaling", "reduced:of=cifar10", "corruption error", names))


def _located() -> "Figure":
    """How much of the maps lies in the box: of a bell that knows no picture, and of networks."""
    study, data = "chest-xray", "NIH chest X-rays"
    blind = {line["maps"]: line["energy in box"] for line in records.required(study, "chances")}
    mean, half = blind["bell about the middle"]
    bell = {"mean": mean, "low": mean - half, "high": mean + half}
    networks = _beside_plain(study, data, "energy in box", {"apr-sp": "APR-SP", "fsda": "FSDA"})
    return _dots([("a bell", bell, False), *((label, found, True) for label, found, _ in networks)])


def _denoising() -> "Figure":
    names = {"noisy": "noisy", "gaussian-blur": "blur", "total-variation": "TV"}
    rows = [(label, row("rof-denoising", "cifar10", arm, "PSNR")) for arm, label in names.items()]
    return _dots([(label, row, label == "TV") for label, row in rows])


def _scales() -> "Figure":
    from specfreq.figures import small

    spectra = records.required("spectral-tv", "spectra")
    return small.small_lines(spectra, records.required("spectral-tv", "times"))


def _spectra() -> "Figure":
    from specfreq.figures import small

    profiles = records.required("image-spectra-cifar10", "profiles")
    found = {name: values[1:] for name, values in profiles.items()}
    return small.small_lines(found, range(1, len(next(iter(profiles.values())))), log=True)


def _texture() -> "Figure":
    study = "spectral-tv-augmentation"
    told = records.required(study, "parameters")
    twice = augment.normal_form(told["repeats"])  # plain images as often
    rows: list[_Dot] = []
    for title in told["titles"]:
        gain = apart(row(study, title, "tv", "accuracy"), row(study, title, twice, "accuracy"))
        if gain is None:
            raise UserError(f"the record of {study} has no seed of both arms on {title}")
        rows.append((title, gain, True))
    return _dots(rows, line=0)


def _generated() -> "Figure":
    import numpy as np
    from PIL import Image

    from specfreq.figures import small

    kept = records.required("spectral-tv-gan", "pictures")["images"]["bands"]
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(kept["png"]))).convert("L"))
    count, _, height, width = kept["shape"]
    return small.small_pictures(strip.reshape(count, height, width)[:10], columns=5)


def _costs() -> "Figure":
    timed = records.required("training-cost", "rows", "bench")[:5]
    found = [{"mean": r["median"], "low": r["lower"], "high": r["upper"]} for r in timed]
    return _dots(
        [
            (textwrap.shorten(r["name"], 24, placeholder=""), each, False)
            for r, each in zip(timed, found, strict=True)
        ],
        line=1,
    )


_THUMBNAILS: dict[str, Callable[[], "Figure"]] = {
    "image-spectra": _spectra,
    "band-limited-training": _band_limited,
    "amplitude-versus-phase": _swap,
    "amplitude-phase-recombination": _recombination,
    "fourier-heatmaps": _heatmaps,
    "frequency-scaling": _scaling,
    "chest-xray": _located,
    "learning-priority": _priority,
    "spectral-density": _density,
    "class-consistency": _consistency,
    "rof-denoising": _denoising,
    "spectral-tv": _scales,
    "spectral-tv-augmentation": _texture,
    "spectral-tv-gan": _generated,
    "engine": _costs,
}
ALT = {
    "image-spectra": "Mean power over frequency, a falling line for each class of CIFAR-10.",
    "band-limited-training": "Accuracies with all, low and high frequencies; with black inputs, at chance.",
    "amplitude-versus-phase": "How often networks see the image that gave the amplitude, or the phase.",
    "amplitude-phase-recombination": "Errors on corrupted images, of plain training and four augmentations.",
    "fourier-heatmaps": "Two maps of error by frequency, of plain training and of APR-SP.",
    "frequency-scaling": "Errors on corrupted images: plain, learned and drawn weights, APR-SP, AugMix.",
    "chest-xray": "How much of the maps of three networks lies in boxes of the finding, beside a blind map.",
    "learning-priority": "Spectra of a gradient, rising with frequency, a line for each epoch of a training.",
    "spectral-density": "Spectral density with a peak at the lowest and one at the highest frequencies.",
    "class-consistency": "A cat, a cup of coffee, and between them a cat's outlines on the cup's shades.",
    "rof-denoising": "Noise left: noisy pictures, blurred ones, and those of total variation.",
    "spectral-tv": "Spectra of total variation, a line for each class of CIFAR-10.",
    "spectral-tv-augmentation": "Differences of accuracy by amplified texture, a dot for each image set.",
    "spectral-tv-gan": "Ten generated grey faces.",
    "engine": "Time of a training step for several augmentations, over that of a bare loop.",
}
