"""Folders of pictures: layouts, splits, sizes, channels, boxes, and files that are not what they should be."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from specfreq import data
from specfreq.core import memory
from specfreq.core.errors import UserError
from specfreq.core.pictures import decode


def picture(path, size=(8, 8), mode="RGB", seed=0):
    """A picture of noise as a PNG (or what the suffix says); returns its pixels (H, W[, C])."""
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode="L" if mode == "L" else "RGB").save(path)
    return pixels


@pytest.fixture
def pets(tmp_path):
    """Two classes of ten pictures."""
    for index in range(10):
        picture(tmp_path / "pets" / "cat" / f"{index}.png", seed=index)
        picture(tmp_path / "pets" / "dog" / f"{index}.png", seed=100 + index)
    return tmp_path / "pets"


def both(place):
    return data.load(f"folder:{place}"), data.load(f"folder:{place}", "test")


# layouts and splits


def test_grey_or_colour_is_decided_for_both_splits_together(tmp_path):
    for split, mode in (("train", "RGB"), ("test", "L")):
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "a.png", mode=mode)
    picture(tmp_path / "train" / "dog" / "b.png", mode="L")
    assert [images.shape for images in both(tmp_path)] == [(3, 8, 8)] * 2


def test_without_split_folders_the_last_fifth_of_every_class_is_the_test_set(pets):
    train, test = both(pets)
    assert train.classes == test.classes == ("cat", "dog")
    assert train.labels.bincount().tolist() == [8, 8]
    assert test.labels.bincount().tolist() == [2, 2]
    assert (test.images[1].numpy().transpose(1, 2, 0) == np.asarray(Image.open(pets / "cat" / "9.png"))).all()
    assert not {i.numpy().tobytes() for i in train.images} & {i.numpy().tobytes() for i in test.images}


@pytest.mark.parametrize("second", ["test", "val"])
def test_split_folders_are_taken_as_they_are(tmp_path, second):
    pixels = picture(tmp_path / "train" / "cat" / "a.png", seed=1)
    picture(tmp_path / "train" / "dog" / "b.png", seed=2)
    other = picture(tmp_path / second / "dog" / "c.png", seed=3)
    train, test = both(tmp_path)
    assert (train.images[0].numpy().transpose(1, 2, 0) == pixels).all()
    assert (test.images[0].numpy().transpose(1, 2, 0) == other).all()
    assert test.classes == ("cat", "dog")  # no cat in the test set, and yet a dog is number 1
    assert test.labels.tolist() == [1]


def test_of_test_and_val_the_test_folder_is_the_test_set(tmp_path):
    for index, name in enumerate(("train", "val", "test")):
        picture(tmp_path / name / "cat" / "a.png", seed=index)
    assert (
        data.load(f"folder:{tmp_path}", "test").images
        == data.load(f"folder:{tmp_path / 'test'}", "test").images
    ).all()


def test_a_missing_split_is_named(tmp_path):
    picture(tmp_path / "train" / "cat" / "a.png")
    with pytest.raises(UserError, match="has no test/ or val/ folder"):
        data.load(f"folder:{tmp_path}", "test")


def test_a_class_called_train_is_a_class(tmp_path):
    for name in ("train", "plane"):
        for index in range(5):
            picture(tmp_path / name / f"{index}.png")
    assert data.load(f"folder:{tmp_path}").classes == ("plane", "train")


def test_a_flat_folder_is_one_class(pets):
    train, test = both(pets / "cat")
    assert train.classes == ("cat",)
    assert (len(train), len(test)) == (8, 2)


def test_relative_paths_are_looked_for_here_and_then_among_the_data(pets, monkeypatch, tmp_path):
    monkeypatch.setenv("SPECFREQ_DATA", str(pets.parent))
    assert len(data.load("folder:pets")) == 16
    (tmp_path / "here").mkdir()
    picture(tmp_path / "here" / "pets" / "0.png")
    picture(tmp_path / "here" / "pets" / "1.png")
    monkeypatch.chdir(tmp_path / "here")
    assert len(data.load("folder:pets")) == 1


def test_pictures_beside_class_folders_are_refused_by_name(pets):
    picture(pets / "stray.png")
    with pytest.raises(UserError, match=r"stray\.png lies beside class folders"):
        data.load(f"folder:{pets}")


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_a_missing_folder_is_named(name):
    with pytest.raises(UserError, match=f"folder:{name}: no such folder"):
        data.load(f"folder:{name}")


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="holds no pictures"):
        data.load(f"folder:{tmp_path}")


def test_hidden_files_are_no_pictures(pets):
    (pets / "cat" / "._0.png").write_bytes(b"left by another system")
    assert len(data.load(f"folder:{pets}")) == 16


# pixels


def test_grey_pictures_stay_grey_and_one_coloured_makes_all_three_channels(tmp_path):
    pixels = picture(tmp_path / "a" / "0.png", mode="L")
    picture(tmp_path / "a" / "1.png", mode="L")
    grey = data.load(f"folder:{tmp_path}")
    assert grey.shape == (1, 8, 8)
    assert (grey.images[0, 0].numpy() == pixels).all()
    for index in (2, 3):
        picture(tmp_path / "a" / f"{index}.png")
    mixed = data.load(f"folder:{tmp_path}")
    assert mixed.shape == (3, 8, 8)
    assert (mixed.images[0].numpy() == pixels).all()


def test_sixteen_bits_are_refused_by_name(tmp_path):
    tmp_path.joinpath("a").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a" / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png has pixels of type I;16"):
        data.load(f"folder:{tmp_path}", "test")


def test_an_odd_size_is_refused_by_name_with_a_way_out(pets):
    picture(pets / "dog" / "3.png", size=(9, 8))
    with pytest.raises(UserError, match=r"3\.png is 9x8, most are 8x8; write folder:.*\?size=8"):
        data.load(f"folder:{pets}")
    assert data.load(f"folder:{pets}?size=8").shape == (3, 8, 8)


def test_size_keeps_the_centre_square(tmp_path):
    pixels = picture(tmp_path / "0.png", size=(20, 8))
    picture(tmp_path / "1.png", size=(8, 20))
    images = data.load(f"folder:{tmp_path}?size=8").images
    assert (images[0].numpy().transpose(1, 2, 0) == pixels[:, 6:14]).all()


def test_pictures_that_are_not_square_keep_their_shape(tmp_path):
    for index in range(2):
        picture(tmp_path / f"{index}.png", size=(12, 8))
    assert data.load(f"folder:{tmp_path}").shape == (3, 8, 12)


def test_a_picture_lying_on_its_side_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright
    # dark left, light right
    lying = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 8, 0).repeat(8, 1))
    for index in range(2):
        lying.save(tmp_path / f"{index}.png", exif=exif)
    image = data.load(f"folder:{tmp_path}").images[0, 0]
    assert image.shape == (16, 8)
    assert (image[:8] == 0).all()
    assert (image[8:] == 255).all()


@pytest.mark.parametrize(
    ("query", "message"),
    [("sise=3", "did you mean 'size'"), ("size=big", "size=big"), ("size=0", "size=0"), ("size=", "size=")],
)
def test_a_wrong_query_is_refused(pets, query, message):
    with pytest.raises(UserError, match=message):
        data.load(f"folder:{pets}?{query}")


# damage


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_picture_is_refused_by_name(tmp_path, suffix):
    picture(tmp_path / f"0{suffix}", size=(64, 64))
    picture(tmp_path / f"1{suffix}", size=(64, 64))
    half = tmp_path / f"0{suffix}"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"0\{suffix} is .*damaged or no picture"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture_is_refused_by_name(pets, content):
    (pets / "cat" / "0.png").write_bytes(content)
    with pytest.raises(UserError, match=r"cat/0\.png is missing, damaged or no picture"):
        data.load(f"folder:{pets}")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "0.png")
    with pytest.raises(UserError, match=r"0\.png is no regular file"):
        decode(tmp_path / "0.png", "RGB")


def test_a_picture_of_too_many_pixels_is_refused_with_the_cure(pets, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    for query in ("", "?size=8"):
        with pytest.raises(
            UserError,
            match=r"0\.png has more than 60 pixels.*scale it down, or raise PIL\.Image\.MAX_IMAGE_PIXELS",
        ):
            data.load(f"folder:{pets}{query}")


def test_what_memory_cannot_hold_is_refused_by_arithmetic(pets, monkeypatch):
    monkeypatch.setattr(memory, "memory", lambda: 2 * 16 * 3 * 64)
    assert len(data.load(f"folder:{pets}")) == 16
    with pytest.raises(
        UserError, match=r"16 pictures of 9x9 would take .* more than half of the memory here .* stream=1"
    ):
        data.load(f"folder:{pets}?size=9")
    for size in ("8193", "9" * 5000):
        with pytest.raises(UserError, match="must be a whole number of pixels from 1 to 8192"):
            data.load(f"folder:{pets}?size={size}&stream=1")


# transparency


def with_alpha(mode, seed=0):
    """Noise, transparent in part; with its colours (16, 16, 3), their shares (16, 16, 1), and what `save`
    needs.
    """
    random = np.random.default_rng(seed)
    if mode in ("RGBA", "LA"):
        pixels = random.integers(0, 256, (16, 16, len(mode)), np.uint8)
        pixels[..., -1] = random.choice([0, 100, 255], (16, 16))
        picture = Image.fromarray(pixels)
        return picture, np.broadcast_to(pixels[..., :-1], (16, 16, 3)), pixels[..., -1:] / 255, {}
    pixels = random.integers(
        0, 2 if mode == "1" else 256, (16, 16, 3) if mode == "RGB" else (16, 16), np.uint8
    )
    if mode == "P":
        picture = Image.fromarray(pixels, "L").convert("P")
        picture.putpalette(random.integers(0, 256, 768, np.uint8).tobytes())
        alpha = random.choice([0, 100, 255], 256).astype(np.uint8)
        colours = np.array(picture.getpalette()).reshape(-1, 3)[pixels]
        return picture, colours, alpha[pixels][..., None] / 255, {"transparency": alpha.tobytes()}
    if mode == "RGB":
        pixels[:8] = 1, 2, 3
        return (
            Image.fromarray(pixels),
            pixels,
            (pixels != (1, 2, 3)).any(-1, keepdims=True),
            {"transparency": (1, 2, 3)},
        )
    if mode == "1":
        return (
            Image.fromarray(pixels * 255).convert("1"),
            np.repeat(pixels[..., None] * 255, 3, -1),
            pixels[..., None],
            {"transparency": 0},
        )
    pixels[:8] = 7
    return (
        Image.fromarray(pixels),
        np.repeat(pixels[..., None], 3, -1),
        pixels[..., None] != 7,
        {"transparency": 7},
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "1"])
def test_transparent_pictures_lie_on_white(tmp_path, mode):
    picture, colours, share, options = with_alpha(mode)
    picture.save(tmp_path / "0.png", **options)
    with Image.open(tmp_path / "0.png") as stored:
        assert stored.mode == mode and stored.has_transparency_data
    seen = decode(tmp_path / "0.png", "RGB").transpose(1, 2, 0)
    assert np.abs(seen - (share * colours + (1 - share) * 255)).max() <= 1
    assert (seen[share[..., 0] == 0] == 255).all()  # whatever noise lies under it
    assert (seen[share[..., 0] == 1] == colours[share[..., 0] == 1]).all()  # to the bit


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_that_is_opaque_changes_nothing(tmp_path, mode):
    picture, colours, _, _ = with_alpha(mode)
    picture.putalpha(255)
    picture.save(tmp_path / "0.png")
    assert (decode(tmp_path / "0.png", "RGB").transpose(1, 2, 0) == colours).all()


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_memory_and_streams_see_the_same_white(tmp_path, monkeypatch, suffix):
    monkeypatch.setenv("SPECFREQ_WORKERS", "0")
    Image.new("RGBA", (8, 8), (200, 30, 60, 0)).save(tmp_path / f"0.{suffix}")
    Image.new("RGBA", (8, 8), (200, 30, 60, 255)).save(tmp_path / f"1.{suffix}", lossless=True)
    here, there = (data.load(f"folder:{tmp_path}?size=8{more}") for more in ("", "&stream=1"))
    assert (here.images == 255).all() and (next(there.batches([torch.arange(1)])) == 255).all()


# EXIF, frames and depth


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_set_upright_as_pillow_does(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    for index in range(2):
        Image.fromarray(pixels).save(tmp_path / f"{index}.{suffix}", exif=exif)
    with Image.open(tmp_path / f"0.{suffix}") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored)).transpose(2, 0, 1)
    assert (data.load(f"folder:{tmp_path}").images[0].numpy() == expected).all()


MALFORMED = {
    "no TIFF": b"Exif\0\0garbage",
    "cut off": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
    "text": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02x\0\0\0\0\0\0\0",
    "nine": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
    "nothing": b"Exif\0\0",
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the same
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("blob", MALFORMED.values(), ids=MALFORMED)
def test_exif_never_decides_whether_pixels_are_good(tmp_path, monkeypatch, blob, suffix):
    monkeypatch.setenv("SPECFREQ_WORKERS", "0")
    for index in range(2):
        Image.new("RGB", (9, 6), (10, 200, 30)).save(
            tmp_path / f"{index}.{suffix}", exif=blob, lossless=True, quality=100
        )
    with Image.open(tmp_path / f"0.{suffix}") as stored:
        expected = np.asarray(stored).transpose(2, 0, 1)
    assert (data.load(f"folder:{tmp_path}").images[0].numpy() == expected).all()  # as stored
    streamed = next(data.load(f"folder:{tmp_path}?size=6&stream=1").batches([torch.arange(1)]))
    assert (streamed[0].numpy() == expected[:, :, :6]).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("blue", "red", "lime")]
    frames[0].save(tmp_path / f"0.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(tmp_path / f"0.{suffix}") as stored:
        assert stored.n_frames == 3
    assert decode(tmp_path / f"0.{suffix}", "RGB")[:, 4, 4].tolist() == [0, 0, 255]


def test_of_colours_with_sixteen_bits_the_upper_eight_are_read(tmp_path):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">HHH", 0x12FF, 0x8001, 0xFE7F)))
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    assert decode(tmp_path / "0.png", "RGB").ravel().tolist() == [0x12, 0x80, 0xFE]


# boxes

HEAD = "file,x,y,width,height\n"


def test_boxes_are_read_and_rounded_outward(pets):
    (pets / "boxes.csv").write_text(f"{HEAD}cat/0.png,1.5,2,3,4.25\ncat/1.png,,,,\n")
    boxes = data.load(f"folder:{pets}").boxes
    assert boxes[0].tolist() == [1, 2, 5, 7]
    assert not boxes[1:].any()


def test_boxes_follow_the_pixels_when_a_picture_is_scaled_and_cropped(tmp_path):
    for index in range(2):
        picture(tmp_path / f"{index}.png", size=(32, 16))
    (tmp_path / "boxes.csv").write_text(f"{HEAD}0.png,10,4,4,8\n")
    pixels = np.zeros((16, 32), np.uint8)
    pixels[4:12, 10:14] = 255
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "0.png")
    images = data.load(f"folder:{tmp_path}?size=8")
    x0, y0, x1, y1 = images.boxes[0].tolist()
    assert (x0, y0, x1, y1) == (1, 2, 3, 6)
    assert images.images[0, 0, y0:y1, x0:x1].min() > 127
    assert images.images[0, 0].gt(127).sum() == 8


def test_a_box_in_the_part_cut_off_is_no_box(tmp_path):
    for index in range(2):
        picture(tmp_path / f"{index}.png", size=(32, 16))
    (tmp_path / "boxes.csv").write_text(f"{HEAD}0.png,0,0,4,4\n")
    assert not data.load(f"folder:{tmp_path}?size=16").boxes.any()


def test_of_several_findings_the_one_of_the_class_counts(pets):
    rows = "cat/0.png,0,0,1,1,Dog\ncat/0.png,2,2,2,2,Cat\ncat/0.png,3,3,2,2,Cat\ncat/1.png,0,0,1,1,Dog\n"
    (pets / "boxes.csv").write_text(f"file,x,y,width,height,finding\n{rows}")
    boxes = data.load(f"folder:{pets}").boxes
    assert boxes[0].tolist() == [2, 2, 4, 4]
    assert not boxes[1].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x,y,width\n", "no column 'height'"),
        (f"{HEAD}cat/77.png,1,1,1,1\n", "cat/77.png, which is not there"),
        (f"{HEAD}cat/0.png,1,1,one,1\n", "cat/0.png is not four numbers"),
        (f"{HEAD}cat/0.png,1,1,nan,1\n", "cat/0.png leaves the picture of 8x8"),
        (f"{HEAD}cat/0.png,1,1,8,1\n", "cat/0.png leaves the picture of 8x8"),
        (f"{HEAD}cat/0.png,1,1\n", "cat/0.png is not four numbers"),
    ],
)
def test_wrong_boxes_are_refused(pets, text, message):
    (pets / "boxes.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        data.load(f"folder:{pets}")
