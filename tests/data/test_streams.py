"""Sets that stay on disk: the folder's labels, torchvision's crops, the same images however they are asked
for, bad files.
"""

import multiprocessing
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.core.randomness import seed_of
from specfreq.data import streams

RANDOM = ("random-resized", 3, 1)


@pytest.fixture(autouse=True)
def decode_here(monkeypatch):
    """No worker processes, except in tests that ask for them."""
    monkeypatch.setenv("SPECFREQ_WORKERS", "0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory, imagenet_folder):
    """12 training and 6 test pictures of 3 classes."""
    return imagenet_folder(tmp_path_factory.mktemp("photos"), classes=3)


def stream(place, split="train", side=24, **subset):
    return data.load(f"folder:{place}?size={side}&stream=1", split, **subset)


def drawn(images, crop="centre", index=None):
    """Images of a stream (N, 3, H, W), all in one batch; all of them if no index is given."""
    (batch,) = images.batches([torch.arange(len(images)) if index is None else torch.as_tensor(index)], crop)
    return batch


def flat(path, colour, size=(12, 10), mode="RGB", **options):
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def coloured(root, *files):
    """Pictures that differ in colour, so that a colour says which file was read."""
    for index, file in enumerate(files):
        flat(root / file, (20 * index, 255 - 20 * index, 7 * index))


# the listing

LAYOUTS = {
    "split folders": (
        "train/cat/0.png",
        "train/emu/0.png",
        "train/cat/1.png",
        "val/emu/7.png",
        "val/cat/8.png",
    ),
    "test beside val": ("train/cat/0.png", "val/cat/1.png", "test/cat/2.png"),
    "a class in one split only": ("train/cat/0.png", "train/emu/1.png", "val/dog/2.png", "val/emu/3.png"),
    "no split folders": (
        "cat/0.png",
        "cat/1.png",
        "cat/2.png",
        "emu/0.png",
        "emu/1.png",
        "emu/2.png",
        "emu/10.png",
    ),
    "one class": ("0.png", "1.png", "10.png", "2.png", "3.png"),
    "sub-folders of classes": (
        "cat/a/1.png",
        "cat/b1.png",
        "cat/a2.png",
        "cat/a.png",
        "cat/a-b/0.png",
        "cat/a/0.png",
        "cat/é è.png",
        "emu/x/y/z/0.png",
    ),
    "names hidden or of other kinds": (
        "cat/0.png",
        "cat/1.PNG",
        "cat/.2.png",
        ".old/3.png",
        "cat/.thumbs/4.png",
    ),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_labels_classes_and_order_are_those_of_the_folder_in_memory(tmp_path, layout, split):
    coloured(tmp_path, *LAYOUTS[layout])
    (tmp_path / LAYOUTS[layout][0]).with_name("notes.txt").write_text("no picture")
    here, there = data.load(f"folder:{tmp_path}?size=8", split), stream(tmp_path, split, side=8)
    assert isinstance(there, streams.Stream)
    assert there.classes == here.classes
    assert there.labels.dtype == torch.int64
    assert there.labels.tolist() == here.labels.tolist()
    assert there.shape == here.shape
    assert len(there) == len(here)
    assert torch.equal(drawn(there), here.images)


def test_labels_and_order_are_those_of_torchvision(photos):
    theirs = datasets.ImageFolder(photos / "train")
    ours = stream(photos)
    assert list(ours.classes) == theirs.classes
    assert ours.labels.tolist() == theirs.targets
    assert [os.path.join(photos, os.fsdecode(file)) for file in ours.files] == [
        path for path, _ in theirs.samples
    ]


def test_files_are_in_the_order_of_their_names_folder_by_folder(tmp_path):
    coloured(tmp_path, *(f"train/{file}" for file in LAYOUTS["sub-folders of classes"]))
    expected = [file.relative_to(tmp_path).as_posix() for file in sorted(tmp_path.rglob("*.png"))]
    assert [os.fsdecode(file) for file in stream(tmp_path).files] == expected


def test_hidden_folders_are_no_classes(tmp_path):
    coloured(tmp_path, *LAYOUTS["names hidden or of other kinds"])
    assert stream(tmp_path).classes == ("cat",)
    assert len(stream(tmp_path)) + len(stream(tmp_path, "test")) == 2


def test_a_link_to_the_folder_above_ends(tmp_path):
    coloured(tmp_path, "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    assert len(stream(tmp_path)) == 2


def test_no_file_is_opened_before_its_picture_is_asked_for(tmp_path):
    for name in ("0", "1", "2"):
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / f"{name}.JPEG").touch()
    assert len(stream(tmp_path)) == 2
    assert stream(tmp_path).digest
    with pytest.raises(UserError, match="no picture"):
        drawn(stream(tmp_path))


# the crops


def test_the_centre_is_that_of_torchvisions_reference(photos):
    reference = transforms.Compose(
        [transforms.Resize(round(24 * 256 / 224)), transforms.CenterCrop(24), transforms.PILToTensor()]
    )
    theirs = [image for image, _ in datasets.ImageFolder(photos / "val", reference)]
    assert torch.equal(drawn(stream(photos, "test")), torch.stack(theirs))


@pytest.mark.parametrize("crop", [RANDOM, ("random-resized", 0, 0)])
def test_random_resized_crops_are_torchvisions_on_the_stream_of_the_key(photos, crop):
    reference = transforms.Compose([transforms.RandomResizedCrop(24), transforms.PILToTensor()])
    theirs = []
    with torch.random.fork_rng():
        for index, (picture, _) in enumerate(datasets.ImageFolder(photos / "train")):
            torch.manual_seed(seed_of(crop[1], crop[2], index, "crop"))
            theirs.append(reference(picture))
    assert torch.equal(drawn(stream(photos), crop), torch.stack(theirs))


@pytest.mark.parametrize("other", [("random-resized", 3, 2), ("random-resized", 4, 1)])
def test_another_epoch_or_seed_gives_every_image_another_crop(photos, other):
    one, two = drawn(stream(photos), RANDOM), drawn(stream(photos), other)
    assert (one != two).flatten(1).any(1).all()


def test_equal_pictures_are_cropped_differently(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    for index in range(10):
        noise.save(tmp_path / f"{index}.png")
    assert len({image.numpy().tobytes() for image in drawn(stream(tmp_path), RANDOM)}) == 8


@pytest.mark.parametrize("crop", ["centre", RANDOM], ids=str)
@pytest.mark.parametrize("workers", ["0", "1", "2"])
def test_images_depend_on_neither_batches_nor_order_nor_workers(photos, crop, workers, monkeypatch):
    images = stream(photos)
    expected = drawn(images, crop)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setenv("SPECFREQ_WORKERS", workers)
    for batch in (1, 5, 12):
        parts = order.split(batch)
        batches = list(images.batches(parts, crop))
        assert [b.shape for b in batches] == [(len(part), 3, 24, 24) for part in parts]
        assert torch.equal(torch.cat(batches), expected[order])


def test_a_batch_larger_than_what_a_worker_decodes_at_once_is_whole(photos, monkeypatch):
    images = stream(photos)
    expected = drawn(images)
    index = torch.arange(3 * streams.CHUNK + 5) % 12
    monkeypatch.setenv("SPECFREQ_WORKERS", "2")
    assert torch.equal(drawn(images, index=index), expected[index])


def test_without_parts_or_images_nothing_comes(photos):
    images = stream(photos)
    assert list(images.batches([])) == []
    (empty,) = images.batches([torch.arange(0)])
    assert empty.shape == (0, 3, 24, 24)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_global_stream_is_left_alone(photos, workers, monkeypatch):
    monkeypatch.setenv("SPECFREQ_WORKERS", workers)
    with torch.random.fork_rng():
        before = torch.manual_seed(5).get_state()
        drawn(stream(photos), RANDOM)
        assert torch.equal(torch.get_rng_state(), before)


# pictures of other kinds


@pytest.mark.parametrize(
    ("mode", "colour", "suffix"),
    [
        ("1", 1, ".png"),
        ("L", 90, ".png"),
        ("LA", (90, 8), ".png"),
        ("P", 3, ".png"),
        ("RGBA", (9, 8, 7, 6), ".png"),
        ("CMYK", (10, 90, 200, 30), ".jpg"),
        ("L", 90, ".JPEG"),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode, colour, suffix):
    file = flat(tmp_path / f"0{suffix}", colour, mode=mode)
    with Image.open(file) as picture:
        assert picture.mode == mode
        rgb = picture.convert("RGB").getpixel((5, 5))
        alpha = picture.getpixel((5, 5))[-1] if mode in ("LA", "RGBA") else 255
    seen = torch.tensor([round(alpha / 255 * level + 255 - alpha) for level in rgb])  # on white
    for crop in ("centre", RANDOM):
        assert (drawn(stream(tmp_path, "test"), crop) == seen[:, None, None]).all()


def test_a_png_that_is_called_jpeg_is_read(tmp_path):  # ImageNet has one
    flat(tmp_path / "0.JPEG", (1, 2, 3), format="PNG")
    assert drawn(stream(tmp_path, "test"))[0, :, 0, 0].tolist() == [1, 2, 3]


def test_a_picture_lying_on_its_side_is_set_upright_before_it_is_cropped(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright
    lying = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    (tmp_path / "lying").mkdir()
    (tmp_path / "upright").mkdir()
    lying.save(tmp_path / "lying" / "0.png", exif=exif)
    lying.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright" / "0.png")
    for crop in ("centre", RANDOM):
        turned, upright = (drawn(stream(tmp_path / name, "test"), crop) for name in ("lying", "upright"))
        assert torch.equal(turned, upright)


def test_a_picture_one_pixel_wide_shows_its_middle_and_is_not_scaled_whole(tmp_path, monkeypatch):
    strip = np.zeros((1, 60000, 3), np.uint8)
    strip[:, 30000:] = 200
    Image.fromarray(strip).save(tmp_path / "0.png")
    scaled = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image,
        "resize",
        lambda self, size, *args, **named: scaled.append(size) or resize(self, size, *args),
    )
    image = drawn(stream(tmp_path, "test", side=64))[0]
    assert scaled
    assert max(max(size) for size in scaled) < 2000
    assert image[:, :, 0].max() < 20 < 180 < image[:, :, -1].min()
    assert (image.int() + image.flip(-1) - 200).abs().max() <= 1  # the step is in the very middle


# bad files


def truncate(file):
    file.write_bytes(file.read_bytes()[:300])


def deepen(file):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(file, format="PNG")


@pytest.mark.parametrize("crop", ["centre", RANDOM], ids=str)
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "is missing, damaged or no picture"),
        (lambda file: file.write_bytes(b""), "is missing, damaged or no picture"),
        (lambda file: file.unlink(), "is missing, damaged or no picture"),
        (deepen, "has pixels of type I;16"),
    ],
    ids=["truncated", "empty", "gone", "deep"],
)
def test_a_bad_file_is_named_when_its_batch_is_due(
    imagenet_folder, tmp_path, monkeypatch, spoil, message, workers, crop
):
    images = stream(imagenet_folder(tmp_path / "photos", classes=2))
    bad = tmp_path / "photos" / "train" / "n00000001" / "n00000001_0.JPEG"
    spoil(bad)
    monkeypatch.setenv("SPECFREQ_WORKERS", workers)
    batches = images.batches(torch.arange(8).split(2), crop)
    assert len(next(batches)) == len(next(batches)) == 2
    with pytest.raises(UserError) as caught:
        next(batches)
    assert str(caught.value).startswith(f"{bad} {message}")
    assert "Traceback" not in str(caught.value)
    assert not multiprocessing.active_children()  # though the error still holds the frames that it passed


def test_closing_early_ends_the_workers(photos, monkeypatch):
    monkeypatch.setenv("SPECFREQ_WORKERS", "2")
    batches = stream(photos).batches(torch.arange(12).split(2))
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()


# the digest and subsets


def test_the_digest_does_not_depend_on_where_the_folder_lies(photos, tmp_path, monkeypatch):
    shutil.copytree(photos, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert stream("moved").digest == stream(photos).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda train: (train / "n00000001" / "n00000001_0.JPEG").rename(
            train / "n00000001" / "n00000001_.JPEG"
        ),
        lambda train: (train / "n00000001" / "n00000001_0.JPEG").open("ab").write(b"\0"),
        lambda train: (train / "n00000001" / "n00000001_0.JPEG").unlink(),
        lambda train: (train / "n00000001" / "n00000001_0.JPEG").rename(
            train / "n00000002" / "n00000001_0.JPEG"
        ),
        lambda train: shutil.copytree(
            train / "n00000001", train.parent / "val" / "n00000000a"
        ),  # moves later labels up
    ],
    ids=["name", "size", "number", "class", "classes"],
)
def test_the_digest_changes_with(photos, tmp_path, change):
    shutil.copytree(photos, tmp_path / "photos")
    change(tmp_path / "photos" / "train")
    assert stream(tmp_path / "photos").digest != stream(photos).digest


