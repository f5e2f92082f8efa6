"""Pattern scaling: how strong each cluster of frequencies becomes, learned with the classifier or drawn."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from torch import Generator, Tensor
from torch.fft import fft2, ifft2, ifftshift, irfft2, rfft2
from torch.nn import functional as F

from specfreq import fourier
from specfreq.augment.base import Augmentation, Criterion, Rows
from specfreq.augment.fsda import masks
from specfreq.augment.fsda.network import PatternNetwork, Version
from specfreq.core.errors import UserError
from specfreq.core.images import grey
from specfreq.core.spec import parts

# what the program of each version does otherwise than its mathematics
DEFECTS = {
    "v1": ("apart", "empty", "even", "rectified", "rolled"),
    "v2": ("apart", "empty", "even"),
}
PUBLISHED = "published"  # all of those of the version
FLAT = 1e-8  # variance of the softmax below which weights are all the same; a float32 cannot tell less
LEAST = 4  # pixels of the shorter side


def _in_order(defects: str) -> str:
    """Names of defects in alphabetical order, each once: even+rolled."""
    names = sorted({*filter(None, parts(defects))})
    if names != [PUBLISHED] and not {*names} <= {*DEFECTS["v1"]}:
        told = "write {all} with + between them, or {published}"
        raise PydanticCustomError("defects", told, {"all": ", ".join(DEFECTS["v1"]), "published": PUBLISHED})
    return "+".join(names)


def standardised(values: Tensor) -> Tensor:
    r"""Of each row (B, k) :math:`t = (s - \bar s) / \sqrt{\operatorname{var} s + \epsilon}`.

    The variance is over k - 1, and ε = 1e-8, so that t is 0 where all are equal; the original stops there.
    """
    apart = values - values.mean(1, keepdim=True)
    variance = apart.square().sum(1, keepdim=True) / (values.shape[1] - 1)
    return apart / (variance + FLAT).sqrt()


def weights_of(standard: Tensor, version: Version) -> Tensor:
    """Weights (B, k) of standardised values t: t + 1, which can be negative, in v1; exp t > 0 in v2."""
    return standard + 1 if version == "v1" else standard.exp()


def scaled(images: Tensor, clusters: Tensor, weights: Tensor) -> Tensor:
    r"""Images whose clusters of frequencies are multiplied by a weight each; not cut off at 0 and 1.

    .. math:: x' = \mathcal{F}^{-1}\Bigl(\mathcal{F} x \, \bigl(M_0 + \sum_c w_c M_c\bigr)\Bigr)

    Args:
        images: (B, C, H, W); all channels of an image are scaled alike.
        clusters: int64 (H, W) on the shifted grid, the same at k and -k: 0 .. k, see `masks.clustered`.
        weights: (B, k), those of 1 .. k; what is in 0 keeps its strength.
    """
    return _multiplied(images, _gain(clusters, weights)[:, None])


def _gain(clusters: Tensor, weights: Tensor) -> Tensor:
    """The weight of each frequency, (B, H, W) on the shifted grid."""
    return F.pad(weights, (1, 0), value=1.0)[:, clusters]


def _multiplied(images: Tensor, gain: Tensor, *, even: bool = False) -> Tensor:
    """Spectra times a Hermitian mask on the shifted grid that broadcasts against the images (..., H, W).

    Args:
        even: as published, of spectra the real part alone, which leaves of an image its even part.
    """
    spectra = rfft2(images)
    half = fourier.half_of(gain)
    return irfft2((spectra.real + 0j if even else spectra) * half, s=images.shape[-2:])


def _multiplied_whole(images: Tensor, gain: Tensor, *, even: bool = False) -> Tensor:
    """As `_multiplied`, for a mask that need not be Hermitian: complex."""
    spectra = fft2(images)
    return ifft2((spectra.real + 0j if even else spectra) * ifftshift(gain, dim=(-2, -1)))


class _Scaling(Augmentation):
    """What learned and drawn weights share: clusters, views and loss. For the parameters see `FSDA`."""

    words: ClassVar[Mapping[str, str]] = {
        "version=v1": "v1",
        "per=batch": "masks of a batch",
        "loss=added": "added losses",
        "loss=only": "scaled images alone",
        "lam": "λ = {}",
    }
    clusters: Tensor | None

    def __init__(
        self,
        k: int,
        angle: float,
        length: float,
        preserve: float,
        version: Version,
        per: Literal["set", "batch"],
        loss: Literal["mixed", "added", "only"],
        lam: float,
    ):
        super().__init__()
        if not 2 <= k <= 64:
            raise UserError(f"k must be from 2 to 64 clusters, not {k}")
        masks.check(angle, length, preserve)
        if not 0 <= lam <= (1 if loss == "mixed" else 1000):
            most = "1 with loss=mixed" if loss == "mixed" else "1000"
            raise UserError(f"lam must be from 0 to {most}, not {lam:g}")
        self.k, self.angle, self.length, self.preserve = k, angle, length, preserve
        self.version: Version = version
        self.per, self.form, self.lam = per, loss, lam
        self.shown = 1 if loss == "only" else 2
        self.apart = False
        self.shifted: bool | None = None
        self.register_buffer("clusters", None)

    def fit(self, images: Tensor, *, labels: Tensor | None = None) -> Self:
        """Cluster the spectra of the training images; with ``per=batch`` see that it can be done."""
        super().fit(images)
        if min(images.shape[-2:]) < LEAST:
            raise UserError(f"frequencies are scaled from {LEAST}x{LEAST} pixels on; got {_size(images)}")
        if images.dtype != torch.uint8 and not all(part.isfinite().all() for part in images.split(1000)):
            raise UserError("training images hold NaN or infinite values, which no spectrum survives")
        found = self._clustered(images)
        self.clusters = found if self.per == "set" else None
        return self

    def clusters_of(self, images: Tensor) -> Tensor:
        """The clusters that these images (B, C, H, W) are scaled by, int64 (H, W) on the shifted grid: of the
        training images; of what has not been fitted, or with ``per=batch``, of the images themselves.

        Raises:
            UserError: they were fitted on another size; there are fewer cells than clusters.
        """
        if self.clusters is None:
            return self._clustered(images)
        if self.clusters.shape != images.shape[-2:]:
            fitted = "x".join(map(str, self.clusters.shape[::-1]))
            raise UserError(f"the masks are of images of {fitted} pixels; these have {_size(images)}")
        return self.clusters

    def _clustered(self, images: Tensor) -> Tensor:
        cells = masks.polar(*images.shape[-2:], self.angle, self.length, self.preserve, self.apart)
        return masks.clustered(images, cells, self.k, self.version == "v2", self.shifted)

    def views(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> tuple[Tensor, ...]:
        made = self.transform(images, rows, donors)
        return (made,) if self.form == "only" else (images, made)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        if self.form == "only":
            return criterion(logits[0], labels)
        plain, made = (criterion(each, labels) for each in logits)
        return (1 - self.lam if self.form == "mixed" else 1) * plain + self.lam * made


def _size(images: Tensor) -> str:
    return f"{images.shape[-1]}x{images.shape[-2]}"


class FSDA(_Scaling):
    r"""Clusters of frequencies of like energy, made weaker or stronger by weights that are learned.

    The spectrum is cut into polar cells, see `masks.Cells`; k-means of their energies makes k masks
    :math:`M_c`; a network sees the k patterns :math:`p_c = \mathcal{F}^{-1}(M_c \mathcal{F} g)` of the
    luminance g, and says how strong each becomes in all channels of the image alike:

    .. math:: x' = \mathcal{F}^{-1}\Bigl(\mathcal{F} x \, \bigl(M_0 + \sum_c w_c M_c\bigr)\Bigr), \qquad
        w_c = t_c + 1 \;\text{(v1)}, \quad w_c = e^{t_c} \;\text{(v2)}, \qquad
        t = \frac{s - \bar s}{\operatorname{sd} s}, \quad s = \operatorname{softmax} z

    with z of `network.PatternNetwork`. As t is standardised, every image is changed: what is learned is which
    of its clusters become weaker, and not by how much all of them change. The network learns with the
    classifier, by the same loss, rate and weight decay; through the k-means no gradient goes. The original's
    sources have no training, so both the joint training and the loss are our reading:

    .. math:: L = (1 - \lambda) \, \ell(f(x), y) + \lambda \, \ell(f(x'), y)

    Args:
        k: clusters, 3 or more, each with an encoder of its own; in ascending order of energy.
        angle, length, preserve: of the cells, see `masks.polar`.
        version: ``v1`` as of the program's README: energies are means of |F|, patterns enter by their
            absolute values, three levels; ``v2`` as of its later repositories: means of log(1 + |F|),
            patterns as they are, four levels.
        per: masks of the whole training ``set``, so that those of an image do not depend on its batch; or of
            each ``batch``, as published.
        width: channels of the first level of an encoder; the original has 64.
        loss: L, ``mixed``; λ times the second term beside the whole first, ``added``; or the second ``only``,
            which shows the network one view.
        lam: λ.
        defects: what the program does otherwise, names with + between them, or all those of the version,
            ``published``. ``apart``: k and -k belong to different cells, so that masks are not Hermitian.
            ``empty``: cells without a frequency shift the labels of the others (v1), or enter the k-means
            with energy 0, and all means are over one more frequency (v2). ``even``: the imaginary part of the
            spectrum is lost before the patterns, each of which is so added to its mirror image. Of v1 alone:
            ``rolled``, encoder c sees the pattern of cluster c + k // 2 mod k, and image i is scaled by the
            weights of image i + B // 2 mod B; ``rectified``, the absolute value of the result is taken.

    Not offered: the program's clusters have no order, as its k-means draws a start, so that an encoder sees
    now these, now those frequencies; its linear layers start at N(1, 0.05^2); and v1 can stack a grey image,
    its scaled copy and their difference as three channels.

    Source: README and program of FSDA (generate_mask_process.py, ExtractModel.py, Emphasize.py).
    """

    title = "FSDA"
    published: ClassVar[Mapping[str, Any]] = {"per": "batch", "defects": "published"}
    words: ClassVar[Mapping[str, str]] = {
        **_Scaling.words,
        "defects=published": "all defects",
        "defects": "defects: {}",
    }
    trace: Tensor | None

    def __init__(
        self,
        k: int = 3,
        angle: float = 10.0,
        length: float = 10.0,
        preserve: float = 0.0,
        version: Version = "v2",
        per: Literal["set", "batch"] = "set",
        width: int = 8,
        loss: Literal["mixed", "added", "only"] = "mixed",
        lam: float = 0.5,
        defects: Annotated[str, AfterValidator(_in_order)] = "",
    ):
        super().__init__(k, angle, length, preserve, version, per, loss, lam)
        if k < 3:
            raise UserError(
                f"k must be 3 or more where weights are learned, not {k}: two standardised numbers are the "
                "same two whatever they come from; fsda-random takes 2"
            )
        if not 1 <= width <= 1024:
            raise UserError(f"width must be from 1 to 1024 channels, not {width}")
        self.defects = frozenset(DEFECTS[version] if defects == PUBLISHED else filter(None, parts(defects)))
        if more := self.defects - {*DEFECTS[version]}:
            raise UserError(
                f"{version} has no defect {' or '.join(sorted(more))}; it has {', '.join(DEFECTS[version])}"
            )
        self.apart = "apart" in self.defects
        if "empty" in self.defects:
            self.shifted = version == "v1"
            if not self.apart:
                raise UserError("defects=empty needs apart as well: other cells are never empty")
        # a third faster on a processor
        self.patterns = PatternNetwork(k, width, version).to(memory_format=torch.channels_last)
        self.register_buffer("trace", None)

    def transform(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> Tensor:
        return self._made(images)[0]

    def views(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> tuple[Tensor, ...]:
        """As of all augmentations; mean and deviation of the batch's weights become a row of `trace`, float32
        (steps, 2, k).
        """
        made, weights = self._made(images)
        told = weights.detach().float()
        row = torch.stack([told.mean(0), told.std(0, correction=0)])[None]
        self.trace = row if self.trace is None else torch.cat([self.trace, row])
        return (made,) if self.form == "only" else (images, made)

    def weights(self, images: Tensor) -> Tensor:
        """The weight of each cluster of each image (B, C, H, W): (B, k)."""
        return self._weights(grey(images), self.clusters_of(images))

    def seen(self, images: Tensor) -> Tensor:
        """What the encoders see of images (B, C, H, W): their patterns (B, k, H, W)."""
        return self._patterns(grey(images), self.clusters_of(images))

    def _made(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled images and the weights (B, k) that they were scaled by."""
        if not len(images):
            return images, images.new_ones(0, self.k)
        clusters = self.clusters_of(images)
        weights = self._weights(grey(images), clusters)
        return self._scaled(images, clusters, weights.to(images.dtype)), weights

    def _scaled(self, images: Tensor, clusters: Tensor, weights: Tensor) -> Tensor:
        gain = _gain(clusters, weights)[:, None]
        rectified = "rectified" in self.defects
        if self.apart:
            whole = _multiplied_whole(images, gain)
            return whole.abs() if rectified else whole.real
        out = _multiplied(images, gain)
        return out.abs() if rectified else out

    def _weights(self, grey: Tensor, clusters: Tensor) -> Tensor:
        kind = next(self.patterns.parameters()).dtype
        patterns = self._patterns(grey, clusters).to(kind)
        logits = self.patterns(patterns.contiguous(memory_format=torch.channels_last))
        weights = weights_of(standardised(logits.softmax(1)), self.version)
        return weights.roll(-(len(weights) // 2), 0) if "rolled" in self.defects else weights

    def _patterns(self, grey: Tensor, clusters: Tensor) -> Tensor:
        chosen = clusters == torch.arange(1, self.k + 1, device=clusters.device)[:, None, None]
        even = "even" in self.defects
        if self.apart:
            whole = _multiplied_whole(grey, chosen.to(grey.dtype), even=even)
            found = whole.abs() if self.version == "v1" else whole.real
        else:
            real = _multiplied(grey, chosen.to(grey.dtype), even=even)
            found = real.abs() if self.version == "v1" else real
        return found.roll(-(self.k // 2), 1) if "rolled" in self.defects else found


class RandomFSDA(_Scaling):
    r"""The same clusters, views and loss as of `FSDA`, with weights that are drawn: what is left of it if
    nothing is learned.

    .. math:: w_c = t_c + 1 \;\text{(v1)}, \quad w_c = e^{t_c} \;\text{(v2)}, \qquad
        t = \frac{n - \bar n}{\operatorname{sd} n}, \quad n \sim \mathcal{N}(0, 1)^k

    so that t has a uniform direction among all that those of `FSDA` can have.

    Args:
        k, angle, length, preserve, version, per, loss, lam: see `FSDA`.
        draws: t, ``standardised``; or n itself, ``normal``, as in a line of the program that is not run.
    """

    title = "Random FSDA"
    published: ClassVar[Mapping[str, Any]] = {"per": "batch", "draws": "normal"}
    words: ClassVar[Mapping[str, str]] = {**_Scaling.words, "draws=normal": "normal draws"}

    def __init__(
        self,
        k: int = 3,
        angle: float = 10.0,
        length: float = 10.0,
        preserve: float = 0.0,
        version: Version = "v2",
        per: Literal["set", "batch"] = "set",
        loss: Literal["mixed", "added", "only"] = "mixed",
        lam: float = 0.5,
        draws: Literal["standardised", "normal"] = "standardised",
    ):
        super().__init__(k, angle, length, preserve, version, per, loss, lam)
        self.draws = draws

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        drawn = torch.randn(count, self.k, generator=generator)
        told = standardised(drawn) if self.draws == "standardised" else drawn
        return {"weight": weights_of(told, self.version)}

    def transform(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> Tensor:
        if not len(images):
            return images
        return scaled(images, self.clusters_of(images), rows["weight"].to(images.dtype))
