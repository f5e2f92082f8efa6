"""CONTRIBUTING.md names files that exist, and its recipe for a measure takes one new file and one line."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TAKEN = """
from specfreq import data, measures
import torch

images = data.load("digits", "test", 50)
class Sure(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 10).float()

for spec in ("sureness", "sureness:temperature=0.5"):
    print(round(measures.compute(spec, Sure(), images)["sureness"], 6))
"""


def section(title):
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_places_it_names_exist():
    places = set(re.findall(r"`((?:specfreq|tests|book|notebooks)/[\w./-]*|_toc\.yml)`", TEXT))
    assert len(places) > 10
    assert [p for p in sorted(places) if "NAME" not in p and not (ROOT / p).exists()] == []


@pytest.mark.parametrize("title", ["Add an augmentation", "Add a measure", "Add a study", "Add a claim"])
def test_a_recipe_names_a_commit_to_copy_and_no_more_than_five_places(title):
    assert re.search(r"To copy: `git show [0-9a-f]{7} ", section(title))
    assert 1 <= len(re.findall(r"^\d\. ", section(title), re.MULTILINE)) <= 5


def test_a_measure_takes_one_new_file_and_one_line(tmp_path):
    """In a copy of the package: what the recipe says, letter for letter, and nothing else."""
    shutil.copytree(ROOT / "specfreq", tmp_path / "specfreq", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "_toc.yml", tmp_path / "_toc.yml")
    blocks = re.findall(r"```python\n(.*?)```", section("Add a measure"), re.DOTALL)
    file, line = (re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in blocks)
    assert line.count("\n") == 1
    (tmp_path / "specfreq" / "measures" / "sureness.py").write_text(file)
    registry = tmp_path / "specfreq" / "measures" / "__init__.py"
    head = "_MEASURES = {\n"
    text = registry.read_text(encoding="utf-8")
    assert text.count(head) == 1
    registry.write_text(text.replace(head, head + line), encoding="utf-8")
    (tmp_path / "nets.py").write_text(
        textwrap.dedent("""
        import torch

        def build(classes, channels):
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * channels, classes))
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SPECFREQ_RUNS": str(tmp_path / "runs")}

    def called(*args):
        command = [sys.executable, *args]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert "  sureness\n" in called("-m", "specfreq", "list", "measures").stdout
    assert called("-c", TAKEN).stdout == "0.231969\n0.450853\n"  # e / (e + 9) and e² / (e² + 9)
    own = ["measure", "--model", "nets:build", "--data", "digits"]
    measured = called("-m", "specfreq", *own, "sureness:temperature=2")
    assert measured.returncode == 0 and "sureness:temperature=2" in measured.stdout, measured.stderr
    refused = called("-m", "specfreq", *own, "sureness:temprature=2")
    assert refused.returncode == 2 and "did you mean 'temperature'?" in refused.stderr
