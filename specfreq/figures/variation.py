"""Figures of total variation: what denoising does, how solvers get there, the flow, spectrum and bands."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from specfreq.figures.base import array, legend, lines_of, picture, styled

SIGNED, GREY = "RdBu_r", "#555555"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))


@styled
def panels(
    images: Mapping[str, Any], *, signed: Sequence[str] = (), columns: int = 3, size: float = 1.75
) -> Figure:
    """Pictures (C, H, W) or (H, W) with their titles, clipped to [0, 1], each ``size`` inches wide.

    Args:
        signed: titles of those that are drawn around zero, all on one scale; of colour ones the mean of the
            channels.
    """
    return _grid({title: array(image) for title, image in images.items()}, set(signed), columns, size)


@styled
def bands(image: Any, phi: Any, residual: Any, dt: float, *, most: int = 7) -> Figure:
    """An image, its bands of `tv.transform` around zero on one scale, and the residual.

    Args:
        image, residual: (C, H, W).
        phi: (bands, C, H, W). More than ``most`` are summed up in groups: 1, 2, 3 to 4, 5 to 8, ...
        dt: the time between bands; titles give times.
    """
    phi = array(phi)
    shown = {"image": array(image)}
    count = len(phi)
    first = 1
    while first <= count:
        last = first if count <= most else min(count, max(first, 2 * (first - 1)))
        until = "" if first == last else f" to {last * dt:.3g}"
        shown[f"φ, t = {first * dt:.3g}{until}"] = phi[first - 1 : last].sum(0)
        first = last + 1
    return _grid({**shown, "residual": array(residual)}, set(shown) - {"image"}, 3, 1.75)


def _grid(images: Mapping[str, np.ndarray], signed: set[str], columns: int, size: float) -> Figure:
    columns = max(1, min(columns, len(images)))
    lines = max(1, -(-len(images) // columns))
    around = {title: image for title, image in images.items() if title in signed}
    flat = {title: image.mean(0) if image.ndim > 2 else image for title, image in around.items()}
    sizes = np.concatenate([np.abs(image).ravel() for image in flat.values()] or [np.zeros(1)])
    # a few strong pixels would leave all others pale
    limit = np.quantile(sizes, 0.995) or sizes.max() or 1
    shape = (size * columns + 0.9 * bool(flat), (size + 0.25) * lines)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=shape, layout="compressed")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    shown = None
    for axis, (title, image) in zip(axes.flat, images.items(), strict=False):
        axis.set_title(title, fontsize=9)
        if title in flat:
            shown = axis.imshow(flat[title], cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
        else:
            picture(axis, image if image.ndim > 2 else image[None])
    if shown is not None:
        figure.colorbar(shown, ax=axes, shrink=0.8, extend="both", label="difference in value")
    return figure


@styled
def profile(before: Any, after: Mapping[str, Any], weight: float | None = None) -> Figure:
    """A row of pixels (N,) before and after denoising, a line for each name.

    Args:
        weight: of denoising, if the row is an image by itself. What was added to it, summed up to each pixel,
            is then drawn below: the taut string less the middle of its tube, ``weight`` wide on either side.
            Values change only where it touches.
    """
    before = array(before)
    lines = _dashed(after)
    panels = 1 if weight is None else 2
    size = (5.4, 2.6 if weight is None else 4.4)
    figure, axes = plt.subplots(panels, squeeze=False, sharex=True, figsize=size)
    axes[0, 0].plot(before, color=GREY, lw=0.8)
    axes[0, 0].set_ylabel("value")
    if weight is not None:
        axes[1, 0].axhspan(-weight, weight, color="#cccccc", alpha=0.5, lw=0)
        axes[1, 0].set_ylabel("sum of what was added")
    for i, (name, row) in enumerate(after.items()):
        row = array(row)
        marked = _every(i, len(before))
        axes[0, 0].plot(row, drawstyle="steps-mid", markevery=marked, **lines[name])
        if weight is not None:
            axes[1, 0].plot(np.cumsum(row - before), markevery=marked, **lines[name])
    axes[-1, 0].set_xlabel("pixel")
    legend(figure, lines, before="-")
    return figure


@styled
def gaps(curves: Mapping[str, tuple[Any, Any]], tol: float | None = None) -> Figure:
    """Relative gap over iterations, both logarithmic: a line for each name -> (iterations, gaps).

    Dotted: the tolerance.
    """
    figure, axis = plt.subplots(figsize=(5.4, 3.6))
    lines = _dashed(curves)
    for i, (name, (iterations, gap)) in enumerate(curves.items()):
        iterations = array(iterations)
        gap = array(gap)
        there = (iterations > 0) & (gap > 0)
        axis.plot(iterations[there], gap[there], markevery=_every(i, there.sum()), **lines[name])
    if tol is not None:
        axis.axhline(tol, color=GREY, lw=1, ls=":")
    axis.set(xscale="log", yscale="log", xlabel="iterations", ylabel="gap, relative to the energy")
    legend(figure, lines, **({} if tol is None else {"tolerance": ":"}))
    return figure


@styled
def time_to_accuracy(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Energy above its minimum over time, both logarithmic: a panel per case, a line per solver.

    Each row has case, solver, seconds and suboptimality, relative to the minimum; lower and further left is
    better.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows)) or [""]
    figure, axes = plt.subplots(len(cases), squeeze=False, sharey=True, figsize=(5.6, 3.0 * len(cases) + 0.4))
    lines = _dashed(dict.fromkeys(row["solver"] for row in rows))
    for axis, case in zip(axes[:, 0], cases, strict=True):
        axis.set(title=case, xscale="log", yscale="log", xlabel="seconds", ylabel="energy above minimum")
        for name, line in lines.items():
            found = [r for r in rows if (r["case"], r["solver"]) == (case, name)]
            drawn = [(r["seconds"], r["suboptimality"]) for r in found]
            drawn.sort(key=lambda point: -point[1])  # from coarse to fine
            if drawn:
                axis.plot(*zip(*drawn, strict=True), **line)
    legend(figure, lines)
    return figure


@styled
def weights(
    weights: Any, curves: Mapping[str, Any], *, label: str, best: Literal["lowest", "highest"] = "lowest"
) -> Figure:
    """A quality of denoised images over the weight, logarithmic: a line per name, a ring at the best."""
    weights = array(weights)
    lines = _dashed(curves)
    figure, axis = plt.subplots(figsize=(5.4, 3.4))
    shown = {}
    for name, values in curves.items():
        values = array(values)
        line = lines[name]
        at = int(np.nanargmin(values) if best == "lowest" else np.nanargmax(values))
        axis.plot(weights, values, **line)
        axis.plot(weights[at], values[at], "o", ms=11, mfc="none", mec=line["color"], mew=1.5)
        shown[f"{name}: {best} at {weights[at]:.3g}"] = line
    axis.set(xscale="log", xlabel="weight", ylabel=label)
    # closer ones would overlap
    ticks = [w for k, w in enumerate(weights) if k == 0 or np.log2(w / weights[k - 1]) > 0.3]
    axis.set_xticks(ticks, [f"{w:.3g}" for w in ticks])
    axis.minorticks_off()
    if shown:
        legend(figure, shown)
    return figure


@styled
def disc_flow(times: Any, measured: Mapping[str, Any], exact: Any) -> Figure:
    """Height of a disc along the total variation flow: marks for each name, a line for the exact solution."""
    figure, axis = plt.subplots(figsize=(5.4, 3.2))
    lines = {name: {**line, "lw": 0, "mfc": "none", "ms": 5} for name, line in lines_of(measured).items()}
    axis.plot(array(times), array(exact), color=GREY, lw=1)
    for name, heights in measured.items():
        axis.plot(array(times), array(heights), **lines[name])
    axis.set(xlabel="time", ylabel="height of the disc", xlim=(0, None))
    legend(figure, lines, exact="-")
    return figure


@styled
def spectrum(
    times: Any,
    spectra: Mapping[str, Any],
    marks: Mapping[str, float] | None = None,
    *,
    log: bool = False,
    label: str = "Σ|φ|",
) -> Figure:
    """Spectra of `tv.transform` over the time of the flow, a line per name; dotted: where a peak is expected.

    Args:
        times: (bands,), one for all or one per name.
        marks: what stands at which time.
        log: both axes logarithmic.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3.5))
    lines = _dashed(spectra)
    for i, (name, values) in enumerate(spectra.items()):
        values = array(values)
        moments = array(times[name] if isinstance(times, Mapping) else times)
        axis.plot(moments, values, markevery=_every(i, len(values)), **lines[name])
    axis.set(xlabel="time t", ylabel=label)
    if log:
        axis.set(xscale="log", yscale="log")
    else:
        axis.set(xlim=(0, None), ylim=(0, None))
    for what, time in (marks or {}).items():
        axis.axvline(time, color=GREY, lw=1, ls=":")
        place = {
            "xycoords": axis.get_xaxis_transform(),
            "textcoords": "offset points",
            "xytext": (3, -3),
            "va": "top",
        }
        axis.annotate(what, (time, 1), rotation=90, fontsize=8, color=GREY, **place)
    legend(figure, lines)
    return figure


