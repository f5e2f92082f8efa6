"""Experiments: a typed description -> a run in its own directory -> results, each computed once."""

import functools
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import specfreq
from specfreq import augment, filters, measures, models
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.core.places import runs_dir
from specfreq.core.spec import LONGEST
from specfreq.data import normal_form
from specfreq.experiment import network, watch
from specfreq.experiment.description import Experiment
from specfreq.experiment.store import (
    AGAIN,
    ASIDE,
    OUTLINE,
    READY,
    described_in,
    ensure,
    find,
    finished,
    folders,
    history,
    origin,
    refuse_changed,
    trained,
    write_history,
)

# what loads torch is imported by the functions that compute: experiments are described, checked and listed
# without it

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from specfreq.data.sets import ImageSet
    from specfreq.data.streams import Stream
    from specfreq.train.checkpoints import Checkpoints
    from specfreq.train.team import Team

log = logging.getLogger(__name__)
FEW = 5000  # training images that a network learns from before the first step, spread over the set
ABANDONED = 3600  # seconds after which nobody is still writing a result


class Run:
    """A finished training in its directory: `experiment.json`, `history.csv`, `model.safetensors`, one result
    per measure.

    One that was restored from the book has no weights. What was measured is there; where more is asked of it,
    it is trained again.
    """

    def __init__(self, path: Path):
        self.path = path
        if not finished(path):
            raise UserError(
                f"{path.name} is no finished run in {path.parent}; `specfreq list runs` shows those"
            )
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
    def series(self) -> watch.Series | None:
        """What was measured after the epochs of the training, where its experiment said so by `watch`."""
        return watch.read(self.path)

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """What has been measured so far, by measure (and by filter, where that was another:
        `accuracy@whitening`).

        A damaged or edited result is left out, with a warning that names it.
        """
        files = places.visible((self.path / "results").glob("*.json"))
        return {path.stem: found for path in files if (found := self._intact(path)) is not None}

    def _result(self, path: Path) -> dict[str, Any]:
        return storage.read_sealed(path, self._about(path))

    def _about(self, path: Path) -> str:
        """What a result is about: the run, other images if it is of those, and the measure."""
        place = path.relative_to(self.path / "results").as_posix()
        return f"{self.key}/{place.removesuffix('.json')}"

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
            raise UserError(
                f"the {split} images of {name} have changed since run {self.key}; train again, or restore "
                "them"
            )
        return images

    @property
    def trained(self) -> bool:
        """Whether its weights are here."""
        return trained(self.path)

    @property
    def outline(self) -> dict[str, Any]:
        """For which images the network was trained: names of ``classes``, and ``shape`` (C, H, W); and the
        digest of its ``weights``, which archives of the first versions lack.
        """
        if not self.trained:
            return storage.read_sealed(self.path / OUTLINE, self.key)
        kept = self._network()
        shown = {"classes": list(kept.classes), "shape": list(kept.shape)}
        return {**shown, "weights": _digest_of_weights(self.path)}

    def intact(self, result: str) -> bool:
        """Whether a result, as `results` or a folder of other images names it, is as it was written."""
        return self._intact(self.path / "results" / f"{result}.json") is not None

    def _intact(self, path: Path) -> dict[str, Any] | None:
        """The result of a file; None, with a warning that names it, if it is not as it was written."""
        try:
            return self._result(path)
        except UserError as error:
            log.warning("specfreq: a result of run %s is left out: %s", self.key, error)
            return None

    def _network(self, device: "str | torch.device | None" = None) -> network.Network:
        self._ready(device)
        return self._read()

    def _ready(self, device: "str | torch.device | None" = None) -> None:
        """See to it that weights are here, and nothing is under way to take their place."""
        settle(self.path)
        if not self.trained:
            self._weights(device)

    def _read(self) -> network.Network:
        return network.read(
            self.path / "model.safetensors", self.key, functools.partial(self.image_set, "train")
        )

    def _weights(self, device: "str | torch.device | None") -> None:
        """Train a run that was restored without its weights.

        Raises:
            UserError: the images have changed; several processes are at work.
        """
        from specfreq.train.team import join

        for split in ("train", "test"):
            self.image_set(split)
        team = join(None if device is None else str(device))
        if team.size > 1:
            raise UserError(
                f"run {self.key} was restored without its weights, which one process has to train; start it "
                "without torchrun"
            )
        why = "was restored without its weights, which are needed now"
        _train_again(self.experiment, self.path, team, None, why)
        self.__init__(self.path)

    def classifier(
        self, filter: str | None = None, device: "str | torch.device | None" = None
    ) -> "models.Classifier":
        """The trained network on [0, 1] images, behind its own input filter or, if given, behind another.

        The training images are needed by another filter that learns from them, and by runs that an older
        version trained; else they can be gone.
        """
        self._ready(device)
        return self._classifier(filter, device)

    def _classifier(self, filter: str | None, device: "str | torch.device | None") -> "models.Classifier":
        import torch

        from specfreq.core import devices
        from specfreq.experiment import inputs

        kept = self._read()
        spec = filters.normal_form(filter) if filter else self.experiment.filter
        net = models.build(self.experiment.model, len(kept.classes), kept.shape[0], self.experiment.seed)
        net.load_state_dict(kept.weights)
        if kept.filter is not None and spec == self.experiment.filter:
            before = filters.build(spec)
            before.load_state_dict(kept.filter)
        else:
            before = inputs.fitted(spec, functools.partial(self.image_set, "train"))
        classifier = models.Classifier(net, kept.mean, kept.std, before).to(devices.checked_device(device))
        return classifier.to(memory_format=torch.channels_last).eval()

    def augmentation(self, device: str | None = None) -> "augment.Augmentation":
        """The augmentation as the training left it, with what it has fitted or learned; new images can be
        given to it.

        Raises:
            UserError: the run is of an older version, which did not keep that.
        """
        from specfreq.core import devices

        state = self._network(device).augment
        if state is None:
            raise UserError(
                f"run {self.key} is of an older version, which kept nothing of its augmentation; delete "
                f"{self.path} and train again"
            )
        built = augment.build(self.experiment.augment)
        built.load_state_dict(state)
        return built.to(devices.checked_device(device))

    def _others(self, data: str, filter: str) -> "ImageSet | Stream":
        """The test images of another set, if the network can be asked about them."""
        from specfreq.data import load
        from specfreq.experiment import inputs

        images, name = load(data, "test"), self.experiment.data
        classes, shape = (tuple(self.outline[part]) for part in ("classes", "shape"))
        if images.classes != classes:
            raise UserError(
                f"the classes of {data} are not those of run {self.key} ({name}): {_listed(images.classes)}, "
                f"not {_listed(classes)}; choose a set with the same ones in the same order"
            )
        if images.shape[0] != shape[0]:
            raise UserError(
                f"images of {data} have {images.shape[0]} channel(s), and run {self.key} was trained on "
                f"images with {shape[0]}; choose another set"
            )
        models.check(self.experiment.model, images.shape)
        if images.shape != shape and inputs.learns(filters.build(filter)):
            sides = " and ".join(f"{height}x{width}" for _, height, width in (images.shape, shape))
            raise UserError(
                f"filter={filter} learned from the training images, and those of {data} have another size: "
                f"{sides}; choose another set, or another filter"
            )
        return images

    def measure(
        self,
        name: str,
        filter: str | None = None,
        device: "str | torch.device | None" = None,
        data: str | None = None,
    ) -> dict[str, Any]:
        """Compute a measure on the test images, once. With a filter, the network meets those images instead
        of its own.

        The result says by which version of the measures it was computed, where and when; another version
        computes it anew, and so does a file that is damaged or was edited.

        Args:
            data: another set, whose test images are shown instead. Its results lie in a folder of their own,
                named by the digest of those images, and are not among `results`.

        Raises:
            UserError: the images are missing, or not those that the run was trained for; another set has
                other classes, channels, or a size that network or filter cannot take; what the measure
                refuses.
        """
        return self._measured(name, filter, device, data, False)[0]

    def each(
        self,
        name: str,
        number: str,
        filter: str | None = None,
        device: "str | torch.device | None" = None,
        data: str | None = None,
    ) -> "np.ndarray | None":
        """What a number of a measure is the mean of: a value of each image, float64 (N,); None if it is none.

        As `measure`, which it calls; results of older versions, which kept nothing of each image, are
        measured anew.

        Args:
            number: its place in the result, such as ``mean_error`` or ``by_corruption.2``.
        """
        import numpy as np

        path = self._measured(name, filter, device, data, True)[1]
        tensors, meta = storage.read_tensors(path)
        if number not in tensors:
            return None
        found = tensors[number].numpy()
        if number in meta["shares"]:
            shape = meta["shares"][number]
            found = 100.0 * np.unpackbits(found, count=math.prod(shape)).reshape(shape)
        return found.astype(np.float64).reshape(-1, found.shape[-1]).mean(0)

    def _measured(
        self,
        name: str,
        filter: str | None,
        device: "str | torch.device | None",
        data: str | None,
        each: bool,
    ) -> tuple[dict[str, Any], Path]:
        """The result of a measure, and the file of what it says of each image, there if asked for."""
        name = measures.normal_form(name)
        filter = filters.normal_form(filter) if filter else self.experiment.filter
        stem = (name if filter == self.experiment.filter else f"{name}@{filter}").replace(":", " ")
        if len(stem.encode()) > LONGEST or "/" in stem:
            start = stem.replace("/", " ").encode()[: LONGEST - 9].decode(errors="ignore")
            stem = f"{start}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
        folder, images = self.path / "results", None
        if data is not None:
            data = normal_form(data)
            images = self._others(data, filter)
            if images.digest != self.provenance["data"]["test"]:
                folder = folder / images.digest[:16]
        path, beside = folder / f"{stem}.json", folder / f"{stem}.safetensors"
        version = measures.version(name)

        def known() -> dict[str, Any] | None:
            kept = self._kept(path, version)
            return kept if kept is not None and (not each or _belongs(beside, path)) else None

        if there := known():
            return there, beside
        from specfreq.core.devices import device_of
        from specfreq.core.provenance import provenance

        storage.check(folder)
        if images is None:
            images = self.image_set("test")
        measures.check(name, images)  # before weights that are not here are trained
        self._ready(device)  # under the same lock, and so before it
        with storage.alone(self.path, f"works on run {self.key}"):
            if there := known():  # another process has measured it meanwhile
                return there, beside
            _go_on(self.path)
            # read now: another process may have trained it once more, to other weights
            model = self._classifier(filter, None if device is None else str(device))
            result, values = measures.computed(name, model, images)
            made = {"measure": name, "measures": version, **provenance(device_of(model))}
            if folder.name != "results":
                made["data"] = {"name": data, "digest": images.digest}
            storage.tidy(folder, ABANDONED)
            _write_each(beside, values, {**result, "provenance": made})
            storage.write_sealed(path, {**result, "provenance": made}, self._about(path))
            return self._result(path), beside


