"""The trainer, step for step, against a bare loop over the same network, and against what one would write
with torchvision.
"""

import itertools
import shutil
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.timing import processor, spread
from specfreq import augment, models, train
from specfreq.core.provenance import provenance
from specfreq.evidence import records

MODEL, BATCH, STEPS, ROUNDS = "resnet20", 128, 4, 15
BARE, LOOP = "bare loop, channels last", "specfreq, no augmentation"
OVERHEAD, AUGMENTATION = 1.03, 1.10  # at most, times the bare loop
FAST = {  # ResNet-18 to 94 % on CIFAR-10
    "data": "cifar10",
    "model": "resnet18",
    "epochs": 16,
    "batch": 512,
    "lr": 0.5,
    "border": "reflect",
    "label_smoothing": 0.1,
    "ema": 0.98,  # over 50 of some 1,570 steps: an average over 200 of them lags behind
    "precision": "bfloat16",
    "compile": True,
}


class Pictures(Dataset):
    """Images as a torchvision data set holds them, with the usual transforms, one image at a time."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = [Image.fromarray(x) for x in images.permute(0, 2, 3, 1).numpy()], labels
        crop = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
        self.transform = v2.Compose([*crop, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def classifier() -> nn.Module:
    return models.Classifier(models.build(MODEL, 10), torch.full((3,), 0.5), torch.full((3,), 0.25)).train()


def bare(
    batches: Iterator[tuple[Tensor, Tensor]], last: bool = True, compiled: bool = False, low: bool = False
) -> Callable:
    """Seconds for one step of the least that a training can be, on whatever is next in ``batches``."""
    model = classifier().to(memory_format=torch.channels_last if last else torch.contiguous_format)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        x, y = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = F.cross_entropy(forward(x).float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def seconds() -> float:
        step()  # fills the caches that others emptied
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        return (time.perf_counter() - start) / STEPS

    return seconds


def ours(images: Tensor, labels: Tensor, augmentation: str = "none", **changes) -> Callable:
    """Seconds for one step of `train.fit`, its first step left out as above."""
    model, moments = classifier(), []
    recipe = train.Recipe(epochs=1, batch=BATCH, lr=0.01, **{"shift": 0, "flip": False} | changes)
    many = BATCH * (STEPS + 1)

    def seconds() -> float:
        moments.clear()
        train.fit(
            model,
            images[:many],
            labels[:many],
            recipe,
            augmentation=augment.build(augmentation),
            after_step=lambda *_: moments.append(time.perf_counter()),
        )
        return (moments[-1] - moments[0]) / STEPS

    return seconds


def run() -> None:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH * (STEPS + 1), 3, 32, 32), generator=g, dtype=torch.uint8)
    labels = torch.randint(0, 10, (len(images),), generator=g)
    floats, last = images.float() / 255, torch.channels_last

    def batches(size: int = BATCH, memory: torch.memory_format = last) -> Iterator[tuple[Tensor, Tensor]]:
        return itertools.cycle([(floats[:size].contiguous(memory_format=memory), labels[:size])])

    loader = DataLoader(Pictures(images, labels), BATCH, shuffle=True)
    peer = f"bare loop, torchvision {torchvision.__version__} DataLoader"
    floor = bare(batches())
    contenders = {  # name -> (seconds a step, the most it may take in bare steps, of how many batches)
        LOOP: (ours(images, labels), OVERHEAD, 1),
        "specfreq, crop and flip": (ours(images, labels, shift=4, flip=True), AUGMENTATION, 1),
        "specfreq, crop, flip and apr-p": (
            ours(images, labels, "apr-p", shift=4, flip=True),
            AUGMENTATION,
            2,
        ),
        "specfreq, bfloat16": (ours(images, labels, precision="bfloat16"), None, 1),
        "specfreq, average of weights": (ours(images, labels, ema=0.99), None, 1),
        "bare loop, contiguous": (bare(batches(memory=torch.contiguous_format), last=False), None, 1),
        "bare loop, bfloat16": (bare(batches(), low=True), None, 1),
        "bare loop, two views": (bare(batches(2 * BATCH)), None, 1),
        peer: (bare(itertools.chain.from_iterable(itertools.repeat(loader))), None, 1),
    }
    compilation = "no C++ compiler, so torch.compile is left out"
    if any(map(shutil.which, ("c++", "g++", "clang++"))):
        contenders["specfreq, torch.compile"] = ours(images, labels, compile=True), None, 1
        contenders["bare loop, torch.compile"] = bare(batches(), compiled=True), None, 1
        start = time.perf_counter()
        contenders["bare loop, torch.compile"][0]()
        compilation = f"torch.compile took {time.perf_counter() - start:.0f} s"
    steps: dict[str, list[float]] = {name: [] for name in [BARE, *contenders]}
    for _ in range(ROUNDS):  # in turn, so that the machine's other work meets all of them
        steps[BARE].append(floor())
        for name, (seconds, _, _) in contenders.items():
            steps[name].append(seconds())
    double = steps["bare loop, two views"]
    rows = []
    print(
        f"\nTraining {MODEL} on batches of {BATCH} 3x32x32 images, float32; {ROUNDS} rounds of {STEPS} "
        f"steps; {compilation}."
    )
    print("Time of a step over that of a bare loop on as many views, median (quartiles):")
    for name, (_, most, views) in {BARE: (floor, None, 1), **contenders}.items():
        against = steps[BARE] if views == 1 else double
        times = spread([a / b for a, b in zip(steps[name], against, strict=True)])
        goal = "" if most is None else f"  target <= {most}"
        print(f"  {name:48}{times.median:6.3f} ({times.lower:.3f} .. {times.upper:.3f}){goal}")
        rows.append(
            {
                "name": name,
                "views": views,
                "seconds": statistics.median(steps[name]),
                **times._asdict(),
                "target": most,
            }
        )
    speed = BATCH / statistics.median(steps[BARE])
    print(f"  The bare loop takes {speed:.0f} images a second.")
    origin = {k: [v] for k, v in provenance(torch.device("cpu")).items()} | {
        "device": [processor()],
        "runs": ROUNDS,
    }
    record = {
        "study": "training-cost",
        "profile": "bench",
        "parameters": {"model": MODEL, "batch": BATCH, "steps": STEPS},
    }
    records.save("training-cost", {**record, "rows": rows, "provenance": origin})
    from benchmarks import frontier  # which takes FAST from here

    frontier.run()
