"""Answers to pictures: those of the measures, whatever the pictures are; what cannot be read is named."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import specfreq
from specfreq import cli, data
from specfreq.core import pictures
from specfreq.core.errors import UserError
from specfreq.experiment import Experiment, description, predict
from specfreq.measures import gradcam, inference

SMALL = {"epochs": 1, "batch": 50, "shift": 1, "flip": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def grey(place):
    """A run on grey digits of 8 pixels whose training set is gone."""
    train, test = data.load("digits", "train", 200), data.load("digits", "test", 30)
    file = place / "mine.npz"
    arrays = {f"{s}_images": i.images[:, 0].numpy() for s, i in (("train", train), ("test", test))}
    np.savez(file, **arrays, train_labels=train.labels.numpy(), test_labels=test.labels.numpy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(place / "runs"))
        whitened = "whitening:floor=0.001"
        run = specfreq.run(Experiment(**SMALL, data=f"array:{file}", filter=whitened), [])
        file.unlink()
        description._load.cache_clear()
        yield run


@pytest.fixture(scope="module")
def colour(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(place / "runs"))
        yield specfreq.run(Experiment(**SMALL, data="photos", train_size=60, test_size=14), [])


@pytest.fixture
def command(capfd, place, monkeypatch):
    """Run a command line: (exit code, what was printed, what was complained about)."""
    monkeypatch.setenv("SPECFREQ_RUNS", str(place / "runs"))

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(map(str, args)))
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    return run


def saved(folder, images):
    """Images (N, C, H, W) as PNG files."""
    folder.mkdir(exist_ok=True)
    files = []
    for place, image in enumerate(images):
        pixels = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
        files.append(folder / f"{place}.png")
        Image.fromarray(pixels).save(files[-1])
    return files


def shares(run, images):
    return inference.logits(run.classifier(), images).double().softmax(1)


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_pictures_of_the_set_are_answered_as_the_set_is(request, tmp_path, kind):
    run = request.getfixturevalue(kind)
    images = data.load("digits" if kind == "grey" else "photos", "test", 14).images
    found = predict.predict(run, saved(tmp_path / "in", images))
    rows = torch.tensor([list(answer.probabilities.values()) for answer in found.answers])
    torch.testing.assert_close(rows.double(), shares(run, images))
    assert found.failed == [] and {answer.converted for answer in found.answers} == {""}
    assert found.answers[0].answer == list(found.answers[0].probabilities)[int(rows[0].argmax())]


def test_other_sizes_and_channels_are_converted_as_a_folder_is(grey, tmp_path):
    """A coloured picture of 20x12: what `folder:PATH?size=8` makes of the same picture in grey."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    (tmp_path / "set" / "train" / "a").mkdir(parents=True)
    Image.fromarray(pixels).convert("L").save(tmp_path / "set" / "train" / "a" / "x.png")
    Image.fromarray(pixels).save(tmp_path / "x.png")
    wanted = data.load(f"folder:{tmp_path / 'set'}?size=8").images[0].numpy()
    found, said = predict.read(tmp_path / "x.png", (1, 8, 8))
    assert (found == wanted).all()
    assert said == "made grey, centre cut out, 20x12 scaled to 8x8"
    found, said = predict.read(tmp_path / "set" / "train" / "a" / "x.png", (3, 6, 10))
    assert found.shape == (3, 6, 10) and (found[0] == found[2]).all()
    assert said == "grey repeated in three channels, 20x12 scaled to 10x6"


