"""How near generated images come to real ones: FID and KID in the features of a stated network, band by band,
and spectra.
"""

import functools
import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from specfreq import fourier, tv
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.core.progress import progress_bar
from specfreq.core.randomness import keyed, seed_of
from specfreq.evidence import intervals
from specfreq.evidence.rows import Row, of_images
from specfreq.measures.inference import evaluate
from specfreq.studies.generators import parts
from specfreq.studies.generators.features import Network
from specfreq.studies.generators.runs import Run
from specfreq.studies.generators.training import Recipe

VERSION = 1  # of these numbers: raised whenever one would come out otherwise than before


def fid(real: Tensor, made: Tensor) -> float:
    r"""The Fréchet distance between two sets of features, each taken for a Gaussian, in double precision, by
    torchmetrics.

    .. math:: |\mu - \mu'|^2 + \operatorname{tr}\bigl(\Sigma + \Sigma' - 2 (\Sigma \Sigma')^{1/2}\bigr)

    Args:
        real, made: features (N, D) and (M, D). It falls as N and M grow, all else equal: compare equal
            numbers only.

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
    r"""The squared maximum mean discrepancy between two sets of features, unbiased, with a 95 % interval, by
    torchmetrics.

    .. math:: k(x, y) = (x \cdot y / D + 1)^3

    The mean over disjoint blocks of images, drawn by a fixed seed, and the Student-t interval over these: it
    covers which images were drawn, not which weights were trained. Can be negative, as what is unbiased and
    near 0 must.

    Args:
        real, made: features (N, D) and (M, D).
        blocks: how many; each has the same number of both kinds.

    Raises:
        UserError: fewer than two images of a kind for each block.

    Source: Bińkowski et al., ICLR 2018, section 3.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(real), len(made)) // blocks
    if size < 2:
        raise UserError(
            f"KID over {blocks} blocks needs {2 * blocks} images or more of each kind, not {len(real)} and "
            f"{len(made)}"
        )
    sets = [f.double()[torch.randperm(len(f), generator=keyed("kid", len(f)))] for f in (real, made)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features, which it is given
        metric = KernelInceptionDistance(_Given(real.shape[1]), subsets=1, subset_size=size).set_dtype(
            torch.float64
        )
    values = []
    with torch.random.fork_rng(devices=[]):  # it shuffles by the global stream
        torch.default_generator.manual_seed(seed_of("kid"))
        for ours, theirs in zip(*(s[: size * blocks].split(size) for s in sets), strict=True):
            metric.reset()
            metric.update(ours, real=True)
            metric.update(theirs, real=False)
            values.append(float(metric.compute()[0]))
    return intervals.interval(values)


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
        network: see `specfreq.studies.generators.features`.
        count: how many images are generated.
        blocks: of KID.
        scales: bands of the spectrum of total variation, of `dt` each.
        spectral: for spectra, at most so many images of a kind.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        count: int = 5000,
        *,
        blocks: int = 10,
        scales: int = 12,
        spectral: int = 500,
    ):
        self.recipe = recipe.model_copy(update={"parts": "bands"})
        self.network, self.count, self.blocks, self.scales, self.spectral = (
            network,
            count,
            blocks,
            scales,
            spectral,
        )
        self.real = parts.real(recipe)
        prepared = parts.prepared(self.recipe)
        self.names, self.bands, self.scale, self.centre = (
            prepared.names,
            prepared.values,
            prepared.scale,
            prepared.centre,
        )

    def key(self, *more: Any) -> str:
        """What identifies the numbers of this judge."""
        r = self.recipe
        what = [
            VERSION,
            self.network.key,
            self.count,
            self.blocks,
            self.scales,
            self.spectral,
            r.bands,
            r.dt,
            r.grey,
        ]
        text = json.dumps([*what, parts.digest(r), *more])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def features(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, C, H, W) in [0, 1]."""
        return evaluate(self.network, images)

    def shown(self, part: Tensor, place: int) -> Tensor:
        """A band or the residual (N, C, H, W) as pictures: grey for the centre, black and white for the ends
        of the range.
        """
        return ((part - self.centre[place]) / self.scale[place] / 2 + 0.5).clamp(0, 1)

    def pictures(self, parts: Tensor) -> Tensor:
        """Parts (P, N, C, H, W) as `shown`, and last their sum: (P + 1, N, C, H, W)."""
        return torch.stack([*(self.shown(part, i) for i, part in enumerate(parts)), parts.sum(0).clamp(0, 1)])

    @functools.cached_property
    def _of_real(self) -> tuple[Tensor, list[Tensor]]:
        return self.features(self.real), [
            self.features(self.shown(band, i)) for i, band in enumerate(self.bands)
        ]

    def distance(self, images: Tensor) -> float:
        """FID of images (N, C, H, W) in [0, 1] against the real ones."""
        return fid(self._of_real[0], self.features(images))

    def compare(self, images: Tensor) -> dict[str, Any]:
        """Images (N, C, H, W) in [0, 1] against the real ones.

        Returns:
            images (how many); fid; kid, kid_low and kid_high; names and by_part, the FID of each band and of
            the residual; the spectra of `spectra`.
        """
        real, real_bands = self._of_real
        features = self.features(images)
        found = dict(zip(("kid", "kid_low", "kid_high"), kid(real, features, self.blocks), strict=True))
        split = parts.split_up(images, self.recipe)
        by_part = [fid(real_bands[i], self.features(self.shown(part, i))) for i, part in enumerate(split)]
        return {
            "images": len(images),
            "fid": fid(real, features),
            **found,
            "names": self.names,
            "by_part": by_part,
        } | self.spectra(images)

    def spectra(self, images: Tensor) -> dict[str, list[float]]:
        """Means over the first images: power on rings of the Fourier plane, and variation, Σ|phi_n| per
        pixel.
        """
        few = images[: self.spectral]
        power = fourier.radial_profile(fourier.power_spectrum(few.double()).mean((0, 1)))
        spectrum = tv.transform(few, self.scales, self.recipe.dt).spectrum / few[0].numel()
        return {"power": power.tolist(), "variation": spectrum.double().mean(1).tolist()}

    def of_run(self, run: Run, apart: bool = False, seed: int = 0) -> dict[str, Any]:
        """`compare` for what a run generates, once; apart: with latents of its own for each generator, so
        that none is shared.
        """
        path = run.path / "results" / f"fidelity-{self.key(apart, seed)}.json"
        if not path.exists():
            found = self.compare(run.images(run.latents(self.count, seed, apart)))
            storage.write_json(path, {**found, "network": self.network.name, "features": self.network.key})
        return storage.read_json(path)

    def of_real(self) -> dict[str, Any]:
        """`compare` for what no generator made, once.

        Returns:
            ``unseen``: the test images. ``mixed``: bands of real images, of another image each, added up:
            what generators of bands that are each perfect, and know nothing of one another, would make.
            ``real``: the spectra of the training images. ``halves``: fid and kid of one half of the training
            images against the other.
        """
        tested = parts.digest(self.recipe, "test")
        path = places.runs_dir() / "gan" / "real" / f"fidelity-{self.key(tested)}.json"
        if not path.exists():
            orders = [
                torch.randperm(len(self.real), generator=keyed("mixed", i)) for i in range(len(self.bands))
            ]
            mixed = (
                torch.stack([band[order] for band, order in zip(self.bands, orders, strict=True)])
                .sum(0)
                .clamp(0, 1)
            )[: self.count]  # distances of unequal numbers of images are not to be compared
            unseen = parts.real(self.recipe, "test", self.count)
            one, other = self._of_real[0][torch.randperm(len(self.real), generator=keyed("halves"))].chunk(2)
            found = {
                "unseen": self.compare(unseen),
                "mixed": self.compare(mixed),
                "real": self.spectra(self.real),
            }
            storage.write_json(
                path, {**found, "halves": {"fid": fid(one, other), "kid": kid(one, other, self.blocks)[0]}}
            )
        return storage.read_json(path)


UNSEEN, MIXED, APART = "unseen images", "real bands mixed", "bands, latents apart"


def rows(judge: Judge, runs: Sequence[Run], *, progress: bool | None = None) -> list[Row]:
    """One row for each arm and quantity, with a 95 % Student-t interval over seeds, as `comparison.rows` has
    them.

    Arms: the `parts` of the recipes; `APART`, where each generator of a band gets a latent of its own; and
    without generators `UNSEEN` and `MIXED`, see `Judge.of_real`. Quantities: FID, KID x 1000, and FID of each
    part.
    """
    groups: dict[str, dict[int, dict[str, Any]]] = {}
    with progress_bar("fidelity", len(runs), "run", progress) as bar:
        for run in runs:
            bar.set_postfix_str(f"{run.experiment.parts}, seed {run.experiment.seed}")
            groups.setdefault(run.experiment.parts, {})[run.experiment.seed] = judge.of_run(run)
            if run.experiment.parts == "bands":
                groups.setdefault(APART, {})[run.experiment.seed] = judge.of_run(run, apart=True)
            bar.update()
    groups |= {arm: {0: judge.of_real()[name]} for arm, name in {UNSEEN: "unseen", MIXED: "mixed"}.items()}
    out = []
    for arm, group in groups.items():
        each = {seed: numbers(found) for seed, found in group.items()}
        for quantity in next(iter(each.values())):
            row = of_images(judge.recipe.data, arm, quantity, [found[quantity] for found in each.values()])
            out.append({**row, "seeds": list(each)})
    return out


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """What `Judge.compare` found, as the numbers of a table."""
    whole = {"FID": found["fid"], "KID x 1000": 1000 * found["kid"]}
    return whole | {
        f"FID, {name}": value for name, value in zip(found["names"], found["by_part"], strict=True)
    }


def kernel_distances(judge: Judge, runs: Sequence[Run]) -> list[dict[str, str]]:
    """KID x 1000 of each arm's first run, and of real images, with the 95 % interval over images, as lines of
    a table.
    """
    first = {run.experiment.parts: judge.of_run(run) for run in reversed(runs)}
    found = {arm: first[arm] for arm in dict.fromkeys(run.experiment.parts for run in runs)}
    found |= {UNSEEN: judge.of_real()["unseen"], MIXED: judge.of_real()["mixed"]}
    ends = {arm: [1000 * f[key] for key in ("kid", "kid_low", "kid_high")] for arm, f in found.items()}
    return [
        {"arm": arm, "KID x 1000": f"{kid:.2f} [{low:.2f}, {high:.2f}]"}
        for arm, (kid, low, high) in ends.items()
    ]


def spectra(judge: Judge, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """What `figures.against_real` draws, of each arm's first run and of unseen images; under ``real``, of the
    training images.
    """
    found = {UNSEEN: judge.of_real()["unseen"]} | {
        run.experiment.parts: judge.of_run(run) for run in reversed(runs)
    }
    order = [*dict.fromkeys(run.experiment.parts for run in runs), UNSEEN]
    return {
        **{arm: {k: found[arm][k] for k in ("power", "variation")} for arm in order},
        "real": judge.of_real()["real"],
    }


def identity(judge: Judge, cases: Mapping[str, tuple[Run, bool]]) -> list[Row]:
    """How the dissertation's reconstruction φ_1 + r of generated flow images differs from the image of
    generator 0.

    Args:
        judge: see there.
        cases: name -> a run of `flow`, and whether each generator gets a latent of its own.

    Returns:
        Rows as `rows` has them, an arm for each case: ``difference``, the largest of each block of images, in
        % of the range; ``FID of u_0``; and ``FID of the reconstruction``.
    """
    out = []
    for name, (run, apart) in cases.items():
        made = run.parts(run.latents(judge.count, apart=apart))
        back = parts.recomposed(made, 1)
        change = (back - made[0]).abs().double()
        found = {"difference": [100 * float(block.max()) for block in change.chunk(judge.blocks)]}
        for quantity, images in {"FID of u_0": made[0], "FID of the reconstruction": back}.items():
            found[quantity] = [judge.distance(images.clamp(0, 1))]
        out += [of_images(judge.recipe.data, name, quantity, values) for quantity, values in found.items()]
    return out


def told(found: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What `identity` found, as lines of a table, with digits enough to see any difference."""
    lines: dict[str, dict[str, str]] = {}
    for row in found:
        line = lines.setdefault(row["arm"], {"generators": row["arm"]})
        if row["quantity"] == "difference":
            line["largest difference (% of the range)"] = intervals.scientific(max(row["values"]))
        else:
            line[row["quantity"]] = f"{row['mean']:.4f}"
    return list(lines.values())