def _write_each(path: Path, values: "dict[str, Tensor]", result: dict[str, Any]) -> None:
    """Keep what a result says of each image: truths a bit each, other values as float32."""
    import numpy as np
    import torch

    tensors, shares = {}, {}
    for name, value in values.items():
        if value.dtype == torch.bool:
            tensors[name] = torch.from_numpy(np.packbits(value.numpy()))
            shares[name] = list(value.shape)
        else:
            tensors[name] = value.float()
    storage.write_tensors(path, tensors, {"of": _digest(result), "shares": shares})


def _belongs(path: Path, result: Path) -> bool:
    """Whether a file holds what a result, in the other file, says of each image."""
    try:
        kept = storage.read_object(result)
        kept.pop("sha256", None)
        return path.exists() and storage.read_tensors(path)[1]["of"] == _digest(kept)
    except storage.Damaged:
        return False


def _digest(result: dict[str, Any]) -> str:
    return storage.digest(json.dumps(result, sort_keys=True))


def _listed(classes: Sequence[str]) -> str:
    """The first of the classes, and how many there are."""
    return f"{', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''} ({len(classes)})"


def run(
    experiment: Experiment,
    measures: Sequence[str] = ("accuracy",),
    *,
    device: str | None = None,
    progress: bool | None = None,
    checkpoint_every: float = 60,
) -> Run:
    """Train and measure an experiment, or return what an earlier call computed.

    Processes that torchrun started train it together. Others that want the same run at the same time wait for
    it.

    Args:
        measures: names or descriptions, such as ``calibration:bins=10``.
        device: a GPU if there is one, by default.
        progress: bars; None shows them on terminals only.
        checkpoint_every: seconds of training that a killed process loses at most; finite, 0 for every step.

    Raises:
        UserError: an unknown name or impossible value, before anything is computed; a place that cannot be
            written.
        Diverged: the loss is no longer finite.

    Example:
        >>> experiment = specfreq.Experiment(data="digits", train_size=60, test_size=30, epochs=1)
        >>> specfreq.run(experiment).results["accuracy"]["images"]
        30
    """
    for name in measures:
        specfreq.measures.check(name)
    from specfreq.core.devices import check_precision
    from specfreq.train.checkpoints import Checkpoints, interval
    from specfreq.train.team import join

    interval(checkpoint_every)
    team = join(device)
    check(experiment, team.size, measures)
    check_precision(team.device, experiment.precision)
    path = runs_dir() / experiment.key
    checkpoints = Checkpoints(path / "checkpoint.safetensors", checkpoint_every)
    ensure(path, team, checkpoints, lambda: _train(experiment, path, team, checkpoints, progress))
    if team.rank == 0:
        settle(path)
    # again, as another process may have trained it meanwhile, and recorded less
    while lacking := team.told(watch.lacking(experiment, path)):
        why = f"is finished, and its training recorded no series of {lacking} (of this version)"
        _train_again(experiment, path, team, progress, why, checkpoint_every)
    result = Run(path)
    # twice: for one that needs the weights a restored run is trained, and can forget those before it
    for name in (*measures, *measures) if team.rank == 0 else ():
        result.measure(name, device=team.device)
    return result