def test_the_digest_tells_labels_classes_sides_splits_and_subsets_apart(photos):
    images = stream(photos)
    others = [
        replace(images, labels=images.labels.flip(0)),
        replace(images, classes=("cat", "dog", "emu")),
        stream(photos, side=25),
        stream(photos, "test"),
        images.subset(5),
        images.subset(5, seed=1),
    ]
    assert len({images.digest, *(other.digest for other in others)}) == 7


def test_a_file_that_has_gone_is_named_by_the_digest(tmp_path):
    coloured(tmp_path, "cat/0.png", "cat/1.png")
    images = stream(tmp_path)
    (tmp_path / "cat" / "0.png").unlink()
    with pytest.raises(UserError, match=r"cat/0\.png has gone"):
        _ = images.digest


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("draw", ["balanced", "first"])
def test_a_subset_is_that_of_the_folder_in_memory(tmp_path, seed, draw):
    coloured(tmp_path, *(f"train/{name}/{index}.png" for name in ("cat", "dog", "emu") for index in range(4)))
    here = data.load(f"folder:{tmp_path}?size=8", size=7, seed=seed, draw=draw)
    there = stream(tmp_path, side=8, size=7, seed=seed, draw=draw)
    assert there.labels.tolist() == here.labels.tolist()
    assert torch.equal(drawn(there), here.images)
    assert there.digest == stream(tmp_path, side=8).subset(7, seed=seed, draw=draw).digest


