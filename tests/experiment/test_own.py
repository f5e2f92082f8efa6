"""A network of one's own, from a module in the working directory and a safetensors file: judged as ours are,
or refused.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

from specfreq import cli, data, measures
from specfreq.core.errors import UserError
from specfreq.experiment import own

SOURCE = """
import torch
from torch import nn

def build(classes, channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, classes))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build(10, 1)
        self.again = self.net
    def forward(self, x):
        return self.net(x)

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build(10, 1)
    def forward(self, x):
        return self.net(x), x

def broken(): raise ValueError("no luck")
def asks(depth): return build(10, 1)
def text(): return "net"
def few(): return build(7, 1)
def colour(): return build(10, 3)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a module of networks, named anew each time, and the weights of one of them."""
    module = f"nets_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{module}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    net = own.network(f"{module}:build", data.load("digits", "test", 20))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    save_file(net.state_dict(), "w.safetensors")
    return tmp_path, module, net


def specfreq(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        cli.main(args)
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


def test_it_is_measured_with_its_weights_as_in_python(here, capsys):
    _, module, net = here
    wanted = ["accuracy", "feature-discrimination:radii=2"]
    options = [
        "--model",
        f"{module}:build",
        "--weights",
        "w.safetensors",
        "--data",
        "digits",
        "-o",
        "out.json",
    ]
    code, out, err = specfreq(capsys, "measure", *wanted, *options)
    record = json.loads((here[0] / "out.json").read_text())
    expected = {name: measures.compute(name, net, data.load("digits", "test")) for name in wanted}
    assert (code, err) == (0, f"specfreq: measuring {', '.join(wanted)} of {module}:build on digits\n")
    assert record["results"] == expected
    shown = ["accuracy", "accuracy", f"{expected['accuracy']['accuracy']:.6g}"]
    assert shown in [line.split() for line in out.splitlines()]
    assert record["data"]["digest"] == data.load("digits", "test").digest
    assert len(record["weights"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("biuld", "unknown function 'biuld' for .*; did you mean 'build'"),
        ("broken", r"broken fails: ValueError: no luck \(.*nets_.*, line 23\)"),
        ("asks", "needs depth, and is called with classes and channels alone"),
        ("text", "returns str; it must return a torch.nn.Module"),
        ("few", "few knows 7 classes, digits has 10"),
        ("colour", "cannot be asked about 1x8x8 images of digits: RuntimeError: "),
        ("Pair", "answers with tuple; it must answer with logits"),
    ],
)
def test_a_function_that_makes_no_classifier_of_the_set_is_refused(here, function, complaint):
    with pytest.raises(UserError, match=complaint):
        own.network(f"{here[1]}:{function}", data.load("digits", "test", 20))


def test_a_module_that_is_not_there_is_refused_with_the_place():
    with pytest.raises(UserError, match=r"nosuchmodule cannot be imported from .*: ModuleNotFoundError"):
        own.network("nosuchmodule:build", data.load("digits", "test", 20))
    with pytest.raises(UserError, match=r"such as my\.nets:build"):
        own.place("my/nets.py")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "3.bias"}, "missing: 3.bias"),
        (lambda t: t | {"4.weight": torch.ones(1)}, "not of this network: 4.weight"),
        (lambda t: t | {"3.bias": torch.ones(7)}, "of another shape: 3.bias is 7, wanted 10"),
        (
            lambda t: {f"module.{k}": v for k, v in t.items()},
            r"the names differ by 'module\.' alone; take it off",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(here, change, complaint):
    _, module, net = here
    save_file({k: v.clone() for k, v in change(dict(net.state_dict())).items()}, "other.safetensors")
    with pytest.raises(UserError, match=complaint):
        own.network(
            f"{module}:build", data.load("digits", "test", 20), own.weights(here[0] / "other.safetensors")
        )


def test_tensors_that_a_network_shares_need_stand_in_the_file_once(here):
    _, module, net = here
    save_file({f"net.{k}": v for k, v in net.state_dict().items()}, "tied.safetensors")
    found = own.network(f"{module}:Tied", data.load("digits", "test", 20), here[0] / "tied.safetensors")
    assert found.again[0].weight.equal(net[0].weight)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_read_and_the_cure_works(here, zipped):
    folder, module, net = here
    torch.save(net.state_dict(), "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="is a pickle, which could execute anything") as refused:
        own.network(f"{module}:build", data.load("digits", "test", 20), folder / "w.pt")
    (folder / "w.safetensors").unlink()
    exec("\n".join(line.strip() for line in str(refused.value).splitlines()[1:]), {})
    again = own.network(f"{module}:build", data.load("digits", "test", 20), folder / "w.safetensors")
    assert all(a.equal(b) for a, b in zip(again.parameters(), net.parameters(), strict=True))


def test_a_header_whose_length_begins_as_a_pickle_does_is_read(here):
    folder, _, _ = here
    save_file({"weight": torch.zeros(10, 64), "bias": torch.zeros(10)}, "linear.safetensors")
    assert (folder / "linear.safetensors").read_bytes().startswith(own.PICKLED)
    assert own.weights(folder / "linear.safetensors")


def test_a_damaged_file_and_one_that_is_missing_are_refused(here):
    folder, module, _ = here
    (folder / "bad.safetensors").write_bytes((folder / "w.safetensors").read_bytes()[:-5])
    for name, complaint in (
        ("bad.safetensors", "is damaged, or no safetensors file"),
        ("none", "cannot read .*No such file"),
    ):
        with pytest.raises(UserError, match=complaint):
            own.network(f"{module}:build", data.load("digits", "test", 20), folder / name)
