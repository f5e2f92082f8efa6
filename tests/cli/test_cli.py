"""The command line: messages that say what, where and what to do; exit code 2, 1 or 130; and commands that
answer at once.
"""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from specfreq import __version__, augment, cli, corruptions, data, experiment, filters, measures, models
from specfreq.cli import base
from specfreq.compendium import book, execution
from specfreq.core import places, storage
from specfreq.measures import others


@pytest.fixture
def specfreq(capfd):
    """Run a command line in this process: (exit code, what was printed, what was complained about)."""

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            cli.main(args)
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def root(tmp_path, add_study, monkeypatch):
    """A compendium of one study, in place of the one this package lies in."""
    add_study(
        tmp_path,
        "study",
        "print(epochs)",
        parameters="epochs: int = 2  # passes over the data\nsigmas: list[float] = [2]",
    )
    (tmp_path / "notebooks" / "profiles.yaml").write_text("laptop: {study: {epochs: 7}}")
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


HEAVY = ("torch", "torchvision", "scipy", "skimage", "sklearn", "numba", "matplotlib", "pandas")
HEAVY += ("papermill", "nbformat", "nbclient", "jupyter_client", "IPython", "dask", "distributed", "rich")
ANSWERED = """
--help; --version; run --help; run band-limited-training --help; sweep --help; book --help; train --help; measure --help; predict --help
publish --help; new study --help; data --help; data get --help; data make --help; list --help; list; list runs; list augmentations; list -w augment=apr-p:p=0.5
"""
REFUSED = """
new study engine; new study Engine
list modles; list runs -w sed=1; list runs -w model=resnt8; data get cifar; publish nosuch; book --profile labtop
run band-limited-trainin; run band-limited-training -p epohcs 3; run band-limited-training -p epochs many
run band-limited-training --profile labtop; sweep band-limited-training -p epohcs=3; sweep band-limited-training -p epochs=1,x
train --epohcs 3; train --epochs x; train --profile lptop; train --model resnt20; train --model resnet20:norm=bach
train --augment apr-p:q=1; train --augment apr-p:p=x,per=image; train --augment apr-p:p=7 --model resnt8
train --augment tv:bands=x; train --filter gaussian-low-pass; train --filter whitning; train --data digts
train --data planted:band=hihg; train --measure acuracy; train --measure corruption:corruptions=fgo
train --measure out-of-distribution:other=sfhn; train --measure adversarial:attacks=fgms; train --measure calibration:bins=x
measure nosuch accuracy; measure accuracy; measure --model nets:build accuracy; measure --data digits accuracy
predict nosuch x.png; predict nosuch; predict nosuch x.png --layer conv
measure --model nets --data digits accuracy; measure --model nets:build --data digits acuracy
"""
ASK = f"""
import contextlib, io, json, sys
from specfreq.cli import main

for line in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(line.split())
        except SystemExit as ended:
            code = ended.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue(), [m for m in {HEAVY} if m in sys.modules]]))
"""


def test_lists_helps_and_refusals_of_names_and_types_load_nothing_heavy(tmp_path):
    """One process answers them all: what one loads, the next would show too, so the first is to blame."""
    answered, refused = (re.split(r"; |\n", lines.strip()) for lines in (ANSWERED, REFUSED))
    environment = {**os.environ, "SPECFREQ_RUNS": str(tmp_path)}
    command = [sys.executable, "-c", ASK, *answered, *refused]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    told = dict(zip([*answered, *refused], map(json.loads, done.stdout.splitlines()), strict=True))
    assert {line: heavy for line, (*_, heavy) in told.items() if heavy} == {}
    for line in answered:
        code, _, complaint, _ = told[line]
        assert (code, complaint) == (0, ""), line
    for line in refused:
        code, out, complaint, _ = told[line]
        assert (code, out) == (2, "") and complaint.startswith("specfreq: ") and complaint.count("\n") == 1, (
            line
        )


