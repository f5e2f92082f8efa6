"""Answers of a run to pictures of one's own: classes with probabilities, and where the network saw them."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specfreq.core import pictures, places, storage
from specfreq.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from specfreq.experiment.runs import Run

# Pillow's modes by the channels of a network
MODES = {1: "L", 3: "RGB"}
BATCH = 100


@dataclass(frozen=True)
class Answer:
    """What a network says of a picture.

    Args:
        file: the picture.
        probabilities: of all classes, by name, the softmax of the logits.
        converted: what was done to bring the picture to the size and channels of the training images; empty
            if nothing.
        overlay: the file of its class activation map, if one was asked for.
    """

    file: Path
    probabilities: dict[str, float]
    converted: str
    overlay: Path | None = None

    @property
    def answer(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Answers:
    """The answers to pictures, and the pictures that have none, each with the reason."""

    run: str
    filter: str
    answers: list[Answer]
    failed: list[tuple[Path, str]]
    left_out: str

    def as_json(self) -> dict[str, Any]:
        """What ``specfreq predict --json`` prints."""
        return {
            "run": self.run,
            "filter": self.filter,
            "pictures": [
                {
                    "file": str(found.file),
                    "answer": found.answer,
                    "probabilities": found.probabilities,
                    "converted": found.converted or None,
                    "overlay": found.overlay and str(found.overlay),
                }
                for found in self.answers
            ],
            "failed": [{"file": str(file), "reason": reason} for file, reason in self.failed],
            "left_out": self.left_out or None,
        }


def found_run(key: str) -> "Run":
    """The finished run of a classifier whose key begins so.

    Raises:
        UserError: no run, or several, are called so; it is one of another kind, such as a generator.
    """
    from specfreq.experiment import runs, store

    path = store.find(key)
    if not (path / "experiment.json").exists():
        kind = "a generator" if (path / "recipe.json").exists() else "another kind"
        raise UserError(
            f"run {path.name} is that of {kind}, which answers no picture with classes; "
            "`specfreq list runs` shows those that do"
        )
    return runs.Run(path)


def files_of(given: Sequence[Path]) -> tuple[list[Path], str]:
    """The pictures that are named, and those in the folders that are, and below them, in the order of the
    names.

    Returns:
        The files, each once; and which files of the folders are left out as no pictures, empty if none.

    Raises:
        UserError: a folder that cannot be read, or that holds no picture.
    """
    from specfreq.data.folders import few, is_picture

    found: dict[Path, None] = {}
    others: list[str] = []
    for place in given:
        if not place.is_dir():
            found[place] = None  # what is wrong with it is said when it is read
            continue
        inside = list(_below(place))
        own = [file for file in inside if is_picture(file.name, file.parent)]
        if not own:
            raise UserError(f"{place} holds no pictures")
        found |= dict.fromkeys(own)
        others += [str(file) for file in inside if file not in found]
    note = f"left out, as no pictures: {len(others)} ({few(others)})" if others else ""
    return list(found), note


def _below(folder: Path) -> Iterator[Path]:
    """The files in a folder and below it; hidden ones do not count, and links to folders are not followed."""
    try:
        entries = places.visible(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror or error}") from None
    for entry in entries:
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _below(entry)
        else:
            yield entry


def read(file: Path, shape: tuple[int, int, int], streamed: bool = False) -> "tuple[np.ndarray, str]":
    """A picture as a loader of image sets reads it, uint8 (C, H, W); and what that changed.

    It is turned upright, put on white where it is transparent, made grey (ITU-R BT.601) or coloured, and of
    another size its centre is cut out in the shape of the training images and scaled to theirs (Lanczos).

    Args:
        file: any picture that Pillow opens.
        shape: (C, H, W) of the training images.
        streamed: those were read from disk during training, see `streams.Stream`: their tests are shown the
            centre of a larger picture.

    Raises:
        UserError: the file is missing, damaged or no picture, has more than 8 bits a channel; the network was
            trained on images with neither one channel nor three.
    """
    channels, height, width = shape
    if channels not in MODES:
        raise UserError(
            f"the run was trained on images with {channels} channels, which no picture file has; it answers "
            "image sets alone, see `specfreq measure`"
        )
    mode = MODES[channels]
    original, (wide, high) = pictures.described(file)
    done = []
    colour = original not in pictures.GREY
    if colour != (mode == "RGB"):
        done.append("made grey" if mode == "L" else "grey repeated in three channels")
    if (wide, high) != (width, height) and not streamed:
        cut = "" if wide * height == high * width else "centre cut out, "
        done.append(f"{cut}{wide}x{high} scaled to {width}x{height}")
    if streamed:
        import numpy as np

        from specfreq.data import streams

        scaled = f"{wide}x{high} scaled, a rim of it cut off, to {width}x{height}"
        shown = np.asarray(streams.centre(file, width)).transpose(2, 0, 1)
        return shown, ", ".join([*done, scaled])
    return pictures.decode(file, mode, (width, height)), ", ".join(done)


def predict(
    run: "Run",
    given: Sequence[Path],
    *,
    filter: str | None = None,
    cam: Path | None = None,
    layer: str | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Answers:
    """Ask the network of a run about pictures; what ``specfreq predict`` does. Its training set is not
    needed.

    Args:
        given: files of any format that Pillow opens, and folders of them.
        filter: what the pictures go through first, instead of the run's own filter.
        cam: the folder for the class activation map of each picture's answer, laid over the picture.
        layer: of the maps, see `gradcam.target`.
        device: a GPU if there is one, by default.
        say: told what begins, once all names are known to be right.

    Raises:
        UserError: an unknown filter, or one that learns from a training set that is not there; a folder
            without pictures, or one that cannot be written to; a network that answers with NaN. A picture
            that cannot be read is no error: it is among those that failed.
    """
    from specfreq import filters

    files, left_out = files_of(given)
    spec = filters.normal_form(filter) if filter else run.experiment.filter
    if cam is not None:
        if cam.exists() and not cam.is_dir():
            raise UserError(f"cannot write overlays into {cam}: it is no folder")
        storage.check(cam)
    say(f"specfreq: run {run.key} answers {len(files)} picture{'s' * (len(files) != 1)}")
    classes, shape = run.outline["classes"], tuple(run.outline["shape"])
    streamed = "stream=1" in run.experiment.data.partition("?")[2].split("&")
    model = run.classifier(spec, device)
    if cam is not None:
        from specfreq.measures import gradcam

        gradcam.target(model, layer, "predict")
    names = _overlay_names(files) if cam is not None else {}
    answers, failed = [], []
    for start in range(0, len(files), BATCH):
        read_well, images = [], []
        for file in files[start : start + BATCH]:
            try:
                pixels, converted = read(file, shape, streamed)
            except UserError as error:
                failed.append((file, str(error)))
                continue
            read_well.append((file, converted))
            images.append(pixels)
        if not images:
            continue
        tensor = _tensor(images)
        shares = _probabilities(model, tensor)
        overlays = (
            _overlays(model, tensor, shares.argmax(1), layer) if cam is not None else [None] * len(tensor)
        )
        for (file, converted), row, overlay in zip(read_well, shares, overlays, strict=True):
            place = None
            if cam is not None and overlay is not None:
                place = storage.write(cam / names[file], overlay)
            answers.append(Answer(file, dict(zip(classes, row.tolist(), strict=True)), converted, place))
    return Answers(run.key, spec, answers, failed, left_out)


def _tensor(images: "list[np.ndarray]") -> "Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.stack(images))


def _probabilities(model: "nn.Module", images: "Tensor") -> "Tensor":
    """The softmax of the logits, (N, classes).

    Raises:
        UserError: some are NaN or infinite.
    """
    from specfreq.measures import inference

    logits = inference.logits(model, images, batch=BATCH).double()
    if not logits.isfinite().all():
        raise UserError("the network answers with NaN or infinity; its training went wrong, train it again")
    return logits.softmax(1)


def _overlays(
    model: "nn.Module", images: "Tensor", classes: "torch.Tensor", layer: str | None
) -> list[bytes]:
    """PNG files of maps laid over pictures, enlarged to be seen."""
    from specfreq.measures import gradcam

    found = gradcam.scaled(gradcam.maps(model, images, classes, layer=layer, batch=BATCH))
    pairs = zip(images.numpy(), found.numpy(), strict=True)
    return [pictures.png(pictures.overlaid(image, map)) for image, map in pairs]


def _overlay_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for the overlay of each picture: its own, and a number where two would have the same."""
    taken: set[str] = set()
    found = {}
    for file in files:
        stem = re.sub(r"[^\w.-]+", "_", file.name) or "picture"
        name, number = f"{stem}.cam.png", 2
        while name.lower() in taken:
            name, number = f"{stem}-{number}.cam.png", number + 1
        taken.add(name.lower())
        found[file] = name
    return found
