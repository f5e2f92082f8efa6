"""Generators of images and of their bands of total variation, trained against discriminators: what is
trained, and how.
"""

import bisect
import copy
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from specfreq.core.devices import autocast, exact
from specfreq.core.randomness import keyed
from specfreq.core.spec import Positive, Refusing
from specfreq.data import normal_form
from specfreq.models.dcgan import Discriminator, Generator, draw
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.state import Row, finite_losses, moments, part, refuse_other, restore_moments

# of the arithmetic: raised whenever a recipe would end in other bits than before; part of every run's key
VERSION = 1
SETTLING = 100  # batches of latents that the statistics of averaged generators are means over
Parts = Literal["image", "bands", "together", "flow"]


class Recipe(Refusing):
    """One training of generators: of what, and how. Everything that changes the result is here. Frozen,
    validated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    data: str = Field(
        "photos", description="image set, see `specfreq data list`; square, of 8, 16, 32, 64 or 128 pixels"
    )
    train_size: int | None = Field(
        None, ge=2, description="training images, a balanced subset; all if not given"
    )
    grey: bool = Field(True, description="images without their colours, as in the dissertation")
    parts: Parts = Field(
        "image",
        description="image: one generator of whole images; bands: one for each band, one for the residual, "
        "on a shared latent; "
        "together: one of all of them, judged by one discriminator; flow: one for each image of the flow, as "
        "the dissertation",
    )
    bands: int = Field(
        3, ge=1, le=100, description="bands of total variation beside the residual; steps of the flow"
    )
    dt: Positive = Field(1 / 14, description="step of the total variation flow, for images in [0, 1]")
    width: int = Field(
        32,
        ge=2,
        le=4096,
        description="channels of the generator of whole images; others take what computes as much",
    )
    latent: int = Field(100, ge=1, le=10**5, description="numbers that an image is made of")
    epochs: int = Field(2, ge=0, le=10**6, description="passes over the training images")
    batch: int = Field(64, ge=2, le=10**6, description="images per step")
    lr: Positive = Field(2e-4, description="learning rate of Adam")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's decay of the mean gradient")
    ema: float = Field(
        0.999, ge=0, lt=1, description="decay per step of the averaged generator, less at first; 0 for none"
    )
    flip: bool = Field(True, description="mirror left-right with probability 1/2")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast of the forward passes"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the weights, the order, the mirrors and the latents")

    @field_validator("data")
    @classmethod
    def _data(cls, value: str) -> str:
        return normal_form(value)

    def effective(self) -> dict[str, Any]:
        """The settings with an effect that differ from the defaults: equal ones are one training."""
        idle = {"bands", "dt"} if self.parts == "image" else set()
        return self.model_dump(mode="json", exclude_defaults=True, exclude=idle)

    @property
    def names(self) -> tuple[str, ...]:
        """What is generated: ``image``; or ``band 1``, ..., ``residual``; or ``u_0``, ``u_1``, ..."""
        if self.parts == "image":
            return ("image",)
        if self.parts == "flow":
            return tuple(f"u_{n}" for n in range(self.bands + 1))
        return (*(f"band {n}" for n in range(1, self.bands + 1)), "residual")


def version(recipe: Recipe) -> int:
    """`VERSION` for this recipe. One more with an average, whose weights have batch statistics of their own
    since.
    """
    return VERSION + bool(recipe.ema)


class Pair(nn.Module):
    """A generator and its discriminator."""

    def __init__(self, latent: int, channels: int, width: int, side: int):
        super().__init__()
        self.generator = Generator(latent, channels, width, side)
        self.discriminator = Discriminator(channels, width, side)


class Pairs(nn.ModuleList):
    """A list of pairs."""

    def __iter__(self) -> Iterator[Pair]:
        return super().__iter__()  # pyright: ignore[reportReturnType]


def networks(recipe: Recipe, channels: int, side: int) -> Pairs:
    """The pairs of a recipe for images (channels, side, side), each with weights of its own, drawn from the
    seed alone.
    """
    width = matched(recipe, channels, side)
    count, deep = layout(recipe, channels)
    # torch's layers draw weights from the global stream, which are then drawn anew
    with torch.random.fork_rng(devices=[]):
        pairs = Pairs(Pair(recipe.latent, deep, width, side) for _ in range(count))
    for i, pair in enumerate(pairs):
        draw(pair.generator, keyed(recipe.seed, "generator", i))
        draw(pair.discriminator, keyed(recipe.seed, "discriminator", i))
    return pairs


def layout(recipe: Recipe, channels: int) -> tuple[int, int]:
    """How many pairs, and how many channels each has."""
    parts = len(recipe.names)
    return (1, parts * channels) if recipe.parts == "together" else (parts, channels)


def matched(recipe: Recipe, channels: int, side: int) -> int:
    """The width of a recipe's networks: that which needs most nearly the multiply-adds of whole images at
    `recipe.width`.
    """
    count, deep = layout(recipe, channels)
    goal = cost(recipe.latent, channels, recipe.width, side)
    if (count, deep) == (1, channels):
        return recipe.width

    def ratio(width: int) -> float:
        return count * cost(recipe.latent, deep, width, side) / goal

    above = bisect.bisect_left(range(1, recipe.width), 1, key=ratio) + 1  # the narrowest that needs no less
    return min((w for w in (above - 1, above) if w), key=lambda w: abs(math.log(ratio(w))))


@functools.lru_cache(maxsize=1000)
def cost(latent: int, channels: int, width: int, side: int) -> float:
    """Multiply-adds for each image of one training step of a pair, forwards and backwards, as torch counts
    them.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        pair = Pair(latent, channels, width, side)
        made, loss = _judge([pair], torch.zeros(2, latent), [torch.zeros(2, channels, side, side)])
        loss.backward()
        _fool([pair], made).backward()
    return counter.get_total_flops() / 2 / 2


