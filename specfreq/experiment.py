"""Experiments: a typed description -> a run in its own directory -> results. What was computed once is not computed again."""

import csv
import datetime
import functools
import hashlib
import io
import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError, field_validator
from torch import Tensor

import specfreq
from specfreq import filters, measures, models, storage, train
from specfreq.data import ImageSet, load
from specfreq.naming import UserError, unknown


def root() -> Path:
    """The compendium: the folder with `_toc.yml` that this package lies in, else the working directory."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "_toc.yml").exists() else Path.cwd()


def runs_dir() -> Path:
    """Where runs are kept: $SPECFREQ_RUNS, else `runs` in the compendium."""
    return Path(os.environ.get("SPECFREQ_RUNS") or root() / "runs")


class Experiment(train.Recipe):
    """One point of the experiment space: data x input filter x model, trained by one recipe. Frozen and validated."""

    data: str = Field("photos", description="image set, see `specfreq data list`")
    train_size: int | None = Field(None, ge=2, description="training images, a balanced subset; all if not given")
    test_size: int | None = Field(None, ge=1, description="test images, a balanced subset; all if not given")
    filter: str = Field("none", description="input filter of training and test images, such as gaussian-low-pass:sigma=2")
    model: str = Field("resnet8", description="network, see `specfreq list models`")

    def __init__(self, **values: Any):
        for name in values:
            if name not in type(self).model_fields:
                raise unknown("field", name, type(self).model_fields, where="Experiment")
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            raise UserError(f"{where}={first['input']!r} is refused: {reason[0].lower()}{reason[1:]}") from None

    @field_validator("filter")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        return filters.normal_form(value)

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        models.check(value)
        return value

    def image_set(self, split: str) -> ImageSet:
        """The training or test images of this experiment; the subset is the same for every seed."""
        return _load(self.data, split, self.train_size if split == "train" else self.test_size)

    @property
    def key(self) -> str:
        """Hash of the description and of the images themselves: the name of the run's directory."""
        digests = [self.image_set(split).digest for split in ("train", "test")]
        text = json.dumps([self.model_dump(mode="json"), digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_load = functools.lru_cache(maxsize=8)(load)


class Run:
    """A finished training in its directory: `experiment.json`, `history.csv`, `model.safetensors`, one result per measure."""

    def __init__(self, path: Path):
        self.path = path
        if not (path / "model.safetensors").exists():
            raise UserError(f"{path.name} is no finished run in {path.parent}; `specfreq list runs` shows those")
        self.experiment = Experiment(**storage.read_json(path / "experiment.json"))
        self.provenance: dict[str, Any] = storage.read_json(path / "provenance.json")

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def history(self) -> list[dict[str, float]]:
        rows = csv.DictReader(io.StringIO((self.path / "history.csv").read_text()))
        return [{k: float(v) for k, v in row.items()} for row in rows]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """What has been measured so far, by measure (and by filter, where that was another: `accuracy@whitening`)."""
        return {p.stem: storage.read_json(p) for p in sorted((self.path / "results").glob("*.json"))}

    def image_set(self, split: str) -> ImageSet:
        """The images of this run.

        Raises:
            UserError: what lies under that name now is not what the run was trained on.
        """
        images = self.experiment.image_set(split)
        if images.digest != self.provenance["data"][split]:
            name = self.experiment.data
            raise UserError(f"the {split} images of {name} have changed since run {self.key}; train again, or restore them")
        return images

    def classifier(self, filter: str | None = None, device: str | None = None) -> models.Classifier:
        """The trained network on [0, 1] images, behind its own input filter or, if given, behind another."""
        tensors, _ = storage.read_tensors(self.path / "model.safetensors")
        mean, std = tensors.pop("mean"), tensors.pop("std")
        images = self.image_set("train")
        net = models.build(self.experiment.model, len(images.classes), images.images.shape[1], self.experiment.seed)
        net.load_state_dict(tensors)
        first = filters.build(filter or self.experiment.filter)
        if (filter or self.experiment.filter) != "none":
            first.fit(train.unit(images.images))
        return models.Classifier(net, mean, std, first).to(checked_device(device)).eval()

    def measure(self, name: str, filter: str | None = None) -> dict[str, Any]:
        """Compute a measure on the test images, once. With a filter, the network meets those images instead of its own."""
        measures.check(name)
        filter = filters.normal_form(filter) if filter else self.experiment.filter
        path = (
            self.path
            / "results"
            / (f"{name}.json" if filter == self.experiment.filter else f"{name}@{filter.replace(':', ' ')}.json")
        )
        if not path.exists():
            result = measures.compute(name, self.classifier(filter), self.image_set("test"))
            storage.write_json(path, result)
        return storage.read_json(path)


def checked_device(name: str | None = None) -> str:
    """The device of that name, or the default: a GPU if there is one.

    Raises:
        UserError: torch knows no such device, or this machine has none.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"device {name!r} cannot be used ({reason}); leave it out for the default, or say cpu") from None
    return name


def run(
    experiment: Experiment,
    measures: Sequence[str] = ("accuracy",),
    *,
    device: str | None = None,
    progress: bool | None = None,
) -> Run:
    """Train and measure an experiment, or return what an earlier call computed.

    Raises:
        UserError: an unknown name or impossible value, before anything is computed; a place that cannot be written.
        Diverged: the loss is no longer finite.
    """
    for name in measures:
        specfreq.measures.check(name)
    device = checked_device(device)
    training, test = experiment.image_set("train"), experiment.image_set("test")
    models.check(experiment.model, tuple(training.images.shape[1:]))
    if training.classes != test.classes:
        raise UserError(f"{experiment.data}: the classes of training and test images differ")
    path = runs_dir() / experiment.key
    if not (path / "model.safetensors").exists():
        _train(experiment, training, path, device, progress)
    result = Run(path)
    for name in measures:
        result.measure(name)
    return result


def _train(experiment: Experiment, images: ImageSet, path: Path, device: str, progress: bool | None) -> None:
    storage.write_json(path / "experiment.json", experiment.model_dump(mode="json"))
    started = time.perf_counter()
    inputs, mean, std = _inputs(experiment, images.images)
    net = models.build(experiment.model, len(images.classes), images.images.shape[1], experiment.seed)
    classifier = models.Classifier(net, mean, std).to(device)
    checkpoint = path / "checkpoint.safetensors"
    history = train.fit(classifier, inputs, images.labels, experiment, checkpoint=checkpoint, progress=progress)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "loss", "accuracy", "lr"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    storage.write(path / "history.csv", text.getvalue())
    digests = {split: experiment.image_set(split).digest for split in ("train", "test")}
    seconds = round(time.perf_counter() - started, 3)
    storage.write_json(path / "provenance.json", {**provenance(device), "seconds": seconds, "data": digests})
    # last of all: a directory with a model is a finished run
    storage.write_tensors(path / "model.safetensors", {"mean": mean, "std": std, **net.state_dict()}, experiment.key)
    checkpoint.unlink(missing_ok=True)


def _inputs(experiment: Experiment, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The filtered training images, and the mean and deviation (C,) to normalise them by; unfiltered ones stay bytes."""
    inputs = images
    if experiment.filter != "none":
        filter = filters.build(experiment.filter).fit(train.unit(images))
        inputs = torch.cat([filter(train.unit(part)) for part in images.split(1000)])
    channels = images.shape[1]
    mean, std = torch.zeros(channels), torch.ones(channels)
    if experiment.normalise:
        parts = [train.unit(part).double().transpose(0, 1).flatten(1) for part in inputs.split(1000)]
        mean = sum(p.sum(1) for p in parts) / (inputs.numel() // channels)
        variance = sum(((p - mean[:, None]) ** 2).sum(1) for p in parts) / (inputs.numel() // channels)
        std = variance.sqrt().clamp_min(1e-6)  # constant inputs, such as a published filter makes, stay finite
        mean, std = mean.float(), std.float()
    return inputs, mean, std


def provenance(device: str) -> dict[str, Any]:
    """Where and with what something was computed."""
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"CPU, {threads} thread{'s' * (threads > 1)}"
    return {
        "specfreq": specfreq.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "device": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


@functools.cache
def _commit() -> str | None:
    """The commit of the checkout, marked if the package differs from it; None outside a checkout."""
    package = Path(__file__).resolve().parent
    git = functools.partial(subprocess.run, cwd=package, capture_output=True, text=True)
    try:
        head = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        changed = git(["git", "status", "--porcelain", "--", "."]).stdout.strip()
    except OSError:
        return None
    return f"{head}-modified" if head and changed else head or None


def grid(**fields: Any) -> list[Experiment]:
    """All experiments of a grid: fields given as lists vary, the last one fastest; the others are fixed. Repetitions count once."""
    varying = {k: list(dict.fromkeys(v)) for k, v in fields.items() if isinstance(v, list)}
    fixed = {k: v for k, v in fields.items() if k not in varying}
    return [Experiment(**fixed, **dict(zip(varying, row, strict=True))) for row in itertools.product(*varying.values())]


def run_all(*grids: Iterable[Experiment], measures: Sequence[str] = ("accuracy",), **options: Any) -> list[Run]:
    """Run grids of experiments one after another. All are checked, and all data found, before the first one starts."""
    experiments = list(itertools.chain(*grids))
    for e in experiments:
        models.check(e.model, tuple(e.image_set("train").images.shape[1:]))
    with train.progress_bar("experiments", len(experiments), "run", options.get("progress")) as bar:
        runs = []
        for e in experiments:
            bar.set_postfix_str(f"{e.data}, {e.filter}, seed {e.seed}")
            runs.append(run(e, measures, **options))
            bar.update()
    return runs


def list_runs() -> Iterator[Run]:
    """The finished runs, oldest first."""
    for path in sorted(runs_dir().glob("*/model.safetensors"), key=lambda p: p.stat().st_mtime):
        yield Run(path.parent)