def check(experiment: Experiment, processes: int = 1, wanted: Sequence[str] = ()) -> None:
    """Refuse an experiment that cannot work, when its images are known and nothing has been computed.

    Args:
        wanted: the measures that are to follow.

    Raises:
        UserError: data missing or damaged; classes or shapes that differ between training and test; a network
            for larger images; a filter for other images; a recipe that does not fit; of a run that is not
            finished, a measure that would be refused.
    """
    from specfreq.data.streams import Stream
    from specfreq.experiment import inputs
    from specfreq.train import loop

    training, test = experiment.image_set("train"), experiment.image_set("test")
    models.check(experiment.model, training.shape)
    for what in ("classes", "shape"):
        ours, theirs = getattr(training, what), getattr(test, what)
        if ours != theirs:
            raise UserError(
                f"{experiment.data}: the {what} of training and test images differ: {ours} and {theirs}"
            )
    if len(training.classes) < 2:
        only = next(iter(training.classes))
        raise UserError(f"{experiment.data} has one class, {only!r}; a classifier needs two or more")
    inputs.check(experiment.filter, training)
    streamed = isinstance(training, Stream)
    loop.check(experiment, training if streamed else training.images, processes)
    if streamed and augment.build(experiment.augment).accompanied:
        raise UserError(
            f"{experiment.augment} keeps something of every training image; leave stream=1 out of "
            f"{experiment.data}"
        )
    path = runs_dir() / experiment.key
    if not finished(path) or watch.lacking(experiment, path):
        # what was measured is not asked for again, even if its other sets are gone
        whole = watch.joined(experiment, path) if finished(path) else experiment
        for name in (*wanted, *whole.watch):
            measures.check(name, test)


