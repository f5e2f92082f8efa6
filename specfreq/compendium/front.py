"""The landing page: its template filled from the ledger and the records, its pictures drawn."""

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specfreq.compendium import marks
from specfreq.core.errors import UserError, unknown
from specfreq.evidence import claims, ledger, records, tables
from specfreq.evidence.comparison import by_name, equal, select
from specfreq.evidence.ledger import Entry
from specfreq.evidence.rows import CORRECTED, PUBLISHED, Row, apart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOT = re.compile(r"\{\{\s*([a-z-]+)(?:\s+([\w.-]+))?\s*\}\}")
PICTURES = "book/_static/front"
HIGH_PASS = "gaussian-high-pass:sigma=2"
SIDE = 256  # pixels of a picture of the hero


# -- the template


def filled(template: str, entries: Sequence[Entry], studies: Mapping[str, str], where: str) -> str:
    """The landing page: every ``{{name}}`` replaced by what is computed, ``{{name of}}`` for one of many.

    Args:
        entries: the ledger.
        studies: titles of the studies, by name, each of which has to be shown.
        where: the file of the template, for messages.

    Raises:
        UserError: a slot, claim or study that does not exist; a slot or study that the page does not show.
    """
    values = {**numbers(), **texts(entries)}
    by_claim = {entry.name: entry for entry in entries}
    many: dict[str, tuple[Mapping[str, Any], Callable[[str], str]]] = {
        "badge": (by_claim, lambda name: _badge(by_claim[name])),
        "effect": (by_claim, lambda name: by_claim[name].amount),
        "study": (studies, lambda name: _card(name, studies[name])),
        "verdicts": (studies, lambda name: _verdicts(name, entries)),
    }
    shown = set()

    def fill(slot: re.Match) -> str:
        name, of = slot.groups()
        shown.add((name, of))
        if of is None:
            if name not in values:
                raise unknown("slot", name, values, where=where)
            return values[name]
        if name not in many:
            raise unknown("slot", name, many, where=where)
        known, text = many[name]
        if of not in known:
            raise unknown({"study": "study", "verdicts": "study"}.get(name, "claim"), of, known, where=where)
        return text(of)

    page = SLOT.sub(fill, template)
    missing = [name for name in values if (name, None) not in shown]
    missing += [f"study {name}" for name in studies if ("study", name) not in shown]
    if missing:
        raise UserError(f"{where} does not show {', '.join(missing)}; write {{{{{missing[0]}}}}} into it")
    return page


def _badge(entry: Entry) -> str:
    return marks.badge(entry.verdict, link=f"claims.html#{entry.anchor}")


def _card(name: str, title: str) -> str:
    """The head of a study's card, for the directive ``grid-item-card``."""
    lines = [":class-card: study", f":link: ../notebooks/{name}", ":link-type: doc"]
    lines += [f":img-top: _static/front/{name}.png", f":img-alt: {_ALT[name]}", "", f"**{title}**"]
    return "\n".join(lines)


def _verdicts(name: str, entries: Sequence[Entry]) -> str:
    counts = Counter(entry.verdict for entry in entries if entry.study == name)
    return marks.sentence(counts) if counts else "no claims to judge"


# -- what it says


def texts(entries: Sequence[Entry]) -> dict[str, str]:
    """What the page says of the ledger as a whole."""
    counts = sum(ledger.tally(entries).values(), Counter())
    judged = [entry for entry in entries if entry.kind not in marks.NOT_JUDGED]
    waiting = [work.title for work in claims.works().values() if not work.studies]
    return {
        "judged": str(len(judged)),
        "claims": str(counts.total()),
        "counts": marks.counted(counts, "claims.html"),
        "tally": marks.tally_lines(entries, "claims.html"),
        "waiting": " and ".join(waiting),
        "hero": _hero(),
    }


