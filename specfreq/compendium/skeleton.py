"""The skeleton of a new study: a notebook that runs at once, and entries in the files that list studies."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from specfreq.compendium import notebooks
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.experiment.profiles import TRAIN

LONGEST = 60  # letters of a name: with a number it is the name of a cell, which has 64 at most
OPEN = "To be written"  # what every sentence begins with that the author owes; a test refuses it in the book
PROFILES = ("laptop", "gpu", "paper")  # those that every study has an entry in

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

OPENING = """\
# {title}

:::{{admonition}} In brief
:class: brief

**Question.** {open}: what does this study ask?

**Claimed.** {open}: who claimed what; cite it from `book/references.bib`.

**Done.** {open}: what is trained or computed, on which data.

**Found.** {open}: what the record shows, its numbers glued.

```{{glue}} tally
```
:::

{open}: what a reader needs to follow, such as the formula and what the original program did."""

BARE_MACHINE = """\
from __future__ import annotations  # parameters stay known as such

# a bare machine, such as Colab's, fetches the compendium first
import importlib.util
import os

if importlib.util.find_spec("specfreq") is None:
    os.system("git clone -q --depth 1 https://github.com/specfreq/specfreq")
    os.system("pip install -q './specfreq[book]'")
    os.chdir("specfreq")"""

PARAMETERS = """\
data: str = "photos"  # image set, see `specfreq data list`
model: str = "resnet8"  # network; `specfreq list models` names them
augmentations: list[str] = ["none", "apr-s"]  # arms
train_size: int | None = 200  # training images, balanced; None for all
test_size: int | None = 100  # test images; None for all
epochs: int = 1  # passes over the training images
recipe: list[str] = ["batch=50", "lr=0.2", "shift=2"]  # of `specfreq train`
seeds: list[int] = [0]  # one training each
most: int | None = None  # seeds at the last look of the rule; None for one look
profile: str = "quick"  # the name its results are recorded under"""

IMPORTS = """\
from myst_nb import glue

from specfreq import experiment, figures
from specfreq.compendium import notebooks
from specfreq.evidence import comparison, records, tables
from specfreq.evidence.seeds import Looks

study = "{name}"
glue("tally", tables.tally(study), display=False)"""

RUN = """\
training = {"data": data, "model": model, "train_size": train_size}
training |= {"test_size": test_size, "epochs": epochs}
training |= experiment.fields(recipe)
looks = Looks(study, seeds, most=most)
for chosen in looks:
    arms = experiment.grid(augment=augmentations, seed=chosen, **training)
    runs = experiment.run_all(arms)
    rows = comparison.rows(runs, {"accuracy": ("accuracy", "accuracy")})
    looks.saw({"arms": rows})
note = tables.foot(runs, profile)"""

MEASURE = """\
content = {"arms": rows, "seeds_rule": looks.path}
records.save(study, records.of_study(study, globals(), runs, **content))"""

RECORD = """\
found = records.published_rows(study, "arms")["rows"]
tables.arms_table(
    found,
    caption="Accuracy (%), ± half a 95 % interval.",
    name="tbl-{name}",
)"""

CHECKED = 'print(f"{len(rows)} arms, {len(runs)} networks")'

FIGURE = {
    "figure": {
        "caption": f"{OPEN}: what is drawn, in which units, with which interval.",
        "name": "fig-{name}-accuracies",
    },
    "image": {
        "alt": f"{OPEN}: what a reader who does not see the figure should know of it.",
        "classes": "dark-light",
    },
}

WORK = """\
  {name}: # or, instead of this entry, its name among the studies of a work above
    title: "{open}: the work that it is about"
    cite: chen2021apr # {open}: its key in references.bib
    studies: [{name}]

"""

CLAIM = """
  {name}:
    claims:
      - name: {name}
        statement: "{open}: what the original says of some arms."
        whose: work # or theory, of a work that it builds on, or ours
        source: "{open}: where it says so"
        setting: "{open}: its network, data and training"
        judge: untestable # until its record is published: without one, a claim with a rule is an error
        why: "{open}: no record is published yet"
        # then, in the place of these two lines, a rule of specfreq/evidence/rules.py, and what it compares:
        # proxy: what ours has in the place of that setting
        # judge: rises
        # data: cifar10
        # quantity: accuracy
        # arms: [none, apr-s]
        # shown: tbl-{name}
"""

CARD = """\
:::{{grid-item-card}}
{{{{study {name}}}}}

{open}: what it asks, in a line.

{{{{verdicts {name}}}}}
:::
"""