def _train(
    experiment: Experiment, path: Path, team: "Team", checkpoints: "Checkpoints", progress: bool | None
) -> None:
    import torch

    from specfreq.core.images import moments, unit
    from specfreq.core.provenance import provenance
    from specfreq.data.streams import Stream
    from specfreq.experiment import inputs
    from specfreq.train import loop

    images = experiment.image_set("train")
    with inputs.drawing(experiment.seed, "filter"):
        filter, pixels = inputs.filtered(experiment.filter, images)
    channels, streamed = images.shape[0], isinstance(images, Stream)
    mean, std = moments(pixels) if experiment.normalise else (torch.zeros(channels), torch.ones(channels))
    net = models.build(experiment.model, len(images.classes), channels, experiment.seed)
    few = torch.arange(min(FEW, len(pixels))) * len(pixels) // min(FEW, len(pixels))
    net.fit((unit(pixels[few]) - mean[:, None, None]) / std[:, None, None])
    # images of a streamed set are filtered when they come, and others where the filter learns from the loss
    learning = any(parameter.requires_grad for parameter in filter.parameters())
    inside = filter if streamed or learning else None
    classifier = models.Classifier(net, mean, std, inside).to(team.device)
    if learning and not isinstance(images, Stream):
        pixels = images.images
    with inputs.drawing(experiment.seed, "augmentation"):
        augmentation = augment.build(experiment.augment)
        # work on every image is worth the way to the device
        seen = pixels.to(team.device) if augmentation.accompanied else pixels
        augmentation.fit(seen, **augmentation.told(inputs.labels(images)))
    if team.rank == 0:
        _set_aside(path)
        if not experiment.watch:
            (path / watch.FILE).unlink(missing_ok=True)
        storage.write_json(path / "experiment.json", experiment.model_dump(mode="json"))
    precision = _precision(experiment, path, team)
    recorder = _recorder(experiment, path, filter, checkpoints) if team.rank == 0 else None
    team.told(None)  # nobody looks for a checkpoint before that
    epochs = loop.fit(
        classifier,
        images if isinstance(images, Stream) else pixels,
        images.labels,
        experiment.model_copy(update={"precision": precision}),
        augmentation=augmentation.to(team.device),
        checkpoints=checkpoints,
        team=team,
        progress=progress,
        after_epoch=recorder,
    )
    if team.rank == 0:
        first = ["epoch", "loss", "accuracy", "lr"]
        more = sorted({name for row in epochs for name in row} - {*first})
        written = write_history(path, epochs, [*first, *more])
        digests = {split: experiment.image_set(split).digest for split in ("train", "test")}
        made = {
            **provenance(team.device, team.size),
            "seconds": round(checkpoints.seconds, 3),
            "precision": precision,
            "data": digests,
        }
        storage.write_sealed(path / "provenance.json", {**made, "history": written}, path.name)
        weights = {"mean": mean, "std": std, **net.state_dict()}
        model = path / "model.safetensors"
        network.write(model, experiment.key, images, weights, filter=filter, augment=augmentation)
        _put_back(path)
    team.told(None)  # nobody looks for the model before it is there


