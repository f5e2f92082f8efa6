"""Experiments: a typed description -> a run in its own directory -> results. What was computed once is not computed again."""

import contextlib
import csv
import functools
import hashlib
import io
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

import specfreq
from specfreq import augment, filters, measures, models, storage
from specfreq.data import load, normal_form
from specfreq.naming import LONGEST, UserError, unknown
from specfreq.pictures import Draw
from specfreq.recipe import Recipe, Refusing
from specfreq.storage import root as root
from specfreq.storage import runs_dir

# what loads torch is imported by the functions that compute: experiments are described, checked and listed without it

if TYPE_CHECKING:
    import torch

    from specfreq.checkpoints import Checkpoints
    from specfreq.data import ImageSet
    from specfreq.parallel import Team
    from specfreq.streams import Stream

log = logging.getLogger(__name__)
VERSIONS = range(1, 100)  # those of trainers that a run can have been trained by
Described = TypeVar("Described", bound=Refusing)
KEY = re.compile("[0-9a-f]{16}")
ABANDONED = 3600  # seconds after which nobody is still writing a result
_described = ContextVar("described", default=False)  # whether names and types alone are checked


class Experiment(Refusing, Recipe):
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
        return filters.spelling(value)

    @field_validator("augment")
    @classmethod
    def _augment(cls, value: str) -> str:
        return augment.spelling(value)

    @field_validator("model")
    @classmethod
    def _model(cls, value: str) -> str:
        return models.normal_form(value)

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        """Names and types are right by now; values that a constructor alone can judge come last, as that takes seconds."""
        if not _described.get():
            for field, kind in (("filter", filters), ("augment", augment)):
                value = getattr(self, field)
                try:
                    kind.check(value)
                except UserError as error:
                    raise UserError(f"{field}={value!r} is refused: {error}") from None
        return self

    @classmethod
    def described(cls, **values: Any) -> Self:
        """An experiment of which names and types alone are checked: of a profile, or of a run that was checked before it began.

        Raises:
            UserError: a name, or a value of the wrong type.
        """
        token = _described.set(True)
        try:
            return cls(**values)
        finally:
            _described.reset(token)

    def image_set(self, split: str) -> "ImageSet | Stream":
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
        from specfreq import train

        digests = [self.image_set(split).digest for split in ("train", "test")]
        # what is as by default is left out: a field that is new leaves older keys alone
        text = json.dumps([train.version(self), self.effective(), digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_load = functools.lru_cache(maxsize=8)(load)


def finished(path: Path) -> bool:
    """Whether a directory holds a finished run: its model is written last of all."""
    return (path / "model.safetensors").exists()


class _Origin(BaseModel):
    """What every run says, beside more, of where it was trained."""

    specfreq: str
    commit: str | None
    torch: str
    device: str
    date: str
    seconds: float
    data: dict[str, str]  # digest of the images, by split


def described_in(file: Path, kind: Callable[..., Described]) -> tuple[Described, dict[str, Any]]:
    """The experiment or recipe that a run's file describes, and the fields as they are written.

    Raises:
        UserError: the file is missing or damaged, or this version knows no such experiment.
    """
    fields = storage.read_object(file)
    try:
        return kind(**fields), fields
    except UserError as error:
        raise UserError(f"{file} describes what this version does not know ({error}); delete the folder and train again") from None


def origin(path: Path, splits: Iterable[str]) -> dict[str, Any]:
    """Where the run in a folder was trained, and on which images.

    Raises:
        UserError: `provenance.json` is missing, damaged or was edited.
    """
    file = path / "provenance.json"
    found = storage.read_sealed(file, path.name)
    try:
        _Origin.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise storage.Damaged(f"{file} is damaged ({where}: {first['msg']}); delete the folder and train again") from None
    if missing := [split for split in splits if split not in found["data"]]:
        raise storage.Damaged(f"{file} is damaged (data has no {missing[0]}); delete the folder and train again")
    return found


def refuse_changed(path: Path, settings: dict[str, Any], digests: str | list[str]) -> None:
    """Refuse a run whose folder is not named by what is in it: by the key of its settings and of the digests of its images.

    Raises:
        Damaged: its settings or digests were edited, or the folder was renamed.
    """
    texts = (json.dumps([version, settings, digests], sort_keys=True) for version in VERSIONS)
    if path.name not in (hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts):
        raise storage.Damaged(f"{path} holds another run than {path.name}: it was renamed or edited; delete it and train again")


def history(path: Path, origin: dict[str, Any]) -> list[dict[str, float]]:
    """The epochs of the run in a folder.

    Raises:
        UserError: `history.csv` is missing or damaged, or was edited since `origin` was written.
    """
    file = path / "history.csv"
    text = storage.read_text(file)
    try:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(text))]
    except (TypeError, ValueError) as error:
        raise storage.Damaged(f"{file} is damaged ({error}); delete the folder and train again") from None
    if origin.get("history", storage.digest(text)) != storage.digest(text):
        raise storage.Damaged(f"{file} is not as it was written; delete the folder and train again")
    return rows


