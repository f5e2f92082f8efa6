"""Our setting of a claim in words, from a record's parameters and the rows that were compared."""

from collections.abc import Mapping, Sequence
from typing import Any

from specfreq import data
from specfreq.evidence import names, records
from specfreq.evidence.claims import Claim
from specfreq.evidence.rows import Row, tested


def told(claim: Claim, record: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """``ResNet-8, 15,000 training images of CIFAR-10, 5 epochs; 3 seeds, 5,000 test images``."""
    parameters = record.get("parameters", {})
    training = _training(claim, parameters)
    samples = len(rows[0]["seeds"])
    if "seeds" not in parameters or claim.judge == "at_most":
        return f"{data.label(claim.data)}, {samples:,} samples"
    network = training.get("model")
    parts = [network and names.model(network), _images(claim, training, rows)]
    if training.get("epochs"):
        parts.append(f"{training['epochs']} epochs")
    passes = {row["passes"]: None for row in rows if "passes" in row}
    if passes:
        parts.append(f"{' and '.join(f'{n:,}' for n in passes)} network passes")
    tests = [f"{samples} seed{'s' * (samples > 1)}"]
    images = dict.fromkeys(n for row in rows if (n := tested(row)) is not None)
    if images:
        tests.append(f"{' and '.join(f'{n:,}' for n in images)} test images")
    return f"{', '.join(filter(None, parts))}; {', '.join(tests)}"


def _training(claim: Claim, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a claim's networks were trained with: those of its rows before those of all.

    A study of several sets has a recipe for each, by title; rows of another recipe have their own, as
    ``hardened_recipe`` and ``hardened_size``.
    """
    recipes = [parameters.get("recipe", [])]
    titles = parameters.get("titles", [])
    if claim.data in titles:
        recipes.append(parameters["recipes"][titles.index(claim.data)])
    recipes.append(parameters.get(f"{claim.rows}_recipe", []))
    fields = dict(parameters)
    for recipe in recipes:
        pairs = recipe.split() if isinstance(recipe, str) else recipe
        fields |= dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    size = f"{claim.rows}_size"
    return fields | ({"train_size": parameters[size]} if size in parameters else {})


def _images(claim: Claim, training: Mapping[str, Any], rows: Sequence[Row]) -> str:
    size, title = training.get("train_size"), data.label(claim.data)
    if size:
        return f"{int(size):,} training images of {title}"
    # of a set that is a sample itself, all are fewer than its name promises
    known = {_shown(row, training) for row in rows} - {None}
    each = f"all {known.pop():,}" if len(known) == 1 and claim.rows != "hardened" else "all"
    return f"{each} training images of {title}"


def _shown(row: Row, training: Mapping[str, Any]) -> int | None:
    """How many images a network was trained on, of a row that knows its network passes."""
    each = records.passes_of_an_image(row, int(training.get("epochs") or 0))
    return row["passes"] // each if each and "passes" in row else None