def _train_again(
    experiment: Experiment, path: Path, team: "Team", progress: bool | None, why: str, every: float = 60
) -> None:
    """Train a finished run anew, and record what it had recorded and what is asked now.

    It is trained in a folder inside that of the run, which stays as it is until the end: whatever ends the
    training before takes nothing away. What was measured stays too if the same network comes out, see
    `_replace`: on another machine its bits differ.

    Raises:
        UserError: a measure of the series, old or new, would be refused.
    """
    from specfreq.train.checkpoints import Checkpoints

    log.warning("specfreq: run %s %s; it is trained again", path.name, why)
    again = path / AGAIN / path.name
    checkpoints = Checkpoints(again / "checkpoint.safetensors", every)

    def train() -> None:
        if not team.told((path / READY).exists()):
            whole = team.told(watch.joined(experiment, path))
            test = whole.image_set("test")
            for name in whole.watch:
                measures.check(name, test)
            if team.rank == 0 and (path / "precision.json").exists():  # as before, whatever is fastest here
                storage.write_json(again / "precision.json", storage.read_object(path / "precision.json"))
            _train(whole, again, team, checkpoints, progress)
            if team.rank == 0:
                with storage.writing(path):
                    again.rename(path / READY)
        if team.rank == 0:
            _replace(path)
        team.told(None)

    def needed() -> bool:
        return not trained(path) or (path / READY).exists() or bool(watch.lacking(experiment, path))

    ensure(path, team, checkpoints, train, needed)


def settle(path: Path) -> None:
    """Go on with what a process was killed at after the training of a run, if one was."""
    if any(place.exists() for place in (path / READY, path / ASIDE)) and finished(path):
        with storage.alone(path, f"works on run {path.name}"):
            _go_on(path)


def _go_on(path: Path) -> None:
    if (path / READY).exists():
        _replace(path)
    if (path / ASIDE).exists() and trained(path):
        _put_back(path)


def _replace(path: Path) -> None:
    """Put a run that is ready in the place of what it was before it was trained once more. What had been
    measured of it stays if its history came out in the same bits, and its weights where theirs are known.
    """
    ready = path / READY
    with storage.writing(path):
        if (ready / "history.csv").exists():  # the first to go, and with it the question
            if trained(path):
                before = _digest_of_weights(path)
            else:
                before = storage.read_sealed(path / OUTLINE, path.name).get("weights")
            if not _same(ready, path / "history.csv", before, path.name):
                shutil.rmtree(path / "results", ignore_errors=True)
        for name in ("history.csv", "provenance.json", "precision.json", watch.FILE, "model.safetensors"):
            if (ready / name).exists():
                (ready / name).replace(path / name)
        (path / OUTLINE).unlink(missing_ok=True)
        for folder in (ready, path / AGAIN):
            shutil.rmtree(folder, ignore_errors=True)


