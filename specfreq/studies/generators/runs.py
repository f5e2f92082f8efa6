"""Trained generators: each training in a directory of its own, and what it generates."""

import base64
import functools
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from specfreq.core import devices, storage
from specfreq.core.devices import exact
from specfreq.core.errors import UserError
from specfreq.core.places import runs_dir
from specfreq.core.provenance import provenance
from specfreq.core.randomness import keyed, normal
from specfreq.experiment.grids import in_turn, points
from specfreq.experiment.store import (
    described_in,
    ensure,
    finished,
    history,
    origin,
    refuse_changed,
    write_history,
)
from specfreq.studies.generators import training
from specfreq.studies.generators.parts import digest, prepared, restored, sum_up
from specfreq.studies.generators.training import Recipe
from specfreq.train.checkpoints import Checkpoints, interval
from specfreq.train.loop import drive
from specfreq.train.state import part
from specfreq.train.team import Team

CHUNK = 100  # images that are generated at a time, always: their bits do not depend on how many are asked for
GRID = 64  # images of a sample sheet


def key_of(recipe: Recipe) -> str:
    """The name of the run's directory: a hash of the settings that differ from the defaults, of the images,
    and of the trainer's version.
    """
    text = json.dumps([training.version(recipe), recipe.effective(), digest(recipe)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Run:
    """A finished training in its directory: `recipe.json`, `history.csv`, `model.safetensors`, sample sheets
    in `samples`.

    Its recipe is called `experiment`, as in `experiment.Run`: records take both.
    """

    def __init__(self, path: Path, device: str | None = None):
        self.path = path
        if not finished(path):
            raise UserError(
                f"{path.name} is not a finished run in {path.parent}; train it with generators.runs.run"
            )
        self.experiment, described = described_in(path / "recipe.json", Recipe)
        self.provenance = origin(path, ("train",))
        settings = self.experiment.effective()
        if "data" in settings:  # as it was written, whatever lies in the working directory by now
            settings["data"] = described["data"]
        refuse_changed(path, settings, self.provenance["data"]["train"])
        self.device = devices.checked_device(device)

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def generators(self) -> int:
        """How many there are."""
        return len(self._trained[0])

    @property
    def history(self) -> list[dict[str, float]]:
        return history(self.path, self.provenance)

    @functools.cached_property
    def _trained(self) -> tuple[torch.nn.ModuleList, Tensor, Tensor]:
        """The averaged generators, and centre and scale of each part."""
        tensors, (key, channels, side) = storage.read_tensors(self.path / "model.safetensors")
        if key != self.key:
            raise storage.Damaged(
                f"{self.path / 'model.safetensors'} is of run {key}; delete the folder and train again"
            )
        generators = torch.nn.ModuleList(
            pair.generator for pair in training.networks(self.experiment, channels, side)
        )
        generators.load_state_dict(part(tensors, "average"))
        return generators.to(self.device).eval(), tensors["centre"], tensors["scale"]

    def parts(self, latents: Tensor | Sequence[Tensor]) -> Tensor:
        """What the averaged generators make of latents (N, latent), or of one such tensor for each: (P, N, C,
        H, W), on the CPU.

        An image depends on its latent alone: batch statistics are those of the training.
        """
        generators, centre, scale = self._trained
        shared = [latents] * len(generators) if isinstance(latents, Tensor) else list(latents)
        made = [_generated(g, z.to(self.device)) for g, z in zip(generators, shared, strict=True)]
        return restored(made, centre, scale)

    def images(self, latents: Tensor | Sequence[Tensor]) -> Tensor:
        """What the parts of these latents add up to (of the flow: u_0), (N, C, H, W), cut off at 0 and 1."""
        return sum_up(self.parts(latents), self.experiment).clamp(0, 1)

    def latents(self, count: int, seed: int = 0, apart: bool = False) -> list[Tensor]:
        """Latents (count, latent) for each generator, of which each depends on the seed and its place alone.

        All generators have the same; apart: each has its own, so that none is shared.
        """
        places: list[tuple[int, ...]] = [(i,) if apart else () for i in range(self.generators)]
        return [latents(count, self.experiment.latent, seed, *place) for place in places]

    def walks(self, count: int, steps: int, seed: int = 0) -> Tensor:
        """Images (count, steps, C, H, W) on the way from one latent to another, along great circles."""
        ends = latents(2 * count, self.experiment.latent, seed, "walks")
        way = between(ends[:count], ends[count:], steps)
        return self.images(way.flatten(0, 1)).unflatten(0, (count, steps))


def latents(count: int, size: int, *key: object) -> Tensor:
    """Standard normal latents (count, size); row i depends on the key and on i alone."""
    seeds = torch.randint(2**63 - 1, (count,), generator=keyed("latents", *key))
    return normal(seeds, size)


def between(first: Tensor, last: Tensor, steps: int) -> Tensor:
    r"""Latents (N, steps, latent) from one to another (N, latent) each, on the arc where normal latents are
    as likely all along.

    .. math:: z_t = \frac{\sin((1 - t) \omega)}{\sin \omega} z_0
        + \frac{\sin(t \omega)}{\sin \omega} z_1, \quad
        \cos \omega = \frac{z_0 \cdot z_1}{|z_0| |z_1|}
    """
    angle = (
        torch.nn.functional.cosine_similarity(first, last, dim=1)
        .clamp(-1, 1)
        .acos()
        .clamp(min=1e-4)[:, None, None]
    )
    t = torch.linspace(0, 1, steps)[:, None]
    return (((1 - t) * angle).sin() * first[:, None] + (t * angle).sin() * last[:, None]) / angle.sin()


def _generated(generator: torch.nn.Module, latent: Tensor) -> Tensor:
    """Images of latents, on the CPU, always as many at a time, since kernels and so the last bits depend on
    that.
    """
    padded = torch.cat([latent, latent.new_zeros(-len(latent) % CHUNK, latent.shape[1])])
    with torch.inference_mode(), exact(latent.device):
        return torch.cat([generator(z).float().cpu() for z in padded.split(CHUNK)])[: len(latent)].clone()


def _folder(recipe: Recipe) -> Path:
    return runs_dir() / "gan" / key_of(recipe)


def run(
    recipe: Recipe, *, device: str | None = None, progress: bool | None = None, checkpoint_every: float = 60
) -> Run:
    """Train generators, or return what an earlier call trained. A second process that wants the same run
    waits for the first.

    Args:
        recipe: see `Recipe`.
        device: a GPU if there is one, by default. One process only.
        progress: bar; None shows it on terminals only.
        checkpoint_every: seconds of training that a killed process loses at most; finite, 0 for every step.

    Raises:
        UserError: data missing, damaged or of a shape that no DCGAN makes; a place that cannot be written.
        Diverged: a loss is no longer finite.
    """
    interval(checkpoint_every)
    path = _folder(recipe)
    team = Team(devices.checked_device(device))
    checkpoints = Checkpoints(path / "checkpoint.safetensors", checkpoint_every)
    ensure(path, team, checkpoints, lambda: _train(recipe, path, team, checkpoints, progress))
    return Run(path, device)


def _train(recipe: Recipe, path: Path, team: Team, checkpoints: Checkpoints, progress: bool | None) -> None:
    parts = prepared(recipe)
    channels, side = parts.values.shape[2:4]
    pairs = training.networks(recipe, channels, side)
    pairs.to(team.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    step = training.Step(pairs, parts.ranged.to(team.device), recipe, checkpoints)
    storage.write_json(path / "recipe.json", recipe.model_dump(mode="json"))
    fixed = latents(GRID, recipe.latent, recipe.seed, "sheet").to(team.device)

    def sheet(epoch: int) -> None:
        """What becomes of the same latents, as a grid of pictures: after 1, 2, 5, 10, 20, 50, ... epochs and
        the last.
        """
        if epoch != recipe.epochs and epoch not in {m * 10**k for m in (1, 2, 5) for k in range(9)}:
            return
        training.settle(step.average, recipe)
        made = [_generated(generator, fixed) for generator in step.average]
        whole = sum_up(restored(made, parts.centre, parts.scale), recipe)
        storage.write(path / "samples" / f"epoch-{epoch:04}.png", png(whole))

    drive(step, recipe.epochs, checkpoints, progress, after_epoch=sheet)
    written = write_history(path, step.history, ["epoch", "discriminator", "generator"])
    count, deep = training.layout(recipe, channels)
    width = training.matched(recipe, channels, side)
    adds = count * training.cost(recipe.latent, deep, width, side)
    made = {
        **provenance(team.device),
        "seconds": round(checkpoints.seconds, 3),
        "data": {"train": digest(recipe)},
        "width": width,
        "multiply_adds": adds,  # of a training step, for each image
        "compute": adds / training.cost(recipe.latent, channels, recipe.width, side),
        "scale": dict(zip(parts.names, parts.scale.tolist(), strict=True)),
        "lost": dict(zip(parts.names, parts.lost, strict=True)),
    }
    storage.write_sealed(path / "provenance.json", {**made, "history": written}, path.name)
    weights = step.weights() | {"centre": parts.centre, "scale": parts.scale}
    storage.write_tensors(path / "model.safetensors", weights, [key_of(recipe), channels, side])


def packed(images: Tensor) -> dict[str, Any]:
    """Images (..., C, H, W) in [0, 1], of one channel or three, as a record can hold them: rounded to bytes,
    in one PNG.
    """
    from PIL import Image

    channels, _, width = images.shape[-3:]
    pixels = (images * 255).round().byte().movedim(-3, -1).reshape(-1, width, channels).numpy()
    data = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(data, "PNG", optimize=True)
    return {"shape": list(images.shape), "png": base64.b64encode(data.getvalue()).decode()}


def unpacked(content: Mapping[str, Any]) -> Tensor:
    """What `packed` kept, float32 (..., C, H, W) in [0, 1]; an empty record gives no images."""
    from PIL import Image

    if not content:
        return torch.zeros(0, 1, 1, 1)
    *count, channels, height, width = content["shape"]
    with Image.open(io.BytesIO(base64.b64decode(content["png"]))) as picture:
        pixels = torch.from_numpy(np.array(picture)).float() / 255
    return pixels.reshape(*count, height, width, channels).movedim(-1, -3)


def png(images: Tensor, columns: int = 8) -> bytes:
    """Images (N, C, H, W) in [0, 1], what lies beyond cut off, as one PNG picture: rows of `columns`."""
    from PIL import Image
    from torchvision.utils import make_grid

    grid = make_grid(images.clamp(0, 1), nrow=columns, padding=1, pad_value=1.0)
    data = io.BytesIO()
    Image.fromarray((grid * 255).round().byte().permute(1, 2, 0).numpy()).save(data, "PNG")
    return data.getvalue()


def grid(**fields: Any) -> list[Recipe]:
    """All recipes of a grid, see `experiment.grids.points`."""
    return points(Recipe, **fields)


def run_all(recipes: Iterable[Recipe], **options: Any) -> list[Run]:
    """Run recipes one after another. All data are found before the first one starts."""
    recipes = list(recipes)
    for recipe in recipes:
        key_of(recipe)
    shown = ("data", "parts", "seed")
    return in_turn(
        lambda r: run(r, **options),
        recipes,
        shown,
        options.get("progress"),
        lambda r: storage.taken(_folder(r)),
    )