@styled
def invariances(rows: Sequence[Mapping[str, Any]], tol: float | None = None) -> Figure:
    """How far the transform of a changed image is from the changed transform, relative, on a log axis.

    Each row has name, departure, and where it is known group, why it holds or not: a mark and a colour each.
    Hollow at the left: no departure. Dotted: the tolerance.
    """
    groups = lines_of(dict.fromkeys(row.get("group", "") for row in rows))
    figure, axis = plt.subplots(figsize=(5.6, 0.32 * len(rows) + 1.3))
    there = [row["departure"] for row in rows if row["departure"] > 0] + [tol or 1e-4]
    edge = 10 ** (np.floor(np.log10(min(there))) - 1)
    for y, row in enumerate(rows):
        line = {**groups[row.get("group", "")], "lw": 0, "ms": 7}
        nothing = row["departure"] == 0
        fill = "white" if nothing else line["color"]
        axis.plot(edge if nothing else row["departure"], y, **line, mfc=fill, clip_on=False)
    if tol is not None:
        axis.axvline(tol, color=GREY, lw=1, ls=":")
    axis.set(xscale="log", xlabel="departure, relative", ylim=(max(len(rows), 1) - 0.5, -0.5))
    axis.set_xlim(edge, 3 * max(there))
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    named = {name: {**line, "lw": 0, "ms": 7} for name, line in groups.items() if name}
    legend(figure, named, **({} if tol is None else {"tolerance": ":"}))
    return figure


def _dashed(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The line of each name, dashes included, where lines lie on one another."""
    return {
        name: {**line, "ls": DASHES[i % len(DASHES)]}
        for i, (name, line) in enumerate(lines_of(results).items())
    }


def _every(i: int, count: int) -> tuple[int, int]:
    """Which of so many points of line i are marked: about eight, not those of the other lines."""
    every = max(1, int(count) // 8)
    return (i * max(1, every // 3)) % every, every
