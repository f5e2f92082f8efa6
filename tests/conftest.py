"""Small compendia in temporary folders, for the tests of notebooks, book and command line."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PARAMETERS = 'epochs: int = 2  # passes over the training set\nprofile: str = "quick"  # the name of the record'


@pytest.fixture(scope="session")
def add_study():
    """Write notebooks/NAME.ipynb of a compendium: a question, a cell of parameters, and the given code cells."""

    def add(root: Path, name: str, *code: str, parameters: str = PARAMETERS) -> Path:
        cells = [new_markdown_cell(f"# {name}\n\nDoes it run?"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        path = root / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=[*cells, *map(new_code_cell, code)], metadata=KERNEL), path)
        return path

    return add
