"""Experiments: a typed description -> a run in its own directory -> results. What was computed once is not computed again."""

import contextlib
import csv
import functools
import hashlib
import io
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from pydantic import Field, ValidationError, field_validator

import specfreq
from specfreq import augment, filters, inputs, measures, models, parallel, storage, train
from specfreq.checkpoints import Checkpoints
from specfreq.data import ImageSet, load
from specfreq.naming import UserError, unknown
from specfreq.parallel import Team
from specfreq.provenance import provenance
from specfreq.streams import Stream

log = logging.getLogger(__name__)


def root() -> Path:
    """The compendium: the folder with `_toc.yml` that this package lies in, else the working directory."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "_toc.yml").exists() else Path.cwd()


def runs_dir() -> Path:
    """Where runs are kept: $SPECFREQ_RUNS, else `runs` in the compendium."""
    return Path(os.environ.get("SPECFREQ_RUNS") or root() / "runs")


class Experiment(train.Recipe):
    """One point of the experiment space: data x input filter x augmentation x model, trained by one recipe. Frozen, validated."""

    data: str = Field("photos", description="image set, see `specfreq data list`")
    train_size: int | None = Field(None, ge=2, description="training images, a balanced subset; all if not given")
    test_size: int | None = Field(None, ge=1, description="test images, a balanced subset; all if not given")
    filter: str = Field("none", description="input filter of training and test images, such as gaussian-low-pass:sigma=2")
    augment: str = Field("none", description="augmentation, such as apr-p:p=0.5, see `specfreq list augmentations`")
    model: str = Field("resnet8", description="network, such as wrn-40-2, see `specfreq list models`")

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
        return _load(self.data, split, self.train_size if split == "train" else self.test_size)

    @property
    def key(self) -> str:
        """The name of the run's directory: a hash of what is not as by default, of the images, and of the trainer's version."""
        digests = [self.image_set(split).digest for split in ("train", "test")]
        described = self.model_dump(mode="json", exclude_defaults=True)  # a field that is new leaves older keys alone
        text = json.dumps([train.VERSION, described, digests], sort_keys=True)
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
        return models.Classifier(net, mean, std, inputs.fitted(spec, images)).to(checked_device(device)).eval()

    def measure(self, name: str, filter: str | None = None, device: str | None = None) -> dict[str, Any]:
        """Compute a measure on the test images, once. With a filter, the network meets those images instead of its own."""
        name = measures.normal_form(name)
        filter = filters.normal_form(filter) if filter else self.experiment.filter
        stem = name if filter == self.experiment.filter else f"{name}@{filter}"
        path = self.path / "results" / f"{stem.replace(':', ' ')}.json"
        if not path.exists():
            result = measures.compute(name, self.classifier(filter, device), self.image_set("test"))
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
    device = checked_device(device)
    checked_images(experiment)
    team = parallel.join(device)
    path = runs_dir() / experiment.key
    if not team.told(finished(path)):
        with _alone(path, team):
            if not team.told(finished(path)):  # another may have finished it meanwhile
                checkpoints = Checkpoints(path / "checkpoint.safetensors", checkpoint_every)
                _train(experiment, path, team, checkpoints, progress)
    result = Run(path)
    for name in measures if team.rank == 0 else ():
        result.measure(name, device=device)
    return result


def checked_images(experiment: Experiment) -> tuple[ImageSet | Stream, ImageSet | Stream]:
    """The training and test images of an experiment, which its network can digest.

    Raises:
        UserError: data missing or damaged; classes or shapes that differ between the two; a network for larger images.
    """
    training, test = experiment.image_set("train"), experiment.image_set("test")
    models.check(experiment.model, training.shape)
    for what in ("classes", "shape"):
        ours, theirs = getattr(training, what), getattr(test, what)
        if ours != theirs:
            raise UserError(f"{experiment.data}: the {what} of training and test images differ: {ours} and {theirs}")
    return training, test


@contextlib.contextmanager
def _alone(path: Path, team: Team) -> Iterator[None]:
    """Hold a run's directory against other programs; wait, and say so, while one has it."""
    if team.rank:
        yield
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("specfreq: another process trains run %s; waiting for it", path.name)
            lock.acquire()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose a place that can be written") from error
    try:
        yield
    finally:
        lock.release()


def _train(experiment: Experiment, path: Path, team: Team, checkpoints: Checkpoints, progress: bool | None) -> None:
    images = experiment.image_set("train")
    pixels, channels = inputs.filtered(experiment.filter, images), images.shape[0]
    mean, std = inputs.moments(pixels) if experiment.normalise else (torch.zeros(channels), torch.ones(channels))
    streamed = isinstance(images, Stream)  # such images are filtered when they come
    net = models.build(experiment.model, len(images.classes), channels, experiment.seed)
    filter = inputs.fitted(experiment.filter, images) if streamed else None
    classifier = models.Classifier(net, mean, std, filter).to(team.device)
    if team.rank == 0:
        storage.write_json(path / "experiment.json", experiment.model_dump(mode="json"))
    history = train.fit(
        classifier,
        images if streamed else pixels,
        images.labels,
        experiment,
        augmentation=augment.build(experiment.augment).to(team.device),
        checkpoints=checkpoints,
        team=team,
        progress=progress,
    )
    if team.rank == 0:
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", "loss", "accuracy", "lr"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        storage.write(path / "history.csv", text.getvalue())
        digests = {split: experiment.image_set(split).digest for split in ("train", "test")}
        origin = {**provenance(team.device, team.size), "seconds": round(checkpoints.seconds, 3), "data": digests}
        storage.write_json(path / "provenance.json", origin)
        storage.write_tensors(path / "model.safetensors", {"mean": mean, "std": std, **net.state_dict()}, experiment.key)
        checkpoints.clear()
    team.told(None)  # nobody looks for the model before it is there


def grid(**fields: Any) -> list[Experiment]:
    """All experiments of a grid: fields given as lists vary, the last one fastest; the others are fixed. Repetitions count once."""
    varying = {k: list(dict.fromkeys(v)) for k, v in fields.items() if isinstance(v, list)}
    fixed = {k: v for k, v in fields.items() if k not in varying}
    return [Experiment(**fixed, **dict(zip(varying, row, strict=True))) for row in itertools.product(*varying.values())]


def run_all(*grids: Iterable[Experiment], measures: Sequence[str] = ("accuracy",), **options: Any) -> list[Run]:
    """Run grids of experiments one after another. All are checked, and all data found, before the first one starts."""
    experiments = list(itertools.chain(*grids))
    for e in experiments:
        checked_images(e)
    with train.progress_bar("experiments", len(experiments), "run", options.get("progress")) as bar:
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
        run = Run(path.parent)
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