def _set_aside(path: Path) -> None:
    """Put by what a run whose weights were deleted, or whose `restore` was interrupted, says it was measured
    to be, until it is trained.
    """
    with storage.writing(path):
        if (path / "results").exists() and not (path / ASIDE).exists():
            (path / ASIDE).mkdir()
            for name in ("history.csv", "results"):
                if (path / name).exists():
                    (path / name).rename(path / ASIDE / name)
        shutil.rmtree(path / "results", ignore_errors=True)


def _put_back(path: Path) -> None:
    """And take it as measured, if the same network came out."""
    aside = path / ASIDE
    with storage.writing(path):
        if (aside / "results").exists():
            known = storage.read_object(aside / OUTLINE) if (aside / OUTLINE).exists() else {}
            if _same(path, aside / "history.csv", known.get("weights"), path.name):
                # who asked meanwhile, and waits, may have made a folder there
                shutil.rmtree(path / "results", ignore_errors=True)
                (aside / "results").rename(path / "results")
        shutil.rmtree(aside, ignore_errors=True)


def _same(trained: Path, history: Path, weights: str | None, key: str) -> bool:
    """Whether a training came out in the bits of an earlier one: of its history, and of its weights where
    their digest is known. Said if not.
    """
    alike = history.exists() and (trained / "history.csv").read_bytes() == history.read_bytes()
    if alike and weights in (None, _digest_of_weights(trained)):
        return True
    log.warning("specfreq: run %s came out otherwise; it is measured again", key)
    return False


def _digest_of_weights(path: Path) -> str:
    return hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()


def _precision(experiment: Experiment, path: Path, team: "Team") -> str:
    """The precision of a training; one that goes on after a kill keeps what was chosen when it began."""
    from specfreq.core.devices import fastest

    if experiment.precision != "auto":
        return experiment.precision
    kept = path / "precision.json"
    if team.rank == 0 and not kept.exists():
        storage.write_json(kept, {"precision": fastest(team.device)})
    return team.told(storage.read_object(kept)["precision"] if team.rank == 0 else None)


def _recorder(
    experiment: Experiment, path: Path, filter: "filters.Filter", checkpoints: "Checkpoints"
) -> watch.Recorder | None:
    """What records the series that the experiment names; a checkpoint without its beginning is removed, and
    rows of epochs that are still to be trained: they can be of another training.
    """
    if not experiment.watch:
        return None
    recorder = watch.Recorder(experiment, path, filter)
    found = type(checkpoints)(checkpoints.path).load()  # by another, as the time is counted from loading
    over = 0 if found is None else len(found[1]["history"])
    if recorder.missing(over):
        log.warning(
            "specfreq: run %s begins anew, as nothing was recorded after the epochs that it had finished",
            path.name,
        )
        checkpoints.clear()
        over = 0
    recorder.forget(over)
    return recorder


def list_runs(**fields: Any) -> Iterator[Run]:
    """The finished runs, oldest first; with fields, such as ``seed=1``, only those whose experiment has these
    values.

    Raises:
        UserError: a field that no experiment has, or that is no part of a run.
    """
    # reads text as the command line does, and refuses what no experiment has
    wanted = Experiment.described(**fields)
    for name in sorted(wanted.model_fields_set):
        if Experiment.model_fields[name].exclude:
            raise UserError(f"no run says by which {name} it was trained; choose by another field")
    for path in folders():
        try:
            run = Run(path)
        except UserError as error:
            log.warning("specfreq: run %s is left out: %s", path.name, error)
            continue
        if all(getattr(run.experiment, name) == getattr(wanted, name) for name in wanted.model_fields_set):
            yield run


def find_run(key: str) -> Run:
    """The finished run whose key begins so; a copy of its folder, ``KEY 2``, is none.

    Raises:
        UserError: none does (the nearest is suggested), or several do.
    """
    return Run(find(key))