def numbers() -> dict[str, str]:
    """The numbers of the page, as text, by slot."""
    band = claims.load("band-limited-training").published["cifar10"][HIGH_PASS]
    ours = _row("band-limited-training", "cifar10", HIGH_PASS, "accuracy")
    plain = _row("band-limited-training", "cifar10", "none", "accuracy")
    errors = _against_plain("amplitude-phase-recombination", "cifar10", "apr-sp", "corruption error")
    clean = _against_plain("amplitude-phase-recombination", "cifar10", "apr-sp", "accuracy")
    identity = records.content("spectral-tv-gan", "identity")
    largest = max(value for row in identity for value in row["values"])
    return {
        "printed": f"{band.printed:.2f}",
        "high-pass": tables.measured(ours),
        "unfiltered": tables.measured(plain),
        "errors": in_points(errors, "fewer errors", "more errors", sign=-1),
        "clean": in_points(clean, "more accurate", "less accurate"),
        "identity": f"{largest:.1g}",
    }


def _row(study: str, data: str, arm: str, quantity: str, series: str = CORRECTED) -> Row:
    """A row of a study's record.

    Raises:
        UserError: the record has none for that arm and quantity.
    """
    found = by_name(select(records.content(study, "arms"), data=data), series)
    if (arm, quantity) not in found:
        known = [" ".join(pair) for pair in found]
        raise unknown("arm and quantity", f"{arm} {quantity}", known, where=f"the record of {study}")
    return found[arm, quantity]


def _against_plain(study: str, data: str, arm: str, quantity: str) -> tuple[float, float, float]:
    """A row minus that of plain training of as many passes, with its interval."""
    row = _row(study, data, arm, quantity)
    base = equal(row, select(records.content(study, "arms"), data=data), "none")
    found = None if base is None else apart(row, base)
    if found is None or found["low"] is None or found["high"] is None:
        raise UserError(f"the record of {study} has no plain training to compare {arm} with")
    return found["mean"], found["low"], found["high"]


def in_points(found: tuple[float, float, float], up: str, down: str, sign: int = 1) -> str:
    """A difference of percentages in words: ``4.0 points fewer errors [3.1, 4.9]``."""
    mean, low, high = (sign * value for value in found)
    word = up
    if mean < 0:
        mean, low, high, word = -mean, -low, -high, down
    low, high = sorted((low, high))
    places = tables.decimals((high - low) / 2)
    return f"{mean:.{places}f} points {word} [{low:.{places}f}, {high:.{places}f}]"


def _hero() -> str:
    """Three pictures side by side: as it is, as the program made it, as it was meant; with the accuracies."""
    found = numbers()
    shown = [
        ("hero-picture", "A picture", "", "A photograph of a cat."),
        (
            "hero-published",
            "What the program trained on",
            f"reported accuracy: {found['printed']} %",
            f"A black square: the input behind the reported accuracy of {found['printed']} percent.",
        ),
        (
            "hero-corrected",
            "What it meant to train on",
            f"accuracy, corrected: {found['high-pass']} %",
            f"The cat's outlines on grey: the input with which accuracy is {found['high-pass']} percent.",
        ),
    ]
    parts = []
    for name, title, number, alt in shown:
        image = f'<img src="../_static/front/{name}.png" alt="{alt}" width="{SIDE}" height="{SIDE}">'
        number = f"<strong>{number}</strong>" if number else "<span>of a data set, say</span>"
        parts.append(f"<figure>{image}<figcaption>{title}<br>{number}</figcaption></figure>")
    return f'<div class="hero">{"".join(parts)}</div>'


# -- what it shows


def pictures(studies: Sequence[str]) -> dict[str, bytes]:
    """The pictures of the landing page as PNG, by their place below the compendium.

    Raises:
        UserError: a study has no thumbnail here.
    """
    for name in studies:
        if name not in _THUMBNAILS:
            raise unknown("study", name, _THUMBNAILS, where="the thumbnails of compendium/front.py")
    drawn = {name: _as_png(_THUMBNAILS[name]()) for name in studies}
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


def _dots(rows: Sequence[tuple[str, Mapping[str, Any], bool]], line: float | None = None) -> "Figure":
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
        ("all", _row(study, data, "none", "accuracy"), False),
        ("low", _row(study, data, low, "accuracy"), False),
        ("high", _row(study, data, HIGH_PASS, "accuracy"), False),
        ("black", _row(study, data, HIGH_PASS, "accuracy", PUBLISHED), True),
    ]
    return _dots(rows, line=rows[0][1]["chance"])


