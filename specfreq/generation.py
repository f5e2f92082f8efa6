"""Trained generators: their images prepared, each training in a directory of its own, and what they generate."""

import csv
import functools
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from specfreq import gan, parallel, storage, tv
from specfreq.checkpoints import Checkpoints
from specfreq.data import ImageSet, load
from specfreq.experiment import _alone, finished, runs_dir
from specfreq.gan import Recipe
from specfreq.inference import exact, unit
from specfreq.models.dcgan import stages
from specfreq.naming import UserError
from specfreq.parallel import Team
from specfreq.progress import progress_bar
from specfreq.provenance import provenance
from specfreq.randomness import keyed, normal
from specfreq.streams import Stream

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
REACH = 0.999  # of the values of a part, the share within the generator's range
CHUNK = 100  # images that are generated at a time, always: their bits do not depend on how many are asked for
GRID = 64  # images of a sample sheet


class Parts(NamedTuple):
    """What is generated: names, values (P, N, C, H, W), and for each part the centre and the scale of the generator's range."""

    names: tuple[str, ...]
    values: Tensor
    centre: Tensor
    scale: Tensor

    @property
    def ranged(self) -> Tensor:
        """The values in the generator's range, [-1, 1]; what lies beyond is cut off."""
        return ((self.values - _column(self.centre)) / _column(self.scale)).clamp(-1, 1)

    @property
    def lost(self) -> list[float]:
        """The root mean square of what `ranged` cuts off, for each part, in units of the images."""
        kept = self.ranged * _column(self.scale) + _column(self.centre)
        return (self.values - kept).double().square().mean((1, 2, 3, 4)).sqrt().tolist()


def _column(numbers: Tensor) -> Tensor:
    return numbers.view(-1, 1, 1, 1, 1)


def _restored(made: Sequence[Tensor], centre: Tensor, scale: Tensor) -> Tensor:
    """What generators made, a part (N, C, H, W) each or one all parts, in units of the images: (P, N, C, H, W)."""
    values = torch.cat(list(made), 1).unflatten(1, (len(centre), -1)).transpose(0, 1)
    return values * _column(scale) + _column(centre)


