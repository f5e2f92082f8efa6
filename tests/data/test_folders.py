"""Folders as people have them: splits under any usual name, layouts that are refused, and nothing left out in
silence.
"""

import logging
import os

import pytest
import torch
from PIL import Image

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.data.folders import is_picture, listing


def touch(root, *files):
    """Empty files: a listing opens none whose suffix tells what it is."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def saved(path, colour=(10, 20, 30), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), colour).save(path, **options)
    return path


# splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "valid"),
        ("Train", "Test"),
        ("training", "testing"),
        ("TRAIN", "validation"),
        ("Training", "Val"),
    ],
)
def test_splits_are_known_by_their_usual_names_in_any_case(tmp_path, train, test):
    touch(tmp_path, f"{train}/cat/0.png", f"{train}/dog/1.png", f"{test}/dog/2.png")
    assert listing(tmp_path, "train").classes == {
        "cat": [f"{train}/cat/0.png"],
        "dog": [f"{train}/dog/1.png"],
    }
    assert listing(tmp_path, "test").classes == {"cat": [], "dog": [f"{test}/dog/2.png"]}


@pytest.mark.parametrize("validation", ["val", "Valid", "VALIDATION"])
def test_where_there_are_both_test_is_test(tmp_path, validation):
    touch(tmp_path, "train/cat/0.png", f"{validation}/cat/1.png", "Test/cat/2.png")
    assert listing(tmp_path, "test").files == ["Test/cat/2.png"]


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        (["fold1/cat/0.png", "fold2/cat/0.png"], "it holds fold1/, fold2/"),
        (["train/cat/0.png", "fold1/cat/0.png"], "it holds fold1/, train/"),
        (["train/cat/0.png", "test/cat/0.png", "test2/cat/0.png"], "it holds test/, test2/, train/"),
        (["train2017/cat/0.png", "val2017/cat/0.png"], "it holds train2017/, val2017/"),
        (["train_images/0.png", "test_images/0.png"], "it holds test_images/, train_images/"),
        (["trainA/0.png", "testA/0.png", "trainB/0.png"], "it holds testA/, trainA/, trainB/"),
        (["Train/cat/0.png", "train/cat/0.png", "test/cat/0.png"], "it holds Train/, test/, train/"),
        (["val/cat/0.png", "test/cat/0.png", "cat/0.png"], "it holds cat/, test/, val/"),
        (
            ["train/cat/0.png", "train/dog/0.png", "extra/0.png"],
            "it holds extra/, train/, and train/ holds folders",
        ),
        (
            ["cat/train/0.png", "cat/test/0.png", "dog/train/0.png"],
            "cat holds test/, train/, which look like splits",
        ),
        (["train/train/cat/0.png", "test/test/cat/0.png"], "test holds test/, which look like splits"),
        (["a/train/cat/0.png", "b/train/cat/0.png"], "a holds train/, which look like splits"),
    ],
)
def test_what_looks_like_splits_and_is_not_understood_is_refused_with_what_was_seen(tmp_path, files, seen):
    touch(tmp_path, *files)
    for split in ("train", "test"):
        with pytest.raises(UserError) as caught:
            listing(tmp_path, split)
        assert seen in str(caught.value)
        assert "wanted: train/ and test/ (or val/), each with a folder for each class" in str(caught.value)


def test_splits_one_folder_too_deep_are_refused_with_the_right_path(tmp_path):
    touch(tmp_path, "pets/train/cat/0.png", "pets/test/cat/1.png")
    with pytest.raises(UserError, match=r"pets holds test/, train/.*write folder:.*/pets$"):
        listing(tmp_path, "train")
    assert listing(tmp_path / "pets", "train").files == ["train/cat/0.png"]


def test_splits_that_are_not_laid_out_alike_are_refused(tmp_path):
    touch(tmp_path, "train/cat/0.png", "train/dog/0.png", "test/0.png")  # or `test` would be a class
    for split in ("train", "test"):
        with pytest.raises(UserError, match="test/ without class folders, train/ with class folders"):
            listing(tmp_path, split)


@pytest.mark.parametrize(
    "names", [("plane", "train"), ("bullet_train", "test_tube", "wok"), ("control", "test")]
)
def test_classes_that_sound_like_splits_are_classes(tmp_path, names):
    touch(tmp_path, *(f"{name}/{index}.png" for name in names for index in range(5)))
    assert listing(tmp_path, "train").names == names


def test_an_only_class_with_folders_of_its_own_is_remarked_upon(tmp_path):
    touch(tmp_path, *(f"pets/{name}/{index}.png" for name in ("cat", "dog") for index in range(5)))
    found = listing(tmp_path, "train")
    assert found.names == ("pets",)
    assert found.left_out.endswith(f"if its cat/, dog/ are classes, write folder:{tmp_path / 'pets'}")


# what is read


def test_all_that_pillow_can_write_and_open_is_a_picture(tmp_path):
    Image.init()
    written = 0
    for suffix, kind in Image.registered_extensions().items():
        if kind not in Image.OPEN or kind == "EPS":  # for which Pillow needs Ghostscript
            continue
        file = tmp_path / f"0{suffix}"
        try:
            Image.new("RGB", (64, 64)).save(file)
        except (OSError, KeyError, ValueError):  # not in colours, or no writer
            continue
        written += 1
        assert is_picture(str(file)), suffix
    assert written > 25


def test_classes_of_kinds_that_are_not_common_keep_their_numbers(tmp_path):
    for name, suffix in (("cat", "jfif"), ("dog", "gif"), ("emu", "png")):
        for index in range(5):
            saved(tmp_path / name / f"{index}.{suffix}")
    images = data.load(f"folder:{tmp_path}")
    assert images.classes == ("cat", "dog", "emu")
    assert images.labels.bincount().tolist() == [4, 4, 4]


def test_a_suffix_that_tells_nothing_leaves_it_to_the_content(tmp_path):
    saved(tmp_path / "a", format="PNG")
    saved(tmp_path / "a.part1", format="JPEG")
    assert is_picture("a", tmp_path) and is_picture("a.part1", tmp_path)
    for name, content in (("notes", b"text"), ("a.csv", b"P,5\n"), ("a.bin", bytes(500)), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        assert not is_picture(name, tmp_path)
    # Pillow's names, which it only writes, or reads with others' help
    for name in (
        "a.pdf",
        "a.h5",
        "a.eps",
        "a.mpg",
    ):
        saved(tmp_path / name, format="PNG")
        assert not is_picture(name, tmp_path)


# what is left out


@pytest.fixture
def untidy(tmp_path):
    """Eight pictures of two classes, one of them behind a link, and six things that are none."""
    touch(tmp_path, *(f"pets/{name}/{index}.png" for name in ("cat", "dog") for index in range(3)))
    touch(tmp_path, "pets/cat/notes.txt", "pets/README.md", "elsewhere/7.png", "elsewhere/8.png")
    (tmp_path / "pets" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "pets" / "cat" / "ring.png").symlink_to(tmp_path / "pets" / "cat" / "ring.png")
    (tmp_path / "pets" / "dog" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pets" / "dog" / "up").symlink_to(tmp_path / "pets")
    os.mkfifo(tmp_path / "pets" / "dog" / "pipe.png")
    return tmp_path / "pets"


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_file_is_read_or_named_with_the_reason(untidy, split):
    found = listing(untidy, split)
    assert len(found.files) + len(found.others) == 8
    assert {"dog/more/7.png", "dog/more/8.png"} <= {*found.files, *found.others}
    assert found.left_out == (
        "left out: not a picture (2: README.md, cat/notes.txt), "
        "a link that leads nowhere (2: cat/gone.png, cat/ring.png), "
        "not a regular file (1: dog/pipe.png), a link to a folder above it (1: dog/up)"
    )


def test_what_lies_beside_the_splits_is_named(tmp_path):
    touch(tmp_path, "train/cat/0.png", "test/cat/0.png", "masks/0.png", "sample.png", "boxes.csv")
    assert listing(tmp_path, "train").left_out == (
        "left out: a folder beside the splits (1: masks/), a picture beside the splits (1: sample.png)"
    )


@pytest.mark.parametrize("query", ["?size=8", "?size=8&stream=1"])
def test_loading_says_what_is_left_out_once(tmp_path, caplog, query):
    for index in range(5):
        saved(tmp_path / "cat" / f"{index}.png")
    touch(tmp_path, "cat/notes.txt")
    with caplog.at_level(logging.WARNING):
        images = data.load(f"folder:{tmp_path}{query}")
    said = "left out: not a picture (1: cat/notes.txt)"
    assert [record.getMessage() for record in caplog.records] == [
        f"specfreq: folder:{tmp_path}{query} (train): {said}"
    ]
    assert images.left_out == images.subset(2).left_out == said


def test_where_all_is_read_nothing_is_said(tmp_path, caplog):
    for index in range(5):
        saved(tmp_path / "cat" / f"{index}.png")
    assert data.load(f"folder:{tmp_path}").left_out == ""
    assert not caplog.records


@pytest.mark.parametrize("split", ["", "train/", "test/"])
def test_a_class_that_would_become_empty_is_an_error_that_names_it(tmp_path, split):
    for place in ("train/", "test/") if split else ("",):
        touch(tmp_path, f"{place}cat/0.png", f"{place}emu/0.png")
    touch(tmp_path, f"{split}dog/0.txt", f"{split}dog/1.txt")
    with pytest.raises(
        UserError, match=r"dog holds no pictures, and a class must not be empty;.*not a picture \(2: "
    ):
        listing(tmp_path, "test")


def test_a_class_too_small_for_the_split_is_remarked_upon(tmp_path):
    touch(tmp_path, "cat/0.png", "cat/1.png", "emu/0.png")
    assert listing(tmp_path, "train").left_out == "no picture of emu for train"
    assert listing(tmp_path, "test").left_out == ""


def test_what_systems_leave_behind_is_ignored(tmp_path):
    touch(tmp_path, *(f"cat/{index}.png" for index in range(5)))
    touch(
        tmp_path,
        ".DS_Store",
        "cat/Thumbs.db",
        "cat/._0.png",
        "__MACOSX/cat/0.png",
        "cat/desktop.ini",
        ".git/x",
        "cat/0.png~",
    )
    found = listing(tmp_path, "train")
    assert (found.names, len(found.files), found.left_out) == (("cat",), 4, "")


def test_names_that_are_no_utf_8_are_read_and_can_be_printed(tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(place)
    (tmp_path / "dog").mkdir()
    for index in range(5):
        saved(tmp_path / "dog" / f"{index}.png")
        saved(tmp_path / place / os.fsdecode(b"%d\xe9.png" % index), (0, 10 * index, 0))
    images, streamed = (data.load(f"folder:{tmp_path}?size=8{more}") for more in ("", "&stream=1"))
    assert images.classes == streamed.classes == ("caf\\xe9", "dog")
    assert len(images.digest) == len(streamed.digest) == 64
    assert torch.equal(next(streamed.batches([torch.arange(8)])), images.images)
    with pytest.raises(UserError, match="is no UTF-8; rename it"):
        data.normal_form(f"folder:{place}")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "cat/0.png")
    scandir = os.scandir

    def refuse(place):
        if os.path.basename(os.path.normpath(place)) == "cat":
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot read the folder .*cat.*: Permission denied"):
        listing(tmp_path, "test")


# places


@pytest.mark.parametrize("name", ["folder:~nosuch_user/x", "array:~nosuch_user/x.npz"])
def test_a_home_that_is_none_is_named(name):
    for use in (data.load, data.normal_form):
        with pytest.raises(UserError, match="cannot find ~nosuch_user/x"):
            use(name)


def test_the_tilde_is_home_in_every_place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPECFREQ_DATA", "~/sets")
    assert data.root() == tmp_path / "sets"
    touch(tmp_path, "sets/pets/cat/0.png", "mine/cat/0.png")
    assert data.normal_form("folder:~/mine?size=8") == f"folder:{tmp_path}/mine?size=8"
    assert (
        len(data.load("folder:~/mine?size=8&stream=1", "test"))
        == len(data.load("folder:pets?size=8&stream=1", "test"))
        == 1
    )
    monkeypatch.setenv("SPECFREQ_DATA", "~nosuch_user/sets")
    with pytest.raises(UserError, match="cannot find ~nosuch_user"):
        data.root()


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_what_is_no_path_is_refused(name):
    with pytest.raises(UserError, match=r"not a path|no such folder"):
        data.load(f"folder:{name}")


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    touch(tmp_path, "pets")
    with pytest.raises(UserError, match="pets is no folder"):
        data.load(f"folder:{tmp_path / 'pets'}")
