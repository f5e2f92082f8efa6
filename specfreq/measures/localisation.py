"""Localisation: whether class activation maps lie where the class's object is, and whether they depend on
what the network has learned.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from specfreq import fourier
from specfreq.core.errors import UserError
from specfreq.core.progress import progress_bar
from specfreq.core.randomness import content, normal, seed_of
from specfreq.core.spec import Listed
from specfreq.corruptions import SEVERITIES, refuse_images
from specfreq.data.sets import ImageSet
from specfreq.measures import answers, gradcam, inference
from specfreq.measures.answers import Count, Images
from specfreq.measures.corruption import Names, Severities, named, regenerated, views

SCORES = ("pointing", "energy", "iou", "area_iou")
Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Share, ...], Listed]


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in each box, boolean (N, H, W); boxes as in `ImageSet`, int64 (N, 4)."""
    left, top, right, bottom = (edge[:, None] for edge in boxes.unbind(1))
    x, y = torch.arange(width), torch.arange(height)
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return rows[:, :, None] & columns[:, None, :]


def scores(maps: Tensor, boxes: Tensor, threshold: float = 0.2) -> dict[str, Tensor]:
    r"""How well maps lie in boxes, image by image: values in [0, 1], float64 (N,) each.

    With the map :math:`M \ge 0`, the box :math:`B` of :math:`b` pixels, and its share :math:`p` of the image,

    .. math::
        \text{pointing} &= \bigl[\arg\max M \in B\bigr], \qquad
        \text{energy} = \sum_B M \Big/ \sum M, \\
        \text{iou} &= \frac{|R \cap B|}{|R \cup B|}, \quad R = \{M \ge t \max M\}, \qquad
        \text{area iou} = \frac{|R_b \cap B|}{|R_b \cup B|},

    with :math:`R_b` the :math:`b` largest pixels: the intersection over union without a threshold. Of equal
    pixels each is as likely the one, so a constant map, zero everywhere or not, has :math:`p` for the first
    three and :math:`p/(2-p)` for the last: what it has by chance.

    Args:
        maps: (N, H, W), not negative.
        boxes: int64 (N, 4) as in `ImageSet`, none empty.
        threshold: t.

    Source: Zhang et al., IJCV 2018 (pointing game; there a point up to 15 pixels beside the object is inside
    as well); Wang et al., CVPR workshops 2020, equation 10 (energy); Zhou et al., CVPR 2016 (t = 0.2; they
    take the smallest box about the largest connected part of R).
    """
    box = inside(boxes, *maps.shape[-2:]).flatten(1)
    values = maps.double().flatten(1)
    area, count = box.sum(1), box.shape[1]
    most = values.amax(1, keepdim=True)
    top = values == most
    total = values.sum(1)
    share = area / count
    region = values >= threshold * most
    # the b largest: those above the b-th one, and of those equal to it a part
    edge = values.sort(1, descending=True).values.gather(1, area[:, None] - 1)
    above, level = values > edge, values == edge
    part = (area - above.sum(1)) / level.sum(1)
    common = (above & box).sum(1) + part * (level & box).sum(1)
    return {
        "pointing": (top & box).sum(1) / top.sum(1).double(),
        "energy": torch.where(total > 0, (values * box).sum(1) / total, share.double()),
        "iou": (region & box).sum(1) / (region | box).sum(1).double(),
        "area_iou": common.double() / (2 * area - common),
    }


def noise(images: Tensor, seed: int = 0) -> Tensor:
    """Maps that know nothing: white noise blurred by 1/16 of the shorter side, borders joined, from 0 on, (N,
    H, W).

    All places of the image are alike to them, so pointing and energy are on average the share that boxes have
    of the image. What an image gets depends on its content, bytes (N, C, H, W), and on the seed alone.
    """
    height, width = images.shape[-2:]
    white = normal(content(images) + seed_of(seed, "noise"), 1, height, width)
    smooth = fourier.gaussian_low_pass(white, min(height, width) / 16)[:, 0]
    return smooth - smooth.amin((-2, -1), keepdim=True)


def centre(count: int, height: int, width: int) -> Tensor:
    """Maps that know where objects are on average alone: a bell about the middle, of a quarter of each side
    as its deviation, (N, H, W).
    """
    bells = [
        torch.exp(-8 * ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5) ** 2) for n in (height, width)
    ]
    return (bells[0][:, None] * bells[1]).float().expand(count, height, width)