def _judge(pairs: Iterable[Pair], latent: Tensor, real: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """What generators make of a latent, and the discriminators' losses, summed: -log D(real) - log(1 -
    D(made)).
    """
    made = [pair.generator(latent) for pair in pairs]
    losses = []
    for pair, x, y in zip(pairs, real, made, strict=True):
        losses.append(
            F.softplus(-pair.discriminator(x).float()).mean()
            + F.softplus(pair.discriminator(y.detach()).float()).mean()
        )
    return made, torch.stack(losses).sum()


def _fool(pairs: Iterable[Pair], made: Sequence[Tensor]) -> Tensor:
    """The generators' losses, summed: -log D(made). The discriminators' weights get no gradient."""
    weights = [p for pair in pairs for p in pair.discriminator.parameters()]
    for p in weights:
        p.requires_grad_(False)
    losses = [F.softplus(-pair.discriminator(y).float()).mean() for pair, y in zip(pairs, made, strict=True)]
    for p in weights:
        p.requires_grad_(True)
    return torch.stack(losses).sum()


@torch.no_grad()
def settle(average: nn.ModuleList, recipe: Recipe) -> None:
    """Give averaged generators the batch statistics of their own weights: means over 100 batches of latents.

    Until then they have those of the last weights; without an average, these are their own.

    Source: Izmailov et al., UAI 2018, section 3.2.
    """
    device = next(average.parameters()).device
    if recipe.ema:
        for generator in average:
            draws = (keyed(recipe.seed, "statistics", i) for i in range(SETTLING))
            shown = (
                torch.randn(recipe.batch, recipe.latent, generator=random).to(device) for random in draws
            )
            with exact(device):
                update_bn(shown, generator)


class Step:
    r"""Generators trained against discriminators, in place, by the non-saturating loss, with Adam: for
    `train.loop.drive`.

    .. math:: L_D = -\log D(x) - \log(1 - D(G(z))), \quad L_G = -\log D(G(z)), \quad z \sim \mathcal{N}(0, 1)

    Args:
        pairs: from `networks`, on the device that trains. All pairs meet the same images and latents at the
            same step.
        parts: what is to be generated, (P, N, C, H, W) in [-1, 1], on that device.
        checkpoints: what to go on from, to the same bits.

    `average` are generators of averaged weights, see `settle`; the history has a row for each epoch: epoch,
    discriminator and generator, their mean losses over images and pairs.

    Raises:
        UserError: a checkpoint is damaged or belongs to another recipe.

    Source: Radford, Metz and Chintala, ICLR 2016.
    """

    def __init__(self, pairs: Pairs, parts: Tensor, recipe: Recipe, checkpoints: Checkpoints | None = None):
        self.pairs, self.recipe = pairs.train(), recipe
        generators = nn.ModuleList(pair.generator for pair in pairs)
        self.average = copy.deepcopy(generators).requires_grad_(False).eval()
        self.parts, self.device, self.count = parts, parts.device, parts.shape[1]
        self.steps = math.ceil(self.count / recipe.batch)  # of an epoch
        self.learned = {
            kind: {name: p for name, p in pairs.named_parameters() if kind in name}
            for kind in ("discriminator", "generator")
        }
        self.optimizers = {
            kind: torch.optim.Adam(own.values(), recipe.lr, (recipe.beta1, 0.999))
            for kind, own in self.learned.items()
        }
        self.live, self.kept = list(generators.parameters()), list(self.average.parameters())
        self.statistics = list(zip(self.average.buffers(), generators.buffers(), strict=True))
        self.history: list[Row] = []
        self._losses: list[Tensor] = []  # of the epoch
        self.taken = 0  # steps
        if checkpoints is not None and (found := checkpoints.load()):
            self._restore(*found, checkpoints)

    def position(self) -> list[int]:
        return [len(self.history), len(self._losses)]

    def take(self) -> Iterator[int]:
        epoch, first = self.position()
        order = torch.randperm(self.count, generator=keyed(self.recipe.seed, epoch, "order")).to(self.device)
        sides = torch.randint(2, (self.count,), generator=keyed(self.recipe.seed, epoch, "flip"))
        mirrored = sides.bool().to(self.device) & self.recipe.flip
        batches = order.tensor_split(self.steps)  # near-equal parts: no tiny last batch
        for step, index in enumerate(batches[first:], first):
            random = keyed(self.recipe.seed, epoch, step, "latent")
            latent = torch.randn(len(index), self.recipe.latent, generator=random).to(self.device)
            self._learn(latent, _shown(self.parts[:, index], mirrored[index], len(self.pairs)))
            yield len(index)

    def _learn(self, latent: Tensor, real: Sequence[Tensor]) -> None:
        """One step of the discriminators, then one of the generators."""
        with autocast(self.device, self.recipe.precision):
            made, judged = _judge(self.pairs, latent, real)
        self._descend("discriminator", judged)
        with autocast(self.device, self.recipe.precision):
            fooled = _fool(self.pairs, made)
        self._descend("generator", fooled)
        # these stay on the device: reading them here would stall its queue
        self._losses.append(torch.stack([judged.detach(), fooled.detach()]))
        self.taken += 1
        self._follow()

    def _descend(self, kind: str, loss: Tensor) -> None:
        optimizer = self.optimizers[kind]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def _follow(self) -> None:
        """average <- decay average + (1 - decay) weights; at first the decay is less, for the first weights
        know nothing.
        """
        decay = min(self.recipe.ema, self.taken / (9 + self.taken))
        torch._foreach_lerp_(self.kept, self.live, 1 - decay)  # pyright: ignore
        for kept, live in self.statistics:
            kept.copy_(live)

    def losses(self) -> Tensor:
        return finite_losses(self._losses, len(self.history), self.steps, lambda step: self.recipe.lr)

    def end_epoch(self) -> Row:
        judged, fooled = (self.losses().double().mean(0) / len(self.pairs)).tolist()
        row = {"epoch": len(self.history) + 1, "discriminator": judged, "generator": fooled}
        self.history.append(row)
        self._losses = []
        return row

    def end(self) -> None:
        settle(self.average, self.recipe)

    def weights(self) -> dict[str, Tensor]:
        """Of pairs and averaged generators."""
        tensors = {f"pairs/{k}": v for k, v in self.pairs.state_dict().items()}
        return tensors | {f"average/{k}": v for k, v in self.average.state_dict().items()}

    def tensors(self) -> tuple[dict[str, Tensor], Any]:
        tensors = self.weights()
        for kind, optimizer in self.optimizers.items():
            tensors |= moments(optimizer, self.learned[kind])
        meta = {
            "recipe": [version(self.recipe), self.recipe.model_dump(mode="json")],
            "history": self.history,
            "taken": self.taken,
        }
        return tensors | {"losses": torch.stack(self._losses)}, meta

    def _restore(self, tensors: dict[str, Tensor], meta: Any, source: Checkpoints) -> None:
        refuse_other(self.recipe, version(self.recipe), meta["recipe"], source)
        self.pairs.load_state_dict(part(tensors, "pairs"))
        self.average.load_state_dict(part(tensors, "average"))
        for kind, optimizer in self.optimizers.items():
            restore_moments(optimizer, self.learned[kind], tensors)
        self.history, self.taken = meta["history"], meta["taken"]
        self._losses = list(tensors["losses"].to(self.device))


def _shown(parts: Tensor, mirrored: Tensor, pairs: int) -> list[Tensor]:
    """Parts (P, B, C, H, W), some images mirrored, as each pair sees them: one part each, or all as channels
    of one.
    """
    parts = torch.where(mirrored[:, None, None, None], parts.flip(-1), parts)
    return list(parts) if pairs == len(parts) else [parts.transpose(0, 1).flatten(1, 2)]