def create(name: str, root: Path | None = None) -> list[str]:
    """Write the skeleton of a study: its notebook, entries in profiles.yaml, claims.yaml and _toc.yml, and a
    card on the landing page.

    All is checked before anything is written; either all five files are written or none.

    Args:
        name: as in ``specfreq run NAME``: lower-case words with hyphens between.
        root: the compendium; by default the one this package lies in.

    Returns:
        What was written, and what is to be done next, as lines.

    Raises:
        UserError: a name that no study can have or that one has; no compendium, or files of it into which no
            entry can be put; a place that cannot be written.
    """
    root = (root or places.root()).resolve()
    notebook = root / "notebooks" / f"{name}.ipynb"
    profiles = root / "notebooks" / "profiles.yaml"
    claims = root / "book" / "claims.yaml"
    landing = root / "book" / "introduction.md"
    contents = root / "_toc.yml"
    if not contents.exists():
        raise UserError(f"{root} holds no book (it has no _toc.yml); go to a checkout of the compendium")
    _check_name(name, root)
    files = {
        profiles: _in_profiles(profiles, name),
        claims: _with_claims(claims, name),
        contents: _in_contents(contents, name),
        landing: _on_landing(landing, name),
        notebook: json.dumps(_notebook(name), indent=1, ensure_ascii=False) + "\n",
    }
    _write_all(files)
    return _next(name, [path.relative_to(root).as_posix() for path in files])