def localisation(
    model: nn.Module,
    images: Images,
    *,
    maps: Literal["grad-cam", "noise", "centre"] = "grad-cam",
    of: Literal["truth", "answer"] = "truth",
    layer: str | None = None,
    randomise: Share = 0.0,
    corruptions: Names | None = None,
    severities: Severities = SEVERITIES,
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.2,
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 100,
) -> dict[str, Any]:
    """Whether maps of the class lie in the boxes of the images that have one, in %: see `scores`.

    Args:
        maps: grad-cam, see `gradcam.maps`; or, to compare with, noise (random maps as smooth as those) or
            centre (a bell about the middle): these say what an image set gives away.
        of: whose map: that of the right class, or of the one that the network answers.
        layer: of grad-cam: see `gradcam.target`.
        randomise: of grad-cam: the share of the layers that is drawn anew first, see `gradcam.randomised`.
        corruptions: show the images behind each of these at each severity, names as in `corruption`, and take
            means over them; by default as they are.
        severities: of the corruptions.
        threshold: of iou.
        seed: of corruptions, of noise and of what is randomised.
        size: at most so many images with a box, balanced over the classes.

    Returns:
        pointing, energy, iou, area_iou (%, means over the images), chance (%, what the first two are for maps
        that know nothing: the mean share of the image that is in the box), area_chance (%, the same for
        area_iou, up to a small bias), empty (% of maps that are zero everywhere), accuracy (%, of the images
        as they were shown), images (how many have a box); of corrupted images also made (what they are),
        corruptions and severities.

    Raises:
        UserError: the set has no boxes; a layer that does not run or gives no maps; the classifier has
            another number of outputs than the set has classes, or some are not finite; severities without
            corruptions; images that cannot be corrupted; options of grad-cam for other maps.
    """
    refuse(
        images, maps=maps, of=of, layer=layer, randomise=randomise, corruptions=corruptions,
        severities=severities,
    )  # fmt: skip
    boxed = with_boxes(images, size)
    if maps == "grad-cam" and randomise:
        model, _ = gradcam.randomised(model, randomise, seed)
    names = named(corruptions) if corruptions else []
    shown = views(names, severities, seed=seed) or [lambda x: x]
    assert boxed.boxes is not None
    shape = boxed.shape[1:]
    each: dict[str, list[Tensor]] = {name: [] for name in (*SCORES, "accuracy", "empty")}
    with progress_bar("maps", len(boxed) * len(shown), "img", unit_scale=True) as bar:
        for view in shown:
            said = inference.evaluate(
                model,
                boxed,
                lambda x, view=view: answers.checked(model(view(x)), boxed),
                precision=precision,
                batch=batch,
            ).argmax(1)
            if maps == "noise":
                found = noise(boxed.images, seed)
            elif maps == "centre":
                found = centre(len(boxed), *shape)
            else:
                asked = boxed.labels if of == "truth" else said
                found = gradcam.maps(
                    model, boxed.images, asked, layer=layer, precision=precision, batch=batch, view=view
                )
            known = scores(found, boxed.boxes, threshold)
            known |= {"accuracy": said == boxed.labels, "empty": found.flatten(1).amax(1) == 0}
            for name, values in known.items():
                each[name].append(values.double())
            bar.update(len(boxed))
    means = {name: 100 * torch.stack(values).mean(0) for name, values in each.items()}
    share = inside(boxed.boxes, *shape).flatten(1).double().mean(1)
    made = {"corruptions": names, "severities": list(severities), "made": regenerated(boxed, names)}
    return {
        **{name: float(values.mean()) for name, values in means.items()},
        "chance": 100 * float(share.mean()),
        "area_chance": 100 * float((share / (2 - share)).mean()),
        "images": len(boxed),
        answers.EACH: {name: means[name] for name in SCORES},
        **(made if corruptions else {}),
    }


def refuse(
    images: Images,
    *,
    maps: str,
    of: str,
    layer: str | None,
    randomise: float,
    corruptions: str | None,
    severities: Sequence[int],
    **_: Any,
) -> None:
    """Refuse images without boxes, and options that do not go together."""
    with_boxes(images)
    if corruptions is not None:
        refuse_images(images.shape)
    elif tuple(severities) != SEVERITIES:
        raise UserError("localisation: severities are those of corruptions; say which, such as common")
    if maps != "grad-cam" and (layer, randomise, of) != (None, 0.0, "truth"):
        raise UserError(f"localisation: maps={maps} asks no network; leave out layer, randomise and of")


