"""How near generated images come to real ones: FID and KID in the features of a stated network, band by band, and spectra."""

import functools
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from specfreq import data, experiment, fourier, gan, generation, records, storage, tv
from specfreq.gan import Recipe
from specfreq.generation import Run
from specfreq.inference import evaluate
from specfreq.naming import UserError
from specfreq.progress import progress_bar
from specfreq.randomness import keyed, seed_of

VERSION = 1  # of these numbers: raised whenever one would come out otherwise than before
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # the name ends in the first digits of the content's SHA-256
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"


class Network(nn.Module):
    """Whose features count: images (N, 1 or 3, H, W) in [0, 1] -> (N, D). Grey images are shown in as many channels as it takes.

    Args:
        name: what a page calls it.
        key: by which its features are known again: of the run, or of the weights.
        of: the network itself, and how many channels it takes.
    """

    def __init__(self, name: str, key: str, of: nn.Module, channels: int = 3):
        super().__init__()
        self.name, self.key, self.of, self.channels = name, key, of, channels

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == self.channels:
            return self.of(images)
        if self.channels == 1:
            return self.of(generation.luminance(images))
        return self.of(images.expand(-1, self.channels, -1, -1))


class _Penultimate(nn.Module):
    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)


class _Inception(nn.Module):
    """torch-fidelity's port of the network by which FID was defined: bytes -> 2048 features."""

    def __init__(self, extractor: nn.Module):
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        return self.extractor((images.clamp(0, 1) * 255).round().byte())[0]


def trained(run: experiment.Run, device: str | None = None) -> Network:
    """The features that a classifier of ours has learned: what its linear layer sees."""
    name = f"{run.experiment.model}, trained on {run.experiment.data}"
    return Network(name, run.key, _Penultimate(run.classifier(device=device)), run.image_set("train").shape[0]).eval()


def inception(path: Path | None = None, device: str | None = None) -> Network:
    """Inception-v3 as FID was defined with, its weights read from a file without executing anything of it.

    Args:
        path: the file; `INCEPTION` below `data.root()` if not given.
        device: where it runs.

    Raises:
        UserError: the file is missing (names the command that gets it) or is not that file.

    Source: Heusel et al., NeurIPS 2017; Obukhov et al., torch-fidelity.
    """
    path = path or data.root() / INCEPTION
    if not path.is_file():
        raise UserError(f"{path} is missing; get it with `curl -L -o '{path}' {INCEPTION_URL}`, or judge by a network trained here")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(INCEPTION[-12:-4]):
        raise UserError(f"{path} is damaged or another file: its SHA-256 begins with {digest[:8]}; delete it and get it again")
    return Network("Inception-v3", digest[:16], _Inception(_extractor(path)).to(experiment.parallel.checked_device(device))).eval()


