"""Plots as inline SVG that takes its fonts and colours, light or dark, from the page around it."""

from __future__ import annotations

import io
import itertools
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from creagen_jax.creativity.estimate import Estimate
from creagen_jax.creativity.page import Markup, escape, printable, tag
from creagen_jax.creativity.record import Alignment, Curve

WIDTH, HEIGHT, FONT = 430, 285, 10.5  # pixels of the drawing, which the page may stretch
LETTER = 0.72 * FONT  # pixels of a letter, roughly
CELL, LONGEST = 16, 14  # of an alignment: pixels of a cell, and characters of a label
FAINT = 0.02  # weights below it are not drawn
SIGNS = {"": "∅", " ": "␣", "\n": "↵", "\t": "⇥"}  # of units that show nothing

# Colours of the style sheet (see `page.STYLE`) and the ones that stand for them while drawing.
COLOURS = ("ink", "soft", "line", "paper", "run", "heldout", "copies", "noise", "chain")
INK, SOFT, LINE, PAPER, RUN, HELDOUT, COPIES, NOISE, CHAIN = (
    f"#0{number}0b0c" for number in range(len(COLOURS))
)
# Lines differ in their dashes as well, for those who see no colours.
STYLES = {
    "generated": {"color": RUN, "linewidth": 2.4, "zorder": 3},
    "held-out": {"color": HELDOUT, "linewidth": 1.6, "dashes": (5, 2), "zorder": 2.6},
    "training copies": {"color": COPIES, "linewidth": 1.6, "dashes": (1, 1.5), "zorder": 2.6},
    "noise": {"color": NOISE, "linewidth": 1.6, "dashes": (5, 2, 1, 2), "zorder": 2.6},
}
AXIS_STYLES = {
    "quality": {"color": RUN, "marker": "o"},
    "novelty": {"color": COPIES, "marker": "s", "dashes": (5, 2)},
    "diversity": {"color": HELDOUT, "marker": "^", "dashes": (1, 1.5)},
}
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "creagen_jax",  # the same drawing is the same text
    "text.parse_math": False,
    "font.size": FONT,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
}


def novelty(curve: Curve, unit: str) -> Markup:
    """The share of n-grams that are new, by n, of the generated items and of each anchor.

    Lines of STYLES have their names at their ends; those of Markov chains have their orders on the
    line at different heights, since they lie close and end alike. No other anchor is drawn.
    """
    chains = [name for name in curve.series if name[-1:].isdigit()]
    shown = {name: curve.series[name] for name in curve.series if name in {*STYLES, *chains}}
    heights = dict(zip(chains, np.linspace(0.8, 0.2, len(chains)), strict=True))
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes(right=0.76)
        ends = {}
        for name, values in shown.items():
            y = np.array(values, float)  # None becomes NaN: a gap
            known = np.flatnonzero(np.isfinite(y))
            if not len(known):
                continue
            style = STYLES.get(name, {"color": CHAIN, "linewidth": 0.8})
            axes.plot(curve.x, y, **style)
            if name in STYLES:
                ends[name] = (curve.x[known[-1]], y[known[-1]], style["color"])
            else:
                x = np.asarray(curve.x)[known]
                _label_inside(axes, x, y[known], heights[name], name.split()[-1])
        axes.set(ylim=(0, 1.02), xlabel=f"n ({unit}s)", ylabel="share of n-grams not in training")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _label_ends(axes, ends)
        return _svg(figure, "novelty", "Novelty by length", _in_words(curve.x, shown, unit))


def settings(
    x: Sequence[float],
    profiles: Sequence[dict[str, Estimate]],
    *,
    x_title: str,
    mark: tuple[float, str] | None = None,
) -> Markup:
    """The three axes over a setting, ascending, with intervals.

    `mark` is a vertical line at an x, and its name.
    """
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes(right=0.8)
        axes.axhline(1, color=LINE, linewidth=1)
        ends = {}
        for axis, style in AXIS_STYLES.items():
            value, low, high = _numbers([each[axis] for each in profiles])
            axes.plot(x, value, linewidth=1.8, markersize=5, **style)
            axes.fill_between(x, low, high, color=style["color"], alpha=0.13, linewidth=0)
            if known := np.flatnonzero(np.isfinite(value)).tolist():
                ends[axis] = (x[known[-1]], value[known[-1]], style["color"])
        if mark:
            axes.axvline(mark[0], color=INK, linewidth=1, dashes=(3, 3))
            side = "left" if mark[0] < np.mean(x) else "right"
            shift = (4 if side == "left" else -4, 4)
            axes.annotate(
                mark[1], (mark[0], 0), shift, textcoords="offset points", ha=side, color=INK
            )
        axes.set(ylim=(0, 1.08), xlabel=x_title)
        _label_ends(axes, ends)
        words = f"Quality, novelty and diversity against {x_title}, in the table below as numbers."
        return _svg(figure, "settings", f"Profile by {x_title}", words)