def with_boxes(images: Images, size: int | None = None) -> ImageSet:
    """The images that have a box, at most so many, balanced over the classes.

    Raises:
        UserError: none has.
    """
    boxes = getattr(images, "boxes", None)
    kept = torch.zeros(0, dtype=torch.bool) if boxes is None else (boxes[:, 2:] > boxes[:, :2]).all(1)
    if not isinstance(images, ImageSet) or boxes is None or not kept.any():
        raise UserError(
            f"localisation needs images with boxes, and those of {images.name} have none; take "
            "planted:boxes=1, nih-chest, or a folder with boxes.csv"
        )
    found = images.picked(kept)
    return found if size is None or size >= len(found) else found.subset(size)


def cam_sanity(
    model: nn.Module,
    images: Images,
    *,
    shares: Shares = (0.01, 0.25, 0.5, 0.75, 1.0),
    draws: Annotated[int, Field(ge=1, le=100)] = 3,
    layer: str | None = None,
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 100,
) -> dict[str, Any]:
    r"""Whether Grad-CAM shows what the network has learned: how its maps change when layers are drawn anew.

    Layers lose what they have learned from the logits backwards, see `gradcam.randomised`. A map that stays
    as it was shows the image, not the network.

    .. math:: \rho = \operatorname{mean}_i \operatorname{corr}\bigl(\operatorname{rank} M_i,
        \operatorname{rank} M_i'\bigr)

    with the maps M of the network as it is and M' of the one with random layers, both of the right class.

    Args:
        shares: of the layers that are drawn anew, rounded up to whole layers: 0.01 is the last one alone.
        draws: of the random layers, over which means are taken.
        layer: see `gradcam.target`.
        size: at most so many images, balanced over the classes.

    Returns:
        shares, layers (how many were drawn anew), correlation (Spearman's ρ, from -1 to 1, for each of
        shares; a map that is the same everywhere has no ranks, and counts as 0), empty (% of the network's
        own maps that are), random (% of those of each of shares), images (how many).

    Raises:
        UserError: the layer does not run or gives no maps; the classifier has another number of outputs than
            the set has classes, or some are not finite.

    Source: Adebayo et al., NeurIPS 2018, section 3.1. They also compare structural similarity and gradients.
    """
    chosen = answers.balanced(images, size)
    if not isinstance(chosen, ImageSet):
        raise UserError(f"cam-sanity keeps all maps in memory; take {images.name} without stream=1")
    answers.logits(model, chosen, precision, batch)

    def of(net: nn.Module) -> np.ndarray:
        found = gradcam.maps(net, chosen.images, chosen.labels, layer=layer, precision=precision, batch=batch)
        return _ranks(found)

    own = of(model)
    layers, correlation, random = [], [], []
    values = []
    with progress_bar("random layers", len(shares) * draws, "network") as bar:
        for share in shares:
            each, empty, count = [], [], 0
            for draw in range(draws):
                net, count = gradcam.randomised(model, share, seed_of(seed, "random layers", draw))
                others = of(net)
                each.append((own * others).sum(1))
                empty.append(_flat(others))
                bar.update()
            layers.append(count)
            values.append(torch.from_numpy(np.mean(each, axis=0)))
            correlation.append(float(np.mean(each)))
            random.append(100 * float(np.mean(empty)))
    return {
        "shares": list(shares),
        "layers": layers,
        "correlation": correlation,
        "empty": 100 * float(_flat(own).mean()),
        "random": random,
        "images": len(chosen),
        answers.EACH: {f"correlation.{place}": of_share for place, of_share in enumerate(values)},
    }


def _ranks(maps: Tensor) -> np.ndarray:
    """Ranks of the pixels of each map, centred and of length 1, float64 (N, P); zero where all are equal."""
    from scipy.stats import rankdata

    ranks = rankdata(maps.flatten(1).numpy(), axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    length = np.sqrt((ranks**2).sum(1, keepdims=True))
    return ranks / np.where(length > 0, length, 1)


def _flat(ranks: np.ndarray) -> np.ndarray:
    return np.abs(ranks).max(1) == 0
