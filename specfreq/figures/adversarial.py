"""Figures of attacks: how accuracy falls as they may change more, and what they do to pictures."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from specfreq.figures.base import array, legend, lines_of, picture, styled


@styled
def under_attack(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy over the size of the changes, and after each attack: a line for each name, of `adversarial`.

    Left: under pgd, from the images as they are; the hollow mark is what all attacks together leave. Right:
    the accuracy on clean images, and as one attack after the other is tried, with their names. A name with an
    asterisk hides its gradients: its numbers are no evidence.
    """
    figure, (curve, steps) = plt.subplots(1, 2, sharey=True, figsize=(5.6, 3.9), width_ratios=(1, 1))
    lines = lines_of(results)
    order = list(dict.fromkeys(name for r in results.values() for name in r["attacks"]))
    for i, (name, result) in enumerate(results.items()):
        radii = [0, *result["curve_eps"]]
        accuracy = [result["accuracy"], *result["curve_accuracy"]]
        kept = [k for k, radius in enumerate(radii) if k == 0 or radius > 0]
        curve.plot([radii[k] for k in kept], [accuracy[k] for k in kept], **lines[name])
        hollow = {**lines[name], "mfc": "white", "ms": 7, "lw": 0, "zorder": 4 + i}
        curve.plot(result["eps"], result["robust"], **hollow)
        places = [0, *(1 + order.index(attack) for attack in result["attacks"])]
        steps.plot(places, [result["accuracy"], *result["after"]], **lines[name])
    curve.set_xscale("symlog", base=2, linthresh=1)
    radii = sorted({radius for r in results.values() for radius in (0, *r["curve_eps"])} or {0})
    curve.set_xticks(radii, [f"{radius:g}" for radius in radii])
    curve.minorticks_off()
    curve.set(
        title="under PGD (hollow: all attacks)",
        xlabel="largest change ε (1/255)",
        ylabel="test accuracy (%)",
        ylim=(-3, 103),
    )
    steps.set_xticks(range(len(order) + 1), ["clean", *map(_pretty, order)], rotation=35, ha="right")
    sizes = sorted({r["eps"] for r in results.values()})
    steps.set(
        title="after each attack",
        xlabel=f"ε = {', '.join(f'{eps:g}' for eps in sizes)} (1/255)" if sizes else "",
    )
    shown = {f"{name}{' *' if results[name]['masked'] else ''}": line for name, line in lines.items()}
    if shown:
        legend(figure, shown)
    return figure


def _pretty(attack: str) -> str:
    return attack.title() if attack == "square" else attack.upper()


@styled
def attacked_pictures(
    clean: Any, attacked: Mapping[str, Any], captions: Mapping[str, list[str]] | None = None
) -> Figure:
    """Pictures (K, C, H, W) in [0, 1], a row; then for each name what was added, and the attacked pictures.

    What was added is drawn around grey, all on one scale: its largest magnitude, named in the row's label, in
    255ths.

    Args:
        captions: name -> what the network answers to each of its pictures; of the clean ones under "".
    """
    clean = array(clean)
    pairs = {name: array(images) for name, images in attacked.items()}
    largest = max([np.abs(images - clean).max() for images in pairs.values()], default=0.0)
    rows = 1 + 2 * len(pairs)
    size = (0.85 * len(clean) + 1.5, 1.0 * rows + 0.2)
    figure, axes = plt.subplots(rows, max(len(clean), 1), squeeze=False, figsize=size)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    labels = ["clean", *(f"{name}{part}" for name in pairs for part in (f"\n± {255 * largest:.3g}/255", ""))]
    shown = [clean, *(drawn for images in pairs.values() for drawn in (images - clean, images))]
    named = captions or {}
    said = [named.get("")]
    for name in pairs:
        said += [None, named.get(name)]
    for line, (label, images, answers) in enumerate(zip(labels, shown, said, strict=True)):
        signed = line > 0 and line % 2 == 1
        for axis, image in zip(axes[line], images, strict=True):
            picture(axis, image, largest if signed else None)
        for axis, answer in zip(axes[line], answers or [], strict=False):
            axis.set_xlabel(answer, fontsize=8, labelpad=2)
        axes[line, 0].set_ylabel(label, rotation=0, ha="right", va="center")
    return figure