def test_what_the_output_cannot_show_is_escaped(tmp_path, add_study):
    """Nothing is lost after the work is done: an encoding without a letter of a result, or of a place, stops
    nothing.
    """
    add_study(tmp_path, "study", "print(1)", parameters="epochs: int = 2  # \u2013 \u03c3")
    command = [sys.executable, "-m", "specfreq", "run", str(tmp_path / "notebooks" / "study.ipynb"), "--help"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("epochs: int = 2\n      \\u2013 \\u03c3\n")


def test_augmentations_that_need_batches_say_so(specfreq):
    lines = specfreq("list", "augmentations")[1].splitlines()
    assert "  apr-p           needs batches" in lines and "  apr-s" in lines


def test_every_public_name_is_found_without_loading_it_first():
    program = (
        "import sys, specfreq\n"
        "print(len(sys.modules) < 200 and not {'torch', 'numpy', 'pydantic'} & sys.modules.keys())\n"
        "print({name: getattr(specfreq, name) for name in specfreq.__all__} and specfreq.tv.denoise.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\ndenoise\n"


@pytest.mark.parametrize(
    "command",
    [
        "",
        "run",
        "sweep",
        "book",
        "new",
        "new study",
        "train",
        "measure",
        "publish",
        "list",
        "data",
        "data list",
        "data get",
        "data make",
    ],
)
def test_every_command_explains_itself(specfreq, command):
    code, out, err = specfreq(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: specfreq {command}".rstrip())


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "specfreq", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"specfreq {__version__}\n")


# -- studies -------------------------------------------------------------------------------------------------


def test_a_misspelt_parameter_is_refused_with_the_nearest(specfreq, root):
    assert specfreq("run", "study", "-p", "epohcs", "3") == (
        2,
        "",
        "specfreq: unknown parameter 'epohcs' for study; did you mean 'epochs'? (specfreq run study --help "
        "lists all)\n",
    )


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["-p", "epochs", "3.5"], "epochs='3.5' is refused for study: input should be a valid integer"),
        (["-p", "epochs"], "parameter 'epochs' has no value; write -p epochs VALUE"),
        (["--profile", "labtop"], "unknown profile 'labtop'; did you mean 'laptop'?"),
        (["-o", "missing/out.ipynb"], "cannot write"),
        (["--epochs", "3"], "No such option"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(specfreq, root, args, complaint):
    code, out, err = specfreq("run", "study", *args)
    assert (code, out) == (2, "")
    assert err.startswith("specfreq: ") and complaint in err and err.count("\n") == 1


def test_help_of_a_study_lists_its_parameters(specfreq, root):
    out = specfreq("run", "study", "--help")[1]
    assert "epochs: int = 2\n      passes over the data\n" in out
    assert "sigmas: list[float] = [2]" in out


@pytest.mark.parametrize(
    "given",
    [
        ["-p", "epochs", "5"],
        ["-p", "epochs=5"],
        ["-p=epochs=5"],
        ["--profile", "laptop", "-p", "epochs", "5"],
    ],
)
def test_run_passes_parameters_on_and_prints_what_it_wrote(specfreq, root, monkeypatch, given):
    asked = []
    monkeypatch.setattr(execution, "execute", lambda *args, **_: asked.append(args) or "written.ipynb")
    assert specfreq("run", "study", "-p", "sigmas", "-2,4", *given)[:2] == (0, "written.ipynb\n")
    assert asked == [
        ("study", None, "laptop" if "laptop" in given else "quick", {"sigmas": "-2,4", "epochs": "5"})
    ]


def test_run_writes_an_executed_notebook(specfreq, root):
    code, out, err = specfreq("run", "study", "-p", "epochs", "41", "-o", "out.ipynb")
    assert code == 0 and err.startswith("specfreq: running study (profile quick), 3 cells\n")
    assert out == f"{root / 'out.ipynb'}\n"
    assert '"41\\n"' in (root / "out.ipynb").read_text()


def test_a_study_that_fails_is_exit_code_1(specfreq, root, add_study):
    add_study(root, "study", "raise ValueError('no luck')")
    code, out, err = specfreq("run", "study", "-o", "out.ipynb")
    assert (code, out) == (1, "")
    told = "specfreq: study failed in cell 3 (In [2]): ValueError: no luck; the notebook up to there: "
    assert any(line.startswith(told) for line in err.splitlines())
    assert not (root / "out.ipynb").exists()


def test_book_says_how_far_it_is_and_prints_the_page_to_open(specfreq, root, monkeypatch):
    def build(profile, timeout, say):
        say(f"studies of {profile}")
        return root / "index.html"

    monkeypatch.setattr(book, "build", build)
    assert specfreq("book", "--profile", "laptop")[:2] == (
        0,
        f"studies of laptop\nopen {(root / 'index.html').as_uri()}\n",
    )


# -- experiments ---------------------------------------------------------------------------------------------

SMALL = ["--data", "digits", "--train-size", "100", "--test-size", "50", "--epochs", "1"]


def test_an_experiment_is_trained_once_found_by_its_key_and_measured(specfreq, runs):
    code, out, _ = specfreq("train", *SMALL)
    key = out.split()[0]
    assert code == 0 and out.startswith(f"{key}  {runs / key}\n") and "accuracy" in out
    model = runs / key / "model.safetensors"
    trained = model.stat().st_mtime_ns
    assert specfreq("train", *SMALL)[1] == out
    assert model.stat().st_mtime_ns == trained
    assert f"  {key}  " in specfreq("list", "runs")[1]
    assert specfreq("measure", key[:6], "accuracy", "--filter", "gaussian-low-pass:sigma=2")[0] == 0
    assert len(list((runs / key / "results").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--epohcs", "3"], "No such option"),
        (["--epochs", "3.5"], "epochs='3.5' is refused"),
        (["--model", "resnt20"], "did you mean 'resnet20'?"),
        (["--data", "digits", "--measure", "acuracy"], "did you mean 'accuracy'?"),
    ],
)
def test_an_impossible_experiment_is_refused(specfreq, runs, args, complaint):
    code, out, err = specfreq("train", *args)
    assert (code, out) == (2, "")
    assert err.startswith("specfreq: ") and complaint in err
    assert not runs.exists()


def test_a_profile_fills_in_what_the_command_line_leaves_out(specfreq, runs, root):
    (root / "notebooks" / "profiles.yaml").write_text(
        "mine: {train: {data: digits, train_size: 100, test_size: 50, epochs: 7}}"
    )
    key = specfreq("train", "--profile", "mine", "--epochs", "1")[1].split()[0]
    assert key == specfreq("train", *SMALL)[1].split()[0]


@pytest.mark.parametrize(
    ("text", "profile", "complaint"),
    [
        ("mine: {train: {epochs: 7}}", "mien", "did you mean 'mine'?"),
        ("mine: {study: {epochs: 7}}", "mine", "unknown profile 'mine'"),  # it has nothing for a training
        ("mine: {train: {epohcs: 7}}", "mine", "did you mean 'epochs'?"),
        ("mine: {train: {epochs: many}}", "mine", "epochs='many' is refused"),
        ("mine: 7", "mine", "profile: study: parameter: value"),
    ],
)
def test_an_impossible_profile_is_refused(specfreq, runs, root, text, profile, complaint):
    (root / "notebooks" / "profiles.yaml").write_text(text)
    code, out, err = specfreq("train", "--profile", profile)
    assert (code, out) == (2, "") and complaint in err
    assert not runs.exists()


def test_a_training_that_diverges_is_a_failed_run(specfreq, runs):
    code, out, err = specfreq("train", *SMALL, "--lr", "1e30", "--epochs", "2")
    assert (code, out) == (1, "")
    assert "\nspecfreq: the loss is" in err


FIRST_SAID = """
import contextlib, io, sys
from specfreq.cli import main

class Watched(io.StringIO):
    def write(self, text):
        print(text.strip(), "torch" in sys.modules)
        raise KeyboardInterrupt

with contextlib.redirect_stderr(Watched()):
    main()
"""


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            "train --data digits --epochs 3",
            "specfreq: training resnet8 on digits, 3 epochs, unless it is trained",
        ),
        (
            "measure --model nets:build --data digits accuracy nll",
            "specfreq: measuring accuracy, nll of nets:build on digits",
        ),
        ("data get pneumonia", "specfreq: getting pneumonia (PneumoniaMNIST: 5,856 grey chest X-rays"),
    ],
)
def test_a_long_command_says_what_begins_before_torch_is_imported(tmp_path, args, line):
    environment = {**os.environ, "SPECFREQ_RUNS": str(tmp_path), "SPECFREQ_DATA": str(tmp_path)}
    command = [sys.executable, "-c", FIRST_SAID, *args.split()]
    said = subprocess.run(command, capture_output=True, text=True, env=environment).stdout.splitlines()[0]
    assert said.startswith(line) and said.endswith(" False")


