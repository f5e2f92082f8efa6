"""What all figures share: style, colours and markers, the line at the foot."""

import functools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib import rcParamsDefault
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

AMOUNT = "viridis"
MARKERS = "osD^vP*X<>"
_STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def styled(function):
    """Draw in our style, with ``note`` at the foot; it comes back closed: a notebook shows it once.

    Where the first argument has nothing in it, as before a record is published, the figure says so in words.
    """

    @functools.wraps(function)
    def draw(*args: Any, note: str = "", **kwargs: Any) -> Figure:
        with plt.rc_context({**rcParamsDefault, **_STYLE}):  # pyright: ignore[reportArgumentType]
            shown = next(iter((*args, *kwargs.values())), None)
            nothing = isinstance(shown, Mapping | Sequence) and not shown
            figure: Any = _absent() if nothing else function(*args, **kwargs)
            if note:
                # a longer line would widen the picture
                lines = textwrap.wrap(note, int(22 * figure.get_figwidth()))
                foot = (0.11 + 0.11 * len(lines)) / figure.get_figheight()
                figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
                bottom = 0.03 / figure.get_figheight()
                figure.text(0.005, bottom, "\n".join(lines), fontsize=6.5, color="#555555")
        plt.close(figure)
        return figure

    return draw


def _absent() -> Figure:
    figure, axis = plt.subplots(figsize=(5.6, 1.0))  # notebooks show no figure without axes
    axis.set_axis_off()
    axis.text(0.5, 0.5, "nothing to show yet", ha="center", va="center", color="#555555")
    return figure


def array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)


def picture(axis: Any, image: np.ndarray, limit: float | None = None) -> None:
    """Show one image (C, H, W): in [0, 1] as it is; signed ones, scaled by ``limit``, with grey for zero."""
    if limit is not None:
        image = 0.5 + 0.5 * image / max(limit, 1e-12)
    image = np.moveaxis(np.clip(image, 0, 1), 0, -1)
    axis.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)


def name_of(row: Mapping[str, Any]) -> str:
    """What a figure calls the arm of a row."""
    return row.get("label", row["arm"])


def lines_of(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How the line of each name is drawn: colour and marker, never the colour alone."""
    colours = sns.color_palette("colorblind", max(3, len(results)))
    return {
        name: {"color": colours[i], "marker": MARKERS[i % len(MARKERS)], "ms": 4, "lw": 1.3}
        for i, name in enumerate(results)
    }


def legend(figure: Figure, lines: Mapping[str, dict[str, Any]], **others: Any) -> None:
    """Above all panels: the line of each name, and grey lines of these styles for what is the same in all."""
    handles = [Line2D([], [], label=name, **line) for name, line in lines.items()]
    handles += [Line2D([], [], color="#555555", lw=1, ls=style, label=name) for name, style in others.items()]
    columns = 75 // (max((len(str(h.get_label())) for h in handles), default=0) + 7)
    figure.legend(handles=handles, loc="outside upper center", ncols=max(1, columns), fontsize=9)
