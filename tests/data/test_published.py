"""Published sets, on tiny files in their real formats: what is read, what is refused, and how they are
fetched.
"""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import socket
import struct
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.data import published

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def put(path: Path, content: bytes) -> str:
    """Write a file; its MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def cifar(root, monkeypatch, cls, key, names, train, test, meta):
    """A CIFAR of four images a file, whose checksums are the published ones; returns the images."""
    images, table = RANDOM.integers(0, 256, (4 * len(train + test), 3, 32, 32), np.uint8), []
    for index, name in enumerate(train + test):
        batch = {"data": images[4 * index : 4 * index + 4].reshape(4, -1), key: [0, 1, 1, index % 2]}
        table.append([name, put(root / cls.base_folder / name, pickle.dumps(batch, protocol=2))])
    md5 = put(root / cls.base_folder / meta, pickle.dumps({cls.meta["key"]: names}, protocol=2))
    monkeypatch.setattr(cls, "train_list", table[: len(train)])
    monkeypatch.setattr(cls, "test_list", table[len(train) :])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5})
    return images


@pytest.fixture
def cifar10(root, monkeypatch):
    train = [f"data_batch_{i}" for i in range(1, 6)]
    return cifar(
        root, monkeypatch, datasets.CIFAR10, "labels", ["cat", "dog"], train, ["test_batch"], "batches.meta"
    )


@pytest.fixture
def cifar100(root, monkeypatch):
    return cifar(
        root, monkeypatch, datasets.CIFAR100, "fine_labels", ["elm", "oak"], ["train"], ["test"], "meta"
    )


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def fashion_mnist(root, monkeypatch):
    images = RANDOM.integers(0, 256, (6, 28, 28), np.uint8)
    tables = {}
    for split, stem, kept in (("train", "train", slice(4)), ("test", "t10k", slice(4, 6))):
        parts = {
            f"{stem}-images-idx3-ubyte": images[kept],
            f"{stem}-labels-idx1-ubyte": np.arange(6, dtype=np.uint8)[kept],
        }
        tables[split] = {
            name: put(root / "FashionMNIST" / "raw" / name, idx(part)) for name, part in parts.items()
        }
    monkeypatch.setattr(published, "FASHION_MNIST", tables)
    return images


def jpeg(size, seed=0):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)).save(
        file, "JPEG"
    )
    return file.getvalue()


# CIFAR


def test_cifar_is_read_as_written(cifar10):
    train, test = data.load("cifar10"), data.load("cifar10", "test")
    assert (train.images.numpy() == cifar10[:20]).all()
    assert (test.images.numpy() == cifar10[20:]).all()
    assert train.labels.tolist() == [0, 1, 1, 0, 0, 1, 1, 1] * 2 + [0, 1, 1, 0]
    assert train.classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_one_changed_byte_is_refused_by_name(cifar10, root, name):
    file = root / "cifar-10-batches-py" / name
    file.write_bytes(file.read_bytes()[:-2] + b"x.")
    with pytest.raises(UserError, match=rf"{name} is damaged.*specfreq data get cifar10"):
        data.load("cifar10")


def test_a_damaged_training_file_does_not_spoil_the_test_split(cifar10, root):
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"")
    assert len(data.load("cifar10", "test")) == 4


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("name", ["data_batch_1", "batches.meta"])
def test_a_foreign_pickle_is_refused_before_it_runs(root, cifar10, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Trap()))
    assert Path("sprung").exists()  # the trap works
    Path("sprung").unlink()
    put(root / "cifar-10-batches-py" / name, pickle.dumps(Trap()))
    with pytest.raises(UserError, match="is damaged"):
        data.load("cifar10")
    assert not Path("sprung").exists()


def test_cifar100_with_its_test_split_alone_loads_that_and_names_what_the_other_lacks(cifar100, root):
    (root / "cifar-100-python" / "train").unlink()
    test = data.load("cifar100", "test")
    assert (test.images.numpy() == cifar100[4:]).all()
    assert test.classes == ("elm", "oak")
    with pytest.raises(
        UserError,
        match=r"cifar100 \(train\): .*cifar-100-python/train is missing; `specfreq data get cifar100`",
    ):
        data.load("cifar100")
    row = next(row for row in data.status() if row.name == "cifar100")
    assert row.present
    assert row.why == f"{root / 'cifar-100-python' / 'train'} is missing"


def test_a_set_of_which_one_split_is_there_is_listed_as_that(cifar100, root):
    (root / "cifar-100-python" / "train").unlink()
    row = next(row for row in data.status() if row.name == "cifar100")
    assert (row.present, row.state) == (True, "test only")
    assert row.why == f"{root / 'cifar-100-python' / 'train'} is missing"


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda place: os.symlink(place, place)], ids=["pipe", "folder", "ring"]
)
def test_what_is_no_regular_file_is_named_at_once_and_hides_no_other_set(fashion_mnist, cifar10, root, make):
    bad = [
        root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte",
        root / "pneumoniamnist.npz",
        root / "flowers-102" / "jpg",
    ]
    (root / "flowers-102").mkdir()
    bad[0].unlink()
    for place in bad:
        make(place)
    rows = {row.name: row for row in data.status()}
    assert rows["fashion-mnist"].why == f"{bad[0]} is no regular file"
    assert rows["fashion-mnist"].state == "test only"
    assert rows["cifar10"].state == "here"
    assert rows["pneumonia"].why == f"{bad[1]} is no regular file"
    assert rows["flowers102"].state == "not here"
    with pytest.raises(
        UserError, match="train-images-idx3-ubyte is no regular file; `specfreq data get fashion-mnist`"
    ):
        data.load("fashion-mnist")


def test_a_file_that_cannot_be_read_hides_no_other_set(cifar10, fashion_mnist, monkeypatch):
    read = published._md5

    def refuse(path):
        if path.name == "test_batch":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(published, "_md5", refuse)
    rows = {row.name: row for row in data.status()}
    assert (rows["cifar10"].state, rows["fashion-mnist"].state) == ("train only", "here")
    assert rows["cifar10"].why.endswith("test_batch cannot be read (Permission denied)")


def test_the_checksums_are_the_published_ones():
    table = {**dict(datasets.CIFAR10.test_list), **dict(datasets.CIFAR100.test_list)}
    assert table == {
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    }
    files = dict(published.KINDS["flowers102"].files("train"))
    for name, md5 in (datasets.Flowers102._file_dict["label"], datasets.Flowers102._file_dict["setid"]):
        assert files[f"flowers-102/{name}"] == md5


# Fashion-MNIST


def test_fashion_mnist_is_read_as_written(fashion_mnist):
    train, test = data.load("fashion-mnist"), data.load("fashion-mnist", "test")
    assert (train.images[:, 0].numpy() == fashion_mnist[:4]).all()
    assert (test.images[:, 0].numpy() == fashion_mnist[4:]).all()
    assert test.labels.tolist() == [4, 5]
    assert test.classes[:2] == ("T-shirt/top", "Trouser")


def test_a_truncated_file_is_refused_by_name(fashion_mnist, root):
    file = root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="train-images-idx3-ubyte is damaged"):
        data.load("fashion-mnist")


def test_what_old_torchvision_left_behind_is_not_used(fashion_mnist, root):
    put(root / "FashionMNIST" / "processed" / "training.pt", b"unchecked")
    put(root / "FashionMNIST" / "processed" / "test.pt", b"unchecked")
    assert len(data.load("fashion-mnist")) == 4


# the others


def test_svhn_calls_ten_zero(root, monkeypatch):
    images = RANDOM.integers(0, 256, (32, 32, 3, 5), np.uint8)
    root.mkdir()
    savemat(root / "train_32x32.mat", {"X": images, "y": np.array([[10], [1], [9], [10], [3]], np.uint8)})
    md5 = hashlib.md5((root / "train_32x32.mat").read_bytes()).hexdigest()
    monkeypatch.setitem(datasets.SVHN.split_list, "train", ["", "train_32x32.mat", md5])
    svhn = data.load("svhn")
    assert svhn.labels.tolist() == [0, 1, 9, 0, 3]
    assert (svhn.images[2].numpy() == images[..., 2].transpose(2, 0, 1)).all()


@pytest.fixture
def flowers(root, monkeypatch):
    base, table = root / "flowers-102", {}
    for number in range(1, 5):
        put(base / "jpg" / f"image_{number:05d}.jpg", jpeg((80 + number, 100), seed=number))
    savemat(base / "imagelabels.mat", {"labels": np.array([[7, 102, 1, 7]], np.uint8)})
    savemat(base / "setid.mat", {"trnid": [[4, 2]], "valid": [[1, 1]], "tstid": [[3, 1]]})
    for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat")):
        table[key] = (name, hashlib.md5((base / name).read_bytes()).hexdigest())
    monkeypatch.setattr(published, "FLOWERS102", dict(table.values()))
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", datasets.Flowers102._file_dict | table)
    return base


def test_flowers_of_any_size_come_as_squares_of_64(flowers):
    train = data.load("flowers102")
    assert train.shape == (3, 64, 64)
    assert train.labels.tolist() == [6, 101]
    assert train.classes[6] == "moon orchid"
    assert data.load("flowers102", "test").labels.tolist() == [0, 6]


def test_a_missing_or_truncated_flower_is_refused_by_name(flowers):
    file = flowers / "jpg" / "image_00002.jpg"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(UserError, match=r"image_00002\.jpg is missing, damaged"):
        data.load("flowers102")
    file.unlink()
    with pytest.raises(UserError, match=r"image_00002\.jpg is missing, damaged"):
        data.load("flowers102")


def test_only_the_pictures_asked_for_are_read(flowers):
    (flowers / "jpg" / "image_00002.jpg").unlink()
    whole = data.load("flowers102", "test").images
    alone = {seed: data.load("flowers102", "test", size=1, seed=seed) for seed in range(4)}
    assert {image.images.numpy().tobytes() for image in alone.values()} == {
        image.numpy().tobytes() for image in whole
    }


def test_imagenette_takes_val_for_testing_and_counts_its_pictures(root, monkeypatch):
    for index, wnid in enumerate(("n01440764", "n03888257")):
        put(root / "imagenette2-320" / "train" / wnid / "a.JPEG", jpeg((160, 200), index))
        put(root / "imagenette2-320" / "val" / wnid / "a.JPEG", jpeg((320, 200), index + 2))
    with pytest.raises(UserError, match=r"imagenette2-320 holds 2 pictures, not 3925"):
        data.load("imagenette", "test")
    monkeypatch.setattr(published, "IMAGENETTE", {"train": 2, "test": 2})
    train, test = data.load("imagenette"), data.load("imagenette", "test")
    assert train.shape == test.shape == (3, 128, 128)
    assert train.classes == ("tench", "parachute")
    assert not train.images.equal(test.images)


def test_celeba_is_labelled_by_the_smile(root, monkeypatch):
    base, table = root / "celeba", []
    faces = [f"{i:06d}.jpg" for i in range(1, 6)]
    for index, face in enumerate(faces):
        put(base / "img_align_celeba" / face, jpeg((178, 218), index))
    texts = {
        "list_eval_partition.txt": "".join(
            f"{face} {part}\n" for face, part in zip(faces, (0, 0, 1, 2, 2), strict=True)
        ),
        "identity_CelebA.txt": "".join(f"{face} 1\n" for face in faces),
        "list_bbox_celeba.txt": "4\nimage_id x y w h\n" + "".join(f"{face} 1 1 2 2\n" for face in faces),
        "list_landmarks_align_celeba.txt": "4\nx y\n" + "".join(f"{face} 1 1\n" for face in faces),
        "list_attr_celeba.txt": "4\nMale Smiling Young\n"
        + "".join(f"{face} 1 {s} -1\n" for face, s in zip(faces, (-1, 1, 1, 1, -1), strict=True)),
    }
    for name, text in texts.items():
        table.append(("", put(base / name, text.encode()), name))
    monkeypatch.setattr(datasets.CelebA, "file_list", table)
    train, test = data.load("celeba"), data.load("celeba", "test")
    assert train.shape == (3, 64, 64)
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [1, 0]
    (base / "img_align_celeba" / "000004.jpg").unlink()
    with pytest.raises(UserError, match=r"000004\.jpg is missing"):
        data.load("celeba", "test")


@pytest.fixture
def pneumonia(root, monkeypatch):
    monkeypatch.setattr(published, "PNEUMONIA", {"train": 3, "test": 2})
    monkeypatch.setattr(published, "PNEUMONIA_MD5", None)
    root.mkdir()
    arrays = {}
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        arrays[f"{split}_images"] = RANDOM.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    np.savez_compressed(root / "pneumoniamnist.npz", **arrays)
    return arrays


def test_pneumonia_is_read_as_written(pneumonia):
    train = data.load("pneumonia")
    assert (train.images[:, 0].numpy() == pneumonia["train_images"]).all()
    assert train.labels.tolist() == [0, 1, 0]
    assert train.classes == ("normal", "pneumonia")


def test_damaged_pneumonia_is_refused_by_name(pneumonia, root):
    file = root / "pneumoniamnist.npz"
    whole = bytearray(file.read_bytes())
    whole[200] ^= 255
    for content in (bytes(whole), bytes(whole[:300]), b"", pickle.dumps(Trap())):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"pneumoniamnist\.npz is damaged"):
            data.load("pneumonia")


@pytest.mark.parametrize(
    "change",
    [
        {"train_images": np.zeros((2, 28, 28), np.uint8)},
        {"train_images": np.zeros((3, 28, 28), np.float32)},
        {"train_labels": np.zeros((2, 1), np.uint8)},
        {"train_labels": np.full((3, 1), 2, np.uint8)},
    ],
)
def test_pneumonia_of_another_shape_is_refused_by_name(pneumonia, root, change):
    np.savez(root / "pneumoniamnist.npz", **(pneumonia | change))
    with pytest.raises(UserError, match=r"pneumoniamnist\.npz does not hold 3 grey pictures"):
        data.load("pneumonia")


def test_pneumonia_with_objects_in_it_is_refused(pneumonia, root):
    np.savez(root / "pneumoniamnist.npz", **(pneumonia | {"train_labels": np.array([Trap()] * 3, object)}))
    with pytest.raises(UserError, match="damaged"):
        data.load("pneumonia")


# fetching


@pytest.fixture
def server(tmp_path):
    """A web server on this machine: its folder, and its address."""
    (tmp_path / "server").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "server")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield tmp_path / "server", f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def snapshot(root):
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def test_a_set_is_fetched_by_torchvision_checked_and_put_in_place(cifar10, root, monkeypatch, server):
    folder, address = server
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(root / "cifar-10-batches-py", "cifar-10-batches-py")
    expected = snapshot(root)
    md5 = put(folder / "cifar-10-python.tar.gz", archive.getvalue())
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5)
    (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"damaged")
    (root / "cifar-10-batches-py" / "test_batch").unlink()
    put(root / "notes.txt", b"mine")
    for name, days in (("killed", 2), ("busy", 0)):  # folders of other downloads, one of which goes on
        put(root / f".get-{name}" / "part", b"some")
        os.utime(root / f".get-{name}", (time.time() - days * 86_400,) * 2)
    expected[".get-busy/part"] = b"some"
    assert data.get("cifar10") == f"cifar10 is now in {root}"
    # neither the archive nor the folder aside is left
    assert snapshot(root) == expected | {"notes.txt": b"mine"}
    assert len(data.load("cifar10", "test")) == 4


def test_fashion_mnist_is_fetched_by_torchvision(fashion_mnist, root, monkeypatch, server):
    folder, address = server
    expected = snapshot(root)
    resources = []
    for name, content in expected.items():
        archive = f"{Path(name).name}.gz"
        resources.append((archive, put(folder / archive, gzip.compress(content))))
        (root / name).unlink()
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"{address}/"])
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    data.get("fashion-mnist")
    assert snapshot(root) == expected


def replace_download(monkeypatch, name, download):
    monkeypatch.setitem(published.KINDS, name, dataclasses.replace(published.KINDS[name], download=download))


def test_what_is_there_and_intact_is_not_fetched_again(cifar10, root, monkeypatch):
    replace_download(monkeypatch, "cifar10", lambda place: pytest.fail("fetched again"))
    assert data.get("cifar10") == f"cifar10 is already in {root}"


def test_a_set_is_got_by_either_spelling(fashion_mnist, root):
    assert data.get("fashion_mnist") == f"fashion-mnist is already in {root}"


def broken_off(place):
    put(place / "cifar-10-batches-py" / "data_batch_1", b"half")
    raise OSError("the network\nis gone")


def wrong(place):
    put(place / "cifar-10-batches-py" / "data_batch_1", b"other content")


@pytest.mark.parametrize(
    ("download", "reason"), [(broken_off, "the network is gone"), (wrong, "data_batch_1 is damaged")]
)
def test_a_failed_download_changes_nothing_and_says_what_to_do(cifar10, root, monkeypatch, download, reason):
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"damaged")
    before = snapshot(root)
    replace_download(monkeypatch, "cifar10", download)
    with pytest.raises(ConnectionError) as error:
        data.get("cifar10")
    assert snapshot(root) == before
    for part in (
        "could not download cifar10",
        reason,
        "cs.toronto.edu",
        "cifar-10-batches-py/test_batch",
        str(root),
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("before", [None, 7.0])
def test_a_download_waits_a_minute_for_a_byte_and_leaves_other_connections_alone(
    cifar10, root, monkeypatch, before
):
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"damaged")
    waits = []

    def download(place):
        waits.append(socket.getdefaulttimeout())
        broken_off(place)

    replace_download(monkeypatch, "cifar10", download)
    outside = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before)
    try:
        with pytest.raises(ConnectionError):
            data.get("cifar10")
        assert (waits, socket.getdefaulttimeout()) == ([60], before)
    finally:
        socket.setdefaulttimeout(outside)


def test_a_place_that_cannot_be_written_is_named(root):
    root.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write to .*data .*set SPECFREQ_DATA"):
        data.get("cifar10")


def test_without_medmnist_the_message_names_the_package(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(ConnectionError, match="pip install medmnist"):
        data.get("pneumonia")
