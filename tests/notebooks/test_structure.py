"""The notebooks as committed: small typed cells, described figures, reference outputs; and guards that notice
when they are not.
"""

import __future__

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx_external_toc.parsing import parse_toc_yaml

from specfreq import experiment
from specfreq.compendium import execution, skeleton
from specfreq.compendium.parameters import declared_in
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.evidence import records

ROOT = Path(__file__).parents[2]
STUDIES = execution.studies(ROOT)
KNOWING = ("_toc.yml", "book/claims.yaml", "book/introduction.md", "notebooks/profiles.yaml")
LONGEST = 25  # lines of a cell
WIDEST = 78  # characters of a line that a page shows unfolded, at 1280 pixels
ABSOLUTE = re.compile(
    r"""(?<![\w.:/~])(/(home|root|tmp|Users|work|usr|opt|mnt|var|private|srv)/|[A-Z]:\\\w)"""
)


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def problems(notebook: NotebookNode) -> list[str]:
    """What is wrong with a committed notebook, each with the number of its cell."""
    code = [(n, cell) for n, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    found = [*opening(notebook), *parameters(code), *kept(code)]
    if not any("nbval-check-output" in tags(cell) for _, cell in code):
        found.append("no cell is tagged nbval-check-output: nothing is compared")
    found += folded(notebook)
    for number, cell in code:
        checked = (*source(cell), *wide(cell), *figure(cell), *outputs(cell))
        found += [f"cell {number}: {p}" for p in checked]
    found += [
        f"cell {n}: an absolute path"
        for n, cell in enumerate(notebook.cells, 1)
        if ABSOLUTE.search(all_text(cell))
    ]
    return found


def all_text(cell: NotebookNode) -> str:
    shown = [
        text for o in cell.get("outputs", []) for text in (o.get("text", ""), *o.get("data", {}).values())
    ]
    return "\n".join([cell.source, *map(str, shown)])


def opening(notebook: NotebookNode) -> list[str]:
    """A study opens with a title, and the first line after it, of its box in brief, asks a question."""
    first = notebook.cells[0]
    lines = [line for line in first.source.splitlines() if line.strip()]
    if first.cell_type != "markdown" or not lines or not lines[0].startswith("# "):
        return ["the first cell has no title"]
    asked = next((line for line in lines[1:] if not line.startswith(":")), "")
    return [] if "?" in asked else ["the first line asks no question"]


def parameters(code: list[tuple[int, NotebookNode]]) -> list[str]:
    """One cell of parameters, typed, each with a word about what it is; the profile among them."""
    cells = [cell.source for _, cell in code if "parameters" in tags(cell)]
    if len(cells) != 1:
        return [f"{len(cells)} cells are tagged parameters"]
    try:
        declared = declared_in(cells[0], "it")
    except UserError as error:
        return [str(error)]
    found = [f"parameter {p.name} does not say what it is" for p in declared.values() if not p.help]
    if "profile" not in declared or declared["profile"].default != "quick":
        found.append("no parameter profile with default 'quick'")
    return found


def kept(code: list[tuple[int, NotebookNode]]) -> list[str]:
    """What a record needs to take the parameters from the notebook that runs: they alone are annotated, and
    keep their values.
    """
    known = {n for _, cell in code if "parameters" in tags(cell) for n in annotated(cell.source)}
    others = [(number, cell.source) for number, cell in code if "parameters" not in tags(cell)]
    found = [f"cell {n}: annotates {name}, no parameter" for n, cell in others for name in annotated(cell)]
    for number, cell in others:
        found += [f"cell {number}: gives parameter {name} another value" for name in known & bound(cell)]
    return found


def annotated(source: str) -> list[str]:
    """The names that a cell annotates outside of functions."""
    try:
        lines = ast.parse(source).body
    except SyntaxError:
        return []
    return [ast.unparse(line.target) for line in lines if isinstance(line, ast.AnnAssign)]


def bound(source: str) -> set[str]:
    """The names to which a cell binds values, those inside comprehensions aside."""
    try:
        nodes = [*ast.walk(ast.parse(source))]
    except SyntaxError:
        return set()
    inner = {n for c in nodes if isinstance(c, ast.comprehension) for n in ast.walk(c.target)}
    stored = {n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return {n.id for n in stored - inner} | {n.asname or n.name for n in nodes if isinstance(n, ast.alias)}


def source(cell: NotebookNode) -> list[str]:
    """Few lines, and nothing defined that the package should hold."""
    lines = len(cell.source.splitlines())
    found = [f"{lines} lines, more than {LONGEST}"] if lines > LONGEST else []
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        return [*found, f"not Python: {error}"]
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    return found + [
        f"defines {ast.unparse(n).splitlines()[0]}" for n in ast.walk(tree) if isinstance(n, definitions)
    ]


def wide(cell: NotebookNode) -> list[str]:
    """Lines that would scroll in the page, where a reader sees them at once."""
    if {"hide-input", "remove-input", "remove-cell"} & {*tags(cell)}:
        return []
    return [f"{len(line)} characters: {line}" for line in cell.source.splitlines() if len(line) > WIDEST]


def folded(notebook: NotebookNode) -> list[str]:
    """Under the box in brief stand the parameters and one more folded cell: what glues is removed."""
    found = []
    for number, cell in enumerate(notebook.cells[1:], 2):
        if cell.cell_type != "code":
            break
        if "hide-input" in tags(cell) and "parameters" not in tags(cell):
            found.append(number)
    return [f"cell {number}: folded below another; tag it remove-input" for number in found[1:]]


def draws(cell: NotebookNode) -> bool:
    """Whether a cell shows a figure: it calls into specfreq.figures or matplotlib."""
    calls = re.findall(r"\b(figures|plt|sns)\.\w+\(", cell.source)
    return bool(calls) or any("image/png" in output.get("data", {}) for output in cell.outputs)


def figure(cell: NotebookNode) -> list[str]:
    """A figure has a caption, a name to be referred to by, a description, and its colours in the dark."""
    about = cell.metadata.get("mystnb", {})
    if not draws(cell):
        return ["describes a figure and draws none"] if "figure" in about else []
    shown, image = about.get("figure", {}), about.get("image", {})
    wanted = {
        "caption": shown.get("caption", "").strip(),
        "name": re.fullmatch(r"fig-[a-z0-9-]+", shown.get("name", "")),
        "alt text": len(image.get("alt", "")) >= 30,
        "class dark-light": "dark-light" in image.get("classes", ""),
    }
    return [f"its figure has no {what}" for what, there in wanted.items() if not there]


def outputs(cell: NotebookNode) -> list[str]:
    """Reference outputs where they are compared, and no outputs elsewhere."""
    loud = [o for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    found = ["an error or a warning is kept"] if loud else []
    if "nbval-check-output" not in tags(cell):
        return [*found, "is not stripped"] if cell.outputs or cell.execution_count is not None else found
    if cell.execution_count is None or not cell.outputs:
        return [*found, "tagged nbval-check-output without reference output: nbval would compare nothing"]
    text = "".join(o.get("text", "") for o in cell.outputs)
    if not text.strip() or len(text.splitlines()) > 10:
        found.append("its reference output is no short text")
    return found


# -- the places that know of a study, see CONTRIBUTING.md ----------------------------------------------------


def missing(root: Path) -> list[str]:
    """What the files that know of all studies lack or have too much, each with the mend."""
    studies = execution.studies(root)
    pages = {page for page in parse_toc_yaml(root / "_toc.yml") if page.startswith("notebooks/")}
    profiles = execution.known_profiles(root)
    claims = (storage.read_yaml(root / "book" / "claims.yaml") or {}).get("studies", {})
    landing = (root / "book" / "introduction.md").read_text(encoding="utf-8")
    found = [f"_toc.yml: {page} has no notebook" for page in sorted(pages) if page[10:] not in studies]
    found += [f"book/claims.yaml: {name} is no study" for name in claims if name not in studies]
    for name, path in studies.items():
        if f"notebooks/{name}" not in pages:
            found.append(f"{name}: add `- file: notebooks/{name}` to _toc.yml")
        for profile in skeleton.PROFILES:
            if name not in profiles.get(profile, {}):
                found.append(
                    f"{name}: add `{name}: {{...}}` to the profile {profile} of notebooks/profiles.yaml"
                )
        if f"{{{{study {name}}}}}" not in landing or f"{{{{verdicts {name}}}}}" not in landing:
            found.append(f"{name}: add a card for it to book/introduction.md, as the other studies have")
        judged = "tables.verdicts(" in path.read_text(encoding="utf-8")
        if judged and name not in claims:
            found.append(f"{name}: add its claims to book/claims.yaml: the notebook shows their verdicts")
        if name in claims and not judged:
            found.append(f"{name}: show tables.verdicts in its notebook: book/claims.yaml has its claims")
    return found


def owed(root: Path) -> list[str]:
    """Sentences that `specfreq new study` left to be written: file and how many."""
    places = [*execution.studies(root).values(), *map(root.joinpath, KNOWING)]
    counts = {path: len(re.findall(skeleton.OPEN, path.read_text("utf-8"), re.IGNORECASE)) for path in places}
    return [f"{path.name}: {count} times {skeleton.OPEN!r}" for path, count in counts.items() if count]


# -- the notebooks of this repository ------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_as_the_guards_want_it(study):
    assert problems(nbformat.read(STUDIES[study], as_version=4)) == []


def test_every_study_is_a_page_has_profiles_and_is_judged_by_claims():
    assert STUDIES and missing(ROOT) == []


def test_quick_is_the_defaults_of_every_study():
    assert not any(execution.known_profiles(ROOT)["quick"].values())


@pytest.mark.parametrize("profile", ["laptop", "gpu"])
def test_the_studies_of_networks_on_cifar10_share_one_recipe(profile):
    """And on the laptop as many network passes, so that their plain trainings are the same runs."""
    studies = execution.known_profiles(ROOT)[profile]
    recipes = []
    for name in ("amplitude-versus-phase", "amplitude-phase-recombination", "fourier-heatmaps"):
        views = 2  # of APR-SP, and so epochs of the plain training that is its baseline
        passes = {"epochs": str(views * studies[name]["epochs"])}
        recipes.append(experiment.fields(studies[name]["recipe"]) | passes)
    bands = studies["band-limited-training"]
    recipes.append(experiment.fields(bands["recipe"].split()) | {"epochs": str(bands["epochs"])})
    recipes.append(experiment.fields(studies["spectral-tv-augmentation"]["recipes"][0].split()))
    if profile == "gpu":
        recipes = [{k: v for k, v in recipe.items() if k != "epochs"} for recipe in recipes]
    assert recipes == [recipes[0]] * len(recipes)
    whole = [study for study in studies.values() if "cifar10" in study.get("datasets", [study.get("data")])]
    models = {study["model"] for study in whole if "recipe" in study or "recipes" in study}
    assert len(models) == 1


def test_no_study_owes_what_its_skeleton_left_open():
    assert owed(ROOT) == []


@pytest.mark.parametrize("study", STUDIES)
def test_a_record_takes_every_parameter_of_its_notebook(study):
    notebook = nbformat.read(STUDIES[study], as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert sources[0].startswith("from __future__ import annotations")  # for Python 3.14
    opened = {}
    for source in sources[: sources.index(next(filter(annotated, sources))) + 1]:
        exec(compile(source, study, "exec", __future__.annotations.compiler_flag), opened)
    assert records.parameters_of(opened) == execution.resolve(study, "quick", root=ROOT)
    saving = [source for source in sources if "records.of_study(" in source]
    assert len(saving) == (study != "engine")  # which shows how studies are computed, and has no record
    assert all(re.search(r'records\.of_study\((study|"[\w-]+"), globals\(\)', s) for s in saving)


def test_what_a_study_was_run_with_is_in_its_record(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    given = {"data": "digits", "size": 40, "window": None}
    execution.execute("image-spectra", tmp_path / "executed.ipynb", "quick", given, root=ROOT, progress=False)
    (record,) = (tmp_path / "records").glob("*.json")
    assert storage.read_object(record)["parameters"] == execution.resolve("image-spectra", "quick", given)
    assert execution.resolve("image-spectra", "quick", given).keys() > given.keys()


def test_claims_about_networks_get_seeds_by_the_written_rule():
    """The trainings that they rest on take the seeds of a look, and the record keeps its path."""
    for path in STUDIES.values():
        cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        whole = "\n".join(cells)
        if "experiment.run_all(" in whole and "tables.verdicts(study)" in whole:
            (loop,) = [source for source in cells if "Looks(study, seeds, most=most)" in source]
            turn = loop.partition("for chosen in looks:\n")[2]
            assert re.search(r"chosen.*experiment\.run_all\(.*looks\.saw\(", turn, re.DOTALL), path.name
            assert re.search(r"\"seeds_rule\": looks\.path.*records\.save\(", whole, re.DOTALL), path.name


def test_launch_buttons_open_files_that_exist():
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    for page in parse_toc_yaml(ROOT / "_toc.yml"):
        if page.startswith("notebooks/"):
            assert (ROOT / repository.get("path_to_book", "") / f"{page}.ipynb").is_file()


def test_no_two_figures_share_a_name():
    cells = [cell for path in STUDIES.values() for cell in nbformat.read(path, as_version=4).cells]
    names = [
        cell.metadata.mystnb.figure.name for cell in cells if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert names and len(names) == len(set(names))


# -- the guards themselves: each must notice its own kind of damage ------------------------------------------


@pytest.fixture
def notebook():
    """A small notebook with which nothing is wrong."""
    about = {
        "figure": {"caption": "Power on rings.", "name": "fig-power"},
        "image": {"alt": "Line chart of power that falls with frequency.", "classes": "dark-light"},
    }
    cells = [
        new_markdown_cell(
            "# Spectra\n\n**What do images contain?**\n\nMuch, see https://example.org/home/page."
        ),
        new_code_cell(
            'epochs: int = 2  # passes\nprofile: str = "quick"  # the name of its record',
            metadata={"tags": ["parameters"]},
        ),
        new_code_cell("figures.profile(power)", metadata={"mystnb": about}),
        new_code_cell("print(1)", metadata={"tags": ["nbval-check-output"]}, execution_count=3),
    ]
    cells[3].outputs = [new_output("stream", name="stdout", text="1\n")]
    return new_notebook(cells=cells)


def test_nothing_is_wrong_with_a_good_notebook(notebook):
    assert problems(notebook) == []


def damage(cell, **changes):
    def apply(notebook):
        notebook.cells[cell].update(changes)

    return apply


def relabel(cell, *path, to=None):
    def apply(notebook):
        place = notebook.cells[cell].metadata
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return apply


def both_folded(notebook):
    for cell in notebook.cells[2:]:
        cell.metadata.tags = ["hide-input"]


WARNING = [
    new_output("stream", name="stderr", text="UserWarning"),
    new_output("stream", name="stdout", text="1\n"),
]
ERROR = [new_output("error", ename="ValueError", evalue="no", traceback=[])]


@pytest.mark.parametrize(
    ("apply", "problem"),
    [
        (damage(0, source="Spectra"), "the first cell has no title"),
        (damage(0, source="# Spectra\n\nImages contain much."), "the first line asks no question"),
        (damage(0, source="# Spectra\n\nSee below.\n\nWhat is there?"), "the first line asks no question"),
        (damage(1, source="epochs = 2"), "write name: type = value"),
        (damage(1, source="epochs: int = '2'  # passes"), "epochs='2' is refused"),
        (
            damage(1, source='epochs: int = 2\nprofile: str = "quick"  # record'),
            "epochs does not say what it is",
        ),
        (damage(1, source='profile: str = "laptop"  # record'), "no parameter profile with default 'quick'"),
        (relabel(1, "tags", to=[]), "0 cells are tagged parameters"),
        (relabel(2, "tags", to=["parameters"]), "2 cells are tagged parameters"),
        (damage(2, source="figures.profile(power)\n" * 26), "cell 3: 26 lines, more than 25"),
        (damage(2, source=f"figures.profile({'x' * 63})"), "cell 3: 80 characters: figures.profile(xxx"),
        (both_folded, "cell 4: folded below another; tag it remove-input"),
        (damage(2, source="def f():\n    pass\nfigures.profile(f())"), "cell 3: defines def f():"),
        (damage(2, source="class A: pass\nfigures.profile(A)"), "cell 3: defines class A:"),
        (damage(2, source="f = lambda x: x\nfigures.profile(f)"), "cell 3: defines lambda x: x"),
        (damage(2, source="figures.profile("), "cell 3: not Python"),
        (damage(2, source="print(power)"), "cell 3: describes a figure and draws none"),
        (damage(2, metadata={}), "cell 3: its figure has no caption"),
        (
            relabel(2, "mystnb", "figure", to=NotebookNode(name="fig-power")),
            "cell 3: its figure has no caption",
        ),
        (relabel(2, "mystnb", "figure", "name", to="power"), "cell 3: its figure has no name"),
        (relabel(2, "mystnb", "image", "alt", to="a plot"), "cell 3: its figure has no alt text"),
        (relabel(2, "mystnb", "image", "classes", to=""), "cell 3: its figure has no class dark-light"),
        (damage(2, source="epochs = 3"), "cell 3: gives parameter epochs another value"),
        (damage(2, source="for epochs in (1, 2): pass"), "cell 3: gives parameter epochs another value"),
        (damage(2, source="from time import time as epochs"), "cell 3: gives parameter epochs another value"),
        (damage(2, source="total: int = 3"), "cell 3: annotates total, no parameter"),
        (damage(2, source="plt.plot([1])", metadata={}), "cell 3: its figure has no caption"),
        (damage(2, execution_count=2), "cell 3: is not stripped"),
        (damage(2, outputs=WARNING), "cell 3: an error or a warning is kept"),
        (damage(3, outputs=WARNING), "cell 4: an error or a warning is kept"),
        (damage(3, outputs=ERROR), "cell 4: an error or a warning is kept"),
        (damage(3, outputs=[]), "cell 4: tagged nbval-check-output without reference output"),
        (damage(3, execution_count=None), "cell 4: tagged nbval-check-output without reference output"),
        (
            damage(3, outputs=[new_output("stream", text="1\n" * 11)]),
            "cell 4: its reference output is no short text",
        ),
        (
            damage(3, outputs=[], execution_count=None, metadata={"tags": []}),
            "no cell is tagged nbval-check-output",
        ),
        (damage(3, source="open('/home/me/data')"), "cell 4: an absolute path"),
        (damage(3, outputs=[new_output("stream", text="wrote /tmp/x\n")]), "cell 4: an absolute path"),
        (damage(0, source="# Spectra\n\nWhat is in C:\\data?"), "cell 1: an absolute path"),
    ],
)
def test_every_kind_of_damage_is_noticed(notebook, apply, problem):
    apply(notebook)
    notebook = nbformat.from_dict(notebook)
    assert any(problem in found for found in problems(notebook)), problems(notebook)


@pytest.fixture
def compendium(tmp_path, add_study):
    """A compendium of one study with which nothing is wrong."""
    add_study(tmp_path, "study", "tables.verdicts(study)")
    (tmp_path / "book").mkdir()
    files = {
        "_toc.yml": "format: jb-book\nroot: book/a\nparts:\n- chapters:\n  - file: notebooks/study\n",
        "book/claims.yaml": "studies:\n  study: {claims: []}\n",
        "book/introduction.md": "{{study study}}\n\nWhat it asks.\n\n{{verdicts study}}\n",
        "notebooks/profiles.yaml": "laptop:\n  study: {}\ngpu:\n  study: {}\npaper:\n  study: {}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_nothing_is_missing_in_a_whole_compendium(compendium):
    assert missing(compendium) == owed(compendium) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        ("_toc.yml", "notebooks/study", "book/b", "study: add `- file: notebooks/study` to _toc.yml"),
        ("_toc.yml", "notebooks/study", "notebooks/other", "_toc.yml: notebooks/other has no notebook"),
        (
            "notebooks/profiles.yaml",
            "paper:\n  study: {}",
            "",
            "study: add `study: {...}` to the profile paper",
        ),
        (
            "book/introduction.md",
            "{{verdicts study}}",
            "",
            "study: add a card for it to book/introduction.md",
        ),
        ("book/claims.yaml", "study: {claims: []}", "{}", "study: add its claims to book/claims.yaml"),
        ("book/claims.yaml", "study:", "studdy:", "book/claims.yaml: studdy is no study"),
        (
            "notebooks/study.ipynb",
            "tables.verdicts(study)",
            "",
            "study: show tables.verdicts in its notebook",
        ),
    ],
)
def test_a_study_that_a_file_does_not_know_of_is_named_with_the_mend(compendium, file, old, new, found):
    place = compendium / file
    assert old in place.read_text()
    place.write_text(place.read_text().replace(old, new))
    assert any(line.startswith(found) for line in missing(compendium)), missing(compendium)


def test_what_a_skeleton_left_open_is_counted(compendium):
    (compendium / "book" / "claims.yaml").write_text("studies: {} # To be written: all of it\n")
    assert owed(compendium) == ["claims.yaml: 1 times 'To be written'"]