def frontier(
    curves: Mapping[str, Sequence[tuple[str, Estimate, Estimate]]],
    x_title: str,
    y_title: str,
    *,
    name: str,
) -> Markup:
    """One measure against another: labelled points of each system, with intervals, joined in their
    order. `name` tells the drawings of a page apart.
    """
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes(right=0.95)
        styles = itertools.cycle(zip((RUN, COPIES, HELDOUT, NOISE, CHAIN), "osD^v", strict=True))
        for (system, points), (color, marker) in zip(curves.items(), styles, strict=False):
            x, x_low, x_high = _numbers([each for _, each, _ in points])
            y, y_low, y_high = _numbers([each for _, _, each in points])
            axes.errorbar(
                x, y, (y - y_low, y_high - y), (x - x_low, x_high - x), label=system,
                color=color, marker=marker, markersize=4.5, linewidth=1.4, elinewidth=0.6,
            )  # fmt: skip
            for (label, _, _), *place in zip(points, x, y, strict=True):
                axes.annotate(
                    label, place, (5, 4), textcoords="offset points", color=color, fontsize=8
                )
        axes.margins(0.1)
        axes.legend(frameon=False, fontsize=9)
        axes.set(xlabel=x_title, ylabel=y_title)
        words = f"{y_title} against {x_title}, in the table below as numbers."
        return _svg(figure, name, f"{x_title} and {y_title}", words)


def alignment(found: Alignment, number: int) -> Markup:
    """How much each target unit, down the side, attends to each source unit, along the top.

    It keeps its size, whatever the page. `number` tells the drawings of a page apart.
    """
    top, side = (list(map(_label, units)) for units in (found.source, found.target))
    turned = any(_columns(label) > 2 for label in top)
    left = LETTER * max(map(_columns, side), default=0) + 8
    high = LETTER * (max(map(_columns, top), default=0) if turned else 2) + 8
    width, height = left + CELL * len(top) + 4, high + CELL * len(side) + 4
    name = f"alignment-{number}"
    return tag(
        "svg",
        tag("title", "Alignment", id=f"{name}-t"),
        tag("desc", _most_attended(top, side, found.weights), id=f"{name}-d"),
        _rectangle(left, high, len(top), len(side), style="fill:var(--card);stroke:var(--line)"),
        [
            _rectangle(left + CELL * s, high + CELL * t, fill_opacity=f"{weight:.2f}")
            for t, row in enumerate(found.weights)
            for s, weight in enumerate(row)
            if weight >= FAINT
        ],
        [_above(label, left + CELL * (s + 0.5), high - 5, turned) for s, label in enumerate(top)],
        [_unit(label, left - 5, high + CELL * (t + 0.5), "end") for t, label in enumerate(side)],
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
        style=f"fill:var(--run);width:{width:.0f}px",
    )


def _label(unit: str) -> str:
    unit = SIGNS.get(unit, unit)
    return unit if len(unit) <= LONGEST else f"{unit[: LONGEST - 1]}…"


def _columns(label: str) -> int:
    """East Asian signs take two."""
    return sum(1 + (unicodedata.east_asian_width(sign) in "WF") for sign in label)


def _rectangle(x: float, y: float, columns: int = 1, rows: int = 1, **rest: str) -> Markup:
    place = {"x": f"{x:.0f}", "y": f"{y:.0f}"}
    return tag("rect", **place, width=CELL * columns, height=CELL * rows, **rest)


def _above(label: str, x: float, y: float, turned: bool) -> Markup:
    """The unit of a column, from the bottom to the top where it is turned."""
    if turned:
        return _unit(label, x, y, "start", " rotate(-90)")
    return _unit(label, x, y - 0.35 * FONT, "middle")


def _unit(label: str, x: float, y: float, anchor: str, turn: str = "") -> Markup:
    """A unit at the height of its middle."""
    transform = f"translate({x:.1f} {y:.1f}){turn} translate(0 {0.35 * FONT:.1f})"
    style = f"fill:var(--ink);font-size:{FONT}px;text-anchor:{anchor}"
    return tag("text", label, transform=transform, style=style)


def _most_attended(top: list[str], side: list[str], weights: list[list[float]]) -> str:
    """The alternative text."""
    pairs = [
        f"{label} from {top[int(np.argmax(row))]}"
        for label, row in zip(side, weights, strict=True)
        if row
    ]
    return f"Most attended: {', '.join(pairs)}."


