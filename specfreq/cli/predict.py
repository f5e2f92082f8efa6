"""`specfreq predict`: what a trained network says of pictures, and where it saw it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specfreq.cli import base
from specfreq.core.errors import UserError

if TYPE_CHECKING:
    from specfreq.experiment.predict import Answer

SHOWN = 3  # classes of a line


@click.command("predict", cls=base.Command)
@click.argument("key", metavar="RUN")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=base.Place())
@click.option("--json", "as_json", is_flag=True, help="print the probabilities of all classes, as JSON")
@click.option(
    "--cam",
    metavar="FOLDER",
    type=base.Place(),
    help="write each picture there with its class activation map (Grad-CAM of the answer) laid over it",
)
@click.option("--layer", metavar="NAME", help="whose maps --cam weighs [default: the last ones]")
@click.option("--filter", help="apply this filter to the pictures, instead of the run's own")
@base.device
def predict(
    key: str,
    images: tuple[Path, ...],
    as_json: bool,
    cam: Path | None,
    layer: str | None,
    filter: str | None,
    device: str | None,
) -> None:
    """Ask a trained network about pictures: the likeliest classes with their probabilities, in %.

    RUN is the key of a run, see `specfreq list runs`; its first letters do. Its training images are not
    needed. IMAGE is a picture of any format that Pillow opens, or a folder of pictures. Another size or
    number of channels is converted as in training, which is said.

    A picture that cannot be read is named, the others are answered, and the exit code is 1.

    \b
    specfreq predict 3f2a photo.jpg scans/                a line for each picture
    specfreq predict 3f2a scans/ --json --cam overlays/   all classes, and where it looked
    """
    from specfreq.experiment import predict as answering

    if layer is not None and cam is None:
        raise UserError("--layer goes with --cam FOLDER, whose maps it chooses")
    run = answering.found_run(key)
    found = answering.predict(run, images, filter=filter, cam=cam, layer=layer, device=device, say=base.say)
    if found.left_out:
        base.say(f"specfreq: {found.left_out}")
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    elif found.answers:
        print(base.table(_line(answer) for answer in found.answers))
    for answer in found.answers:
        if answer.converted and not as_json:
            base.say(f"specfreq: {answer.file}: {answer.converted}")
    for file, reason in found.failed:
        text = str(file)
        base.say(f"specfreq: no answer to {reason if reason.startswith(text) else f'{text}: {reason}'}")
    if found.failed:
        sys.exit(1)


def _line(answer: "Answer") -> list[str]:
    likeliest = sorted(answer.probabilities.items(), key=lambda pair: -pair[1])[:SHOWN]
    return [str(answer.file), *(f"{name} {100 * share:.1f}" for name, share in likeliest)]


COMMANDS = (predict,)