def test_a_streamed_run_sees_pictures_as_its_tests_do(imagenet_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_WORKERS", "0")
    base = imagenet_folder(tmp_path / "pictures", train=1, val=1, classes=2)
    stream = data.load(f"folder:{base}?size=16&stream=1", "test")
    (images,) = stream.batches([torch.arange(2)])
    files = sorted(base.glob("val/*/*.JPEG"))
    found = [predict.read(file, (3, 16, 16), streamed=True) for file in files]
    assert all((pixels == image.numpy()).all() for (pixels, _), image in zip(found, images, strict=True))
    assert all("a rim of it cut off, to 16x16" in said for _, said in found)


def test_what_cannot_be_read_is_named_and_the_others_are_answered(grey, command, tmp_path):
    (good,) = saved(tmp_path / "in", data.load("digits", "test", 1).images)
    (tmp_path / "in" / "torn.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "in" / "notes.txt").write_text("x")
    code, out, err = command("predict", grey.key[:6], tmp_path / "in", tmp_path / "gone.jpg")
    assert code == 1
    assert out.count("\n") == 1 and str(good) in out
    assert f"no answer to {tmp_path / 'in' / 'torn.png'} is missing, damaged or no picture" in err
    assert f"no answer to {tmp_path / 'gone.jpg'} is missing" in err
    assert "left out, as no pictures: 1" in err and "notes.txt" in err


def test_json_has_all_classes_and_what_went_wrong(grey, command, tmp_path):
    images = data.load("digits", "test", 2).images
    files = saved(tmp_path / "in", images)
    code, out, _ = command("predict", grey.key, *files, tmp_path / "gone.jpg", "--json")
    found = json.loads(out)
    assert code == 1 and found["run"] == grey.key and found["filter"] == grey.experiment.filter
    rows = [list(each["probabilities"].values()) for each in found["pictures"]]
    torch.testing.assert_close(torch.tensor(rows).double(), shares(grey, images))
    assert [each["file"] for each in found["pictures"]] == list(map(str, files))
    assert found["failed"][0]["file"] == str(tmp_path / "gone.jpg")
    assert all(sum(row) == pytest.approx(1) for row in rows)


def test_another_filter_is_applied_and_one_that_must_learn_needs_the_training_set(grey, command, tmp_path):
    images = data.load("digits", "test", 1).images
    (file,) = saved(tmp_path / "in", images)
    code, out, _ = command("predict", grey.key, file, "--json", "--filter", "gaussian-low-pass:sigma=2")
    blurred = grey.classifier("gaussian-low-pass:sigma=2")
    wanted = inference.logits(blurred, images).double().softmax(1)
    assert code == 0
    found = json.loads(out)["pictures"][0]["probabilities"]
    torch.testing.assert_close(torch.tensor([list(found.values())]).double(), wanted)
    code, _, err = command("predict", grey.key, file, "--filter", "whitening:floor=0.5")
    assert code == 2 and "no such file" in err


def test_overlays_show_the_map_of_the_answer(grey, command, tmp_path):
    images = data.load("digits", "test", 3).images
    files = saved(tmp_path / "in", images)
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "0.png"
    shutil.copy(files[0], twin)
    code, out, _ = command("predict", grey.key, *files, twin, "--cam", tmp_path / "maps", "--json")
    assert code == 0
    overlays = [each["overlay"] for each in json.loads(out)["pictures"]]
    assert [o.rpartition("/")[2] for o in overlays] == [
        "0.png.cam.png",
        "1.png.cam.png",
        "2.png.cam.png",
        "0.png-2.cam.png",
    ]
    model = grey.classifier()
    answer = inference.logits(model, images).argmax(1)
    maps = gradcam.scaled(gradcam.maps(model, images, answer))
    for image, map, file in zip(images.numpy(), maps.numpy(), overlays[:3], strict=True):
        seen = np.asarray(Image.open(file))
        assert seen.shape == (224, 224, 3)
        wanted = pictures.overlaid(image, map).transpose(1, 2, 0)
        assert abs(seen[14::28, 14::28].astype(int) - wanted).max() <= 1
        silent = map == 0
        assert (wanted[silent] == image[0][silent][:, None]).all()


def test_another_layer_gives_other_maps_and_an_unknown_one_is_refused(grey, command, tmp_path):
    (file,) = saved(tmp_path / "in", data.load("digits", "test", 1).images)
    for folder, layer in (("a", []), ("b", ["--layer", "net.stem"])):
        assert command("predict", grey.key, file, "--cam", tmp_path / folder, *layer)[0] == 0
    first, second = ((tmp_path / folder / "0.png.cam.png").read_bytes() for folder in "ab")
    assert first != second
    code, _, err = command("predict", grey.key, file, "--cam", tmp_path / "c", "--layer", "net.stme")
    assert code == 2 and "did you mean 'net.stem'?" in err
    code, _, err = command("predict", grey.key, file, "--layer", "net.stem")
    assert code == 2 and "--layer goes with --cam" in err
    code, _, err = command("predict", grey.key, file, "--cam", file)
    assert code == 2 and "it is no folder" in err


def test_a_run_of_a_generator_is_refused_by_name(place, command, tmp_path):
    key = "0123456789abcdef"
    folder = place / "runs" / key
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / "model.safetensors").write_bytes(b"")
        (folder / "recipe.json").write_text("{}")
        code, _, err = command("predict", key[:5], tmp_path / "x.png")
        assert code == 2
        assert err.startswith(f"specfreq: run {key} is that of a generator, which answers no picture")
    finally:
        shutil.rmtree(folder)


def test_images_that_no_picture_can_be_are_refused():
    with pytest.raises(UserError, match="images with 5 channels"):
        predict.read("x.png", (5, 8, 8))


def test_a_network_that_went_wrong_is_no_answer(grey, tmp_path, monkeypatch):
    files = saved(tmp_path / "in", data.load("digits", "test", 1).images)
    monkeypatch.setattr(inference, "logits", lambda *_, **__: torch.full((1, 10), float("nan")))
    with pytest.raises(UserError, match="answers with NaN"):
        predict.predict(grey, files)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("1", "png"),
        ("L", "gif"),
        ("LA", "png"),
        ("P", "png"),
        ("RGBA", "webp"),
        ("CMYK", "tif"),
        ("YCbCr", "jpg"),
        ("RGB", "bmp"),
    ],
)
def test_any_picture_that_pillow_opens_is_answered(grey, colour, tmp_path, mode, suffix):
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)).convert(mode).save(file)
    for run in (grey, colour):
        (answer,) = predict.predict(run, [file]).answers
        assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_a_constant_picture_has_a_finite_overlay(grey, tmp_path):
    Image.new("L", (300, 200), 128).save(tmp_path / "flat.png")
    found = predict.predict(grey, [tmp_path / "flat.png"], cam=tmp_path / "maps")
    assert np.asarray(Image.open(found.answers[0].overlay)).shape == (224, 224, 3)


def test_a_folder_without_pictures_is_refused(grey, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="holds no pictures"):
        predict.predict(grey, [tmp_path / "in"])