def plane(labels: Sequence[str], profiles: Sequence[dict[str, Estimate]]) -> Markup:
    """Diversity against quality, points with their intervals and labels, joined in their order."""
    known = [
        (label, each["quality"], each["diversity"])
        for label, each in zip(labels, profiles, strict=True)
        if each["quality"].value is not None and each["diversity"].value is not None
    ]
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes(right=0.95)
        x, x_low, x_high = _numbers([quality for _, quality, _ in known])
        y, y_low, y_high = _numbers([diversity for _, _, diversity in known])
        axes.plot(x, y, color=RUN, linewidth=1.2)
        axes.errorbar(
            x, y, (y - y_low, y_high - y), (x - x_low, x_high - x),
            fmt="o", color=RUN, ecolor=CHAIN, elinewidth=0.8, markersize=6,
        )  # fmt: skip
        for rank, i in enumerate(np.argsort(x)):  # names of neighbours: one above, one below
            shift = (6, 5) if rank % 2 == 0 else (6, -12)
            axes.annotate(known[i][0], (x[i], y[i]), shift, textcoords="offset points", color=INK)
        axes.margins(0.16)
        axes.set(xlabel="quality", ylabel="diversity")
        words = "Diversity against quality, in the table below as numbers."
        return _svg(figure, "plane", "Quality and diversity", words)


def _axes(right: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))  # an SVG has 72 pixels to the inch
    axes = figure.add_axes((0.115, 0.16, right - 0.115, 0.8))
    axes.tick_params(length=3)
    return figure, axes


def _numbers(estimates: Sequence[Estimate]) -> np.ndarray:
    """Values, lower and upper ends [3, len(estimates)]; NaN where undetermined."""
    rows = [(each.value, each.low, each.high) for each in estimates]
    return np.array(rows, float).reshape(-1, 3).T


def _label_ends(axes: Axes, ends: dict[str, tuple[float, float, str]]) -> None:
    """Names each line beside its end, moved up or down where names would overlap."""
    low, high = axes.get_ylim()
    gap = 1.2 * FONT / (HEIGHT * axes.get_position().height) * (high - low)
    right = axes.get_xlim()[1]
    names = sorted(ends, key=lambda name: ends[name][1])
    places = spread([ends[name][1] for name in names], gap, low, high)
    step = (right - axes.get_xlim()[0]) * 0.025
    for name, place in zip(names, places, strict=True):
        x, y, colour = ends[name]
        axes.plot([x, right + step], [y, place], color=colour, linewidth=0.6, clip_on=False)
        axes.text(right + 1.6 * step, place, name, color=colour, va="center")
    axes.set_xlim(right=right)


def _label_inside(axes: Axes, x: np.ndarray, y: np.ndarray, height: float, name: str) -> None:
    """The name on a line, where it first reaches a height, or else at its end."""
    above = np.flatnonzero(y >= height)
    if len(above) and above[0] > 0:
        left, right = above[0] - 1, above[0]
        part = (height - y[left]) / (y[right] - y[left])
        place = (x[left] + part * (x[right] - x[left]), height)
    else:
        place = (x[-1], y[-1])
    back = {"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none"}
    axes.text(*place, name, color=CHAIN, ha="center", va="center", bbox=back, zorder=2.4)


def spread(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Ascending values, moved so that they are `gap` apart, within low .. high if they fit."""
    steps = gap * np.arange(len(values))
    up = np.maximum.accumulate(np.asarray(values, float) - steps) + steps
    down = np.minimum.accumulate((np.asarray(values, float) - steps)[::-1])[::-1] + steps
    middle = (up + down) / 2  # pushed from below and from above alike
    room = max(high - low - gap * (len(values) - 1), 0)
    return np.clip(middle - steps, low, low + room) + steps


def _in_words(x: Sequence[float], series: dict[str, list[float | None]], unit: str) -> str:
    """The alternative text: the lines at the n that tells the most of the generated items."""
    values = series.get("generated", [])
    known = [i for i, value in enumerate(values) if value is not None]
    if not known:
        return "No values."
    at = min(known, key=lambda i: abs(values[i] - 0.5))
    shares = [
        f"{name} {100 * line[at]:.0f} %" for name, line in series.items() if line[at] is not None
    ]
    return f"Share of runs of {x[at]:g} {unit}s that are new: {', '.join(shares)}."


def _svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    for text in figure.findobj(Text):
        text.set_text(printable(text.get_text()))
    file = io.StringIO()
    unnamed = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that the font lacks: the browser has others
        figure.savefig(file, format="svg", transparent=True, metadata=unnamed)
    drawing = file.getvalue()
    drawing = drawing[drawing.index("</defs>") + len("</defs>") :]  # a style for the whole page
    # Several drawings share the page, and their ids with it.
    drawing = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawing)
    for number, colour in enumerate(COLOURS):
        drawing = drawing.replace(f"#0{number}0b0c", f"var(--{colour})")
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}'
        f"</desc>{drawing}"
    )
