"""The runs that travel with the book can be brought back: each is whole, and what it says of itself."""

import pytest

from specfreq.core import places
from specfreq.experiment import kept


@pytest.mark.parametrize("archive", kept.archives(), ids=lambda path: path.stem)
def test_every_kept_run_of_the_book_is_restored_whole(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    run = kept.restore(archive)
    assert run is not None and run.key == archive.stem and not run.trained
    assert run.results["accuracy"]["accuracy"] > 2 * 100 / len(run.outline["classes"])
    assert len(run.history) == run.experiment.epochs


def test_the_book_keeps_nothing_else_beside_them():
    assert [path for path in places.visible(kept.folder().iterdir()) if path not in kept.archives()] == []
