"""Studies: strict parameters and profiles; an executed notebook is whole, the same each time, or absent."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest

from specfreq.compendium import execution
from specfreq.compendium.execution import StudyFailed
from specfreq.core.errors import UserError


@pytest.fixture
def root(tmp_path, add_study):
    add_study(tmp_path / "root", "study", "print(epochs, profile)")
    return tmp_path / "root"


def profiles(root, text):
    (root / "notebooks" / "profiles.yaml").write_text(text)


def text_of(path):
    return "".join(
        output.get("text", "")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    )


# -- parameters and profiles ---------------------------------------------------------------------------------


def test_an_unknown_parameter_is_refused_and_the_nearest_is_named(root):
    with pytest.raises(UserError) as refusal:
        execution.resolve("study", overrides={"epohcs": "3"}, root=root)
    assert str(refusal.value) == (
        "unknown parameter 'epohcs' for study; did you mean 'epochs'? (specfreq run study --help lists all)"
    )


def test_an_override_beats_the_profile_and_the_profile_the_default(root):
    profiles(root, "laptop: {study: {epochs: 7}}")
    assert execution.resolve("study", root=root) == {"epochs": 2, "profile": "quick"}
    assert execution.resolve("study", "laptop", root=root) == {"epochs": 7, "profile": "laptop"}
    assert execution.resolve("study", "laptop", {"epochs": "9"}, root=root)["epochs"] == 9


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("laptop: {study: {epohcs: 7}}", "'epohcs' for study; did you mean 'epochs'"),
        ("laptop: {study: {epochs: '7'}}", "epochs='7'"),
        ("laptop: {study: {epochs: 7.5}}", "epochs=7.5"),
        ("laptop: {sutdy: {epochs: 7}}", "unknown study 'sutdy' for profile laptop; did you mean 'study'"),
        ("laptop: [study]", "profiles.yaml"),
        ("laptop: {study: 3}", "profiles.yaml"),
        ("laptop: {", "profiles.yaml"),
    ],
)
def test_a_mistake_in_any_profile_is_refused_even_if_another_is_asked_for(root, text, named):
    profiles(root, text)
    with pytest.raises(UserError, match=named):
        execution.resolve("study", root=root)


def test_an_unknown_profile_or_study_is_refused(root):
    profiles(root, "laptop: {}")
    with pytest.raises(UserError, match=r"unknown profile 'labtop'; did you mean 'laptop'\?"):
        execution.resolve("study", "labtop", root=root)
    with pytest.raises(UserError, match=r"unknown study 'stduy'; did you mean 'study'\?"):
        execution.resolve("stduy", root=root)


def test_two_cells_of_parameters_are_refused(root, add_study):
    path = add_study(root, "double", "1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    with pytest.raises(UserError, match="2 cells tagged 'parameters'"):
        execution.parameters("double", root)


def test_a_damaged_notebook_is_refused_by_name(root):
    (root / "notebooks" / "study.ipynb").write_text('{"cells": [')
    with pytest.raises(UserError, match=r"study\.ipynb cannot be read"):
        execution.parameters("study", root)


# -- execution -----------------------------------------------------------------------------------------------


def test_two_runs_give_the_same_bytes_and_no_trace_of_time_or_place(root, tmp_path, add_study):
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2])"
    add_study(
        root,
        "study",
        "for i in range(50):\n    print(i, flush=True)\nprint(hash('word'), object())\nobject()",
        figure + "\nplt.show()",
    )
    first = execution.execute("study", tmp_path / "first.ipynb", root=root)
    second = execution.execute("study", tmp_path / "second.ipynb", root=root)
    assert first.read_bytes() == second.read_bytes()
    notebook = json.loads(first.read_text())
    assert "image/png" in notebook["cells"][-1]["outputs"][0]["data"]
    assert "papermill" not in first.read_text() and str(tmp_path) not in first.read_text()
    assert "execution" not in notebook["cells"][2]["metadata"] and "iopub" not in first.read_text()


HELD = """
import threading, time
from filelock import FileLock
from specfreq import experiment
from specfreq.core import places
asked, held = experiment.Experiment(data="digits", epochs=0), threading.Event()
path = places.runs_dir() / asked.key
path.mkdir(parents=True)
def hold():
    with FileLock(path / "lock"):
        held.set()
        time.sleep(1)
