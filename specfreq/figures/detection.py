"""Figures of what tells a classifier's own images from others."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from specfreq.figures.base import array, legend, lines_of, styled


@styled
def detection_scores(results: Mapping[str, Mapping[str, Any]], label: str = "") -> Figure:
    """Histograms of the scores, a panel for each name, of `out-of-distribution`.

    Filled: the own images; a line for each other set. In % of each set, for each unit of the score, whatever
    the width of a panel's bins: panels of one score share both scales. The first and the last bin hold what
    lies beyond too. The scores have their own names, or this label.
    """
    panels = max(len(results), 1)
    scores = list(dict.fromkeys(r["score"] for r in results.values()))
    size = (5.4, 1.75 * panels + 1.1)
    alike = len(scores) < 2
    figure, axes = plt.subplots(panels, squeeze=False, sharex=alike, sharey=alike, figsize=size)
    others = _others(results)
    lines = lines_of(dict.fromkeys(others))
    own = sns.color_palette("colorblind")[7]
    for axis, (name, result) in zip(axes[:, 0], results.items(), strict=False):
        edges = array(result["edges"])
        middle = (edges[1:] + edges[:-1]) / 2
        width = edges[1] - edges[0]
        shares = np.append(0, _share(result["histogram"]) / width)
        axis.fill_between(edges, shares, step="pre", color=own, alpha=0.45, lw=0)
        for i, (other, counts) in enumerate(zip(result["others"], result["other_histograms"], strict=True)):
            shown = {"drawstyle": "steps-mid", "markevery": (i % 6, 6), **lines[other]}
            axis.plot(middle, _share(counts) / width, **shown)
        axis.set(title=name, ylabel="images (% per unit)")
    for axis in axes[:, 0]:  # once all are drawn: a limit fixes the scale that they share
        axis.set_ylim(0, None)
    axes[-1, 0].set_xlabel(label or "score (" + ", ".join(scores) + ")")
    handles = [Rectangle((0, 0), 1, 1, color=own, alpha=0.45, lw=0, label="own images")]
    handles += [Line2D([], [], label=name, **line) for name, line in lines.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=9)
    return figure


@styled
def detection_curves(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Own images kept over others kept as the threshold moves: all, beside those classified correctly.

    A row for each other set, a line for each name, of `out-of-distribution`; areas AUROC and OSCR. Dashed: a
    score that knows nothing.
    """
    kinds = (("tpr", "auroc", "all"), ("ccr", "oscr", "rightly classified"))
    others = _others(results)
    size = (5.6, 2.45 * max(len(others), 1) + 0.6)
    figure, axes = plt.subplots(max(len(others), 1), 2, squeeze=False, sharex=True, sharey=True, figsize=size)
    lines = lines_of(results)
    for row, other in zip(axes, others, strict=False):
        for axis, (key, area, what) in zip(row, kinds, strict=True):
            for i, (name, result) in enumerate(results.items()):
                if other in result["others"]:
                    at = result["others"].index(other)
                    line = {**lines[name], "label": f"{result[area][at]:.1f}"}
                    axis.plot(result["fpr"][at], result[key][at], markevery=(4 * i, 16), **line)
            axis.set(xlim=(-2, 102), ylim=(-3, 103))
            axis.set_title(what, loc="right", fontsize=9, style="italic")
            axis.legend(title=area.upper() + " (%)", title_fontsize=8, fontsize=8, loc="lower right")
        row[0].plot([0, 100], [0, 100], color="#555555", lw=1, ls="--")
        row[0].set_title(other, loc="left")
        row[0].set_ylabel("own images kept (%)")
    for axis in axes[-1]:
        axis.set_xlabel("others kept (%)")
    legend(figure, lines, **{"no knowledge": "--"})
    return figure


def _others(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(other for r in results.values() for other in r["others"]))


def _share(counts: Any) -> np.ndarray:
    counts = array(counts)
    return 100 * counts / counts.sum()