def test_measuring_a_run_says_so_once_all_its_names_are_right(specfreq, runs):
    key = specfreq("train", *SMALL)[1].split()[0]
    assert specfreq("measure", key[:6], "accuracy")[2] == f"specfreq: measuring accuracy of {key}\n"
    code, out, err = specfreq("measure", key, "accuracy", "--filter", "whitning")
    assert (code, out) == (2, "") and err.startswith("specfreq: unknown filter 'whitning'")


def test_a_home_is_a_home_in_the_path_of_every_option(specfreq, runs, root, monkeypatch):
    """The shell expands ~ in `-o ~/x` alone, not in `-o=~/x`."""
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.setenv("USERPROFILE", str(root / "home"))
    key = specfreq("train", *SMALL)[1].split()[0]
    assert specfreq("measure", key, "accuracy", "-o=~/x.json")[0] == 0
    assert storage.read_json(root / "home" / "x.json")["run"] == key
    lost = ["measure", "accuracy", "--model", "nets:build", "--data", "digits", "--weights=~/w.safetensors"]
    assert f"cannot read {root / 'home' / 'w.safetensors'}: " in specfreq(*lost)[2]
    for command in ("run study", "sweep study -p epochs=1", f"measure {key} accuracy"):
        code, out, err = specfreq(*command.split(), "-o=~nobody-of-that-name/x.ipynb")
        assert (code, out) == (2, "") and err.startswith("specfreq: cannot find ~nobody-of-that-name/x.ipynb")