class Run:
    """A finished training in its directory: `experiment.json`, `history.csv`, `model.safetensors`, one result per measure."""

    def __init__(self, path: Path):
        self.path = path
        if not finished(path):
            raise UserError(f"{path.name} is no finished run in {path.parent}; `specfreq list runs` shows those")
        self.experiment, described = described_in(path / "experiment.json", Experiment.described)
        self.provenance = origin(path, ("train", "test"))
        # names as they were written: what lies in the working directory by now does not matter
        names = {k: described[k] for k in ("data", "filter", "augment", "model") if k in described}
        settings = self.experiment.effective()
        settings |= {k: v for k, v in names.items() if k in settings}
        refuse_changed(path, settings, [self.provenance["data"][split] for split in ("train", "test")])

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def history(self) -> list[dict[str, float]]:
        return history(self.path, self.provenance)

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """What has been measured so far, by measure (and by filter, where that was another: `accuracy@whitening`).

        A damaged or edited result is left out, with a warning that names it.
        """
        found = {}
        for path in storage.visible((self.path / "results").glob("*.json")):
            try:
                found[path.stem] = self._result(path)
            except UserError as error:
                log.warning("specfreq: a result of run %s is left out: %s", self.key, error)
        return found

    def _result(self, path: Path) -> dict[str, Any]:
        return storage.read_sealed(path, f"{self.key}/{path.stem}")

    def _kept(self, path: Path, version: int) -> dict[str, Any] | None:
        """The result of a file, if it is there, as it was written, and of this version of the measures."""
        if not path.exists():
            return None
        try:
            result = self._result(path)
        except storage.Damaged as error:
            log.warning("specfreq: %s; measured anew", str(error).rpartition(";")[0])
            return None
        made = result.get("provenance")
        return result if isinstance(made, dict) and made.get("measures") == version else None

    def image_set(self, split: str) -> "ImageSet | Stream":
        """The images of this run.

        Raises:
            UserError: what lies under that name now is not what the run was trained on.
        """
        images = self.experiment.image_set(split)
        if images.digest != self.provenance["data"][split]:
            name = self.experiment.data
            raise UserError(f"the {split} images of {name} have changed since run {self.key}; train again, or restore them")
        return images

    def classifier(self, filter: str | None = None, device: str | None = None) -> "models.Classifier":
        """The trained network on [0, 1] images, behind its own input filter or, if given, behind another."""
        import torch

        from specfreq import inputs, parallel

        tensors, key = storage.read_tensors(self.path / "model.safetensors")
        if key != self.key:
            raise storage.Damaged(f"{self.path / 'model.safetensors'} is of run {key}; delete the folder and train again")
        mean, std = tensors.pop("mean"), tensors.pop("std")
        images, spec = self.image_set("train"), filter or self.experiment.filter
        net = models.build(self.experiment.model, len(images.classes), images.shape[0], self.experiment.seed)
        net.load_state_dict(tensors)
        classifier = models.Classifier(net, mean, std, inputs.fitted(spec, images)).to(parallel.checked_device(device))
        return classifier.to(memory_format=torch.channels_last).eval()

    def measure(self, name: str, filter: str | None = None, device: "str | torch.device | None" = None) -> dict[str, Any]:
        """Compute a measure on the test images, once. With a filter, the network meets those images instead of its own.

        The result says by which version of the measures it was computed, where and when; another version computes it anew,
        and so does a file that is damaged or was edited.
        """
        name = measures.normal_form(name)
        filter = filters.normal_form(filter) if filter else self.experiment.filter
        stem = (name if filter == self.experiment.filter else f"{name}@{filter}").replace(":", " ")
        if len(stem.encode()) > LONGEST or "/" in stem:
            start = stem.replace("/", " ").encode()[: LONGEST - 9].decode(errors="ignore")
            stem = f"{start}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
        path = self.path / "results" / f"{stem}.json"
        version = measures.version(name)
        if (kept := self._kept(path, version)) is not None:
            return kept
        from specfreq.inference import device_of
        from specfreq.provenance import provenance

        model = self.classifier(filter, device)
        result = measures.compute(name, model, self.image_set("test"))
        made = {"measure": name, "measures": version, **provenance(device_of(model))}
        storage.tidy(path.parent, ABANDONED)
        storage.write_sealed(path, {**result, "provenance": made}, f"{self.key}/{path.stem}")
        return self._result(path)


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
        checkpoint_every: seconds of training that a killed process loses at most; finite, 0 for every step.

    Raises:
        UserError: an unknown name or impossible value, before anything is computed; a place that cannot be written.
        Diverged: the loss is no longer finite.
    """
    for name in measures:
        specfreq.measures.check(name)
    from specfreq import parallel
    from specfreq.checkpoints import Checkpoints, interval

    interval(checkpoint_every)
    team = parallel.join(device)
    check(experiment, team.size, measures)
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


def check(experiment: Experiment, processes: int = 1, wanted: Sequence[str] = ()) -> None:
    """Refuse an experiment that cannot work, when its images are known and nothing has been computed.

    Args:
        wanted: the measures that are to follow.

    Raises:
        UserError: data missing or damaged; classes or shapes that differ between training and test; a network for larger
            images; a filter for other images; a recipe that does not fit; of a run that is not finished, a measure that
            would be refused.
    """
    from specfreq import inputs, train
    from specfreq.streams import Stream

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
    if not finished(runs_dir() / experiment.key):  # what was measured is not asked for again, even if its other sets are gone
        for name in wanted:
            measures.check(name, test)


def _train(experiment: Experiment, path: Path, team: "Team", checkpoints: "Checkpoints", progress: bool | None) -> None:
    import torch

    from specfreq import inputs, train
    from specfreq.provenance import provenance
    from specfreq.streams import Stream

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
    epochs = train.fit(
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
        columns = [*first, *sorted({name for row in epochs for name in row} - {*first})]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(epochs)
        storage.write(path / "history.csv", text.getvalue())
        digests = {split: experiment.image_set(split).digest for split in ("train", "test")}
        made = {**provenance(team.device, team.size), "seconds": round(checkpoints.seconds, 3), "data": digests}
        storage.write_sealed(path / "provenance.json", {**made, "history": storage.digest(text.getvalue())}, path.name)
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
    from specfreq import parallel
    from specfreq.progress import progress_bar

    experiments = list(itertools.chain(*grids))
    for e in experiments:
        check(e, parallel.join(options.get("device")).size, measures)
    with progress_bar("experiments", len(experiments), "run", options.get("progress")) as bar:
        runs = []
        for e in experiments:
            bar.set_postfix_str(f"{e.data}, {e.filter}, seed {e.seed}")
            runs.append(run(e, measures, **options))
            bar.update()
    return runs


def list_runs(**fields: Any) -> Iterator[Run]:
    """The finished runs, oldest first; with fields, such as ``seed=1``, only those whose experiment has these values."""
    wanted = Experiment.described(**fields)  # reads text as the command line does, and refuses what no experiment has
    for path in sorted(_folders(), key=lambda p: (p / "model.safetensors").stat().st_mtime):
        try:
            run = Run(path)
        except UserError as error:
            log.warning("specfreq: run %s is left out: %s", path.name, error)
            continue
        if all(getattr(run.experiment, name) == getattr(wanted, name) for name in wanted.model_fields_set):
            yield run


def _folders() -> list[Path]:
    """The folders of finished runs, whatever else lies among them."""
    return [path for path in storage.visible(runs_dir().glob("*")) if finished(path)]


def find_run(key: str) -> Run:
    """The finished run whose key begins so; a copy of its folder, ``KEY 2``, is none.

    Raises:
        UserError: none does (the nearest is suggested), or several do.
    """
    known = [path.name for path in _folders() if KEY.fullmatch(path.name)]
    matching = [name for name in known if name.startswith(key)]
    if len(matching) > 1:
        raise UserError(f"several runs begin with {key!r}: {', '.join(sorted(matching))}; write more of the key")
    if not matching:
        raise unknown("run", key, known, hint="`specfreq list runs` shows all")
    return Run(runs_dir() / matching[0])
