"""Sweeps: every cell once, the same bytes wherever it runs; lost workers, failed cells and Ctrl-C cost
nothing that is finished.
"""

import csv
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster
from filelock import FileLock

from specfreq import cli
from specfreq.compendium import book, cluster, execution, sweep
from specfreq.core import places
from specfreq.core.errors import UserError

PARAMETERS = "seed: int = 0\nsigmas: list[float] = [2]\nname: str | None = None\nbroken: int = 2\nprofile: str = 'quick'"
STUDY = (
    "import torch\nfrom myst_nb import glue\nfrom specfreq.evidence import records",
    "noise = torch.randn(300, 300, generator=torch.Generator().manual_seed(seed))\nprint((noise @ "
    "noise).sum().item())",
    "if seed == broken:\n    raise ValueError('no luck')",
    "glue('sum', seed + sum(sigmas), display=False)\nrecords.save('study', "
    "{'profile': profile, 'seed': seed})",
)


@pytest.fixture(scope="module", autouse=True)
def own_places(tmp_path_factory):
    """One thread for all, and no trace in the folders of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory, add_study):
    root = tmp_path_factory.mktemp("root")
    add_study(root, "study", *STUDY, parameters=PARAMETERS)
    return root


@pytest.fixture(scope="module")
def swept(root):
    """A sweep by two workers, one of whose three cells fails: its rows and what was said. Not to be changed."""
    said = []
    rows = sweep.sweep(
        "study", {"sigmas": ["[2,4]"], "seed": [0, 1, 2]}, workers=2, root=root, say=said.append
    )
    return rows, said


@pytest.fixture
def no_cluster(monkeypatch):
    """Whatever would be run is a failure of the test."""

    def connect(*args):
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(cluster, "connect", connect)


def ended(pid):
    """Whether a process has gone, after what time it needs."""
    try:
        psutil.Process(pid).wait(20)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def results(rows):
    return [(*row["parameters"].values(), row["state"], row["values"].get("sum")) for row in rows]


# -- the grid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("0,1,2", ["0", "1", "2"]),
        (" photos , digits,", ["photos", "digits"]),
        ("[2,4],[12]", ["[2,4]", "[12]"]),
        ("[[1, 2], [3]], [ ]", ["[[1, 2], [3]]", "[ ]"]),
        ('"radius:low=2,high=4", none', ["radius:low=2,high=4", "none"]),
        ('["a,b]",c],[d]', ['["a,b]",c]', "[d]"]),
        (r'"say \"a, b\"",""', ['say "a, b"', ""]),
        ("", []),
    ],
)
def test_values_are_split_at_commas_outside_of_lists_and_quotes(typed, values):
    assert sweep.values(typed) == values


def test_a_quotation_that_is_not_json_is_refused():
    with pytest.raises(UserError, match=r"cannot read .*; write text with commas as JSON"):
        sweep.values('"a" and "b"')


def cells(root, tmp_path, **grid):
    return sweep._cells(
        root / "notebooks" / "study.ipynb", grid, "quick", {}, tmp_path, root, book.keys(root)
    )


def test_a_list_parameter_takes_a_list_per_cell_and_a_single_value_is_a_list_of_one(root, tmp_path):
    assert [c.parameters["sigmas"] for c in cells(root, tmp_path, sigmas=sweep.values("[2,4],12"))] == [
        [2, 4],
        [12],
    ]


def test_the_grid_is_the_product_in_order_and_repetitions_count_once(root, tmp_path):
    found = cells(root, tmp_path, seed=["1", "0", "01"], name=["a", "None"])
    assert [tuple(c.parameters.values()) for c in found] == [(1, "a"), (1, None), (0, "a"), (0, None)]
    assert len({c.path for c in found}) == 4


def test_names_of_cells_are_readable_safe_and_short(root, tmp_path):
    plain, odd, long = cells(root, tmp_path, name=["a", "../é: *?", "x" * 500])
    assert plain.path.name.startswith("name=a-") and plain.path.parent == tmp_path
    assert odd.path.parent == tmp_path and set("/é:*? ").isdisjoint(odd.path.name)
    assert len(long.path.name) < 120


@pytest.mark.parametrize(
    ("grid", "complaint"),
    [
        ({}, "there is nothing to sweep"),
        ({"seed": []}, "parameter 'seed' has no values"),
        ({"sede": ["0"]}, r"unknown parameter 'sede' for study; did you mean 'seed'\?"),
        ({"seed": ["0", "1.5"]}, r"seed='1\.5' is refused for study"),
        ({"seed": [0, 1.5]}, r"seed=1\.5 is refused for study"),
        ({"sigmas": ["[2,4"]}, r"the list, line \d: .*expected"),
        ({"seed": ["[0,1]"]}, r"seed='\[0,1\]' is refused"),
        ({"name": ["x"]}, "parameter 'name' is both fixed and in the grid"),
    ],
)
def test_an_impossible_grid_is_refused_before_anything_runs_or_is_written(
    root, tmp_path, no_cluster, grid, complaint
):
    with pytest.raises(UserError, match=complaint):
        sweep.sweep("study", grid, overrides={"name": "a"}, root=root, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- running -------------------------------------------------------------------------------------------------


def test_every_cell_has_its_row_its_notebook_and_its_own_record(swept, root):
    rows, _ = swept
    assert results(rows) == [([2, 4], 0, "done", 6), ([2, 4], 1, "done", 7), ([2, 4], 2, "failed", None)]
    folder = root / "_build" / "sweeps" / "study.quick"
    for row in rows[:2]:
        assert row["notebook"].parent == folder
        record = json.loads((folder / "records" / row["notebook"].stem / "study.quick.json").read_text())
        assert record["seed"] == row["parameters"]["seed"]
    assert not (places.runs_dir() / "records").exists()
    with (folder / "results.csv").open() as f:
        assert [(line["sigmas"], line["seed"], line["state"], line["sum"]) for line in csv.DictReader(f)] == [
            ("2.0,4.0", "0", "done", "6.0"),
            ("2.0,4.0", "1", "done", "7.0"),
            ("2.0,4.0", "2", "failed", ""),
        ]


def test_a_failed_cell_is_reported_with_its_parameters_its_place_and_what_ran_of_it(swept):
    rows, said = swept
    (failed,) = (row for row in rows if row["state"] == "failed")
    (line,) = (line for line in said if "failed" in line)
    assert line.startswith(
        "sigmas=2.0,4.0, seed=2: failed: study failed in cell 5 (In [5]): ValueError: no luck; "
    )
    assert line.endswith(str(failed["notebook"])) and "no luck" in failed["error"]
    assert "no luck" in failed["notebook"].read_text()


def test_a_cell_has_the_bytes_of_one_that_was_executed_alone(swept, root, tmp_path):
    row, overrides = swept[0][1], {"seed": 1, "sigmas": [2.0, 4.0]}
    alone = execution.execute("study", tmp_path / "alone.ipynb", overrides=overrides, root=root)
    assert row["notebook"].read_bytes() == alone.read_bytes()


def test_one_worker_of_a_scheduler_by_address_gives_the_bytes_of_two_here_and_others_are_refused(
    swept, root, tmp_path, monkeypatch
):
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as other:
        options = {
            "overrides": {"sigmas": "2,4"},
            "root": root,
            "dask": other.scheduler_address,
            "say": lambda line: None,
        }
        with monkeypatch.context() as patch:
            patch.setattr(book.platform, "python_version", lambda: "2.7")
            with pytest.raises(
                UserError, match=r"tcp://127\.0\.0\.1:\d+ has Python 3[\d.]+, here it is 2\.7"
            ):
                sweep.sweep("study", {"seed": [0]}, output=tmp_path / "refused", **options)
        rows = sweep.sweep("study", {"seed": [0, 1]}, output=tmp_path / "out", **options)
    assert not list((tmp_path / "refused").glob("*.ipynb"))
    assert results(rows) == [(0, "done", 6), (1, "done", 7)]
    assert [row["notebook"].read_bytes() for row in rows] == [
        swept[0][i]["notebook"].read_bytes() for i in (0, 1)
    ]


def test_finished_cells_are_never_run_again_whatever_the_grid_calls_them(swept, root, no_cluster):
    rows = sweep.sweep(
        "study", {"seed": ["0", "1"], "sigmas": [[2.0, 4.0]]}, root=root, say=lambda line: None
    )
    assert results(rows) == [(0, [2, 4], "kept", 6), (1, [2, 4], "kept", 7)]
    assert all(row["seconds"] > 0 for row in rows)
    assert [row["notebook"] for row in rows] == [swept[0][i]["notebook"] for i in (0, 1)]


@pytest.mark.parametrize("change", ["parameter", "threads", "package"])
def test_what_a_cell_depends_on_makes_another_cell(swept, root, no_cluster, monkeypatch, change):
    if change == "threads":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    if change == "package":
        monkeypatch.setattr(book.importlib.metadata, "distributions", list)
    overrides = {"name": "x"} if change == "parameter" else {}
    with pytest.raises(AssertionError, match="a cluster was started"):
        sweep.sweep(
            "study", {"sigmas": ["[2,4]"], "seed": [0]}, overrides=overrides, root=root, say=lambda line: None
        )


def test_a_cell_whose_code_has_changed_since_the_sweep_began_is_not_run(root, tmp_path):
    source = root / "notebooks" / "study.ipynb"
    identity = sweep._identity(source, tmp_path) | {"code of specfreq": "of before"}
    _, error = sweep.run_cell(str(source), "quick", {}, tmp_path / "out.ipynb", root, tmp_path, {}, identity)
    assert error.startswith("specfreq or the notebook has changed since the sweep began")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_worker_costs_no_cell_and_leaves_no_kernel(tmp_path, add_study):
    """One cell kills its worker once, one does so always; a third, beside them, is none of their business."""
    code = (
        "import os, signal, time",
        "mine = os.path.join(folder, str(cell))\nbefore = os.path.exists(mine)\nopen(mine, "
        "'a').write(f'{os.getpid()}\\n')",
        "if cell == 'always' or cell == 'once' and not before:\n    os.kill(os.getppid(), signal.SIGKILL)\n  "
        "  while True: pass",
    )
    folder = tmp_path / "pids"
    folder.mkdir()
    add_study(tmp_path, "study", *code, parameters="cell: str = ''\nfolder: str = ''")
    grid, options = (
        {"cell": ["always", "once", "never"]},
        {"workers": 2, "retries": 1, "say": lambda line: None},
    )
    rows = sweep.sweep("study", grid, overrides={"folder": str(folder)}, root=tmp_path, **options)
    assert [row["state"] for row in rows] == ["failed", "done", "done"]
    assert rows[0]["error"] == "2 workers were lost, perhaps for lack of memory"
    pids = {path.name: [int(line) for line in path.read_text().split()] for path in folder.iterdir()}
    assert {name: len(each) for name, each in pids.items()} == {"always": 2, "once": 2, "never": 1}
    assert all(ended(pid) for each in pids.values() for pid in each)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no groups of processes to interrupt")
def test_ctrl_c_ends_kernels_and_keeps_what_is_finished(tmp_path, add_study):
    code = "import os, time\nopen(os.path.join(folder, str(seed)), 'w').write(str(os.getpid()))\nwhile seed:\n    time.sleep(0.1)"
    notebook = add_study(tmp_path, "study", code, parameters="seed: int = 0\nfolder: str = ''")
    args = [
        "sweep",
        str(notebook),
        "-p",
        f"folder={tmp_path}",
        "-p",
        "seed",
        "0,1",
        "--workers",
        "1",
        "-o",
        str(tmp_path / "out"),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # also under `nohup make test &`
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "specfreq", *args]
    running = subprocess.Popen(command, start_new_session=True, preexec_fn=heard, **pipes)
    try:
        until = time.monotonic() + 120
        while (
            not ((tmp_path / "1").exists() and (tmp_path / "1").read_text())
            and running.poll() is None
            and time.monotonic() < until
        ):
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the workers too
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert (running.returncode, out) == (130, "")
    assert "stopping; 1 of 2 cells are kept, the same command runs the others\nspecfreq: interrupted" in err
    assert "Traceback" not in err
    assert ended(int((tmp_path / "1").read_text()))
    assert len([p for p in (tmp_path / "out").glob("*.ipynb") if "failed" not in p.name]) == 1


def test_a_script_without_a_main_guard_is_refused_and_one_with_it_or_no_script_is_not(
    root, tmp_path, monkeypatch
):
    call = "sweep.sweep('study', {'seed': [0]}, root=root, output=output, say=lambda line: None)"
    asked = []
    monkeypatch.setattr(cluster, "connect", lambda *args: asked.append(args) or 1 / 0)
    script = tmp_path / "script.py"
    known = {"sweep": sweep, "root": root, "output": tmp_path / "out", "__name__": "__main__"}
    script.write_text(f"def mine():\n    {call}\n\nmine()")
    with pytest.raises(UserError, match=r"script\.py, line 4: .*`if __name__ == '__main__':`"):
        exec(compile(script.read_text(), script, "exec"), {**known, "__file__": str(script)})
    assert not asked
    script.write_text(f"if __name__ == '__main__':\n    {call}")
    for place in ({"__file__": str(script)}, {}):
        with pytest.raises(ZeroDivisionError):
            exec(compile(script.read_text(), script, "exec"), {**known, **place})


def test_why_a_sweep_ended_is_told_even_if_its_results_cannot_be_written(root, tmp_path, monkeypatch, swept):
    (tmp_path / "results.csv").mkdir()
    for row in swept[0][:2]:
        (tmp_path / row["notebook"].name).write_bytes(row["notebook"].read_bytes())
    monkeypatch.setattr(cluster, "connect", lambda *args: 1 / 0)
    monkeypatch.setattr(sweep.sweep_tables, "seconds", lambda path: {})
    with pytest.raises(ZeroDivisionError):
        sweep.sweep(
            "study",
            {"sigmas": ["[2,4]"], "seed": [0, 1, 2]},
            root=root,
            output=tmp_path,
            say=lambda line: None,
        )


# -- bad places ----------------------------------------------------------------------------------------------


def test_a_scheduler_that_does_not_answer_is_refused(root, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(UserError, match=f"no Dask scheduler answers at '{address}'"):
            sweep.sweep(
                "study", {"seed": [5]}, dask=address, root=root, output=tmp_path, say=lambda line: None
            )


def test_without_dask_it_is_said_what_to_install(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed.utils", None)
    with pytest.raises(UserError, match=r"pip install 'specfreq\[scale\]'"):
        sweep.sweep("study", {"seed": [5]}, root=root, output=tmp_path, say=lambda line: None)


def test_two_sweeps_do_not_share_a_folder_and_one_that_cannot_be_written_is_refused(
    root, tmp_path, no_cluster
):
    (tmp_path / "file").write_text("")
    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="another sweep is at work in"):
        sweep.sweep("study", {"seed": [0]}, root=root, output=tmp_path)
    with pytest.raises(UserError, match=r"cannot write .*file"):
        sweep.sweep("study", {"seed": [0]}, root=root, output=tmp_path / "file")


def test_the_command_prints_the_table_alone_and_ends_with_1_if_a_cell_failed(
    swept, root, monkeypatch, capsys
):
    rows, asked = swept[0], []
    monkeypatch.setattr(places, "root", lambda: root)
    monkeypatch.setattr(
        sweep, "sweep", lambda *args, say, **options: asked.append((args, options)) or say("busy") or rows
    )
    with pytest.raises(SystemExit, match="1"):
        cli.main(
            [
                "sweep",
                "study",
                "-p",
                "seed=0,1",
                "-p",
                "sigmas",
                "[2,4],12",
                "-p",
                "seed=2",
                "--workers",
                "3",
                "-o",
                "out",
            ]
        )
    given = {
        "profile": "quick",
        "dask": None,
        "workers": 3,
        "retries": 2,
        "output": Path("out"),
        "timeout": None,
    }
    assert asked == [(("study", {"seed": ["0", "1", "2"], "sigmas": ["[2,4]", "12"]}), given)]
    out, err = capsys.readouterr()
    assert out.split()[:4] == ["seed", "seconds", "state", "sum"] and out.count("\n") == 6
    assert err == "busy\nspecfreq: 1 of 3 cells failed; the same command runs them again\n"


def test_too_many_cells_are_refused_by_arithmetic(root, monkeypatch):
    monkeypatch.setattr(execution, "resolve", None)
    with pytest.raises(UserError, match="that is 1,000,000 cells; a sweep has at most 10,000"):
        sweep.sweep("study", {"a": ["1"] * 1000, "b": ["1"] * 1000}, root=root)
