"""`specfreq data`: image sets, those that are here, and how to get those that are missing."""

from pathlib import Path

import click

from specfreq.cli import base


@click.group("data", cls=base.Group)
def app() -> None:
    """Image sets: those that are here, and how to get those that are missing."""


@app.command("list", cls=base.Command)
def data_list() -> None:
    """Show every image set, and for those that cannot be loaded what is missing or damaged."""
    from specfreq import data
    from specfreq.data import corrupted

    rows = data.status()
    print(base.table((r.name, r.state, r.what) for r in rows))
    print("\nMissing or damaged; `specfreq data get NAME` gets it:")
    print("\n".join(f"  {row.name}: {row.why}" for row in rows if row.why) or "  nothing")
    place = f"unpack them in {data.root()}, from {corrupted.SITE}"
    print(f"\nCorrupted images, for corruption:source=official; {place}:")
    print(base.table((name, "here" if there else "not here") for name, there in corrupted.here().items()))


@app.command("get", cls=base.Command)
@click.argument("name", metavar="NAME")
def data_get(name: str) -> None:
    """Download an image set through its library's own loader, and check it.

    NAME is one of `specfreq data list`.
    """
    from specfreq import data

    print(data.get(name, base.say))


@app.command("make", cls=base.Command)
@click.argument("name", metavar="NAME")
@click.option("--published", is_flag=True, help="make it as the original program does")
@click.option(
    "-o",
    "output",
    metavar="FILE.png",
    type=base.Place(),
    help="a picture: a training image of each class above what has become of it",
)
def data_make(name: str, published: bool, output: Path | None) -> None:
    """Compute a set that is made of another, unless it is there: what it learns first, then its images.

    \b
    specfreq data make cdes:of=cifar10,kernels=class   SCR: kernels of 7 pixels, 16 of them, for each class
    specfreq data make cdes:of=cifar10,kernels=all     WCR: the same kernels for all classes
    specfreq data make hars:of=cifar10,radius=12       HARS: low frequencies of images of other classes

    Prints its full name, by which `specfreq train --data NAME` knows it, and a digest of each split. All of
    its parameters stand on the page "Coming from the originals".
    """
    from specfreq import data
    from specfreq.core import pictures, storage
    from specfreq.core.errors import UserError
    from specfreq.data import derived

    kind = data.normal_form(name).partition(":")[0]
    if kind not in derived.DERIVATIONS:
        known = ", ".join(derived.DERIVATIONS)
        raise UserError(f"{name} is not made of another set; those are {known}: see specfreq data list")
    if output is not None:
        if output.suffix.lower() != ".png" or output.is_dir():
            raise UserError(f"-o {output} is refused: write the name of a picture, FILE.png")
        storage.check(output.absolute().parent)
    full = derived.as_published(name) if published else data.normal_form(name)
    print(full)
    for split in ("train", "test"):
        base.say(f"specfreq: making the {split} images, unless they are there")
        made = data.load(full, split)
        print(f"  {split}  {len(made):,} images  {made.digest[:16]}")
    if output is not None:
        old, new = derived.contrasted(full)
        print(storage.write(output, pictures.sheet([old.numpy(), new.numpy()])))
