"""Profiles of `notebooks/profiles.yaml`: named parameters for every study, and for `specfreq train`."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from specfreq.core import places, storage
from specfreq.core.errors import UserError, unknown
from specfreq.core.spec import file_name
from specfreq.experiment.description import Experiment

QUICK = "quick"  # the profile that is the notebooks' own defaults
TRAIN = "train"  # where a profile has the fields of an experiment, beside its studies


def read(root: Path | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Profile -> study, or `train` -> parameter -> value. Only those of `train` are checked here: they need
    no notebook.

    Raises:
        UserError: the file has another shape, a key twice, or a profile whose name cannot be part of a
            file's; an experiment has no such field, or not with this value.
    """
    path = (root or places.root()) / "notebooks" / "profiles.yaml"
    try:
        text = storage.read_yaml(path) if path.exists() else {}
        shape = TypeAdapter(dict[str, dict[str, dict[str, Any] | None] | None] | None)
        sets = {
            name: {k: v or {} for k, v in (of or {}).items()}
            for name, of in (shape.validate_python(text) or {}).items()
        }
    except ValidationError as error:
        raise UserError(
            f"{path.name} is not of the form profile: study: parameter: value ({error})"
        ) from None
    for name, of in sets.items():
        file_name(name, f"profile in {path.name}")
        try:
            Experiment.described(**of.get(TRAIN, {}))
        except UserError as error:
            raise UserError(f"{error} ({path.name}, {name}, {TRAIN})") from None
    return {QUICK: {}, **sets}


def training(name: str, root: Path | None = None) -> dict[str, Any]:
    """The fields of an experiment that a profile sets.

    Raises:
        UserError: no profile of that name has any; as `read`.
    """
    known = {profile: of[TRAIN] for profile, of in read(root).items() if TRAIN in of}
    if name not in known:
        raise unknown(
            "profile",
            name,
            known,
            where="train",
            hint="those with a section `train` in notebooks/profiles.yaml",
        )
    return known[name]
