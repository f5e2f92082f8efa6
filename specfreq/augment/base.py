"""What every augmentation is: a table of draws for an epoch, transforms that obey it, views and a loss."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor
from torch.utils._pytree import tree_leaves

from specfreq.core.errors import UserError
from specfreq.core.images import checked
from specfreq.core.transforms import Transform

Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (N, classes), labels (N,) -> mean loss
Rows = Mapping[str, Tensor]
EIGHT_BIT, CUT_OFF = (
    "it works on 8-bit pictures",
    "it cuts images off at 0 and 1",
)  # why images must be in [0, 1]


class Augmentation(Transform):
    """No augmentation, and the base of all others: images as they are, one cross-entropy.

    What happens to image i in an epoch is row i of a table that is drawn for the whole data set at once, so
    that batches, order, processes and devices cannot change it. The trainer calls `fit` once, `draw` once an
    epoch, then `before`, `views` and `loss` for each batch.

    `forward` does the same for images alone, as a transform in a pipeline: see `Transform` for what it takes.
    Like a dropout layer it works in training mode, and after `eval` hands on what it is given. What the
    trainer calls does not depend on the mode.
    """

    # parameters of the original program that its paper does not tell, where they are not the defaults
    published: ClassVar[Mapping[str, Any]] = {}
    title = "Plain"  # what tables and figures call it
    # and its parameters that are not the defaults: "key=value", or "key" with {} for its value
    words: ClassVar[Mapping[str, str]] = {}
    shown = 1  # how many views the network is shown of each image
    pairs = False  # whether images meet others: `forward` needs a batch of at least 2
    early = False  # whether `before` does anything
    donors = (
        False  # whether those come from the whole data set: row "donor" of the table, an index or several
    )
    within = ""  # why it needs images in [0, 1], such as "it works on 8-bit pictures"; empty if it does not
    bounded = False  # whether what it makes of images in [0, 1] stays there
    compares = False  # whether `loss` compares the views with one another, and is no sum of criteria
    labelled = False  # whether `fit` and `draw` take the images' labels too, int64 (N,), as ``labels=``
    accompanied = False  # whether `fit` keeps something of every image, and so needs all of them in memory
    companions: Tensor | None = (
        None  # that: (N, K, H, W), cropped and mirrored as the images are, 0 beyond the border
    )

    def __init__(self):  # the signature is read for parameters, and torch's own takes anything
        super().__init__()

    @property
    def late(self) -> bool:
        """Whether `transform` does anything."""
        return type(self).transform is not Augmentation.transform

    def told(self, labels: Tensor | None) -> dict[str, Tensor]:
        """What `fit` and `draw` are given of the labels (N,), as keywords: nothing, unless `labelled`.

        Raises:
            UserError: it is labelled, and there are no labels.
        """
        if not self.labelled:
            return {}
        if labels is None:
            raise UserError(
                f"{type(self).__name__} depends on the classes of images; give it their labels (N,) as well"
            )
        return {"labels": labels}

    def fit(self, images: Tensor, *, labels: Tensor | None = None) -> Self:
        """See the training images (N, C, H, W), bytes or floats, once: refuse what does not fit, learn what
        is needed.

        That belongs in buffers which the constructor has registered, as None: a run opens without its images.
        """
        if self.within:
            refuse_others(images, self.within)
        return self

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        """What will happen to each of ``count`` images in one epoch: tensors (count, ...) on the CPU, a row
        per image.
        """
        return {}

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        """What happens before crop and flip: whole images (B, C, H, W), bytes or floats in [0, 1], and their
        rows -> images.
        """
        return images

    def transform(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> Tensor:
        """What happens after crop and flip: images (B, C, H, W) in [0, 1], their rows of the table, and their
        donors -> images.

        The donors, (B, C, H, W) or k in a row for each image (B k, C, H, W), went through `before`, crop and
        flip as well. In their place come the companions (B, K, H, W), cropped and mirrored, of an
        augmentation that has some.
        """
        return images

    def views(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> tuple[Tensor, ...]:
        """What the network is shown of a batch, the plain images first: a tuple of (B, C, H, W)."""
        return (self.transform(images, rows, donors),)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        """The loss over the logits (B, classes) of all views: the sum of theirs."""
        first, *others = (criterion(each, labels) for each in logits)
        return sum(others, first)

    def forward(self, *inputs: Any, generator: Generator | None = None) -> Any:
        """Transform the images of a sample, in [0, 1], by draws of its own; after `eval` pass the sample
        through.

        Args:
            inputs: the sample, see `Transform`; labels are passed through. Donors come from the batch itself.
                What is `labelled` takes the sample's first tensor of integers (B,) for the labels.
            generator: of the CPU, for images on any device. By default torch's global one, which every worker
                of a DataLoader seeds differently, from the seed of the loader.

        Returns:
            The sample with images of the same shape and type; several of them all have the same draws.

        Raises:
            UserError: no float images, values outside [0, 1] or NaN, another shape, one image where others
                are needed.
        """
        if not self.training:
            return inputs[0] if len(inputs) == 1 else inputs
        if generator is not None and (not isinstance(generator, Generator) or generator.device.type != "cpu"):
            raise UserError(
                "draws are made on the CPU, for images on any device; give a generator of the CPU"
            )
        drawn = functools.cache(
            lambda count: self.draw(count, generator, **self.told(_labels_in(inputs, count)))
        )

        def augmented(batch: Tensor) -> Tensor:
            checked(batch)
            if self.pairs and len(batch) < 2:
                raise UserError(
                    f"{type(self).__name__} mixes images; give it a batch of at least 2, (B, C, H, W), not "
                    "one image: call it in the training loop or in collate_fn"
                )
            with torch.autocast(batch.device.type, enabled=False):
                rows = {k: v.to(batch.device) for k, v in drawn(len(batch)).items()}
                batch = self.before(batch, rows)
                return self.transform(batch, rows, batch[rows["donor"].flatten()] if self.donors else None)

        return self.on_images(augmented, inputs)


class EightBit(Augmentation):
    """What works on the 256 levels of 8-bit pictures, and so needs images in [0, 1]; values between two
    levels are rounded.
    """

    moves = True  # all of them take from the same nine operations
    within = EIGHT_BIT
    bounded = True


def donors_by_class(
    labels: Tensor, generator: Generator | None, *, own: bool = False, once: bool = True
) -> Tensor:
    r"""For each image the row of a donor of another class, or of its own: int64 (N,), on the CPU.

    Exact, in one pass over the classes. A permutation is drawn; then the c images of a class that have met
    their own exchange donors with c others, drawn among those that neither are of the class nor have a donor
    of it: at least :math:`N - 2 n + c` of the N, if the class has n images. So there are enough of them.

    Args:
        labels: int64 (N,).
        own: donors of the image's own class: a permutation of each class, in which an image may meet itself.
        once: each image is the donor of one other. Else donors are drawn independently of one another,
            uniformly over the images of all other classes.

    Raises:
        UserError: all images are of one class; or, where each is a donor once, more than half of them.
    """
    labels = labels.cpu()
    count = len(labels)
    order = torch.randperm(count, generator=generator)
    by_class = order[labels[order].argsort(stable=True)]  # each class in random order
    if own:
        donors = torch.empty_like(order)
        donors[labels.argsort(stable=True)] = by_class
        return donors
    sizes = labels.bincount()
    _refuse_one_class(sizes, once)
    if not once:
        start, size = (sizes.cumsum(0) - sizes)[labels], sizes[labels]
        place = (torch.rand(count, generator=generator, dtype=torch.float64) * (count - size)).long()
        return by_class[place + size * (place >= start)]  # the places of the own class are left out
    donors = order
    for label in sizes.nonzero().flatten():
        is_own, meets_own = labels == label, labels[donors] == label
        clashes = (is_own & meets_own).nonzero().flatten()
        free = (~is_own & ~meets_own).nonzero().flatten()
        chosen = free[torch.randperm(len(free), generator=generator)[: len(clashes)]]
        both = torch.cat([clashes, chosen])
        donors[both] = donors[torch.cat([chosen, clashes])]
    return donors


def _refuse_one_class(sizes: Tensor, once: bool) -> None:
    """Refuse classes of such sizes that not every image has a donor of another."""
    count, largest = int(sizes.sum()), int(sizes.argmax()) if len(sizes) else 0
    most = count // 2 if once else count - 1
    if count and sizes[largest] > most:
        why = ", more than half, so that they cannot all meet another class once" if once else ""
        raise UserError(
            f"class {largest} holds {int(sizes[largest])} of {count} images{why}: there are no donors of "
            "another class; take images of more classes, or fewer of that one"
        )


def _labels_in(inputs: Any, count: int) -> Tensor | None:
    """The first tensor of integers (count,) of a sample; None if there is none."""
    kinds = (torch.int64, torch.int32, torch.int16, torch.uint8)
    leaves = (x for x in tree_leaves(inputs) if isinstance(x, Tensor))
    return next((x.long() for x in leaves if x.shape == (count,) and x.dtype in kinds), None)


def refuse_others(images: Tensor, why: str) -> None:
    """Refuse training images (N, C, H, W) that are no pictures: floats outside [0, 1], which a filter has
    made.
    """
    if images.dtype != torch.uint8:
        for part in images.split(1000):
            checked(part, hint=f"; {why}, so leave out the filter")


def dispatch(
    images: Tensor, case: Tensor, works: Mapping[int, Callable[..., Tensor]], *rows: Tensor
) -> Tensor:
    """Images (B, C, H, W), each replaced by what the work of its case makes of it; those of a case without
    work stay.

    On a processor a work sees the images of its case; on a GPU all, and theirs are taken, as asking which
    they are would stall its queue.

    Args:
        case: int64 (B,).
        works: functions of images and their rows.
        rows: what belongs to the images, tensors (B, ...).
    """
    if not _asking_is_free(images.device):
        done = images
        for value, work in works.items():
            done = torch.where((case == value)[:, None, None, None], work(images, *rows), done)
        return done
    ordered, order = case.sort(stable=True)
    values, counts = (t.tolist() for t in ordered.unique_consecutive(return_counts=True))
    groups = zip(*(t.index_select(0, order).split(counts) for t in (images, *rows)), strict=True)
    parts = [
        works[value](*group) if value in works else group[0]
        for value, group in zip(values, groups, strict=True)
    ]
    return torch.cat(parts).index_select(0, order.argsort()) if parts else images


def _asking_is_free(device: torch.device) -> bool:
    return device.type == "cpu"