def test_every_option_that_is_a_path_reads_it_as_users_write_it():
    options = [option for command in cli.app.commands.values() for option in command.params]
    paths = [option for option in options if re.match(r"FILE|FOLDER", option.metavar or "")]
    assert len(paths) == 7 and all(isinstance(option.type, base.Place) for option in paths)


OF_RUNS = ["keep", "restore", "list", "predict"]


def test_without_a_command_the_commands_are_explained_in_the_order_of_work(specfreq):
    code, out, err = specfreq()
    assert (code, err) == (0, "") and out == specfreq("--help")[1]
    listed = re.findall(r"^  (\w+) ", out.partition("Commands:\n")[2], re.MULTILINE)
    assert listed == ["run", "sweep", "book", "new", "train", "measure", "publish", *OF_RUNS, "data"]
    assert specfreq("data")[1] == specfreq("data", "--help")[1]


def test_options_of_train_are_the_fields_of_an_experiment(specfreq):
    out = specfreq("train", "--help")[1]
    for name, field in experiment.Experiment.model_fields.items():
        assert f"--{name.replace('_', '-')} " in out and field.description.split()[0] in out


def test_runs_can_be_listed_by_what_they_are(specfreq, runs):
    keys = [specfreq("train", *SMALL, "--seed", seed)[1].split()[0] for seed in "01"]
    listed = specfreq("list", "runs")[1]
    assert [line.split()[0] for line in listed.splitlines()] == keys and listed.count(" % ") == 2
    assert specfreq("list", "-w", "seed=1", "--where", "data=digits")[1].split()[0] == keys[1]
    assert specfreq("list", "runs", "-w", "model=resnet20")[1].strip() == ""
    for wrong, complaint in (
        ("sed=1", "did you mean 'seed'"),
        ("model=resnt8", "did you mean 'resnet8'"),
        ("seed", "has no value"),
    ):
        code, _, err = specfreq("list", "runs", "-w", wrong)
        assert code == 2 and complaint in err
    assert specfreq("list", "models", "-w", "seed=1")[0] == 2


def test_a_run_is_published_with_all_that_it_rests_on(specfreq, runs, root):
    key = specfreq("train", *SMALL)[1].split()[0]
    assert specfreq("publish", key[:5], "--as", "my run")[:2] == (0, "book/results/my-run.run.json\n")
    record = storage.read_json(root / "book" / "results" / "my-run.run.json")
    assert record["key"] == key and record["parameters"]["data"] == "digits" and len(record["history"]) == 1
    assert record["results"]["accuracy"]["images"] == 50
    assert record["provenance"].keys() == {
        "specfreq",
        "commit",
        "precision",
        "torch",
        "device",
        "date",
        "seconds",
        "runs",
        "data",
    }
    assert len(record["provenance"]["data"]["digits (train)"]) == 64


