"""Image sets with other frequencies, as `data.derived` makes them: more density at high ones, or foreign low
ones.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from specfreq.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# torch is imported by the methods that need it: names are known without

TOLERANCE = 0.5 / 255  # what lies outside by less has been rounded to white or black, and not cut off

Contrast = Literal["kept", "stretched"]


class DensityEnhanced:
    r"""A set with more density at high frequencies, by trained convolutions (CDES).

    .. math:: x' = X_l^{(r)}(x) + X_h^{(r)}\bigl(g(x + n)\bigr)

    with g the kernels, see `cdes.KernelNetwork`, trained towards `cdes.target`, and n faint uniform noise.
    With a network for each class the change of density is *strongly class related* (SCR), with one for all
    *weakly* (WCR).

    Args:
        kernels: ``class``: a network for each class, applied to the images of that class; ``all``: one for
            all.
        at_test: whose kernels a test image meets: those of its ``own`` class, as published, which tells the
            network under test the label; of a class drawn at ``random``; or of a ``wrong`` one.
        trained_on: the training images; or, as published, ``both`` these and the test images.
        radius: cycles per image; lower frequencies are kept.
        contrast: ``kept``: what leaves [0, 1] is cut off, which is said when the set is loaded; or, as
            published, ``stretched``: each image and channel to the whole range.
        binning: as ``published``: rings and masks about a centre that is half a pixel off, which lose
            frequencies.
        number, kernel_size, rho, epochs, checkpoint, chained, seed: see `cdes.Training`.

    Source: Lin et al., IJCAI 2022, program (folder CDES).
    """

    what = "another set with more density at high frequencies (CDES)"
    version = 1  # that of `cdes`: its kernels and what is made with them are made anew together
    published: ClassVar[Mapping[str, Any]] = {
        "trained_on": "both",
        "contrast": "stretched",
        "binning": "published",
        "checkpoint": 1,
        "chained": True,
    }

    def __init__(
        self,
        kernels: Literal["class", "all"] = "class",
        at_test: Literal["own", "random", "wrong"] = "own",
        trained_on: Literal["train", "both"] = "train",
        radius: Annotated[float, Field(gt=0, le=1e4)] = 11,
        contrast: Contrast = "kept",
        binning: Literal["exact", "published"] = "exact",
        number: Annotated[int, Field(ge=1, le=1024)] = 16,
        kernel_size: Annotated[int, Field(ge=1)] = 7,
        rho: Annotated[float, Field(ge=0, le=1e3)] = 1.0,
        epochs: Annotated[int, Field(ge=1)] = 20,
        checkpoint: Annotated[int | None, Field(ge=1)] = None,
        chained: bool = False,
        seed: Annotated[int, Field(ge=0)] = 0,
    ):
        if kernel_size % 2 == 0:
            raise UserError(f"kernel_size={kernel_size} is refused: write an odd number")
        if checkpoint is not None and checkpoint > epochs:
            raise UserError(f"checkpoint={checkpoint} is refused: there are {epochs} epochs")
        if kernels == "all" and at_test != "own":
            raise UserError(f"at_test={at_test} goes with kernels=class")
        self.by_class, self.at_test, self.radius = kernels == "class", at_test, radius
        self.stretched, self.as_published, self.seed = contrast == "stretched", binning == "published", seed
        self.learns_from = ("train", "test") if trained_on == "both" else ("train",)
        self.training = {
            "number": number,
            "kernel_size": kernel_size,
            "rho": rho,
            "epochs": epochs,
            "checkpoint": checkpoint,
            "chained": chained,
            "published": self.as_published,
            "seed": seed,
        }
        self.left_out = ""

    def fit(self, images: "Tensor", labels: "Tensor", classes: tuple[str, ...]) -> Self:
        import torch

        from specfreq.augment import cdes, hars

        hars.check_radius(self.radius, *images.shape[2:])
        there = labels.bincount(minlength=len(classes)) > 0
        if self.by_class and not there.all():
            missing = classes[int((~there).nonzero()[0])]
            raise UserError(f"class {missing} has no training image, and so no kernels; choose another set")
        if self.at_test == "wrong" and len(classes) < 2:
            raise UserError(f"at_test=wrong needs a second class: the set has {', '.join(classes)} alone")
        self.classes = len(classes)
        groups = labels if self.by_class else torch.zeros_like(labels)
        if self.training["chained"]:  # which reads the images class after class
            order = labels.argsort(stable=True)
            images, groups = images[order], groups[order]
        self.networks = cdes.Kernels.trained(images, groups, cdes.Training(**self.training))
        return self

    def __call__(self, images: "Tensor", labels: "Tensor", split: str) -> "Tensor":
        from specfreq.augment import cdes

        seeds = cdes.image_seeds(len(images), "cdes noise", self.seed, split)
        of = self._whose(labels, split)
        made = _Bytes(images, self.stretched)
        for start in range(0, len(images), 1000):
            rows = slice(start, start + 1000)
            x = images[rows].float() / 255
            y = self.networks(x, of[rows], seeds[rows])
            made.put(rows, cdes.merged(x.double(), y.double(), self.radius, self.as_published))
        self.left_out = made.left_out
        return made.images

    def _whose(self, labels: "Tensor", split: str) -> "Tensor":
        """The class whose kernels each image meets, (N,)."""
        import torch

        from specfreq.core.randomness import Draws, seed_of

        if not self.by_class:
            return torch.zeros_like(labels)
        draws = Draws(torch.arange(len(labels)), seed_of("cdes kernels", self.seed))
        if split == "train" or self.at_test == "own":
            return labels
        if self.at_test == "random":
            return draws.below(self.classes, 1)[:, 0]
        return (labels + 1 + draws.below(self.classes - 1, 1)[:, 0]) % self.classes


class ForeignLow:
    r"""A set whose images have the low frequencies of images of another class (HARS).

    .. math:: x_i' = X_l^{(r)}(x_j) + X_h^{(r)}(x_i), \qquad y_i' = y_i \ne y_j

    so that the low frequencies say nothing of the label. Every image gives its own to one other.

    Args:
        radius: cycles per image; lower frequencies are low ones.
        mirror: the other way round, so that the high frequencies are another class's.
        test: test images are left as they are, ``clean``, as published; or ``mixed`` among themselves like
            the training images.
        contrast: see `DensityEnhanced`.
        drawing: ``exact``, see `hars.donors`; as ``published``, see `hars.donors_as_published`; or ``any``,
            see `hars.donors_of_any_class`: a donor that is never of the own class still tells which class an
            image is not of.
        seed: of the drawing.

    Source: Lin et al., IJCAI 2022, program (tools/generate_freq_dataset.py).
    """

    what = "another set with low frequencies of images of other classes (HARS)"
    version = 1
    learns_from = ("train",)
    published: ClassVar[Mapping[str, Any]] = {"contrast": "stretched", "drawing": "published"}

    def __init__(
        self,
        radius: Annotated[float, Field(gt=0, le=1e4)] = 12,
        mirror: bool = False,
        test: Literal["clean", "mixed"] = "clean",
        contrast: Contrast = "kept",
        drawing: Literal["exact", "published", "any"] = "exact",
        seed: Annotated[int, Field(ge=0)] = 0,
    ):
        self.radius, self.mirror, self.clean = radius, mirror, test == "clean"
        self.stretched, self.drawing, self.seed = contrast == "stretched", drawing, seed
        self.left_out = ""

    def fit(self, images: "Tensor", labels: "Tensor", classes: tuple[str, ...]) -> Self:
        from specfreq.augment import hars

        hars.check_radius(self.radius, *images.shape[2:])
        if self.drawing != "any":
            hars.check(labels, classes)
        self.classes = classes
        return self

    def __call__(self, images: "Tensor", labels: "Tensor", split: str) -> "Tensor":
        from specfreq import fourier

        self.left_out = ""
        if split == "test" and self.clean:
            return images
        donors = self.donors(labels, split)
        made = _Bytes(images, self.stretched)
        for start in range(0, len(images), 1000):
            rows = slice(start, start + 1000)
            own, other = images[rows].double() / 255, images[donors[rows]].double() / 255
            low, high = (own, other) if self.mirror else (other, own)
            made.put(rows, fourier.low_pass(low, self.radius) + fourier.high_pass(high, self.radius))
        self.left_out = made.left_out
        return made.images

    def donors(self, labels: "Tensor", split: str) -> "Tensor":
        """Which image of the split each one is mixed with, (N,)."""
        from specfreq.augment import hars

        drawn = {
            "exact": hars.donors,
            "published": hars.donors_as_published,
            "any": hars.donors_of_any_class,
        }[self.drawing]
        seed = 2 * self.seed + (split == "test")
        return drawn(labels, seed, self.classes)


class _Bytes:
    """Images that are computed in parts, as bytes; in float64, so that machines agree on the level."""

    def __init__(self, like: "Tensor", stretched: bool):
        import torch

        self.images, self.stretched, self.outside = torch.empty_like(like), stretched, 0

    def put(self, rows: slice, values: "Tensor") -> None:
        if self.stretched:
            low, high = values.amin((-2, -1), keepdim=True), values.amax((-2, -1), keepdim=True)
            # a flat channel, of which only rounding is left, is black
            values = (values - low) / (high - low).clamp_min(TOLERANCE)
        self.outside += int(((values < -TOLERANCE) | (values > 1 + TOLERANCE)).sum())
        self.images[rows] = (255 * values.clamp(0, 1) + 0.5).floor().to(self.images.dtype)

    @property
    def left_out(self) -> str:
        """What could not be kept, in words."""
        share = 100 * self.outside / max(1, self.images.numel())
        return f"{share:.2g} % of the values left the range and were cut off" if self.outside else ""