def _check_name(name: str, root: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST or name == TRAIN:
        raise UserError(
            f"{name!r} cannot be the name of a study; write lower-case words and numbers with hyphens "
            f"between, {LONGEST} letters at most, such as band-limited-training"
        )
    if storage.parsed_yaml(name, "a name") != name:
        raise UserError(f"{name!r} cannot be the name of a study: YAML has a meaning for it; choose another")
    if name in notebooks.studies(root):
        there = root / "notebooks" / f"{name}.ipynb"
        raise UserError(f"study {name!r} exists already: {there}; choose another name")


# -- the notebook --------------------------------------------------------------------------------------------


def _notebook(name: str) -> dict[str, Any]:
    """The notebook as JSON: question, parameters, runs, a figure, a checked output, claims."""
    title = name.replace("-", " ").capitalize()
    about = json.loads(json.dumps(FIGURE).replace("{name}", name))
    reference = {"name": "stdout", "output_type": "stream", "text": ["2 arms, 2 networks\n"]}
    cells = [
        _text(OPENING.format(title=title, open=OPEN)),
        _code(BARE_MACHINE, tags=["remove-cell"]),
        _code(PARAMETERS, tags=["parameters", "hide-input"]),
        _code(IMPORTS.format(name=name), tags=["hide-input"]),
        _text(f"## Results\n\n{OPEN}: what to look for, and what is seen, with glued numbers."),
        _code(RECORD.format(name=name), tags=["remove-input"]),
        _code("tables.verdicts(study)", tags=["remove-input"]),
        _text(f"## What could not be shown\n\n{OPEN}: what, and why."),
        _text(f"## Demonstration, not evidence\n\n{OPEN}: how small this run is, and what it shows."),
        _code(RUN),
        _code(MEASURE),
        _code("figures.accuracies(rows, note=note)", mystnb=about),
        _code(CHECKED, tags=["nbval-check-output"], execution_count=9, outputs=[reference]),
        _text("## Settings and names"),
        _code("tables.settings(study)", tags=["remove-input"]),
        _code("notebooks.parameters_table(study)", tags=["remove-input"]),
        _code("tables.code_names(rows)", tags=["remove-input"]),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"{name}-{number:02}"
    return {"cells": cells, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}


def _text(source: str) -> dict[str, Any]:
    return {
        "cell_type": "markdown",
        "id": "",
        "metadata": {},
        "source": source.splitlines(keepends=True),
    }


def _code(
    source: str, execution_count: int | None = None, outputs: list[Any] | None = None, **metadata: Any
) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": execution_count,
        "id": "",
        "metadata": metadata,
        "outputs": outputs or [],
        "source": source.splitlines(keepends=True),
    }


# -- the entries ---------------------------------------------------------------------------------------------


def _in_profiles(path: Path, name: str) -> str:
    """The profiles with the study in each of those that every study is in: its own defaults at first."""
    lines = _lines(path)
    entry = f"  {name}: {{}} # {OPEN}: its parameters on real data\n"
    for profile in PROFILES:
        heads = [n for n, line in enumerate(lines) if re.match(rf"{profile}:\s*(#.*)?$", line)]
        if not heads:
            raise _refusal(path, f"a profile {profile!r} with a line for each study", entry)
        end = heads[0] + 1
        for n in range(end, len(lines)):
            if re.match(r"\S", lines[n]) and not lines[n].startswith("#"):
                break
            if re.match(r"\s+[^\s#]", lines[n]):
                end = n + 1
        lines.insert(end, entry)
    return _checked(path, lines, entry, lambda before, after: _added_to_profiles(before, after, name))


def _added_to_profiles(before: Any, after: Any, name: str) -> bool:
    expected = {k: dict(v or {}) for k, v in (before or {}).items()}
    for profile in PROFILES:
        expected.setdefault(profile, {})[name] = {}
    return after == expected


def _with_claims(path: Path, name: str) -> str:
    """The claims with one more, of the study, and with a work that the study is about."""
    lines = _lines(path)
    work = WORK.format(name=name, open=OPEN)
    entry = CLAIM.format(name=name, open=OPEN)
    heads = [n for n, line in enumerate(lines) if re.match(r"studies:\s*(#.*)?$", line)]
    if not heads:
        raise _refusal(path, "`works:` and then `studies:`, with an entry for each", entry)
    lines.insert(heads[0], work)

    def added(before: Any, after: Any) -> bool:
        parts = ("works", "studies")
        expected = {part: {**before[part], name: after[part][name]} for part in parts}
        return after == {**before, **expected} and all(name not in before[part] for part in parts)

    return _checked(path, [*lines, entry], entry, added)


def _in_contents(path: Path, name: str) -> str:
    """The table of contents with the study at the end of the part that is called Studies."""
    lines = _lines(path)
    page = f"notebooks/{name}"
    heads = [n for n, line in enumerate(lines) if re.match(r"\s*- caption: Studies\s*$", line)]
    end = 0
    indent = ""
    for n in range(heads[0] + 1 if heads else len(lines), len(lines)):
        if "caption:" in lines[n]:
            break
        if found := re.match(r"(\s*)- file: ", lines[n]):
            end = n + 1
            indent = found[1]
    if not end:
        raise _refusal(path, "a part `- caption: Studies` with a list of files", f"- file: {page}")
    lines.insert(end, f"{indent}- file: {page}\n")
    return _checked(path, lines, page, lambda before, after: _pages(after) - _pages(before) == {page})


def _on_landing(path: Path, name: str) -> str:
    """The landing page with a card after the last one."""
    lines = _lines(path)
    card = CARD.format(name=name, open=OPEN)
    ends = [n for n, line in enumerate(lines) if line.startswith("{{verdicts ")]
    after = lines[ends[-1] + 1 :][:1] if ends else []
    if [line.rstrip() for line in after] != [":::"] or f"{{{{study {name}}}}}\n" in lines:
        wanted = "cards that end with {{verdicts NAME}} and ::: below it, and none for this study"
        raise _refusal(path, wanted, card)
    lines.insert(ends[-1] + 2, f"\n{card}")
    return "".join(lines)


def _pages(contents: Any) -> set[str]:
    parts = contents.get("parts", [])
    return {chapter["file"] for part in parts for chapter in part.get("chapters", []) if "file" in chapter}


def _lines(path: Path) -> list[str]:
    text = storage.read_text(path)
    return (text if text.endswith("\n") or not text else text + "\n").splitlines(keepends=True)


def _checked(path: Path, lines: list[str], entry: str, added: Callable[[Any, Any], bool]) -> str:
    """The lines as text, if what they say is what the file said with the entry and nothing else."""
    before = storage.read_yaml(path)
    text = "".join(lines)
    try:
        fits = added(before, storage.parsed_yaml(text, path.name))
    except (UserError, TypeError, AttributeError, KeyError):
        fits = False
    if not fits:
        raise _refusal(path, "one entry a line, and none for this study", entry)
    return text


def _refusal(path: Path, wanted: str, entry: str) -> UserError:
    return UserError(
        f"cannot add an entry to {path}: it should have {wanted}; correct it (nothing was written), "
        f"or add the study by hand as CONTRIBUTING.md says: {' '.join(entry.split())}"
    )


def _write_all(files: Mapping[Path, str]) -> None:
    """Write all files, or leave all as they were."""
    before = {path: storage.read_text(path) if path.exists() else None for path in files}
    written: list[Path] = []
    try:
        for path, text in files.items():
            written.append(storage.write(path, text))
    except BaseException:
        for path in written:
            content = before[path]
            if content is None:
                path.unlink()
            else:
                storage.write(path, content)
        raise


def _next(name: str, written: list[str]) -> list[str]:
    return [
        *(f"wrote {place}" for place in written),
        f"next, everywhere where it says {OPEN!r}:",
        f"  specfreq run {name}    it runs already; then change its cells to what the study is about",
        f"  notebooks/{name}.ipynb    its question; what to look for before each figure, what is seen after",
        "  notebooks/profiles.yaml    its parameters on real data, for laptop, gpu and paper",
        "  book/claims.yaml    each claim with its source and the rule that judges it",
        "  book/references.bib    the work that it is about",
        "  book/introduction.md    what its card on the landing page says of it",
        "  specfreq/compendium/thumbnails.py    a picture for the card, if it is to have one",
        "  pytest tests/notebooks    names what is still missing; CONTRIBUTING.md tells more",
    ]
