"""Measures that a training is asked after its epochs, kept in its run as ``series.safetensors``.

Nothing of the training changes by it.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specfreq import measures
from specfreq.core import storage
from specfreq.core.errors import unknown
from specfreq.experiment.description import Experiment

if TYPE_CHECKING:
    from torch import Tensor, nn

    from specfreq.filters import Filter

FILE = "series.safetensors"
Rows = dict[int, dict[str, dict[str, Any]]]  # epoch -> measure -> its result


@dataclass(frozen=True)
class Series:
    """Measures after epochs of a training, ``run.series["accuracy"]["per_class"]``: float64 (epochs, ...).

    Of a result, what is a number or a list of those of one shape after every epoch is a tensor, NaN where
    there was none; the rest is a list, with an entry for each epoch.

    Args:
        epochs: how many were finished, 1 or more, ascending.
        results: by measure, then by what it returns.
        versions: of the measures.
    """

    epochs: list[int]
    results: "Mapping[str, Mapping[str, Tensor | list[Any]]]"
    versions: Mapping[str, int]

    def __getitem__(self, measure: str) -> "Mapping[str, Tensor | list[Any]]":
        name = measures.normal_form(measure)
        if name not in self.results:
            raise unknown("series", name, self.results)
        return self.results[name]

    def rows(self) -> Rows:
        """The same, epoch by epoch, without tensors."""
        lists = {
            name: {key: values if isinstance(values, list) else values.tolist() for key, values in of.items()}
            for name, of in self.results.items()
        }
        return {
            epoch: {name: {key: values[i] for key, values in of.items()} for name, of in lists.items()}
            for i, epoch in enumerate(self.epochs)
        }


def read(folder: Path) -> Series | None:
    """The series in the folder of a run; None if there is none.

    Raises:
        Damaged: the file is damaged, or of another run.
    """
    file = folder / FILE
    if not file.exists():
        return None
    tensors, meta = storage.read_tensors(file)
    if meta["key"] != folder.name:
        raise storage.Damaged(f"{file} is of run {meta['key']}; delete the folder and train again")
    results: dict[str, dict[str, Any]] = {name: dict(meta["others"][name]) for name in meta["versions"]}
    for place, values in tensors.items():
        name, _, key = place.rpartition("/")
        results[name][key] = values
    return Series(meta["epochs"], results, meta["versions"])


def write(folder: Path, rows: Rows, versions: Mapping[str, int]) -> None:
    """Keep rows, of which each has all the measures."""
    epochs = sorted(rows)
    tensors: dict[str, Tensor] = {}
    others: dict[str, dict[str, list[Any]]] = {}
    for name in versions:
        keys = dict.fromkeys(key for epoch in epochs for key in rows[epoch][name])
        columns = {key: [rows[epoch][name].get(key) for epoch in epochs] for key in keys}
        stacked = {key: _numbers(column) for key, column in columns.items()}
        tensors |= {f"{name}/{key}": values for key, values in stacked.items() if values is not None}
        others[name] = {key: columns[key] for key, values in stacked.items() if values is None}
    meta = {"key": folder.name, "epochs": epochs, "versions": dict(versions), "others": others}
    storage.write_tensors(folder / FILE, tensors, meta)


def _numbers(value: Any) -> "Tensor | None":
    """Numbers and lists of one shape, None among them, as float64; None if it is something else."""
    import torch

    with contextlib.suppress(TypeError, ValueError):
        return torch.tensor(_filled(value), dtype=torch.float64)
    return None


def _plain(value: Any) -> Any:
    """As it will be read again."""
    numbers = _numbers(value)
    return value if numbers is None else numbers.tolist()


def _filled(value: Any) -> Any:
    if isinstance(value, list):
        return [_filled(part) for part in value]
    return float("nan") if value is None else value


def wanted(experiment: Experiment) -> dict[str, int]:
    """The measures that the experiment names, and their versions."""
    return {name: measures.version(name) for name in experiment.watch}


def epochs(experiment: Experiment) -> Iterator[int]:
    """The epochs after which they are taken."""
    return iter(experiment.watch_epochs or range(1, experiment.epochs + 1))


def lacking(experiment: Experiment, folder: Path) -> str:
    """What the finished run of an experiment did not record of the series that it names; empty if nothing.

    Raises:
        UserError: `Damaged` as `read`.
    """
    if not (experiment.watch and experiment.epochs):
        return ""
    found = read(folder)
    recorded = {} if found is None else found.versions
    missing = [name for name, version in wanted(experiment).items() if recorded.get(name) != version]
    if not missing and found is not None and set(epochs(experiment)) <= set(found.epochs):
        return ""
    return ", ".join(missing) or "these measures after all of these epochs"


def joined(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with what its run has recorded so far beside what it names."""
    found = read(folder)
    if found is None:
        return experiment
    names = tuple(dict.fromkeys((*found.versions, *experiment.watch)))
    every = sorted({*found.epochs, *(epochs(experiment) if experiment.watch else ())})
    return experiment.model_copy(update={"watch": names, "watch_epochs": tuple(every)})


class Recorder:
    """Takes the measures after the epochs of a training, and keeps them at once: what was taken before the
    checkpoint that a killed training goes on from is not taken again.

    Args:
        experiment: names measures and epochs.
        folder: of the run.
        filter: what the test images go through before the network, where it has no filter itself.
    """

    def __init__(self, experiment: Experiment, folder: Path, filter: "Filter"):
        self.folder, self.filter = folder, filter
        self.images = experiment.image_set("test")
        self.versions, self.epochs = wanted(experiment), set(epochs(experiment))
        kept = None
        with contextlib.suppress(storage.Damaged):
            kept = read(folder)
        same = kept is not None and kept.versions == self.versions
        self.rows = kept.rows() if kept is not None and same else {}

    def missing(self, finished: int) -> bool:
        """Whether an epoch is over that was not recorded."""
        return not {epoch for epoch in self.epochs if epoch <= finished} <= self.rows.keys()

    def forget(self, finished: int) -> None:
        """Leave out what was taken after later epochs than so many."""
        self.rows = {epoch: row for epoch, row in self.rows.items() if epoch <= finished}

    def __call__(self, epoch: int, model: "nn.Module") -> None:
        if epoch not in self.epochs or epoch in self.rows:
            return
        from specfreq.core.devices import device_of

        if model.filter is None:
            model.filter = copy.deepcopy(self.filter).to(device_of(model))
        found = {name: measures.compute(name, model, self.images) for name in self.versions}
        self.rows[epoch] = {name: {key: _plain(v) for key, v in of.items()} for name, of in found.items()}
        write(self.folder, self.rows, self.versions)