def _extractor(path: Path) -> nn.Module:
    """torch-fidelity's network with these weights. It would unpickle whatever the file holds, so it gets a copy of the tensors."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle raises what it likes
        raise UserError(
            f"{path} holds more than tensors, or is damaged ({type(error).__name__}); delete it and get it again"
        ) from None
    copy = io.BytesIO()
    torch.save(weights, copy)
    copy.seek(0)
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], copy)


def fid(real: Tensor, made: Tensor) -> float:
    r"""The Fréchet distance between two sets of features, each taken for a Gaussian, in double precision, by torchmetrics.

    .. math:: |\mu - \mu'|^2 + \operatorname{tr}\bigl(\Sigma + \Sigma' - 2 (\Sigma \Sigma')^{1/2}\bigr)

    Args:
        real, made: features (N, D) and (M, D). It falls as N and M grow, all else equal: compare equal numbers only.

    Raises:
        UserError: fewer than two images.

    Source: Heusel et al., NeurIPS 2017, equation 6.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(real), len(made)) < 2:
        raise UserError(f"FID needs two images or more of each kind, not {len(real)} and {len(made)}")
    metric = FrechetInceptionDistance(_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(made.double(), real=False)
    return max(0.0, float(metric.compute()))


def kid(real: Tensor, made: Tensor, blocks: int = 10) -> tuple[float, float | None, float | None]:
    r"""The squared maximum mean discrepancy between two sets of features, unbiased, with a 95 % interval, by torchmetrics.

    .. math:: k(x, y) = (x \cdot y / D + 1)^3

    The mean over disjoint blocks of images, drawn by a fixed seed, and the Student-t interval over these: it covers which images
    were drawn, not which weights were trained. Can be negative, as what is unbiased and near 0 must.

    Args:
        real, made: features (N, D) and (M, D).
        blocks: how many; each has the same number of both kinds.

    Raises:
        UserError: fewer than two images of a kind for each block.

    Source: Bińkowski et al., ICLR 2018, section 3.
    """
    import warnings

    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(real), len(made)) // blocks
    if size < 2:
        raise UserError(f"KID over {blocks} blocks needs {2 * blocks} images or more of each kind, not {len(real)} and {len(made)}")
    sets = [f.double()[torch.randperm(len(f), generator=keyed("kid", len(f)))] for f in (real, made)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features, which it is given
        metric = KernelInceptionDistance(_Given(real.shape[1]), subsets=1, subset_size=size).set_dtype(torch.float64)
    values = []
    with torch.random.fork_rng(devices=[]):  # it shuffles by the global stream
        torch.default_generator.manual_seed(seed_of("kid"))
        for ours, theirs in zip(*(s[: size * blocks].split(size) for s in sets), strict=True):
            metric.reset()
            metric.update(ours, real=True)
            metric.update(theirs, real=False)
            values.append(float(metric.compute()[0]))
    return records.interval(values)


class _Given(nn.Module):
    """Features that are there already, as torchmetrics wants them: from a network."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class Judge:
    """Real images, and a network in whose features others are compared with them.

    Args:
        recipe: of a training; its data, bands and dt count.
        network: see `trained` and `inception`.
        count: how many images are generated.
        blocks: of KID.
        scales: bands of the spectrum of total variation, of `dt` each; over at most 500 images.
        images: for spectra, at most so many images of a kind.
    """

    def __init__(
        self, recipe: Recipe, network: Network, count: int = 5000, *, blocks: int = 10, scales: int = 12, images: int = 500
    ):
        self.recipe = recipe.model_copy(update={"parts": "bands"})
        self.network, self.count, self.blocks, self.scales, self.spectral = network, count, blocks, scales, images
        self.real = generation.real(recipe)
        prepared = generation.prepared(self.recipe)
        self.names, self.bands, self.scale, self.centre = prepared.names, prepared.values, prepared.scale, prepared.centre

    def key(self, *more: Any) -> str:
        """By which numbers of this judge are known again."""
        r = self.recipe
        what = [VERSION, self.network.key, self.count, self.blocks, self.scales, self.spectral, r.bands, r.dt, r.grey]
        text = json.dumps([*what, generation.digest(r), *more])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def features(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, C, H, W) in [0, 1]."""
        return evaluate(self.network, images)

    def shown(self, part: Tensor, place: int) -> Tensor:
        """A band or the residual (N, C, H, W) as pictures: grey for the centre, black and white for the ends of the range."""
        return ((part - self.centre[place]) / self.scale[place] / 2 + 0.5).clamp(0, 1)

    @functools.cached_property
    def _of_real(self) -> tuple[Tensor, list[Tensor]]:
        return self.features(self.real), [self.features(self.shown(band, i)) for i, band in enumerate(self.bands)]

    def compare(self, images: Tensor) -> dict[str, Any]:
        """Images (N, C, H, W) in [0, 1] against the real ones.

        Returns:
            images (how many); fid; kid, kid_low and kid_high; names and by_part, the FID of each band and of the residual; the
            spectra of `spectra`.
        """
        real, real_bands = self._of_real
        features = self.features(images)
        found = dict(zip(("kid", "kid_low", "kid_high"), kid(real, features, self.blocks), strict=True))
        parts = generation.split_up(images, self.recipe)
        by_part = [fid(real_bands[i], self.features(self.shown(part, i))) for i, part in enumerate(parts)]
        return {"images": len(images), "fid": fid(real, features), **found, "names": self.names, "by_part": by_part} | self.spectra(
            images
        )

    def spectra(self, images: Tensor) -> dict[str, list[float]]:
        """Means over the first images: power (per ring of the Fourier transform, radius 0, 1, ...), variation (Σ|phi_n| per pixel)."""
        few = images[: self.spectral]
        power = fourier.radial_profile(fourier.power_spectrum(few.double()).mean((0, 1)))
        spectrum = tv.transform(few, self.scales, self.recipe.dt).spectrum / few[0].numel()
        return {"power": power.tolist(), "variation": spectrum.double().mean(1).tolist()}

    def of_run(self, run: Run, apart: bool = False, seed: int = 0) -> dict[str, Any]:
        """`compare` for what a run generates, once; apart: with latents of its own for each generator, so that none is shared."""
        path = run.path / "results" / f"fidelity-{self.key(apart, seed)}.json"
        if not path.exists():
            each = [generation.latents(self.count, run.recipe.latent, seed, *([i] if apart else [])) for i in range(run.generators)]
            found = self.compare(run.images(each))
            storage.write_json(path, {**found, "network": self.network.name, "features": self.network.key})
        return storage.read_json(path)

    def of_real(self) -> dict[str, dict[str, Any]]:
        """`compare` for what no generator made, once.

        Returns:
            ``unseen``: the test images. ``mixed``: bands of real images, of another image each, added up: what generators of bands
            that are each perfect, and know nothing of one another, would make.
        """
        path = experiment.runs_dir() / "gan" / "real" / f"fidelity-{self.key()}.json"
        if not path.exists():
            orders = [torch.randperm(len(self.real), generator=keyed("mixed", i)) for i in range(len(self.bands))]
            mixed = torch.stack([band[order] for band, order in zip(self.bands, orders, strict=True)]).sum(0).clamp(0, 1)
            unseen = generation.real(self.recipe, "test")
            found = {"unseen": self.compare(unseen), "mixed": self.compare(mixed), "real": self.spectra(self.real)}
            storage.write_json(path, found)
        return storage.read_json(path)


def rows(judge: Judge, runs: Sequence[Run], *, progress: bool | None = None) -> list[dict[str, Any]]:
    """One row for each arm and quantity, with a 95 % Student-t interval over seeds, as `comparison.rows` has them.

    Arms: the `parts` of the recipes, and ``bands, latents apart``. Quantities: FID, KID x 1000, and FID of each part.
    """
    groups: dict[str, list[tuple[Run, dict[str, Any]]]] = {}
    with progress_bar("fidelity", len(runs), "run", progress) as bar:
        for run in runs:
            bar.set_postfix_str(f"{run.recipe.parts}, seed {run.recipe.seed}")
            groups.setdefault(run.recipe.parts, []).append((run, judge.of_run(run)))
            if run.recipe.parts == "bands":
                groups.setdefault("bands, latents apart", []).append((run, judge.of_run(run, apart=True)))
            bar.update()
    out = []
    for arm, group in groups.items():
        each = {run.recipe.seed: numbers(found) for run, found in group}
        for quantity in numbers(group[0][1]):
            mean, low, high = records.interval([each[seed][quantity] for seed in each])
            out.append(
                {
                    "data": judge.recipe.data,
                    "arm": arm,
                    "stands_for": arm,
                    "series": "corrected",
                    "quantity": quantity,
                    "seeds": list(each),
                    "values": [each[seed][quantity] for seed in each],
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "keys": [run.key for run, _ in group],
                }
            )
    return out


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """What `Judge.compare` found, as the numbers of a table."""
    whole = {"FID": found["fid"], "KID x 1000": 1000 * found["kid"]}
    return whole | {f"FID, {name}": value for name, value in zip(found["names"], found["by_part"], strict=True)}