threading.Thread(target=hold).start()
held.wait()
"""


def test_a_study_that_waited_for_another_keeps_no_trace_of_it(root, tmp_path, add_study, monkeypatch):
    add_study(root, "study", HELD, "run = experiment.run(asked)")
    said = []
    for name, pattern in (("scrubbed", execution.WAITED), ("as it was", re.compile("(?!)"))):
        monkeypatch.setattr(execution, "WAITED", pattern)
        told = {"SPECFREQ_RUNS": str(tmp_path / name)}
        out = execution.execute("study", tmp_path / f"{name}.ipynb", root=root, environment=told)
        said.append(nbformat.read(out, as_version=4).cells[-1].outputs)
    assert said[0] == [] and "waiting for it" in said[1][0].text


def test_parameters_reach_the_notebook_with_their_types(root, tmp_path, add_study):
    name = "a \"b\" 'c' \\n"
    add_study(
        root, "study", "print([shape, name])", parameters="shape: tuple[int, ...] = (1,)\nname: str = ''"
    )
    out = execution.execute(
        "study", tmp_path / "out.ipynb", overrides={"shape": "3,4", "name": name}, root=root
    )
    assert text_of(out) == f"{[(3, 4), name]}\n"


def test_a_notebook_without_cell_ids_gives_the_same_bytes_too(root, tmp_path):
    path = root / "notebooks" / "study.ipynb"
    old = json.loads(path.read_text())
    for cell in old["cells"]:
        del cell["id"]
    path.write_text(json.dumps({**old, "nbformat_minor": 4}))
    outputs = [
        execution.execute("study", tmp_path / f"{i}.ipynb", overrides={"epochs": 3}, root=root)
        for i in range(2)
    ]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_many_runs_of_one_notebook_at_once_do_not_meet(root, tmp_path):
    def run(i):
        return execution.execute("study", tmp_path / f"{i}.ipynb", overrides={"epochs": i}, root=root)

    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(run, range(4)))
    assert [text_of(path) for path in outputs] == [f"{i} quick\n" for i in range(4)]


def test_the_kernel_is_this_interpreter_even_if_the_machine_has_another_of_that_name(
    root, tmp_path, add_study, monkeypatch
):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    add_study(root, "study", "import sys\nprint(sys.executable)")
    assert text_of(execution.execute("study", tmp_path / "out.ipynb", root=root)).strip() == sys.executable


def test_the_users_environment_does_not_leak_in(root, tmp_path, add_study, monkeypatch):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "mine.py").write_text("epochs_of_mine = 1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("SPECFREQ_RUNS", "here")
    monkeypatch.chdir(tmp_path)
    add_study(
        root,
        "study",
        "import os\nprint('epochs_of_mine' in dir(), os.environ['MPLBACKEND'][:6], "
        "os.environ['SPECFREQ_RUNS'])",
    )
    out = execution.execute("study", tmp_path / "out.ipynb", root=root)
    assert text_of(out) == f"False module {tmp_path / 'here'}\n"


# -- failures ------------------------------------------------------------------------------------------------


def test_a_cell_that_raises_is_named_and_nothing_is_half_written(root, tmp_path, add_study):
    add_study(root, "study", "print('so far')", "1 / 0", "print('never')")
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(
        StudyFailed, match=r"study failed in cell 4 \(In \[4\]\): ZeroDivisionError: division by zero"
    ) as failure:
        execution.execute("study", place / "out.ipynb", overrides={"epochs": 3}, root=root)
    assert list(place.iterdir()) == []
    report = root / "_build" / "reports" / "study.ipynb"
    assert str(report) in str(failure.value)
    assert "so far" in text_of(report) and "never" not in text_of(report)


def test_a_failure_leaves_an_older_output_as_it_was(root, tmp_path, add_study):
    (tmp_path / "out.ipynb").write_text("old")
    add_study(root, "study", "raise ValueError('no')")
    with pytest.raises(StudyFailed):
        execution.execute("study", tmp_path / "out.ipynb", root=root)
    assert (tmp_path / "out.ipynb").read_text() == "old"


def test_a_kernel_that_dies_is_a_failure_of_its_cell(root, tmp_path, add_study):
    add_study(root, "study", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "1")
    with pytest.raises(StudyFailed, match="study failed in cell 3: its kernel died"):
        execution.execute("study", tmp_path / "out.ipynb", root=root)
    assert not (tmp_path / "out.ipynb").exists()


def test_a_cell_that_takes_too_long_is_ended_and_named(root, tmp_path, add_study):
    add_study(root, "study", "print('so far')", "while True:\n    pass")
    told = r"study failed in cell 4 \(while True:\): it took longer than 2 seconds; .*study\.ipynb"
    with pytest.raises(StudyFailed, match=told):
        execution.execute("study", tmp_path / "out.ipynb", root=root, timeout=2)
    assert "so far" in text_of(root / "_build" / "reports" / "study.ipynb")


def test_a_failure_is_told_even_if_its_report_cannot_be_kept(root, tmp_path, add_study):
    (root / "_build").mkdir()
    (root / "_build" / "reports").write_text("a file, as little to be written into as a read-only folder")
    noise = "import os; os.write(2, b'noise of a kernel that ends')"  # no cause of it, and so not told
    add_study(root, "study", f"{noise}\nraise ValueError('mine')")
    with pytest.raises(
        StudyFailed, match=r"ValueError: mine; the notebook up to there is not kept: cannot write .*reports"
    ):
        execution.execute("study", tmp_path / "out.ipynb", root=root)


def test_a_compendium_that_cannot_be_written_is_refused_in_one_line(root):
    (root / "_build").write_text("a file")
    with pytest.raises(
        UserError, match=r"cannot write .*study\.quick\.ipynb: .*; choose a place that can be written"
    ):
        execution.execute("study", root=root)


def test_a_kernel_that_cannot_start_says_why(root, tmp_path):
    broken = tmp_path / "ipykernel_launcher.py"
    broken.write_text("raise SystemExit('no luck today')")
    with pytest.raises(StudyFailed, match=r"study: its kernel did not start: .*no luck today"):
        execution.execute(
            "study", tmp_path / "out.ipynb", root=root, environment={"PYTHONPATH": str(tmp_path)}
        )


def test_a_kernel_starts_without_a_home_and_with_a_long_path_of_temporary_files(root, tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(execution.tempfile, "tempdir", str(long))
    monkeypatch.setattr(execution.Path, "home", homeless)
    said = []
    out = execution.execute("study", tmp_path / "out.ipynb", root=root, say=said.append)
    assert text_of(out) == "2 quick\n"
    assert said == [
        "specfreq: running study (profile quick), 3 cells",
        "  cell 2 of 3: epochs: int = 2  # passes over the training set",
        "  cell 3 of 3: print(epochs, profile)",
    ]


def test_what_bars_write_is_said_where_there_is_no_terminal(root, tmp_path, add_study):
    line = "runs: 3 of 8 run, 01:00 gone, 01:40 left, seed 2"
    write = f"print({line!r}, end='\\r', file=open(os.environ['SPECFREQ_PROGRESS'], 'a'))"
    add_study(root, "study", f"import os\n{write}", "print('done')")
    said = []
    out = execution.execute("study", tmp_path / "out.ipynb", root=root, say=said.append)
    assert [text for text in said if text.startswith("   ")] == [f"    {line}"]
    assert text_of(out) == "done\n"


@pytest.mark.parametrize(
    "place", ["file/out.ipynb", "missing/out.ipynb", "folder.ipynb", "out.txt", "root/notebooks/study.ipynb"]
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_runs(root, tmp_path, add_study, place):
    ran = tmp_path / "ran"
    source = add_study(root, "study", f"open({str(ran)!r}, 'w')").read_bytes()
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.ipynb").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        execution.execute("study", tmp_path / place, root=root)
    assert not ran.exists()
    assert (root / "notebooks" / "study.ipynb").read_bytes() == source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {study: {epochs: 3, epochs: 4}}", "'epochs' is given twice"),
        ("a: {study: {}}\na: {study: {}}", "line 2: 'a' is given twice"),
        ("../x: {study: {}}", r"'\.\./x' cannot be the name of a profile"),
    ],
)
def test_profiles_say_everything_once_and_are_names(root, text, message):
    profiles(root, text)
    with pytest.raises(UserError, match=message):
        execution.known_profiles(root)


def test_a_profile_that_would_leave_its_folder_is_refused_before_anything_runs(root):
    with pytest.raises(UserError, match="cannot be the name of a profile"):
        execution.resolve("study", overrides={"profile": "../../x"}, root=root)


def test_hidden_files_are_no_studies(root):
    known = execution.studies(root)
    for name in ("._study.ipynb", ".~study.ipynb"):
        (root / "notebooks" / name).write_text("")
    assert execution.studies(root) == known
