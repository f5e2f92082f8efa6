"""What several test files need: small compendia and folders of pictures, in temporary folders; another
processor's rounding.
"""

from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from specfreq.data.embedded import PHOTOS, TILE, photograph, tiles

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PARAMETERS = (
    'epochs: int = 2  # passes over the training set\nprofile: str = "quick"  # the name of the record'
)


@pytest.fixture(scope="session")
def add_study():
    """Write notebooks/NAME.ipynb of a compendium: a question, a cell of parameters, and the given code cells."""

    def add(root: Path, name: str, *code: str, parameters: str = PARAMETERS) -> Path:
        cells = [
            new_markdown_cell(f"# {name}\n\nDoes it run?"),
            new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        ]
        path = root / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=[*cells, *map(new_code_cell, code)], metadata=KERNEL), path)
        return path

    return add


@pytest.fixture(scope="session")
def imagenet_folder():
    """Write a folder in ImageNet's layout: crops of the embedded photographs, of many sizes, as JPEG; a class
    for each.
    """

    def write(root: Path, train: int = 4, val: int = 2, classes: int = len(PHOTOS)) -> Path:
        random = np.random.RandomState(0)
        for label, name in enumerate(list(PHOTOS)[:classes]):
            picture = photograph(name)
            for split, place, count in (("train", "train", train), ("test", "val", val)):
                corners = tiles(*picture.shape[:2], split)
                folder = root / place / f"n{label:08}"
                folder.mkdir(parents=True)
                for index in range(count):
                    (y, x), (height, width) = (
                        corners[index % len(corners)],
                        random.randint(TILE // 2, TILE + 1, 2),
                    )
                    crop = Image.fromarray(picture[y : y + height, x : x + width])
                    crop.save(folder / f"n{label:08}_{index}.JPEG", quality=90)
        return root

    return write


@pytest.fixture(params=[-np.inf, np.inf], ids=["rounded down", "rounded up"])
def other_rounding(request, monkeypatch):
    """Roots, exponentials, distances and scales are one unit in the last place off, as libraries may have
    them elsewhere.
    """

    def nudge(owner, name):
        exact = getattr(owner, name)

        def off(*args, **options):
            found = exact(*args, **options)
            if isinstance(found, torch.Tensor):
                return (
                    found.nextafter(torch.full_like(found, request.param))
                    if found.is_floating_point()
                    else found
                )
            return np.nextafter(found, request.param)

        monkeypatch.setattr(owner, name, off)

    for name in ("sqrt", "hypot", "exp", "linspace"):
        nudge(torch, name)
    for name in ("sqrt", "hypot", "exp", "softmax"):
        nudge(torch.Tensor, name)
    nudge(np, "hypot")