def test_an_unknown_run_or_record_is_refused(specfreq, runs):
    assert specfreq("measure", "0123", "accuracy")[::2] == (
        2,
        "specfreq: unknown run '0123'; known: none (`specfreq list runs` shows all)\n",
    )
    code, _, err = specfreq("publish", "study")
    assert code == 2 and err.startswith("specfreq: unknown record 'study.laptop'")


def test_no_key_is_the_key_of_no_run(specfreq, monkeypatch, tmp_path):
    """Even where there is one run alone: an empty variable of the shell is a slip."""
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    storage.write(tmp_path / "0123456789abcdef" / "model.safetensors", "")
    code, out, err = specfreq("measure", "", "accuracy")
    assert (code, out) == (2, "") and err.startswith("specfreq: unknown run ''")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("run image-spectra -p size=100 -p size 200", "specfreq: 'size' is given twice: 100 and 200"),
        ("list runs -w seed=1 -w seed=2", "specfreq: 'seed' is given twice: 1 and 2"),
        ("train --epochs", "(specfreq train --help tells more)"),
        ("run image-spectra -p", "(specfreq run --help tells more)"),
    ],
)
def test_what_is_given_twice_or_left_without_a_value_is_refused(specfreq, command, complaint):
    code, out, err = specfreq(*command.split())
    assert (code, out) == (2, "") and complaint in err and err.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_named_in_one_line(unbuffered):
    """Whether Python writes at once or when it ends."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "specfreq", "list", "models"]
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == "specfreq: cannot write the output: No space left on device\n"


# -- the rest ------------------------------------------------------------------------------------------------


def test_list_shows_every_kind(specfreq, root, runs):
    out = specfreq("list")[1]
    for line in (
        "studies:\n  study\n",
        "profiles:\n  quick\n  laptop\n",
        "  photos\n",
        "  resnet20\n",
        "  whitening\n",
        "  accuracy\n",
    ):
        assert line in out
    assert specfreq("list", "models")[1].split()[:2] == ["resnet8", "resnet20"]
    assert specfreq("list", "modles")[::2] == (
        2,
        "specfreq: unknown kind 'modles' for list; did you mean 'models'?\n",
    )


def test_names_are_written_as_the_help_says(specfreq):
    shown = " ".join(specfreq("list", "--help")[1].split())
    assert "Names are written with hyphens, those of corruptions with underscores" in shown
    hyphens = [
        *data.names(),
        *models.names(),
        *filters.names(),
        *augment.describe(),
        *measures.names(),
        *others.COMPUTED,
    ]
    assert [name for name in hyphens if "_" in name] == [] and [
        name for name in corruptions.names() if "-" in name
    ] == []
    assert specfreq("data", "get", "fashion_mnit")[2].endswith("did you mean 'fashion-mnist'?\n")


def test_data_list_says_what_is_missing_and_get_refuses_unknown_names(specfreq, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    code, out, err = specfreq("data", "list")
    assert (code, err) == (0, "")
    assert re.search("photos +here ", out) and re.search("cifar10 +not here ", out)
    assert f"cifar10: {tmp_path / 'cifar-10-batches-py'}" in out
    (tmp_path / "CIFAR-10-C").mkdir()
    assert "CIFAR-10-C   not here" in out and "CIFAR-10-C   here" in specfreq("data", "list")[1]
    assert specfreq("data", "get", "cifar")[0] == 2
    assert specfreq("data", "get", "digits") == (0, "digits needs no download\n", "")


def test_a_derived_set_is_made_by_name_and_drawn_beside_what_it_is_made_of(specfreq, runs, tmp_path):
    picture = tmp_path / "sets" / "hars.png"
    code, out, _ = specfreq("data", "make", "hars:of=digits,radius=2", "-o", str(picture))
    full, train, test, drawn = out.splitlines()
    assert (code, full, drawn) == (0, "hars:of=digits,radius=2", str(picture))
    assert "1,438 images" in train and "359 images" in test
    assert Image.open(picture).width > Image.open(picture).height, "ten digits in two lines"
    assert len([*runs.glob("derived/*/images.safetensors")]) == 2


@pytest.mark.parametrize("output", [".", "sheet", "sheet.txt"])
def test_a_picture_that_cannot_be_written_is_refused_before_the_set_is_made(
    specfreq, runs, tmp_path, monkeypatch, output
):
    monkeypatch.chdir(tmp_path)
    code, out, err = specfreq("data", "make", "hars:of=digits,radius=2", "-o", output)
    assert (code, out) == (2, "") and f"-o {output} is refused" in err
    assert not runs.exists() and not [*tmp_path.iterdir()]


def test_an_interruption_is_exit_code_130(specfreq, root, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "execute", interrupted)
    assert specfreq("run", "study") == (130, "", "specfreq: interrupted\n")


LOADING = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # also under `nohup make test &`
awaited = sys.argv.pop(1)

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == awaited:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
runpy.run_module("specfreq", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize(
    "module",
    ["specfreq.cli", "click", "specfreq.core.processes", "specfreq.experiment.runs", "yaml", "torch"],
)
def test_an_interruption_while_modules_are_loaded_is_told_in_one_line(module, runs):
    command = [sys.executable, "-c", LOADING, module, "train", *SMALL]
    done = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith("specfreq: training ")]
    assert (done.returncode, said) == (130, ["specfreq: interrupted"])


def test_an_interrupted_training_is_exit_code_130(runs):
    """A real signal, in the middle of a training that would take long."""
    command = [
        sys.executable,
        "-m",
        "specfreq",
        "train",
        *SMALL,
        "--epochs",
        "5000",
        "--checkpoint-every",
        "0",
    ]
    # also under `nohup make test &`
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    while process.poll() is None and not [*runs.glob("*/checkpoint.safetensors")]:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr.read().splitlines()[1:] == ["specfreq: interrupted"]  # after what begins


def test_a_defect_of_the_program_keeps_its_traceback(root, monkeypatch):
    def defective(*args, **options):
        raise RuntimeError("not foreseen")

    monkeypatch.setattr(execution, "execute", defective)
    with pytest.raises(RuntimeError, match="not foreseen"):
        cli.main(["run", "study"])


def test_runs_are_kept_and_restored_by_their_keys(specfreq, runs, root, monkeypatch):
    keys = [specfreq("train", *SMALL, "--seed", seed)[1].split()[0] for seed in "01"]
    out = specfreq("keep", "--where", "seed=1", "--folder", str(root / "kept"))[1]
    assert out.startswith(f"1 run in {root / 'kept'} (") and (root / "kept" / f"{keys[1]}.zip").exists()
    assert specfreq("keep", "--folder", str(root / "kept"))[1].startswith("2 runs in ")
    monkeypatch.setenv("SPECFREQ_RUNS", str(root / "elsewhere"))
    restored = functools.partial(specfreq, "restore", "--folder", str(root / "kept"))
    assert restored(keys[0][:6])[1].startswith("1 run restored; ")
    assert restored()[1].startswith("1 run restored, 1 run there before; ")
    listed = specfreq("list", "runs")[1].splitlines()
    assert len(listed) == 2 and all("restored, without its weights" in line for line in listed)
    # what is damaged is named at the end, and keeps no other from its turn
    (root / "elsewhere" / min(keys) / "history.csv").write_text("edited")
    code, out, err = specfreq("keep", "--folder", str(root / "further"))
    assert (code, out.split(" in ")[0]) == (2, "1 run") and min(keys) in err
    (root / "kept" / f"{min(keys)}.zip").write_bytes(b"cut off")
    monkeypatch.setenv("SPECFREQ_RUNS", str(root / "third"))
    code, out, err = restored()
    assert (code, out.split(" restored")[0]) == (2, "1 run") and f"{min(keys)}.zip is damaged" in err
    monkeypatch.setenv("SPECFREQ_RUNS", str(root / "elsewhere"))
    code, out, err = restored("123")
    assert (code, out) == (2, "") and "unknown run '123'" in err
    empty = specfreq("restore", "--folder", str(root / "none"))
    assert (empty[0], empty[1]) == (2, "") and "holds no kept runs" in empty[2]
