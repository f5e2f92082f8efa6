"""Experiments: a typed description -> a run in its own directory -> results. What was computed once is not computed again."""

import contextlib
import csv
import functools
import hashlib
import io
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator

import specfreq
from specfreq import augment, filters, inputs, measures, models, parallel, storage, train
from specfreq.checkpoints import Checkpoints
from specfreq.data import ImageSet, load, normal_form
from specfreq.inference import device_of
from specfreq.naming import UserError, unknown
from specfreq.parallel import Team
from specfreq.pictures import Draw
from specfreq.progress import progress_bar
from specfreq.provenance import provenance
from specfreq.recipe import Refusing
from specfreq.storage import root as root
from specfreq.storage import runs_dir
from specfreq.streams import Stream

log = logging.getLogger(__name__)
LONGEST = 120  # bytes of a result's name; file systems take 255


class Experiment(Refusing, train.Recipe):
    """One point of the experiment space: data x input filter x augmentation x model, trained by one recipe. Frozen, validated."""

    data: str = Field("photos", description="image set, see `specfreq data list`")
    train_size: int | None = Field(None, ge=2, description="training images, a balanced subset; all if not given")
    train_draw: Draw = Field("balanced", description="which: balanced over the classes, or the first, whatever their classes")
    test_size: int | None = Field(None, ge=1, description="test images, a balanced subset; all if not given")
    filter: str = Field("none", description="input filter of training and test images, such as gaussian-low-pass:sigma=2")
    augment: str = Field("none", description="augmentation, such as apr-p:p=0.5, see `specfreq list augmentations`")
    model: str = Field("resnet8", description="network, such as wrn-40-2, see `specfreq list models`")

    @field_validator("data")
    @classmethod
    def _data(cls, value: str) -> str:
        return normal_form(value)

    @field_validator("filter")
    @classmethod
    def _filter(cls, value: str) -> str:
        return filters.normal_form(value)

    @field_validator("augment")
    @classmethod
    def _augment(cls, value: str) -> str:
        return augment.normal_form(value)

    @field_validator("model")
    @classmethod
    def _model(cls, value: str) -> str:
        return models.normal_form(value)

    def image_set(self, split: str) -> ImageSet | Stream:
        """The training or test images of this experiment; the subset is the same for every seed."""
        if split == "train":
            return _load(self.data, split, self.train_size, draw=self.train_draw)
        return _load(self.data, split, self.test_size)

    def effective(self) -> dict[str, Any]:
        idle = {"train_draw"} if self.train_size is None else set()
        return {k: v for k, v in super().effective().items() if k not in idle}

    @property
    def key(self) -> str:
        """The name of the run's directory: a hash of what is not as by default, of the images, and of the trainer's version."""
        digests = [self.image_set(split).digest for split in ("train", "test")]
        # what is as by default is left out: a field that is new leaves older keys alone
        text = json.dumps([train.VERSION, self.effective(), digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_load = functools.lru_cache(maxsize=8)(load)


def finished(path: Path) -> bool:
    """Whether a directory holds a finished run: its model is written last of all."""
    return (path / "model.safetensors").exists()


class Run:
    """A finished training in its directory: `experiment.json`, `history.csv`, `model.safetensors`, one result per measure."""

    def __init__(self, path: Path):
        self.path = path
        if not finished(path):
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

    def image_set(self, split: str) -> ImageSet | Stream:
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
        images, spec = self.image_set("train"), filter or self.experiment.filter
        net = models.build(self.experiment.model, len(images.classes), images.shape[0], self.experiment.seed)
        net.load_state_dict(tensors)
        classifier = models.Classifier(net, mean, std, inputs.fitted(spec, images)).to(parallel.checked_device(device))
        return classifier.to(memory_format=torch.channels_last).eval()

    def measure(self, name: str, filter: str | None = None, device: str | torch.device | None = None) -> dict[str, Any]:
        """Compute a measure on the test images, once. With a filter, the network meets those images instead of its own.

        The result says by which version of the measures it was computed, where and when; another version computes it anew.
        """
        name = measures.normal_form(name)
        filter = filters.normal_form(filter) if filter else self.experiment.filter
        stem = (name if filter == self.experiment.filter else f"{name}@{filter}").replace(":", " ")
        if len(stem.encode()) > LONGEST or "/" in stem:
            start = stem.replace("/", " ").encode()[: LONGEST - 9].decode(errors="ignore")
            stem = f"{start}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
        path = self.path / "results" / f"{stem}.json"
        version = measures.version(name)
        if not path.exists() or storage.read_json(path).get("provenance", {}).get("measures") != version:
            model = self.classifier(filter, device)
            result = measures.compute(name, model, self.image_set("test"))
            origin = {"measure": name, "measures": version, **provenance(device_of(model))}
            storage.write_json(path, {**result, "provenance": origin})
        return storage.read_json(path)


def run(
    experiment: Experiment,
    measures: Sequence[str] = ("accuracy",),
    *,
    device: str | None = None,
    progress: bool | None = None,
    checkpoint_every: float = 60,
) -> Run:
    """Train and measure an experiment, or return what an earlier call computed.

    Processes that torchrun started train it together. Others that want the same run at the same time wait for it.

    Args:
        measures: names or descriptions, such as ``calibration:bins=10``.
        device: a GPU if there is one, by default.
        progress: bars; None shows them on terminals only.
        checkpoint_every: seconds of training that a killed process loses at most.

    Raises:
        UserError: an unknown name or impossible value, before anything is computed; a place that cannot be written.
        Diverged: the loss is no longer finite.
    """
    for name in measures:
        specfreq.measures.check(name)
    team = parallel.join(device)
    check(experiment, team.size)
    path = runs_dir() / experiment.key
    checkpoints = Checkpoints(path / "checkpoint.safetensors", checkpoint_every)
    if not team.told(finished(path) and not checkpoints.path.exists()):
        # the first process holds it for all that train together
        with contextlib.nullcontext() if team.rank else storage.alone(path, f"trains run {path.name}"):
            if not team.told(finished(path)):  # another may have finished it meanwhile
                _train(experiment, path, team, checkpoints, progress)
            if team.rank == 0:
                checkpoints.clear()
    result = Run(path)
    for name in measures if team.rank == 0 else ():
        result.measure(name, device=team.device)
    return result


def check(experiment: Experiment, processes: int = 1) -> None:
    """Refuse an experiment that cannot work, when its images are known and nothing has been computed.

    Raises:
        UserError: data missing or damaged; classes or shapes that differ between training and test; a network for larger
            images; a filter for other images; a recipe that does not fit.
    """
    training, test = experiment.image_set("train"), experiment.image_set("test")
    models.check(experiment.model, training.shape)
    for what in ("classes", "shape"):
        ours, theirs = getattr(training, what), getattr(test, what)
        if ours != theirs:
            raise UserError(f"{experiment.data}: the {what} of training and test images differ: {ours} and {theirs}")
    if len(training.classes) < 2:
        raise UserError(f"{experiment.data} has one class, {training.classes[0]!r}; a classifier needs two or more")
    inputs.check(experiment.filter, training)
    streamed = isinstance(training, Stream)
    train.check(experiment, training if streamed else training.images, processes)
    if streamed and augment.build(experiment.augment).accompanied:
        raise UserError(f"{experiment.augment} keeps something of every training image; leave stream=1 out of {experiment.data}")


def _train(experiment: Experiment, path: Path, team: Team, checkpoints: Checkpoints, progress: bool | None) -> None:
    images = experiment.image_set("train")
    filter, pixels = inputs.filtered(experiment.filter, images)
    channels, streamed = images.shape[0], isinstance(images, Stream)
    mean, std = inputs.moments(pixels) if experiment.normalise else (torch.zeros(channels), torch.ones(channels))
    net = models.build(experiment.model, len(images.classes), channels, experiment.seed)
    augmentation = augment.build(experiment.augment)
    augmentation.fit(pixels.to(team.device) if augmentation.accompanied else pixels)  # work on every image is worth the way
    # images of a streamed set are filtered when they come
    classifier = models.Classifier(net, mean, std, filter if streamed else None).to(team.device)
    if team.rank == 0:
        storage.write_json(path / "experiment.json", experiment.model_dump(mode="json"))
    history = train.fit(
        classifier,
        images if streamed else pixels,
        images.labels,
        experiment,
        augmentation=augmentation.to(team.device),
        checkpoints=checkpoints,
        team=team,
        progress=progress,
    )
    if team.rank == 0:
        text = io.StringIO()
        first = ["epoch", "loss", "accuracy", "lr"]
        columns = [*first, *sorted({name for row in history for name in row} - {*first})]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        storage.write(path / "history.csv", text.getvalue())
        digests = {split: experiment.image_set(split).digest for split in ("train", "test")}
        origin = {**provenance(team.device, team.size), "seconds": round(checkpoints.seconds, 3), "data": digests}
        storage.write_json(path / "provenance.json", origin)
        storage.write_tensors(path / "model.safetensors", {"mean": mean, "std": std, **net.state_dict()}, experiment.key)
    team.told(None)  # nobody looks for the model before it is there


def fields(recipe: Iterable[str]) -> dict[str, str]:
    """Fields of an experiment written as on a command line, ``lr=0.1``: what a study's parameter can hold.

    Raises:
        UserError: one has no value, or is given twice.
    """
    found: dict[str, str] = {}
    for item in recipe:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or name in found:
            raise UserError(f"{item!r} is no field of an experiment; write each once, as in lr=0.1")
        found[name] = value
    return found


def grid(**fields: Any) -> list[Experiment]:
    """All experiments of a grid: fields given as lists vary, the last one fastest; the others are fixed. Repetitions count once."""
    varying = {k: list(dict.fromkeys(v)) for k, v in fields.items() if isinstance(v, list)}
    fixed = {k: v for k, v in fields.items() if k not in varying}
    return [Experiment(**fixed, **dict(zip(varying, row, strict=True))) for row in itertools.product(*varying.values())]


def run_all(*grids: Iterable[Experiment], measures: Sequence[str] = ("accuracy",), **options: Any) -> list[Run]:
    """Run grids of experiments one after another. All are checked, and all data found, before the first one starts."""
    experiments = list(itertools.chain(*grids))
    for e in experiments:
        check(e, parallel.join(options.get("device")).size)
    with progress_bar("experiments", len(experiments), "run", options.get("progress")) as bar:
        runs = []
        for e in experiments:
            bar.set_postfix_str(f"{e.data}, {e.filter}, seed {e.seed}")
            runs.append(run(e, measures, **options))
            bar.update()
    return runs


def list_runs(**fields: Any) -> Iterator[Run]:
    """The finished runs, oldest first; with fields, such as ``seed=1``, only those whose experiment has these values."""
    wanted = Experiment(**fields)  # reads text as the command line does, and refuses what no experiment has
    for path in sorted(runs_dir().glob("*/model.safetensors"), key=lambda p: p.stat().st_mtime):
        try:
            run = Run(path.parent)
        except UserError as error:
            log.warning("specfreq: run %s is left out: %s", path.parent.name, error)
            continue
        if all(getattr(run.experiment, name) == getattr(wanted, name) for name in fields):
            yield run


def find_run(key: str) -> Run:
    """The finished run whose key begins so.

    Raises:
        UserError: none does (the nearest is suggested), or several do.
    """
    known = [path.parent.name for path in runs_dir().glob("*/model.safetensors")]
    matching = [name for name in known if name.startswith(key)]
    if len(matching) > 1:
        raise UserError(f"several runs begin with {key!r}: {', '.join(sorted(matching))}; write more of the key")
    if not matching:
        raise unknown("run", key, known, hint="`specfreq list runs` shows all")
    return Run(runs_dir() / matching[0])
