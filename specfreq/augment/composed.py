"""Two augmentations, one after the other, as one."""

from typing import Self

import torch
from torch import Generator, Tensor

from specfreq.augment.base import Augmentation, Criterion, Rows
from specfreq.core.errors import UserError


class Composed(Augmentation):
    r"""The second augmentation of what the first one makes.

    Let the first show a network the views :math:`x_0, \dots, x_k`, the last of which is what it makes, under
    a sum of criteria. In the place of :math:`x_k` come the views that the second has of it, and in the place
    of its criterion the second's loss:

    .. math:: L = w \Bigl(\sum_{j<k} \ell(f(x_j), y) + L_2\bigl(f(v_0(x_k)), f(v_1(x_k)), \dots; y\bigr)\Bigr)

    with w = 1/2 where the first takes the mean of two, else 1. So ``apr-s+apr-p`` is ``apr-sp``, and
    ``tv+apr-p`` shows an image, its amplified copy, and that copy with the amplitude of another amplified
    one. What the second has for donors went through the first as well, by draws of their own. It is
    associative: three in a row need no brackets. Either part draws by a key of its own, whatever the other
    draws. Both are fitted to the training images as they are.

    Args:
        first, second: the parts; the names of their rows in the table of draws begin with these words.

    Raises:
        UserError: the second works before crop and flip and the first after them; the second keeps something
            of every training image, which the first changes; the second needs images in [0, 1], which the
            first leaves; the loss of the first compares its views with one another.
    """

    def __init__(self, first: Augmentation, second: Augmentation):
        super().__init__()
        _refuse(first, second)
        self.first, self.second = first, second
        self.shown = first.shown - 1 + second.shown
        self.pairs = first.pairs or second.pairs
        self.early = first.early or second.early
        self.donors = first.donors or second.donors
        self.labelled = first.labelled or second.labelled
        self.accompanied, self.compares = first.accompanied, second.compares
        self.within = first.within or second.within
        self.bounded = first.bounded and second.bounded
        self._before: int | None = None  # how many views come before those of the second

    def fit(self, images: Tensor, *, labels: Tensor | None = None) -> Self:
        for part in (self.first, self.second):
            part.fit(images, **part.told(labels))
        self.companions = self.first.companions
        return self

    def draw(
        self, count: int, generator: Generator | None, *, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        seeds = torch.randint(2**63 - 1, (2,), generator=generator).tolist()
        first, second = (
            part.draw(count, torch.Generator().manual_seed(seed), **part.told(labels))
            for part, seed in zip((self.first, self.second), seeds, strict=True)
        )
        rows = _named("first", first) | _named("second", second)
        if not self.donors:
            return rows
        own = torch.arange(count)[:, None]
        # in this order: donors of the first (or the image itself, for its companions), those of the second,
        # and the donors that these have in the first
        brought = (
            first["donor"].view(count, -1) if self.first.donors else own[:, : int(self.first.accompanied)]
        )
        met = second["donor"].view(count, -1) if self.second.donors else own[:, :0]
        again = brought[met].flatten(1) if self.first.donors else own[:, :0]
        of_met = _named("met", {name: row[met] for name, row in first.items()})
        return rows | of_met | {"donor": torch.cat([brought, met, again], 1)}

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        for name, part in (("first", self.first), ("second", self.second)):
            if part.early:
                images = part.before(images, _of(name, rows))
        return images

    def transform(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> Tensor:
        of_first, of_second = self._donors(images, rows, donors)
        made = self.first.transform(images, _of("first", rows), of_first)
        return self.second.transform(made, _of("second", rows), of_second)

    @property
    def late(self) -> bool:
        return self.first.late or self.second.late

    def views(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> tuple[Tensor, ...]:
        of_first, of_second = self._donors(images, rows, donors)
        *before, made = self.first.views(images, _of("first", rows), of_first)
        self._before = len(before)
        return (*before, *self.second.views(made, _of("second", rows), of_second))

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        """The loss over the logits of the views that were made last."""
        if self._before is None:
            raise ValueError("call views before loss: it says whose the logits are")
        before, last = logits[: self._before], logits[self._before :]

        def judged(each: Tensor, y: Tensor) -> Tensor:
            return self.second.loss(last, y, criterion) if each is last[0] else criterion(each, y)

        return self.first.loss((*before, last[0]), labels, judged)

    def _donors(
        self, images: Tensor, rows: Rows, donors: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """What either part is given for donors, of what the row "donor" names.

        Companions come as more channels than those of the images, see `Feed`.
        """
        if not self.donors or donors is None:
            return donors, None
        channels, met = images.shape[1], _of("met", rows)
        brought = _width(rows, "first donor") if self.first.donors else int(self.first.accompanied)
        each = _width(rows, "second donor") if self.second.donors else 0
        table = donors.unflatten(0, (len(images), -1))
        to_first, to_second, again = table.split([brought, each, table.shape[1] - brought - each], 1)

        def given(images: Tensor, donors: Tensor) -> Tensor | None:
            """The donors of the first, or the companions of its images."""
            if self.first.donors:
                return donors.flatten(0, 1)
            return images[:, channels:] if images.shape[1] > channels else None

        of_first = given(to_first.flatten(0, 1), to_first)
        if not self.second.donors:
            return of_first, None
        plain = to_second.flatten(0, 1)
        met = {name: row.flatten(0, 1) for name, row in met.items()}
        return of_first, self.first.transform(plain[:, :channels], met, given(plain, again))


def _named(part: str, rows: Rows) -> dict[str, Tensor]:
    return {f"{part} {name}": row for name, row in rows.items()}


def _of(part: str, rows: Rows) -> dict[str, Tensor]:
    """The rows of a part, by its own names."""
    start = f"{part} "
    return {name.removeprefix(start): row for name, row in rows.items() if name.startswith(start)}


def _width(rows: Rows, name: str) -> int:
    """How many donors an image has."""
    return rows[name][:1].numel()


def _refuse(first: Augmentation, second: Augmentation) -> None:
    one, other = (type(part).__name__ for part in (first, second))
    if first.compares:
        raise UserError(
            f"the loss of {one} compares its views with one another, and {other} would change one of them; "
            f"put {one} last, or take its transform alone, such as augmix:consistency=0"
        )
    if second.early and first.late:
        raise UserError(
            f"{other} works before crop and flip, {one} after them; put {other} first, as in apr-s+apr-p"
        )
    if second.accompanied:
        raise UserError(
            f"{other} keeps something of every training image, and {one} changes them; put {other} first"
        )
    if second.within and not first.bounded:
        raise UserError(
            f"{other} needs images in [0, 1], as {second.within}, and {one} leaves them; cut them off there, "
            "as in apr-p:clip=1+augmix"
        )
