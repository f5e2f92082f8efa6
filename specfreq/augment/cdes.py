"""CDES: convolutions that are trained to give images more density at high frequencies."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specfreq import fourier
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.core.images import grey, unit
from specfreq.core.progress import progress_bar
from specfreq.core.randomness import Draws, keyed, seed_of, uniform

VERSION = 1  # of the kernels, and of the images made with them: another one makes both anew
BATCH = 100  # images of a step of the training, as published
NOISE = 0.1  # largest noise, over the mean of the training images
FLAT = 1e-3  # least range of a density that is divided by: less is rounding, or no spectrum at all


def target(height: int, width: int, rho: float = 1.0, published: bool = False) -> Tensor:
    r"""The density that the kernels are trained towards, float64 (rings,), from 0 to 1.

    .. math:: T(r) \propto e^{-r^2 / 2 s^2} + \rho \, e^{-(r - N / 2)^2 / 2 s^2}, \qquad s = N / 10

    with N the shorter side: a peak at the lowest frequencies, and a second one at the highest ring.

    Args:
        rho: weight of the second peak. 1 in the program; about 0.4 in its figure.
        published: r counts the rings of the original's binning from 0, see `density`; else it is in cycles
            per image, and the first ring is 1.
    """
    side = min(height, width)
    rings = fourier.radial_profile(torch.zeros(height, width), published).numel()
    r = torch.arange(rings, dtype=torch.float64) if published else torch.arange(1, rings).double()
    spread = side / 10
    peaks = torch.exp(-(r**2) / (2 * spread**2)) + rho * torch.exp(-((r - side / 2) ** 2) / (2 * spread**2))
    return (peaks - peaks.min()) / (peaks.max() - peaks.min())


def density(images: Tensor, published: bool = False) -> Tensor:
    r"""Spectral density of each image, differentiable: the mean over rings, scaled to [0, 1].

    .. math:: d_r = \frac{a_r - \min a}{\max a - \min a}, \qquad
        a_r = \operatorname{mean}_{\operatorname{round}|k| = r} 20 \log(1 + |F g(k)|)

    with g the luminance (of images of neither one nor three channels the mean over them). The mean of an
    image, |k| = 0, is left out. An image without a spectrum, or with a flat one, has density 0.

    Args:
        images: (N, C, H, W), values about [0, 1].
        published: the original's rings, whose centre is half a pixel off, see `fourier.radial_profile`.

    Returns:
        (N, rings): |k| = 1 .. min(H, W) // 2, or as published (20 rings for 32 x 32).

    Raises:
        UserError: the images are smaller than 4 x 4.

    Source: Lin et al., IJCAI 2022, program (CDES/utils.py).
    """
    check_size(images.shape)
    power = fourier.power_spectrum(grey(images))[:, 0]
    # where nothing is, the root would have no gradient
    heights = 20 * torch.log1p(power.clamp_min(torch.finfo(power.dtype).tiny).sqrt())
    rings = fourier.radial_profile(heights, published)
    rings = rings if published else rings[:, 1:]
    low, high = rings.amin(1, keepdim=True), rings.amax(1, keepdim=True)
    return (rings - low) / (high - low).clamp_min(FLAT)


def check_size(shape: Sequence[int]) -> None:
    """Refuse images (..., H, W) that have no density.

    Raises:
        UserError: they are too small.
    """
    if min(shape[-2:]) < 4:
        raise UserError(
            f"images of {shape[-1]}x{shape[-2]} pixels are too small for a spectral density, which takes 4x4"
        )


class KernelNetwork(nn.Module):
    """Two convolutions with nothing between them: images (N, C, H, W) -> (N, C, H, W), with zeros around.

    Args:
        channels: C.
        number: kernels between the two.
        kernel_size: pixels, odd.
    """

    def __init__(self, channels: int, number: int = 16, kernel_size: int = 7):
        super().__init__()
        self.first = nn.Conv2d(channels, number, kernel_size, padding="same")
        self.second = nn.Conv2d(number, channels, kernel_size, padding="same")

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images))

    def response(self, side: int) -> Tensor:
        """What becomes of one white pixel in the middle of a black image, without what the biases add:
        (C, side, side).
        """
        dark = torch.zeros(1, self.first.in_channels, side, side)
        dot = dark.clone()
        dot[..., side // 2, side // 2] = 1
        with torch.no_grad():
            return (self(dot) - self(dark))[0]


@dataclass(frozen=True)
class Training:
    """How kernels are trained; what the original does otherwise is said beside each.

    Args:
        number, kernel_size: of `KernelNetwork`.
        rho: of `target`.
        epochs: passes over the images; the rate is a tenth after each five.
        checkpoint: the epoch after which the kernels are taken; None for the last, as published 1.
        chained: as published, one network is trained on class after class, each for all epochs, and is
            never reset; the images of a class come in their order. Else each class has a network of its own,
            and every epoch shuffles.
        published: densities on the original's rings, see `density`.
        seed: of the first weights, the noise and the order.
    """

    number: int = 16
    kernel_size: int = 7
    rho: float = 1.0
    epochs: int = 20
    checkpoint: int | None = None
    chained: bool = False
    published: bool = False
    seed: int = 0

    def check(self, shape: Sequence[int]) -> None:
        """Refuse images (C, H, W) that kernels cannot be trained on.

        Raises:
            UserError: they are too small for the kernels, or for a density.
        """
        side = min(shape[-2:])
        if self.kernel_size > side:
            raise UserError(
                f"kernel_size={self.kernel_size} is refused: the images are {shape[-1]}x{shape[-2]} pixels; "
                f"write {side - 1 + side % 2} or less"
            )
        check_size(shape)


class Kernels:
    """Trained kernels: a network for each class, or one for all images, and how strong the noise is."""

    def __init__(self, networks: Mapping[int, KernelNetwork], level: float):
        self.networks, self.level = dict(networks), level

    def __call__(self, images: Tensor, of: Tensor, seeds: Tensor) -> Tensor:
        """The images (N, C, H, W) in [0, 1], noise added, behind the network of a class each, (N,).

        The noise of an image depends on its seed alone, int64 (N,).
        """
        out = torch.empty_like(images)
        noisy = images + NOISE * self.level * uniform(seeds, *images.shape[1:]).to(images)
        with torch.no_grad():
            for place, network in self.networks.items():
                rows = (of == place).nonzero()[:, 0]
                for part in rows.split(BATCH):
                    out[part] = network(noisy[part])
        return out

    @classmethod
    def trained(
        cls, images: Tensor, groups: Tensor, training: Training, *, progress: bool | None = None
    ) -> Self:
        """Train a network on the images, uint8 (N, C, H, W), of each group, int64 (N,).

        Each is written when it is trained and found again: a process that is killed loses one at most.

        Args:
            groups: the classes; or all 0, for one network.
            progress: a bar over steps; None shows it on terminals only.

        Raises:
            UserError: see `Training.check`.
        """
        training.check(images.shape[1:])
        level = float(images.double().mean() / 255)
        settings = [VERSION, asdict(training), _digest(images, groups)]
        folder = places.runs_dir() / "cdes" / storage.digest(json.dumps(settings, sort_keys=True))[:16]
        numbers = [int(k) for k in groups.unique()]
        # where the next class goes on from the last one, all epochs have to be computed
        lengths = {k: _kept(training) for k in numbers}
        if training.chained:
            lengths |= dict.fromkeys(numbers[:-1], training.epochs)
        steps = sum(-(-int((groups == k).sum()) // BATCH) * lengths[k] for k in numbers)
        with (
            storage.alone(folder, "trains the same kernels"),
            progress_bar("kernels", steps, "step", progress) as bar,
            torch.random.fork_rng(devices=[]),
        ):
            networks: dict[int, KernelNetwork] = {}
            last: KernelNetwork | None = None
            for k in numbers:
                own = images[groups == k]
                before = last if training.chained else None
                work = _Work(own, level, training, k, lengths[k], before, bar.update)
                tensors, _ = storage.held(folder / f"{k}.safetensors", work)
                networks[k] = _network(tensors, "kept", images.shape[1], training)
                last = _network(tensors, "last", images.shape[1], training)
        return cls(networks, level)


@dataclass
class _Work:
    """The training of one network, to be called if it is not there: its weights at the checkpoint, ``kept``,
    and at the end, ``last``.
    """

    images: Tensor  # uint8 (n, C, H, W)
    level: float
    training: Training
    number: int  # of its class
    epochs: int  # until the checkpoint, or until the next class goes on
    before: KernelNetwork | None  # what it goes on from
    done: Callable[[], object]  # called after every step

    def __call__(self) -> tuple[dict[str, Tensor], None]:
        training = self.training
        network = self._begun()
        height, width = self.images.shape[2:]
        goal = target(height, width, training.rho, training.published).float()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.1)
        kept = {}
        for epoch in range(self.epochs):
            random = keyed("cdes", training.seed, self.number, epoch)
            count = len(self.images)
            order = torch.arange(count) if training.chained else torch.randperm(count, generator=random)
            for rows in order.split(BATCH):
                x = unit(self.images[rows])
                x = x + NOISE * self.level * torch.rand(x.shape, generator=random)
                with torch.enable_grad():
                    y = network(x)
                    found = density(y, training.published)
                    loss = F.mse_loss(found, goal.expand_as(found)) + F.mse_loss(y, x)
                    optimizer.zero_grad()
                    loss.backward()
                optimizer.step()
                self.done()
            schedule.step()
            if epoch + 1 == _kept(training):
                kept = _named(network, "kept")
        return {**kept, **_named(network, "last")}, None

    def _begun(self) -> KernelNetwork:
        if self.before is not None:
            return self.before
        training = self.training
        torch.default_generator.manual_seed(seed_of("cdes", training.seed, self.number))
        return KernelNetwork(self.images.shape[1], training.number, training.kernel_size)


def merged(x: Tensor, y: Tensor, radius: float, published: bool = False) -> Tensor:
    r"""The low frequencies of one image and the high ones of another, (..., C, H, W), not clipped.

    .. math:: X_l^{(r)}(x) + X_h^{(r)}(y)

    Args:
        radius: low is |k| < radius, see `fourier.low_pass`.
        published: the original's masks: d <= radius - 1 and d >= radius, with d the distance from the
            frequency 0 for the quadrant of negative ky and kx, mirrored about the middle of the grid, which
            is half a pixel off the frequency 0; what is imaginary then is dropped. Of the frequencies
            between the two nothing is left.
    """
    if not published:
        return fourier.low_pass(x, radius) + fourier.high_pass(y, radius)
    low, high = published_masks(x.shape[-2], x.shape[-1], radius)
    return fourier.apply_mask(x, fourier.hermitian(low)) + fourier.apply_mask(y, fourier.hermitian(high))


def published_masks(height: int, width: int, radius: float) -> tuple[Tensor, Tensor]:
    """The original's masks of low and of high frequencies, booleans (height, width) on the shifted grid."""
    # of an odd side the middle is the frequency 0
    ky, kx = ((2 * torch.arange(n) - (n - 1)).abs() + (n + 1) % 2 for n in (height, width))
    squared = ky[:, None] ** 2 + kx**2  # of twice the distances, whole numbers
    return squared <= (2 * radius - 2) ** 2, squared >= (2 * radius) ** 2


def image_seeds(count: int, *key: object) -> Tensor:
    """A seed for each of so many images, by their place, int64 (count,)."""
    return Draws(torch.arange(count), seed_of(*key)).bits(1)[:, 0]


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()


def _kept(training: Training) -> int:
    """The epoch after which the kernels are taken."""
    return min(training.checkpoint or training.epochs, training.epochs)


def _named(network: nn.Module, name: str) -> dict[str, Tensor]:
    return {f"{name}.{key}": value.detach().clone() for key, value in network.state_dict().items()}


def _network(tensors: Mapping[str, Tensor], name: str, channels: int, training: Training) -> KernelNetwork:
    """The network of one of the two states."""
    network = KernelNetwork(channels, training.number, training.kernel_size)
    found = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
    network.load_state_dict(found)
    return network