def luminance(images: Tensor) -> Tensor:
    """Images (N, C, H, W) -> (N, 1, H, W): the weighted mean of red, green and blue, .299, .587, .114; grey ones as they are."""
    return images if images.shape[1] == 1 else (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def real(recipe: Recipe, split: str = "train") -> Tensor:
    """The images (N, C, side, side) of a recipe, float32 in [0, 1]; those for testing are all that there are."""
    images = unit(_images(recipe, split).images)
    return luminance(images) if recipe.grey else images


def _images(recipe: Recipe, split: str) -> ImageSet:
    images = _load(recipe.data, split, recipe.train_size if split == "train" else None)
    channels, height, width = images.shape
    if isinstance(images, Stream):
        raise UserError(f"{recipe.data}: generators learn from images in memory; leave out stream=1")
    if height != width:
        raise UserError(f"{recipe.data}: generators make squares, not {height}x{width}; take folder:PATH?size=64")
    if recipe.grey and channels not in (1, 3):
        raise UserError(f"{recipe.data} has {channels} channels; only three can be made grey, so say grey=False")
    stages(width)
    return images


_load = functools.lru_cache(maxsize=4)(load)


def split_up(images: Tensor, recipe: Recipe) -> Tensor:
    """Images (N, C, H, W) -> their parts (P, N, C, H, W): the images; bands and residual; or the images of the flow."""
    if recipe.parts == "image":
        return images[None]
    done = []
    for chunk in images.split(500):
        if recipe.parts == "flow":
            done.append(tv.flow(chunk, recipe.bands, recipe.dt))
        else:
            found = tv.transform(chunk, recipe.bands, recipe.dt)
            done.append(torch.cat([found.phi, found.residual[None]]))
    return torch.cat(done, 1)


def sum_up(parts: Tensor, recipe: Recipe) -> Tensor:
    """Parts (P, N, C, H, W) -> images (N, C, H, W): their sum; of the flow, u_0."""
    return parts[0] if recipe.parts == "flow" else parts.sum(0)


def prepared(recipe: Recipe) -> Parts:
    """The parts of the training images, centred on 0.5 where they carry the mean and on 0 where they do not.

    The scale is the least that leaves 99.9 % of all values of a part within [-1, 1].
    """
    values = split_up(real(recipe), recipe)
    centre = torch.tensor([0.0 if name.startswith("band") else 0.5 for name in recipe.names])
    distance = (values - _column(centre)).abs().flatten(1)
    scale = distance.kthvalue(max(1, int(REACH * distance.shape[1])), dim=1).values
    return Parts(recipe.names, values, centre, scale.clamp(min=1e-6))


def digest(recipe: Recipe) -> str:
    """SHA-256 of the training images of a recipe."""
    return _images(recipe, "train").digest


def key_of(recipe: Recipe) -> str:
    """The name of the run's directory: a hash of what is not as by default, of the images, and of the trainer's version."""
    text = json.dumps([gan.VERSION, recipe.effective(), digest(recipe)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Run:
    """A finished training in its directory: `recipe.json`, `history.csv`, `model.safetensors`, sample sheets in `samples`."""

    def __init__(self, path: Path, device: str | None = None):
        self.path = path
        if not finished(path):
            raise UserError(f"{path.name} is no finished run in {path.parent}; train it with generation.run")
        self.recipe = Recipe(**storage.read_json(path / "recipe.json"))
        self.provenance: dict[str, Any] = storage.read_json(path / "provenance.json")
        self.device = parallel.checked_device(device)

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def generators(self) -> int:
        """How many there are."""
        return len(self._trained[0])

    @property
    def history(self) -> list[dict[str, float]]:
        rows = csv.DictReader(io.StringIO((self.path / "history.csv").read_text()))
        return [{k: float(v) for k, v in row.items()} for row in rows]

    @functools.cached_property
    def _trained(self) -> tuple[torch.nn.ModuleList, Tensor, Tensor]:
        """The averaged generators, and centre and scale of each part."""
        tensors, (_, channels, side) = storage.read_tensors(self.path / "model.safetensors")
        generators = torch.nn.ModuleList(pair.generator for pair in gan.networks(self.recipe, channels, side))
        generators.load_state_dict({k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")})
        return generators.to(self.device).eval(), tensors["centre"], tensors["scale"]

    def parts(self, latents: Tensor | Sequence[Tensor]) -> Tensor:
        """What the averaged generators make of latents (N, latent), or of one such tensor for each: (P, N, C, H, W), on the CPU.

        An image depends on its latent alone: batch statistics are those of the training.
        """
        generators, centre, scale = self._trained
        shared = [latents] * len(generators) if isinstance(latents, Tensor) else list(latents)
        made = [_generated(g, z.to(self.device)) for g, z in zip(generators, shared, strict=True)]
        return _restored(made, centre, scale)

    def images(self, latents: Tensor | Sequence[Tensor]) -> Tensor:
        """What the parts of these latents add up to (of the flow: u_0), (N, C, H, W), cut off at 0 and 1."""
        return sum_up(self.parts(latents), self.recipe).clamp(0, 1)

    def latents(self, count: int, seed: int = 0) -> Tensor:
        """Latents (count, latent) of which each depends on the seed and its place alone."""
        return latents(count, self.recipe.latent, seed)


def latents(count: int, size: int, *key: object) -> Tensor:
    """Standard normal latents (count, size); row i depends on the key and on i alone."""
    seeds = torch.randint(2**63 - 1, (count,), generator=keyed("latents", *key))
    return normal(seeds, size)


def _generated(generator: torch.nn.Module, latent: Tensor) -> Tensor:
    """Images of latents, on the CPU, always as many at a time, since kernels and so the last bits depend on that."""
    padded = torch.cat([latent, latent.new_zeros(-len(latent) % CHUNK, latent.shape[1])])
    with torch.inference_mode(), exact(latent.device):
        return torch.cat([generator(z).float().cpu() for z in padded.split(CHUNK)])[: len(latent)].clone()


def run(recipe: Recipe, *, device: str | None = None, progress: bool | None = None, checkpoint_every: float = 60) -> Run:
    """Train generators, or return what an earlier call trained. A second process that wants the same run waits for the first.

    Args:
        recipe: see `Recipe`.
        device: a GPU if there is one, by default. One process only.
        progress: bar; None shows it on terminals only.
        checkpoint_every: seconds of training that a killed process loses at most.

    Raises:
        UserError: data missing, damaged or of a shape that no DCGAN makes; a place that cannot be written.
        Diverged: a loss is no longer finite.
    """
    path = runs_dir() / "gan" / key_of(recipe)
    team = Team(parallel.checked_device(device))
    checkpoints = Checkpoints(path / "checkpoint.safetensors", checkpoint_every)
    if not finished(path) or checkpoints.path.exists():
        with _alone(path, team):
            if not finished(path):  # another may have finished it meanwhile
                _train(recipe, path, team, checkpoints, progress)
            checkpoints.clear()
    return Run(path, device)


def _train(recipe: Recipe, path: Path, team: Team, checkpoints: Checkpoints, progress: bool | None) -> None:
    parts = prepared(recipe)
    channels, side = parts.values.shape[2:4]
    pairs = gan.networks(recipe, channels, side).to(team.device, memory_format=torch.channels_last)
    average = torch.nn.ModuleList(p.generator for p in gan.networks(recipe, channels, side))
    average = average.to(team.device, memory_format=torch.channels_last).requires_grad_(False).eval()
    storage.write_json(path / "recipe.json", recipe.model_dump(mode="json"))
    fixed = latents(GRID, recipe.latent, recipe.seed, "sheet").to(team.device)

    def sheet(epoch: int) -> None:
        """What becomes of the same latents, as a grid of pictures: after 1, 2, 5, 10, 20, 50, ... epochs and the last."""
        if epoch != recipe.epochs and epoch not in {m * 10**k for m in (1, 2, 5) for k in range(9)}:
            return
        whole = sum_up(_restored([_generated(g, fixed) for g in average], parts.centre, parts.scale), recipe)
        storage.write(path / "samples" / f"epoch-{epoch:04}.png", png(whole))

    history = gan.fit(
        pairs, average, parts.ranged.to(team.device), recipe, checkpoints=checkpoints, progress=progress, after_epoch=sheet
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "discriminator", "generator"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    storage.write(path / "history.csv", text.getvalue())
    count, deep = gan.layout(recipe, channels)
    width = gan.matched(recipe, channels, side)
    adds = count * gan.cost(recipe.latent, deep, width, side)
    origin = {
        **provenance(team.device),
        "seconds": round(checkpoints.seconds, 3),
        "data": {"train": digest(recipe)},
        "width": width,
        "multiply_adds": adds,  # of a training step, for each image
        "compute": adds / gan.cost(recipe.latent, channels, recipe.width, side),
        "scale": dict(zip(parts.names, parts.scale.tolist(), strict=True)),
        "lost": dict(zip(parts.names, parts.lost, strict=True)),
    }
    storage.write_json(path / "provenance.json", origin)
    weights = {f"pairs/{k}": v for k, v in pairs.state_dict().items()} | {
        f"average/{k}": v for k, v in average.state_dict().items()
    }
    weights |= {"centre": parts.centre, "scale": parts.scale}
    storage.write_tensors(path / "model.safetensors", weights, [key_of(recipe), channels, side])


def png(images: Tensor, columns: int = 8) -> bytes:
    """Images (N, C, H, W) in [0, 1], what lies beyond cut off, as one PNG picture: rows of `columns`."""
    from PIL import Image
    from torchvision.utils import make_grid

    grid = make_grid(images.clamp(0, 1), nrow=columns, padding=1, pad_value=1.0)
    data = io.BytesIO()
    Image.fromarray((grid * 255).round().byte().permute(1, 2, 0).numpy()).save(data, "PNG")
    return data.getvalue()


def grid(**fields: Any) -> list[Recipe]:
    """All recipes of a grid: fields given as lists vary, the last one fastest; the others are fixed."""
    varying = {k: list(dict.fromkeys(v)) for k, v in fields.items() if isinstance(v, list)}
    fixed = {k: v for k, v in fields.items() if k not in varying}
    return [Recipe(**fixed, **dict(zip(varying, row, strict=True))) for row in itertools.product(*varying.values())]


def run_all(recipes: Iterable[Recipe], **options: Any) -> list[Run]:
    """Run recipes one after another. All data are found before the first one starts."""
    recipes = list(recipes)
    for recipe in recipes:
        key_of(recipe)
    with progress_bar("trainings", len(recipes), "run", options.get("progress")) as bar:
        runs = []
        for recipe in recipes:
            bar.set_postfix_str(f"{recipe.data}, {recipe.parts}, seed {recipe.seed}")
            runs.append(run(recipe, **options))
            bar.update()
    return runs
