"""What stands in a registry unimported says of itself what the imported thing would say."""

import inspect
import re

import pytest

from specfreq import augment, filters, measures, models
from specfreq.core import deferred
from specfreq.core.deferred import Deferred

REGISTERED = {
    f"{kind}: {name}": entry
    for kind, registry in {
        "augmentation": augment._AUGMENTATIONS,
        "filter": filters._FILTERS,
        "measure": measures._MEASURES,
        "model": models._OPTIONS,
    }.items()
    for name, entry in registry.items()
}


def shown(signature):
    """A signature as text, without where functions lie in memory."""
    return re.sub(r" at 0x\w+", "", str(signature))


@pytest.mark.parametrize("name", REGISTERED)
def test_parameters_read_from_the_source_are_those_of_the_imported_thing(name, monkeypatch):
    entry = REGISTERED[name]
    again = Deferred(entry.place, *entry.given, positional=entry.positional, options=entry.options)
    monkeypatch.setattr(deferred, "_source", no_source)
    assert shown(inspect.signature(entry)) == shown(inspect.signature(again))


def no_source(module):
    raise deferred.Unreadable(module)


def test_what_the_source_alone_does_not_say_is_imported():
    assert list(inspect.signature(Deferred("collections:ChainMap")).parameters) == ["maps"]
    assert Deferred("specfreq.data:ImageSet").constant("boxes") is None


def written(monkeypatch, text):
    """A source of this text."""
    monkeypatch.setattr(deferred, "_text", lambda module: text)
    return deferred._Source("specfreq.written")


def test_chained_assignments_are_read(monkeypatch):
    source = written(monkeypatch, "least = most = 7\nclass A:\n    pairs = bounded = True\n")
    assert (source.least, source.most) == (7, 7)
    assert source.constant("A", "pairs") is source.constant("A", "bounded") is True


@pytest.mark.parametrize("order", [("even", "odd"), ("odd", "even")])
def test_a_function_that_calls_something_unreadable_is_unreadable_each_time(monkeypatch, order):
    source = written(
        monkeypatch,
        "import numpy\n"
        "def even(n):\n    return n == 0 or odd(n - 1) or unread(n)\n"
        "def odd(n):\n    return n != 0 and even(n - 1)\n"
        "unread = numpy.sign\n",
    )
    for name in order * 2:
        with pytest.raises(deferred.Unreadable):
            getattr(source, name)


def test_functions_that_call_each_other_are_read(monkeypatch):
    source = written(
        monkeypatch,
        "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)\n",
    )
    assert source.even(4) and source.odd(3) and not source.odd(4)


@pytest.mark.parametrize("name", augment.names())
def test_what_needs_batches_is_what_refuses_a_single_picture(name):
    assert bool(augment.describe()[name]) == augment.build(name).pairs
