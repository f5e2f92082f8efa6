"""Tables of boxes as programs write them: text of any kind, full paths, and boxes that match nothing."""

import os

import numpy as np
import pytest
from PIL import Image

from specfreq import data
from specfreq.core.errors import UserError


@pytest.fixture
def pets(tmp_path):
    """Two classes of five black pictures of 8x8, one with an accent in its name."""
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in ("0", "1", "1é", "2", "z"):
            Image.new("RGB", (8, 8)).save(tmp_path / "pets" / name / f"{index}.png")
    return tmp_path / "pets"


PLAIN = "file,x,y,width,height,finding\ncat/0.png,1.5,2,3,4,cat\ncat/1é.png,0,0,2,2,Cat\n"
AS_WRITTEN = {
    "UTF-8": PLAIN.encode(),
    "with a byte order mark": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "Latin-1": PLAIN.encode("latin-1"),
    "lines of Windows": PLAIN.replace("\n", "\r\n").encode(),
    "lines of old Macs": PLAIN.replace("\n", "\r").encode(),
    "spaces after commas": PLAIN.replace(",", ", ").encode(),
    "capitals": PLAIN.replace("file,x,y,width,height,finding", "File,X,Y,Width,HEIGHT,Finding").encode(),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace("1.5", "1,5").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "other columns and order": b"id,height,width,y,x,file,score\n7,4,3,2,1.5,cat/0.png,1\n8,2,2,0,0,cat/1\xc3\xa9.png,1\n",
    "quotes": PLAIN.replace("cat/0.png", '"cat/0.png"').encode(),
    "empty lines": PLAIN.replace("\n", "\n\n,,,,,\n").encode(),
    "backslashes": PLAIN.replace("/", "\\").encode(),
    "without a finding": PLAIN.replace(",cat\n", ",\n").replace(",Cat\n", "\n").encode(),
    "names in other words": PLAIN.replace("cat/0", "./dog/../cat/0").encode(),
}


@pytest.mark.parametrize("content", AS_WRITTEN.values(), ids=AS_WRITTEN)
def test_a_table_is_read_however_it_is_written(pets, content):
    (pets / "boxes.csv").write_bytes(content)
    images = data.load(f"folder:{pets}")
    assert images.boxes.tolist() == [[1, 2, 5, 6], [0] * 4, [0, 0, 2, 2], *[[0] * 4] * 5]
    assert images.left_out == ""


@pytest.mark.parametrize("through", ["pets", "link"])
def test_full_paths_below_the_folder_are_names_in_it(pets, monkeypatch, through):
    (pets.parent / "link").symlink_to(pets)
    (pets / "boxes.csv").write_text(f"file,x,y,width,height\n{pets.parent / through}/cat/0.png,1,2,3,4\n")
    monkeypatch.chdir(pets.parent)
    for place in (pets, "pets", "link"):
        assert data.load(f"folder:{place}").boxes[0].tolist() == [1, 2, 4, 6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "/elsewhere/cat/0.png",
            r"names /elsewhere/cat/0\.png, which is not below .*name files from that folder on",
        ),
        ("0.png", r"names 0\.png, which is not there; name files from that folder on, such as (cat|dog)/"),
        ("../pets.png", r"names \.\./pets\.png, which is not there"),
        ("", "names , which is not there"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_with_the_cure(pets, name, message):
    (pets / "boxes.csv").write_text(f"file,x,y,width,height\n{name},1,2,3,4\n")
    with pytest.raises(UserError, match=message):
        data.load(f"folder:{pets}")


def test_boxes_that_match_no_picture_are_counted(pets):
    (pets / "cat" / "notes.txt").write_text("no picture")
    rows = "cat/notes.txt,0,0,1,1\ncat/0.png,0,0,1,1\ncat/z.png,0,0,1,1\n"  # the last is in the other split
    (pets / "boxes.csv").write_text(f"file,x,y,width,height\n{rows}")
    left_out = data.load(f"folder:{pets}").left_out
    assert left_out.endswith("; 1 boxes of boxes.csv are of files that are not in the set (cat/notes.txt)")


def test_findings_that_are_no_class_at_all_are_named(pets):
    (pets / "boxes.csv").write_text(
        "file,x,y,width,height,finding\ncat/0.png,0,0,1,1,Felis\ndog/0.png,0,0,1,1,Canis\n"
    )
    images = data.load(f"folder:{pets}")
    assert not images.boxes.any()
    assert (
        images.left_out == "none of 2 boxes of boxes.csv counts: findings are Felis, Canis, classes cat, dog"
    )


def test_a_stream_says_that_it_reads_no_boxes(pets):
    (pets / "boxes.csv").write_text(PLAIN)
    assert (
        data.load(f"folder:{pets}?size=8&stream=1").left_out
        == "boxes.csv is not read when pictures are streamed"
    )


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda place: os.symlink("nowhere", place)], ids=["pipe", "folder", "link"]
)
def test_what_is_no_regular_file_is_refused_at_once(pets, make):
    make(pets / "boxes.csv")
    with pytest.raises(UserError, match=r"boxes\.csv (is no regular file|holds no pictures)"):
        data.load(f"folder:{pets}")


@pytest.mark.parametrize(
    "content", [b"", bytes(np.arange(256, dtype=np.uint8)), b"\x89PNG\r\n\x1a\n" + bytes(90)]
)
def test_what_is_no_table_is_refused(pets, content):
    (pets / "boxes.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"boxes\.csv (has no column 'file'|is no table)"):
        data.load(f"folder:{pets}")
