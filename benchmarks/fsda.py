"""Frequency scaling: what it adds to a step of training, and how much of that is the clustering."""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import ratio, spread
from specfreq import augment, models
from specfreq.augment.fsda import masks

BATCH, SIDE, ROUNDS = 128, 32, 5
GOAL = 5  # %, of a step with masks of each batch
FORMS = ("v2", "v1")


def seconds(call: Callable[[], object]) -> float:
    """Of this process, on all its threads: what else runs on the machine does not count."""
    start = time.process_time()
    call()
    return time.process_time() - start


def run() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, SIDE, SIDE, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10
    beside_plain_training(x, labels)
    against_the_program(x)


def step(net: torch.nn.Module, spec: str, x: Tensor, labels: Tensor) -> Callable[[], None]:
    """Views, forward and backward of a batch, as the trainer takes them, without the optimizer."""
    torch.manual_seed(0)
    made = augment.build(spec).fit(x)
    rows = made.draw(len(x), torch.Generator().manual_seed(0))

    def call() -> None:
        views = made.views(x, rows)
        logits = net(torch.cat(views)).split(len(x))
        made.loss(logits, labels, F.cross_entropy).backward()
        for part in (net, made):
            part.zero_grad(set_to_none=True)
        if hasattr(made, "trace"):
            made.trace = None

    return call


def beside_plain_training(x: Tensor, labels: Tensor) -> None:
    net = models.build("airbench:width=24", 10).to(memory_format=torch.channels_last).train()
    twice, double = torch.cat([x, x]), torch.cat([labels, labels])

    def plain() -> None:
        F.cross_entropy(net(twice), double).backward()
        net.zero_grad(set_to_none=True)

    calls = {"plain": plain}
    for name in ("fsda-random", *(f"fsda:version={v}" for v in FORMS), "fsda:version=v2,width=64"):
        calls[name] = step(net, name, x, labels)
    calls |= {f"clusters {v}": clustering(x, v == "v2") for v in FORMS}
    for call in calls.values():
        call()
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    what = f"{BATCH} images of {SIDE} pixels in two views, float32"
    print(f"\nA step of airbench:width=24, {what}; {ROUNDS} rounds:")
    for name in calls:
        if name.startswith("fsda"):
            more = spread([r[name] / r["plain"] for r in rounds])
            print(f"  {name:28}{more.median:6.2f} x plain ({more.lower:.2f} .. {more.upper:.2f})")
    for v in FORMS:
        whole = [r[f"fsda:version={v}"] + r[f"clusters {v}"] for r in rounds]
        share = spread([100 * r[f"clusters {v}"] / w for r, w in zip(rounds, whole, strict=True)])
        print(
            f"  masks of each batch, {v}: {share.median:.2f} % of its step "
            f"({share.lower:.2f} .. {share.upper:.2f}), goal < {GOAL} %; none with per=set, the default"
        )


def clustering(x: Tensor, log: bool) -> Callable[[], Tensor]:
    cells = masks.polar(SIDE, SIDE, 10.0, 10.0, 0.0)
    return lambda: masks.clustered(x, cells, 3, log)


def against_the_program(x: Tensor) -> None:
    """The exact k-means against scikit-learn's, which the program calls for every batch, on its cells."""
    from sklearn.cluster import KMeans

    print("\nk-means of the energies of a batch, against scikit-learn's (k = 3, random_state = 4321):")
    for angle, length in ((10.0, 10.0), (2.0, 2.0)):
        values = masks.polar(SIDE, SIDE, angle, length, 0.0).energies(x)
        rows = values.numpy()[:, None]
        theirs = KMeans(3, random_state=4321, n_init=10)
        found = ratio(lambda r=rows, t=theirs: t.fit(r), lambda v=values: masks.kmeans(v, 3), 9)
        ours = masks.kmeans(values, 3)
        spreads = sum(
            float((part - part.mean()).square().sum()) for part in (values[ours == c] for c in range(3))
        )
        assert spreads <= theirs.fit(rows).inertia_ * (1 + 1e-9)
        print(
            f"  {len(values):4} cells: {found.median:5.1f} times as fast "
            f"({found.lower:.1f} .. {found.upper:.1f}), and at least as good a solution"
        )
