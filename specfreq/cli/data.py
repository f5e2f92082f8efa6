"""`specfreq data`: image sets, those that are here, and how to get those that are missing."""

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
