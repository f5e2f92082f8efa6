"""Pages that are made while the book is staged: the claims, and the landing page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from specfreq.compendium import claims_page, front, thumbnails
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.evidence import ledger

CLAIMS, LANDING = "book/claims", "book/introduction"
MADE = (CLAIMS,)  # pages without a source


class Made(NamedTuple):
    """Files by their place below the compendium: sources to stage, and what is put beside the built pages."""

    staged: Mapping[str, bytes]
    beside: Mapping[str, bytes]


def check(pages: Sequence[str], sources: Mapping[str, Path]) -> None:
    """Refuse what `made` would refuse, in a second or two.

    Raises:
        UserError: as `made`.
    """
    if CLAIMS in pages:
        _texts(pages, sources)


def made(pages: Sequence[str], sources: Mapping[str, Path]) -> Made:
    """What the pages of a table of contents need that no file has; nothing where it does not name the claims.

    Args:
        pages: of the table of contents.
        sources: the book's own files, by their place.

    Raises:
        UserError: a claim, slot or study that does not exist; see `ledger.ledger`, `front.filled`.
    """
    if CLAIMS not in pages:
        return Made({}, {})
    staged, beside = _texts(pages, sources)
    return Made({**staged, **thumbnails.pictures(_studies(pages))}, beside)


def _texts(pages: Sequence[str], sources: Mapping[str, Path]) -> Made:
    entries = ledger.ledger()
    titles = claims_page.study_titles()
    if damaged := [name for name in _studies(pages) if name not in titles]:
        raise UserError(f"notebooks/{damaged[0]}.ipynb is damaged or not there, and _toc.yml names it")
    studies = {name: titles[name] for name in _studies(pages)}
    template = storage.read_text(sources[f"{LANDING}.md"])
    landing = front.filled(template, entries, studies, f"{LANDING}.md")
    staged = {f"{CLAIMS}.md": claims_page.page(entries, titles).encode(), f"{LANDING}.md": landing.encode()}
    named = {entry.record for entry in entries if entry.record}
    beside = {name: (places.root() / name).read_bytes() for name in ["book/claims.yaml", *sorted(named)]}
    text = json.dumps(ledger.as_json(entries), indent=1, ensure_ascii=False)
    return Made(staged, {**beside, "book/claims.json": f"{text}\n".encode()})


def _studies(pages: Sequence[str]) -> list[str]:
    return [page.removeprefix("notebooks/") for page in pages if page.startswith("notebooks/")]
