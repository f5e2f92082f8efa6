"""What users type is read exactly, or refused with advice."""

from typing import Literal

import pytest

from specfreq.naming import UserError, canonical, parse, resolve, unknown


class Blur:
    def __init__(self, sigma: float, taps: int = 3, border: Literal["wrap", "reflect"] | None = None): ...


REGISTRY = {"blur": Blur}


def test_values_are_typed_by_the_constructor():
    assert resolve("filter", REGISTRY, "blur:sigma=2,border=wrap") == ("blur", {"sigma": 2.0, "taps": 3, "border": "wrap"})


def test_every_spelling_has_one_canonical_form():
    forms = {canonical(*resolve("filter", REGISTRY, s)) for s in ("blur:sigma=2", "blur: sigma = 2.0", "blur:taps=3,sigma=2e0")}
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
