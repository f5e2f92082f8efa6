"""A forest plot of one line as inline SVG: an effect with its interval on the scale of its unit."""

import html
from collections.abc import Iterable

from specfreq.evidence.ledger import Entry
from specfreq.evidence.markup import MINUS

WIDTH, HEIGHT, EDGE = 190, 34, 12
NICE = [factor * 10.0**power for power in range(-4, 5) for factor in (1, 2, 5)]


def scales(entries: Iterable[Entry]) -> dict[str, float]:
    """Unit -> where the axis ends on either side of 0: a round number beyond four of five effects."""
    sizes: dict[str, list[float]] = {}
    for entry in entries:
        if entry.effect is not None and entry.effect.low is not None:
            sizes.setdefault(entry.measure, []).append(abs(entry.effect.mean))
    return {unit: _round_up(sorted(found)[int(0.8 * (len(found) - 1))]) for unit, found in sizes.items()}


def _round_up(value: float) -> float:
    return next((nice for nice in NICE if nice >= value), NICE[-1])


def forest(entry: Entry, scale: float | None) -> str:
    """The plot of an entry; what lies beyond its axis ends in an arrow. Empty without an effect.

    Args:
        scale: where the axis ends on either side of 0; None for an effect that has a limit in place of an
            interval, whose axis begins at 0 and ends at twice the limit.
    """
    effect = entry.effect
    if effect is None or (scale is None and not entry.bound):
        return ""
    if scale is None:
        first, last = 0.0, 2 * (entry.bound or 1)
    else:
        first, last = -scale, scale

    def x(value: float) -> float:
        inside = min(max(value, first), last)
        return round(EDGE + (WIDTH - 2 * EDGE) * (inside - first) / (last - first), 1)

    low = effect.mean if effect.low is None else effect.low
    high = effect.mean if effect.high is None else effect.high
    axis = f"axis from {_tick(first)} to {_tick(last)}"
    parts = [f"<title>{html.escape(f'{entry.amount}; {axis}')}</title>"]
    parts.append(f'<line class="axis" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="22" y2="22"/>')
    if scale is not None:
        parts.append(f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="2" y2="25"/>')
    if entry.bound:
        sides = [entry.bound] if scale is None else [-entry.bound, entry.bound]
        parts += [f'<line class="bound" x1="{x(b)}" x2="{x(b)}" y1="2" y2="25"/>' for b in sides]
    parts.append(f'<line class="interval" x1="{x(low)}" x2="{x(high)}" y1="11" y2="11"/>')
    if low < first:
        parts.append(f'<path class="beyond" d="M{EDGE} 7 l-8 4 l8 4 z"/>')
    if high > last:
        parts.append(f'<path class="beyond" d="M{WIDTH - EDGE} 7 l8 4 l-8 4 z"/>')
    if first <= effect.mean <= last:
        parts.append(_mark(x(effect.mean), entry.kind))
    for value in (first, last) if scale is None else (first, 0, last):
        parts.append(f'<text x="{x(value)}" y="33">{_tick(value)}</text>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f'<svg class="forest is-{entry.kind}" role="img" {size}>{"".join(parts)}</svg>'


def _mark(x: float, outcome: str) -> str:
    """A filled circle, a cross or a ring: what is found is seen without its colour as well."""
    if outcome == "holds":
        return f'<circle class="mark" cx="{x}" cy="11" r="4.5"/>'
    if outcome == "fails":
        return f'<path class="mark" d="M{x - 4} 7 l8 8 m0 -8 l-8 8"/>'
    return f'<circle class="mark open" cx="{x}" cy="11" r="4"/>'


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", MINUS)