def _swap() -> "Figure":
    study = "amplitude-versus-phase"
    rows = [
        (f"{label}, {donor.partition(' ')[0]}", _row(study, "cifar10", arm, donor), arm != "none")
        for arm, label in {"none": "plain", "apr-p": "APR-P"}.items()
        for donor in ("amplitude donor", "phase donor")
    ]
    return _dots(rows)


def _recombination() -> "Figure":
    study, data, quantity = "amplitude-phase-recombination", "cifar10", "corruption error"
    names = {"none": "plain", "apr-p": "APR-P", "apr-s": "APR-S", "apr-sp": "APR-SP", "augmix": "AugMix"}
    return _dots([(label, _row(study, data, arm, quantity), arm != "none") for arm, label in names.items()])


def _heatmaps() -> "Figure":
    from specfreq.figures import small

    maps = records.content("fourier-heatmaps", "maps")
    return small.small_maps({"plain": maps["none"]["error"], "APR-SP": maps["apr-sp"]["error"]})


def _denoising() -> "Figure":
    names = {"noisy": "noisy", "gaussian-blur": "blur", "total-variation": "TV"}
    rows = [(label, _row("rof-denoising", "cifar10", arm, "PSNR")) for arm, label in names.items()]
    return _dots([(label, row, label == "TV") for label, row in rows])


def _scales() -> "Figure":
    from specfreq.figures import small

    spectra = records.content("spectral-tv", "spectra")
    return small.small_lines(spectra, records.content("spectral-tv", "times"))


def _spectra() -> "Figure":
    from specfreq.figures import small

    profiles = records.content("image-spectra-cifar10", "profiles")
    found = {name: values[1:] for name, values in profiles.items()}
    return small.small_lines(found, range(1, len(next(iter(profiles.values())))), log=True)


def _texture() -> "Figure":
    found = {}
    for row in records.content("spectral-tv-augmentation", "arms"):
        if row["quantity"] == "accuracy":
            found.setdefault(row["data"], {})[row["stands_for"]] = row
    rows = []
    for data, arms in found.items():
        base = next((arms[arm] for arm in arms if arm.startswith("tv:") and "=1" in arm), None)
        if "tv" in arms and base is not None:
            rows.append((data, apart(arms["tv"], base), True))
    return _dots(rows, line=0)


def _generated() -> "Figure":
    import numpy as np
    from PIL import Image

    from specfreq.figures import small

    kept = records.content("spectral-tv-gan", "pictures")["images"]["bands"]
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(kept["png"]))).convert("L"))
    count, _, height, width = kept["shape"]
    return small.small_pictures(strip.reshape(count, height, width)[:10], columns=5)


def _costs() -> "Figure":
    rows = records.content("training-cost", "rows", "bench")[:5]
    named = {row["name"][:14]: (row["median"], row["lower"], row["upper"]) for row in rows}
    dots = [dict(zip(("mean", "low", "high"), found, strict=True)) for found in named.values()]
    return _dots([(name, row, False) for name, row in zip(named, dots, strict=True)], line=1)


_THUMBNAILS:
            raise unknown("study", name, _THUMBNAILS, where="the thumbnails of compendium/front.py")
    drawn = {name: _as_png(_THUMBNAILS[name]()) for name in studies}
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


def _dots(rows: Sequence[tuple[str, Mapping[str, Any], bool]], line: float | None = None) -> "Figure":
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
        ("all", _row(study, data, "none", "accuracy"), False),
        ("low", _row(study, data, low, "accuracy"), False),
        ("high", _row(study, data, HIGH_PASS, "accuracy"), False),
        ("black", _row(study, data, HIGH_PASS, "accuracy", PUBLISHED), True),
    ]
    return _dots(rows, line=rows[0][1]["chance"])


def _swap() -> "Figure":
    study = "amplitude-versus-phase"
    rows = [
        (f"{label}, {donor.partition(' ')[0]}", _row(study, "cifar10", arm, donor), arm != "none")
        for arm, label in {"none": "plain", "apr-p": "APR-P"}.items()
        for donor in ("amplitude donor", "phase donor")
    ]
    return _dots(rows)


