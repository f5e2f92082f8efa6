"""Typed parameters: what a cell declares, and which values are of the declared type."""

import pytest

from specfreq.compendium.parameters import declared_in
from specfreq.core.errors import UserError

CELL = """
epochs: int = 2  # passes over the training set
lr: float = 1
flip: bool = True
sigmas: list[float] = [2, 4]  # widths, pixels
shape: tuple[int, ...] = (1, 2)
border: Literal["zero", "edge"] = "zero"
data: str = "planted:band=high,evidence=phase"  # a = in the value is no second assignment
size: int | None = None
variants: list[str] = [  # what is done to the images
    "none",
]
"""


@pytest.fixture(scope="module")
def declared():
    return declared_in(CELL, "demo")


def test_a_cell_declares_name_type_default_and_help_in_order(declared):
    assert list(declared) == ["epochs", "lr", "flip", "sigmas", "shape", "border", "data", "size", "variants"]
    assert (declared["epochs"].annotation, declared["epochs"].default) == ("int", 2)
    assert declared["epochs"].help == "passes over the training set"
    assert declared["data"].default == "planted:band=high,evidence=phase"
    assert declared["variants"].help == "what is done to the images"
    assert declared["size"].help == ""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("epochs", "-1", -1),
        ("lr", "1e-3", 1e-3),
        ("flip", "false", False),
        ("sigmas", "2,4,12", [2.0, 4.0, 12.0]),
        ("sigmas", "2", [2.0]),
        ("sigmas", "", []),
        ("shape", "3, 4", (3, 4)),
        ("border", "edge", "edge"),
        ("data", "3", "3"),
        ("data", "folder:a,b", "folder:a,b"),
        ("size", "7", 7),
        ("size", "None", None),
        ("variants", "['a:b=1,c=2', none]", ["a:b=1,c=2", "none"]),
    ],
)
def test_text_is_read_as_the_declared_type(declared, name, text, value):
    read = declared[name].read(text, "demo")
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "3.5"),
        ("epochs", "abc"),
        ("epochs", ""),
        ("epochs", "None"),
        ("lr", "abc"),
        ("lr", "nan"),
        ("lr", "inf"),
        ("flip", "2"),
        ("sigmas", "2,x"),
        ("sigmas", "[2, 4"),
        ("sigmas", "[" * 5000),
        ("sigmas", "[\ud800]"),
        ("variants", "[{a: 1, a: 2}]"),
        ("variants", "[&x [*x]]"),
        ("border", "edges"),
        ("size", "none"),
    ],
)
def test_text_of_another_type_is_refused_with_its_name_and_type(declared, name, text):
    with pytest.raises(UserError, match=f"{name}=.* is refused for demo: .*; it is "):
        declared[name].read(text, "demo")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "3"),
        ("epochs", 3.0),
        ("epochs", True),
        ("lr", "1"),
        ("flip", 1),
        ("data", 3),
        ("sigmas", "2,4"),
    ],
)
def test_a_value_that_has_a_type_is_not_converted(declared, name, value):
    with pytest.raises(UserError, match=f"{name}="):
        declared[name].check(value, "demo")


def test_an_integer_is_a_number_and_a_yaml_list_a_tuple(declared):
    assert declared["lr"].check(3, "demo") == 3.0
    assert declared["shape"].check([3, 4], "demo") == (3, 4)


@pytest.mark.parametrize(
    "line",
    [
        "x = 1",
        "x: int",
        "x: int = '3'",
        "x: int = f()",
        "x: int = 1\nx: int = 2",
        "x: Missing = 1",
        "x: int[3] = 1",
        "x: 'int' = 1",
        "x: Literal = 1",
        "x: __import__('os') = 1",
        "x: float = 1e999",
        "import os",
        "%matplotlib inline",
        "x: int = (",
    ],
)
def test_a_cell_that_is_not_typed_literals_is_refused(line):
    with pytest.raises(UserError, match="demo"):
        declared_in(line, "demo")
