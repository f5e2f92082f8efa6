"""Records: they name their runs and images, are kept and published under names that files can have."""

import __future__

import pytest

import specfreq
from specfreq import experiment, filters
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.evidence import comparison, records, tables

SMALL = {
    "data": "digits",
    "train_size": 100,
    "test_size": 100,
    "epochs": 1,
    "batch": 50,
    "shift": 0,
    "flip": False,
}


NOTEBOOK = {"__annotations__": {"epochs": "int", "profile": "str"}, "epochs": 1, "profile": "laptop"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        specs = filters.with_published(["none", "gaussian-high-pass:sigma=2"], 3)
        yield experiment.run_all(experiment.grid(**SMALL, filter=specs, seed=[0, 1]))


@pytest.fixture
def book(tmp_path, monkeypatch):
    """An empty compendium to publish into."""
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    (tmp_path / "book").mkdir()
    return tmp_path


def test_runs_that_differ_in_their_seed_are_one_row(runs):
    found = comparison.filter_arms(runs)
    assert [(r["arm"], r["series"]) for r in found] == [
        ("unfiltered", "corrected"),
        ("high-pass σ = 2 px", "corrected"),
        ("high-pass σ = 2 px", "as published"),
    ]
    assert all(r["seeds"] == [0, 1] and len(set(r["keys"])) == 2 for r in found)
    assert found[0]["values"] == [r.results["accuracy"]["accuracy"] for r in runs[:2]]
    assert found[2]["values"] == [10, 10] and found[2]["answers"] == [1, 1]


def test_transfer_shows_the_plain_networks_every_variant(runs):
    found = comparison.transfer(runs)
    assert [r["spec"] for r in found] == [r["spec"] for r in comparison.filter_arms(runs)]
    assert found[0]["values"] == comparison.filter_arms(runs)[0]["values"]
    assert found[2]["values"] == [10, 10]


def test_without_a_plain_network_there_is_no_transfer(runs):
    assert comparison.transfer([r for r in runs if r.experiment.filter != "none"]) == []


def test_spans_of_numbers_are_in_order():
    assert [tables.span(v) for v in ([], [9.5], [10.25, 9.5], [9.501, 9.502])] == [
        "–",
        "9.50",
        "9.50 to 10.25",
        "9.50",
    ]


def test_a_published_record_is_what_was_kept(runs, book, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(book / "runs"))
    record = records.of_study("study", NOTEBOOK, runs, arms=comparison.filter_arms(runs))
    assert (record["profile"], record["parameters"]) == ("laptop", {"epochs": 1, "profile": "laptop"})
    assert record["provenance"]["runs"] == 6 and record["provenance"]["seconds"] > 0
    assert set(record["provenance"]["data"]) == {"digits (train)", "digits (test)"}
    records.save("study", record)
    assert records.published("study") is None
    assert records.publish("study", "laptop") == "study.laptop.json"
    assert records.published("study") == record
    assert records.published_rows("study", "arms")["rows"] == record["arms"]


def test_the_parameters_of_a_notebook_are_the_names_that_it_annotates_as_they_are():
    notebook = {}
    cells = (
        "from __future__ import annotations",
        'data: str = "photos"  # a set\nsize: Literal[3] | None = 3\nprofile: str = "quick"',
        "size = None",  # as papermill adds it
        "total = 1 + 2",
    )
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec", __future__.annotations.compiler_flag), notebook)
    found = records.of_study("study", notebook)
    assert list(found["parameters"].items()) == [("data", "photos"), ("size", None), ("profile", "quick")]
    assert found["profile"] == "quick"


def test_a_notebook_without_parameters_is_told_how_to_declare_them():
    for notebook in ({}, {"__annotations__": {"epochs": "int"}, "epochs": 1}):
        with pytest.raises(UserError, match=r"declare `profile: str = .quick.`"):
            records.of_study("study", notebook)


def test_a_record_names_the_images_of_every_run(runs):
    """Of one set, but of subsets of two sizes."""
    larger = specfreq.run(experiment.Experiment(**{**SMALL, "train_size": 110}))
    names = records.of_study("study", NOTEBOOK, [*runs, larger])["provenance"]["data"]["digits (train)"]
    assert names.split(", ") == sorted(
        {runs[0].provenance["data"]["train"], larger.provenance["data"]["train"]}
    )


def test_publishing_what_was_not_kept_names_the_command(book, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(book / "runs"))
    with pytest.raises(
        UserError, match=r"unknown record 'study\.laptop'.*specfreq run study --profile laptop"
    ):
        records.publish("study", "laptop")


def test_records_of_folders_stay_among_the_records(book, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(book / "runs"))
    records.save("spectra-folder:/../../x y", {"profile": "quick"})
    assert [p.name for p in (book / "runs" / "records").iterdir()] == ["spectra-folder-..-..-x-y.quick.json"]
    assert records.publish("spectra-folder:/../../x y", "quick") == "spectra-folder-..-..-x-y.quick.json"


@pytest.mark.parametrize("profile", ["../../x", "..", "a/b", ".x", ""])
def test_a_profile_takes_no_record_out_of_its_folder(profile, book, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RECORDS", str(tmp_path / "kept" / "records"))
    before = sorted(tmp_path.rglob("*"))
    for write in (
        lambda: records.save("study", {"profile": profile}),
        lambda: records.publish("study", profile),
    ):
        with pytest.raises(UserError, match=r"cannot be the name of a profile; write letters, digits"):
            write()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["..", "", "///", "_x"])
def test_a_name_of_which_no_file_can_be_called_is_refused(name, book, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RECORDS", str(tmp_path / "kept"))
    for write in (lambda: records.save(name, {"profile": "run"}), lambda: records.publish(name, "run")):
        with pytest.raises(UserError, match="cannot be the name of a record"):
            write()
    assert not (tmp_path / "kept").exists() and not list((tmp_path / "book").iterdir())


def test_a_record_of_a_set_with_a_long_path_is_kept(book, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RECORDS", str(tmp_path / "kept"))
    names = [f"spectra-folder:/{'x' * 300}/{end}" for end in "ab"]
    for name in names:
        records.save(name, {"profile": "quick", "name": name})
        records.publish(name, "quick")
    assert [records.published(name, "quick")["name"] for name in names] == names


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_record_is_named_and_hidden_ones_are_no_records(content, book, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RECORDS", str(tmp_path / "kept"))
    records.save("study", {"profile": "quick"})
    (tmp_path / "kept" / "._study.laptop.json").write_text(content)
    with pytest.raises(UserError, match=r"unknown record 'study\.laptop'; did you mean 'study\.quick'"):
        records.publish("study", "laptop")
    (tmp_path / "kept" / "study.quick.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.quick\.json is damaged"):
        records.publish("study", "quick")


def test_a_record_of_version_0_1_says_where_it_was_computed_as_later_ones_do(book):
    old = {"data": "0f3a", "device": "CPU, 2 threads", "torch": "2.15.0", "date": "2026-11-21"}
    kept = {"study": "old", "profile": "laptop", "parameters": {"size": None}, "provenance": old}
    storage.write_json(book / "book" / "results" / "old.laptop.json", kept)
    assert records.origin("old") == "record old.laptop · CPU, 2 threads · torch 2.15.0"
    lines = {row["setting"]: row["value"] for row in tables.settings("old").rows}
    assert lines == {"size": "all", "profile": "laptop", "computed": "CPU, 2 threads; 2026-11-21"}