def test_a_subset_larger_than_the_set_is_refused(photos):
    with pytest.raises(UserError, match="has 12 images; cannot take 13"):
        stream(photos, size=13)


def test_a_stream_survives_being_sent_to_another_process(photos):
    sent = pickle.loads(pickle.dumps(stream(photos)))
    assert sent.digest == stream(photos).digest
    assert torch.equal(drawn(sent), drawn(stream(photos)))


# bad input


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("stream=1", r"stream=1 needs a size; write folder:.*\?size=224&stream=1"),
        ("size=8&stream=yes", "stream=yes must be 1"),
        ("size=8&steam=1", "did you mean 'stream'"),
        ("size=0&stream=1", "size=0"),
    ],
)
def test_a_wrong_query_is_refused(photos, query, message):
    with pytest.raises(UserError, match=message):
        data.load(f"folder:{photos}?{query}")


def test_stream_0_is_in_memory(photos):
    assert isinstance(data.load(f"folder:{photos}?size=8&stream=0"), data.ImageSet)


@pytest.mark.parametrize("index", [[12], [-1], [0, 99]])
def test_indices_outside_the_set_are_refused_at_once(photos, index):
    with pytest.raises(IndexError, match="has images 0 to 11"):
        stream(photos).batches([torch.tensor(index)])


@pytest.mark.parametrize(
    "crop", ["center", "random-resized", ("random-resized", 1), ("random-resized", 1, 0.5), None]
)
def test_an_unknown_crop_is_refused_at_once(photos, crop):
    with pytest.raises(ValueError, match="crop must be"):
        stream(photos).batches([torch.arange(2)], crop)


@pytest.mark.parametrize(
    ("cores", "processes", "expected"),
    [(1, "1", 1), (3, "1", 3), (64, "1", 8), (64, "16", 4), (4, "16", 1), (64, None, 8)],
)
def test_there_is_a_worker_for_each_core_shared_among_the_processes_of_the_machine(
    monkeypatch, cores, processes, expected
):
    monkeypatch.delenv("SPECFREQ_WORKERS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert streams.workers() == expected


@pytest.mark.parametrize("given", ["many", "-1", "1.5"])
def test_workers_that_are_no_number_are_refused(monkeypatch, given):
    monkeypatch.setenv("SPECFREQ_WORKERS", given)
    with pytest.raises(UserError, match="SPECFREQ_WORKERS"):
        streams.workers()
