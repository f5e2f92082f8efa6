"""What users type is read exactly, or refused with advice."""

from typing import Literal

import pytest

from specfreq.core.errors import UserError, unknown
from specfreq.core.spec import (
    canonical,
    file_name,
    in_sequence,
    matching,
    parse,
    parts,
    quoted,
    resolve,
    sequence,
)


class Blur:
    def __init__(self, sigma: float, taps: int = 3, border: Literal["wrap", "reflect"] | None = None): ...


REGISTRY = {"blur": Blur}


def test_values_are_typed_by_the_constructor():
    assert resolve("filter", REGISTRY, "blur:sigma=2,border=wrap") == (
        "blur",
        {"sigma": 2.0, "taps": 3, "border": "wrap"},
    )


def test_every_spelling_has_one_canonical_form():
    forms = {
        canonical(*resolve("filter", REGISTRY, s))
        for s in ("blur:sigma=2", "blur: sigma = 2.0", "blur:taps=3,sigma=2e0")
    }
    assert forms == {"blur:sigma=2,taps=3"}
    assert canonical(*resolve("filter", REGISTRY, forms.copy().pop())) in forms


def test_canonical_forms_keep_every_digit():
    assert canonical(*resolve("filter", REGISTRY, "blur:sigma=0.123456789")) != canonical(
        *resolve("filter", REGISTRY, "blur:sigma=0.12345678")
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("blr:sigma=2", "unknown filter 'blr'; did you mean 'blur'"),
        ("blur:sigm=2", "unknown parameter 'sigm' for filter blur; did you mean 'sigma'"),
        ("blur", "filter blur needs sigma; write blur:sigma="),
        ("blur:sigma=two", "sigma=two is refused"),
        ("blur:sigma=2,taps=2.5", "taps=2.5 is refused"),
        ("blur:sigma=2,border=mirror", "border=mirror is refused"),
        ("blur:sigma", "cannot read 'sigma' in 'blur:sigma'"),
        ("blur:sigma=1,sigma=2", "'sigma' is given twice"),
    ],
)
def test_what_cannot_be_read_is_refused_with_advice(spec, message):
    with pytest.raises(UserError, match=message):
        resolve("filter", REGISTRY, spec)


def test_names_far_from_all_known_ones_get_the_list():
    assert "known: a1, b2" in str(unknown("thing", "zzzzzz", ["b2", "a1"]))


def test_a_bare_name_has_no_parameters():
    assert parse(" none ") == ("none", {})


LISTS = [
    "a",
    "a+b",
    "/data/c++/x",
    "x,y;z",
    '"',
    'say "no"',
    "",
    " blank ",
    "\\",
    'a\\"b',
    "é",
    "a\nb",
    '"a"+"b"',
]


@pytest.mark.parametrize("texts", [[t] for t in LISTS] + [LISTS])
def test_lists_of_any_texts_come_back_from_one_value(texts):
    spec = f"name:one=1,list={'+'.join(map(quoted, texts))},two=2"
    name, values = parse(spec)
    assert (name, values["one"], values["two"]) == ("name", "1", "2")
    assert parts(values["list"]) == texts


@pytest.mark.parametrize(
    "text", ["a", "folder:/data/x?size=32", "planted", "a=b", 'x"y', "gaussian-noise", "8.5", "1e-3"]
)
def test_what_needs_no_quotes_has_none(text):
    assert quoted(text) == text
    assert parse(f"n:k={text}") == ("n", {"k": text})


@pytest.mark.parametrize("value", ['"a', '"a"b', '"a""b"', '"\\x"'])
def test_quotes_that_cannot_be_read_are_refused(value):
    with pytest.raises(UserError, match="cannot read"):
        parts(value)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("blur", ["blur"]),
        ("blur+sharpen", ["blur", "sharpen"]),
        ("blur:taps=1+2", ["blur:taps=1+2"]),  # a list of values
        ("blur:taps=1+sharp_en", ["blur:taps=1", "sharp_en"]),
        ('blur:sigma=1+"sharpen:list=a+b"', ["blur:sigma=1", "sharpen:list=a+b"]),
        ('"blur:taps=1+2"+sharpen', ["blur:taps=1+2", "sharpen"]),
        ('blur+"sharpen+\\"blur:taps=1+2\\""', ["blur", "sharpen", "blur:taps=1+2"]),
        ("blur+shrpn", ["blur", "shrpn"]),  # for whoever reads it to refuse
    ],
)
def test_descriptions_in_a_row_are_told_from_lists_of_values(spec, found):
    names = ["blur", "sharpen", "sharp-en"]
    assert sequence(spec, names) == found
    assert sequence(in_sequence(found), names) == found


def test_hyphens_and_underscores_are_one_name_whichever_is_listed():
    assert matching("corruption", "gaussian-noise", ["fog", "gaussian_noise"]) == "gaussian_noise"
    assert matching("other", "gaussian_noise", ["fog", "gaussian-noise"]) == "gaussian-noise"
    assert matching("either", "a_b", ["a-b", "a_b"]) == "a_b"
    with pytest.raises(
        UserError, match=r"unknown corruption 'gaussian.noise'; did you mean 'gaussian_noise'"
    ):
        matching("corruption", "gaussian.noise", ["fog", "gaussian_noise"])


def test_parameters_too_are_one_name_and_given_once():
    registry = {"low-pass": Blur}
    assert resolve("filter", registry, "low_pass:sigma=2")[0] == "low-pass"
    with pytest.raises(UserError, match="given twice"):
        resolve("filter", {"blur": Cut}, "blur:cut_off=1,cut-off=2")


class Cut:
    def __init__(self, cut_off: float): ...


@pytest.mark.parametrize("name", ["laptop", "a", "image-spectra-cifar10", "7.5", "é_1", "x" * 120])
def test_names_of_files_are_taken(name):
    assert file_name(name, "record") == name


BAD = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc/x",
    ".x",
    "-x",
    "_x",
    "a b",
    "a:b",
    "x.",
    "a\0",
    "a\n",
    "x" * 121,
    "~",
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_would_leave_its_folder_or_hide_is_refused(name):
    with pytest.raises(UserError, match="cannot be the name of a record; write letters, digits"):
        file_name(name, "record")
