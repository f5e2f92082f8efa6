"""The examples in docstrings run and show what they say; every public name of the package has one."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import specfreq
from specfreq import augment, data, filters, fourier, measures, models, tv

ROOT = Path(__file__).parents[1]
# what a reader of an example has imported
NAMES = {"torch": torch, "specfreq": specfreq, "augment": augment, "data": data, "filters": filters}
NAMES |= {"fourier": fourier, "measures": measures, "models": models, "tv": tv}
PUBLIC = [
    fourier.recombine,
    fourier.low_pass,
    fourier.high_pass,
    fourier.gaussian_low_pass,
    fourier.power_spectrum,
    fourier.radial_profile,
    fourier.centroid,
    fourier.basis,
    tv.denoise,
    tv.flow,
    tv.transform,
    augment.build,
    filters.build,
    models.build,
    measures.compute,
    data.load,
    specfreq.Experiment,
    specfreq.run,
]
SOURCES = [p for p in sorted((ROOT / "specfreq").rglob("*.py")) if ">>> " in p.read_text(encoding="utf-8")]


def examples_in(module):
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(module, extraglobs=NAMES) if test.examples]


def module_of(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", [module_of(file) for file in SOURCES])
def test_examples_show_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    found = examples_in(importlib.import_module(name))
    assert found, f"{name} has an example that is in no docstring"
    runner, told = doctest.DocTestRunner(), []
    for test in found:
        runner.run(test, out=told.append)
    assert runner.failures == 0, "".join(told)


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: f"{public.__module__}.{public.__name__}")
def test_a_public_name_has_an_example(public):
    assert doctest.DocTestParser().get_examples(public.__doc__ or "")