def _recombination() -> "Figure":
    study, data, quantity = "amplitude-phase-recombination", "cifar10", "corruption error"
    names = {"none": "plain", "apr-p": "APR-P", "apr-s": "APR-S", "apr-sp": "APR-SP", "augmix": "AugMix"}
    return _dots([(label, _row(study, data, arm, quantity), arm != "none") for arm, label in names.items()])


def _heatmaps() -> "Figure":
    from specfreq.figures import small

    maps = records.content("fourier-heatmaps", "maps")
    return small.small_maps({"plain": maps["none"]["error"], "APR-SP": maps["apr-sp"]["error"]})


def _denoising() -> "Figure":
    names = {"noisy": "noisy", "gaussian-blur": "blur", "total-variation": "TV"}
    rows = [(label, _row("rof-denoising", "cifar10", arm, "PSNR")) for arm, label in names.items()]
    return _dots([(label, row, label == "TV") for label, row in rows])


def _scales() -> "Figure":
    from specfreq.figures import small

    spectra = records.content("spectral-tv", "spectra")
    return small.small_lines(spectra, records.content("spectral-tv", "times"))


def _spectra() -> "Figure":
    from specfreq.figures import small

    profiles = records.content("image-spectra-cifar10", "profiles")
    found = {name: values[1:] for name, values in profiles.items()}
    return small.small_lines(found, range(1, len(next(iter(profiles.values())))), log=True)


def _texture() -> "Figure":
    found = {}
    for row in records.content("spectral-tv-augmentation", "arms"):
        if row["quantity"] == "accuracy":
            found.setdefault(row["data"], {})[row["stands_for"]] = row
    rows = []
    for data, arms in found.items():
        base = next((arms[arm] for arm in arms if arm.startswith("tv:") and "=1" in arm), None)
        if "tv" in arms and base is not None:
            rows.append((data, apart(arms["tv"], base), True))
    return _dots(rows, line=0)


def _generated() -> "Figure":
    import numpy as np
    from PIL import Image

    from specfreq.figures import small

    kept = records.content("spectral-tv-gan", "pictures")["images"]["bands"]
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(kept["png"]))).convert("L"))
    count, _, height, width = kept["shape"]
    return small.small_pictures(strip.reshape(count, height, width)[:10], columns=5)


def _costs() -> "Figure":
    rows = records.content("training-cost", "rows", "bench")
    named = [(row["name"], {"mean": row["median"], "low": row["lower"], "high": row["upper"]}) for row in rows]
    return _dots([(name[:14], row, False) for name, row in named[:5]], line=1)  # pyright: ignore[reportArgumentType]


_THUMBNAILS: dict[str, Callable[[], "Figure"]] = {
    "image-spectra": _spectra,
    "band-limited-training": _band_limited,
    "amplitude-versus-phase": _swap,
    "amplitude-phase-recombination": _recombination,
    "fourier-heatmaps": _heatmaps,
    "rof-denoising": _denoising,
    "spectral-tv": _scales,
    "spectral-tv-augmentation": _texture,
    "spectral-tv-gan": _generated,
    "engine": _costs,
}
_ALT = {
    "image-spectra": "Mean power over frequency, a falling line for each class of CIFAR-10.",
    "band-limited-training": "Accuracies with all, low and high frequencies; with black inputs, at chance.",
    "amplitude-versus-phase": "How often networks see the image that gave the amplitude, or the phase.",
    "amplitude-phase-recombination": "Errors on corrupted images, of plain training and four augmentations.",
    "fourier-heatmaps": "Two maps of error by frequency, of plain training and of APR-SP.",
    "rof-denoising": "Noise left: noisy pictures, blurred ones, and those of total variation.",
    "spectral-tv": "Spectra of total variation, a line for each class of CIFAR-10.",
    "spectral-tv-augmentation": "Differences of accuracy by amplified texture on three image sets, beside 0.",
    "spectral-tv-gan": "Ten generated grey faces.",
    "engine": "Time of a training step for several augmentations, over that of a bare loop.",
}
