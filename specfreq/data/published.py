"""Published data sets: their files, fetched by torchvision or MedMNIST, read once they are checked."""

import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specfreq.core.errors import UserError
from specfreq.data import arrays
from specfreq.data.kinds import SPLITS, Kind, Row
from specfreq.data.pictures import from_files
from specfreq.data.sets import Source, from_array

ARCHIVES = (".gz", ".tgz", ".zip")  # of no use once unpacked
ASIDE, ABANDONED = ".get-", 86_400  # folders of downloads; seconds after which nobody downloads into one

# Published constants that torchvision does not give in a public place
FASHION_MNIST = {  # MD5 of the unpacked files; torchvision knows those of the archives
    "train": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    },
    "test": {
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
FLOWERS102 = {
    "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
    "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
}
IMAGENETTE = {"train": 9469, "test": 3925}  # pictures
PNEUMONIA = {"train": 4708, "test": 624}
PNEUMONIA_FILE = "pneumoniamnist.npz"
PNEUMONIA_MD5 = "28209eda62fecd6e6a2d98b1501bb15f"  # as MedMNIST states it


@dataclass(frozen=True)
class Published(Kind):
    """A published data set.

    Args:
        name, what, site: its name here, one line about it, and the page that publishes it.
        files: split -> (path below the data folder, MD5); MD5 is None where only existence can be checked,
            and the path of a folder ends with a slash.
        reader: (data folder, split) -> Source; called once the files of the split are there and intact.
        download: fetches all of it into a folder, through the library's own loader; None where it must be put
            there by hand.
        hint: what to do where a file is missing or another; by default, to download it.
    """

    name: str
    what: str
    site: str
    files: Callable[[str], Sequence[tuple[str, str | None]]]
    reader: Callable[[Path, str], Source]
    download: Callable[[Path], object] | None
    hint: str = ""

    def problem(self, root: Path, split: str) -> str:
        """Which file of a split is missing, damaged, or cannot be read; empty if all are as published."""
        for file, md5 in self.files(split):
            path, whole = root / file, (os.path.isdir if file.endswith("/") else os.path.isfile)
            if not os.path.lexists(path):
                return f"{path} is missing"
            if not whole(path):  # opening a pipe would wait for ever
                return f"{path} is no {'folder' if file.endswith('/') else 'regular file'}"
            try:
                if md5 and md5 != _md5(path):
                    return f"{path} is damaged (its MD5 is not the published {md5})"
            except OSError as error:
                return f"{path} cannot be read ({error.strerror or error})"
        return ""

    def read(self, root: Path, split: str) -> Source:
        """The images of a split; nothing in a file is read before the whole file has been checked.

        Raises:
            UserError: names the file that is missing or damaged, and the command that gets it.
        """
        if problem := self.problem(root, split):
            usual = f"`specfreq data get {self.name}` downloads it, or set SPECFREQ_DATA to its folder"
            raise UserError(f"{self.name} ({split}): {problem}; {self.hint or usual}")
        return self.reader(root, split)

    def source(self, name: str, split: str, root: Path) -> Source:
        return self.read(root, split)

    def get(self, name: str, root: Path, say: Callable[[str], None]) -> str:
        say(f"specfreq: getting {self.name} ({self.what}) into {root}, unless it is there")
        if not any(self.problem(root, split) for split in SPLITS):
            return f"{self.name} is already in {root}"
        if self.download is None:
            raise UserError(f"{self.name} cannot be downloaded by this command; {self.hint}")
        self.fetch(root)
        return f"{self.name} is now in {root}"

    def status(self, name: str, root: Path) -> Row:
        problems = {split: self.problem(root, split) for split in SPLITS}
        why = "; ".join(dict.fromkeys(filter(None, problems.values())))
        return Row(name, self.what, str(root), tuple(split for split in SPLITS if not problems[split]), why)

    def fetch(self, root: Path) -> None:
        """Download into a folder aside, check, and only then move file by file into `root`, over damaged
        ones.

        Raises:
            UserError: `root` cannot be written to.
            ConnectionError: the download failed, or what came is not what was published. `root` is as it was.
        """
        assert self.download is not None
        try:
            root.mkdir(parents=True, exist_ok=True)
            for left in root.glob(f"{ASIDE}*"):  # by a download that was killed
                if time.time() - left.stat().st_mtime > ABANDONED:
                    shutil.rmtree(left, ignore_errors=True)
            aside = tempfile.TemporaryDirectory(dir=root, prefix=ASIDE)
        except OSError as error:
            raise UserError(
                f"cannot write to {root} ({error.strerror}); set SPECFREQ_DATA to another folder"
            ) from error
        with aside as place:
            try:
                with _patience(60):
                    self.download(Path(place))
                for split in SPLITS:
                    self.read(Path(place), split)
            except Exception as error:
                files = ", ".join(dict.fromkeys(file for split in SPLITS for file, _ in self.files(split)))
                reason = " ".join(str(error).split())
                raise ConnectionError(
                    f"could not download {self.name} ({reason}); to do it by hand, see {self.site} and put "
                    f"{files} below {root}"
                ) from error
            for file in sorted(Path(place).rglob("*")):
                if file.is_file() and file.suffix not in ARCHIVES:
                    target = root / file.relative_to(place)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """How long a connection opened meanwhile may go without a byte: torchvision and MedMNIST set no limit and
    take none.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _torchvision(name: str):
    from torchvision import datasets  # seconds to import

    return getattr(datasets, name)


def _cifar(name: str, what: str) -> Published:
    def lists(split):
        return getattr(_torchvision(name.upper()), f"{split}_list")

    def files(split):
        cls = _torchvision(name.upper())
        return [
            (f"{cls.base_folder}/{file}", md5)
            for file, md5 in [*lists(split), (cls.meta["filename"], cls.meta["md5"])]
        ]

    def source(root, split):
        # torchvision wants the files of both splits; told of one split's alone, it is content with those
        alone = {"train_list": [], "test_list": [], f"{split}_list": lists(split)}
        data = type(name, (_torchvision(name.upper()),), alone)(root, train=split == "train")
        return from_array(data.data.transpose(0, 3, 1, 2), data.targets, data.classes)

    site = "https://www.cs.toronto.edu/~kriz/cifar.html"
    return Published(
        name, what, site, files, source, lambda root: _torchvision(name.upper())(root, download=True)
    )


def _fashion_mnist(root: Path, split: str) -> Source:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    # not through the class: it would prefer an unchecked processed/training.pt left by old versions
    images, labels = (str(root / "FashionMNIST" / "raw" / file) for file in FASHION_MNIST[split])
    classes = _torchvision("FashionMNIST").classes
    return from_array(read_image_file(images).numpy()[:, None], read_label_file(labels).numpy(), classes)


def _svhn(root: Path, split: str) -> Source:
    data = _torchvision("SVHN")(root, split)
    return from_array(data.data, data.labels, "0123456789")


def _flowers102(root: Path, split: str) -> Source:
    data = _torchvision("Flowers102")(root, split, loader=Path)  # paths now, pixels when wanted
    files, labels = zip(*data, strict=True)
    return from_files(list(files), labels, data.classes, side=64)


def _imagenette(root: Path, split: str) -> Source:
    data = _torchvision("Imagenette")(
        root, {"train": "train", "test": "val"}[split], size="320px", loader=Path
    )
    if len(data) != IMAGENETTE[split]:
        raise UserError(
            f"imagenette ({split}): {root / 'imagenette2-320'} holds {len(data)} pictures, not "
            f"{IMAGENETTE[split]}; `specfreq data get imagenette` fetches it again"
        )
    files, labels = zip(*data, strict=True)
    return from_files(list(files), labels, (names[0] for names in data.classes), side=128)


def _celeba_files(split: str) -> list[tuple[str, str | None]]:
    tables = [
        (f"celeba/{file}", md5) for _, md5, file in _torchvision("CelebA").file_list if file.endswith(".txt")
    ]
    return [*tables, ("celeba/img_align_celeba/", None)]


def _celeba(root: Path, split: str) -> Source:
    data = _torchvision("CelebA")(root, split)
    smiling = data.attr[:, data.attr_names.index("Smiling")]
    files = [root / "celeba" / "img_align_celeba" / name for name in data.filename]
    return from_files(files, smiling, ("not smiling", "smiling"), side=64)


def pneumonia(root: Path, split: str) -> Source:
    """The pictures of a file laid out as MedMNIST's."""
    path = root / PNEUMONIA_FILE
    try:
        held = arrays.members(path)
        images, labels = held[f"{split}_images"].read(), held[f"{split}_labels"].read().reshape(-1)
    except (UserError, KeyError) as error:
        raise UserError(
            f"pneumonia: {path} is damaged ({error}); `specfreq data get pneumonia` replaces it"
        ) from error
    whole = images.shape == (PNEUMONIA[split], 28, 28) and labels.shape == (PNEUMONIA[split],)
    if not (whole and images.dtype == labels.dtype == np.uint8 and labels.max() <= 1):
        raise UserError(
            f"pneumonia: {path} does not hold {PNEUMONIA[split]} grey pictures of 28x28 for {split}"
        )
    return from_array(images[:, None], labels, ("normal", "pneumonia"))


def _get_pneumonia(root: Path) -> None:
    try:
        from medmnist import PneumoniaMNIST
    except ImportError as error:
        raise ImportError("it comes through the package medmnist: pip install medmnist") from error
    PneumoniaMNIST("train", root=str(root), download=True)


def _both(name: str, splits: Sequence[str]) -> Callable[[Path], None]:
    def download(root):
        for split in splits:
            _torchvision(name)(root, split, download=True)

    return download


_ALL = (
    Published(
        "fashion-mnist",
        "70,000 grey pictures of clothes, 28x28, 10 classes",
        "https://github.com/zalandoresearch/fashion-mnist",
        lambda split: [(f"FashionMNIST/raw/{file}", md5) for file, md5 in FASHION_MNIST[split].items()],
        _fashion_mnist,
        lambda root: _torchvision("FashionMNIST")(root, download=True),
    ),
    _cifar("cifar10", "60,000 colour pictures, 32x32, 10 classes"),
    _cifar("cifar100", "60,000 colour pictures, 32x32, 100 classes"),
    Published(
        "svhn",
        "99,289 house numbers in colour, 32x32, 10 classes",
        "http://ufldl.stanford.edu/housenumbers/",
        lambda split: [tuple(_torchvision("SVHN").split_list[split][1:])],
        _svhn,
        _both("SVHN", SPLITS),
    ),
    Published(
        "flowers102",
        "8,189 flowers in colour, brought to 64x64, 102 classes",
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        lambda split: [
            ("flowers-102/jpg/", None),
            *((f"flowers-102/{file}", md5) for file, md5 in FLOWERS102.items()),
        ],
        _flowers102,
        _both("Flowers102", ["train"]),
    ),
    Published(
        "imagenette",
        "13,394 photographs of ten ImageNet classes, brought to 128x128",
        "https://github.com/fastai/imagenette",
        # the 320-pixel version: large enough that scaling to 128 averages its JPEG blocks away
        lambda split: [(f"imagenette2-320/{'train' if split == 'train' else 'val'}/", None)],
        _imagenette,
        lambda root: _torchvision("Imagenette")(root, "train", size="320px", download=True),
    ),
    Published(
        "celeba",
        "202,599 faces in colour, brought to 64x64, smiling or not",
        "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        _celeba_files,
        _celeba,
        _both("CelebA", ["train"]),
    ),
    Published(
        "pneumonia",
        "PneumoniaMNIST: 5,856 grey chest X-rays of children, 28x28, 2 classes",
        "https://medmnist.com",
        lambda split: [(PNEUMONIA_FILE, PNEUMONIA_MD5)],
        pneumonia,
        _get_pneumonia,
        hint="`specfreq data get pneumonia` downloads MedMNIST's own file, or set SPECFREQ_DATA to its "
        "folder; a copy with its rows in another order is called pneumonia-reordered",
    ),
)
KINDS = {published.name: published for published in _ALL}
