"""report.html: one report on one page that reads itself."""

from __future__ import annotations

from typing import Any

from creagen_jax.creativity import catalogue, gallery, plots
from creagen_jax.creativity.catalogue import SCALES
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.creativity.page import Markup, join, page, table, tag
from creagen_jax.creativity.record import (
    AXES,
    SCHEMA,
    Alignment,
    Anchor,
    ClassRow,
    Counts,
    Private,
    Report,
)
from creagen_jax.creativity.words import (
    answers,
    brief,
    headline,
    interval,
    number,
    percent,
    reason,
    sentence,
    verdict,
)

LANE = 5.5  # per cent of the scale that the name of an anchor takes
SHOWN = ("held-out", "training copies", "noise")  # anchors with a column in the metric table
BETTER = {"higher": "higher is better", "lower": "lower is better", "one": "1 is best", "": ""}
LIMITS = (
    "Whether people find any of this interesting, moving or useful; what its maker intended; "
    "whether it is new to the world rather than new against this training data; and whether an "
    "idea was copied in another form. Every number here is about form, as far as the measures see "
    "it. A person should look at the samples before anyone quotes a number."
)
LITTLE_WORDS = {"of", "the", "with"}  # no part of a symbol


def render(report: Report) -> str:
    """The whole HTML file. It needs no network and no script."""
    sections = {
        "Profile": _profile(report),
        "Creative Yield": _funnel(report),
        "Samples": gallery.render(report.gallery, report.unit),
        "Alignments": _alignments(report.alignments),
        "By class": _classes(report.classes),
        "Novelty by length": _curve(report),
        "All metrics": _metrics(report),
        "Personal data": _private(report.privacy) if report.kind == "text" else None,
        "Protocol": _protocol(report.protocol),
        "What this does not measure": tag("p", LIMITS),
    }
    return page(
        report.title,
        "Creativity report",
        f"{answers(report)} {headline(report)} {verdict(report.profile['novelty'])}".lstrip(),
        {heading: body for heading, body in sections.items() if body},
        warnings=report.warnings,
        foot=f"Intervals are 95 %. report.json (schema {SCHEMA}) holds the same numbers.",
    )


# --- profile -------------------------------------------------------------------------------------


def _profile(report: Report) -> list[Markup]:
    bars = [
        axis_bar(axis, report.profile[axis], {
            name: anchor.profile[axis] for name, anchor in report.anchors.items()
            if axis in anchor.profile
        })
        for axis in AXES
    ]  # fmt: skip
    composite, worst = report.composite.value, report.composite.worst
    small = ["Composite, the cube root of the product: ", brief(composite)]
    small += [f"; the lowest axis is {worst}." if worst else "."]
    small += [" One number hides what three tell."]
    return [*bars, _anchors(report.anchors), tag("p", small, class_="soft")]


def _anchors(anchors: dict[str, Anchor]) -> list[Markup]:
    """What the symbols stand for, and the numbers behind them."""
    if not anchors:
        return []
    rows = [
        [
            join(tag("b", symbol(name)), f" {each.title}"),
            *(brief(each.profile[axis]) if axis in each.profile else "" for axis in AXES),
            "" if each.creative_yield is None else number(each.creative_yield),
        ]
        for name, each in anchors.items()
    ]
    head = ["Anchor", *(axis.capitalize() for axis in AXES), "Creative Yield"]
    inner = [name for name in anchors if name[-1:].isdigit()][1:-1]  # of a row of chains
    legend = [
        tag("li", tag("b", symbol(name)), f" {each.title}")
        for name, each in anchors.items()
        if name not in inner
    ]
    numbers = table(
        "The same measures of items whose merit is known.", head, rows, class_="numbers"
    )
    return [
        tag("ul", legend, class_="legend"),
        tag("details", tag("summary", "The anchors as numbers"), numbers, class_="soft"),
    ]


def axis_bar(axis: str, estimate: Estimate, anchors: dict[str, Estimate]) -> Markup:
    """A value with its interval between 0 and 1, the anchors below it, and what it says."""
    zero, one = SCALES[axis]
    if estimate.value is None:
        value = tag("span", "undetermined", class_="unknown")
    else:
        low, high = f"{estimate.low:.2f}", f"{estimate.high:.2f}"
        value = join(f"{estimate.value:.2f} ", tag("small", f"{low} to {high}"))
    places = {name: _place(each.value) for name, each in anchors.items() if each.value is not None}
    in_words = ", ".join(f"{name} {place / 100:.2f}" for name, place in places.items())
    scale = tag(
        "div",
        tag("div", tag("span", f"0 {zero}"), tag("span", f"{one} 1"), class_="poles"),
        track(estimate),
        _ticks(places),
        class_="scale",
        role="img",
        aria_label=f"{axis} between {zero} and {one}. Anchors: {in_words or 'none'}.",
    )
    said = [tag("p", value, class_="value"), tag("p", sentence(axis, estimate))]
    return tag("div", tag("div", tag("h3", axis.capitalize()), said), scale, class_="axis")


def track(estimate: Estimate) -> Markup:
    """The value and its interval as a bar from 0 to 1."""
    if estimate.value is None:
        return tag("div", class_="track")
    left, middle, right = (_place(x) for x in (estimate.low, estimate.value, estimate.high))
    return tag(
        "div",
        tag("i", class_="fill", style=f"width:{middle:.1f}%"),
        tag("i", class_="range", style=f"left:{left:.1f}%;width:{right - left:.1f}%"),
        tag("i", class_="point", style=f"left:{middle:.1f}%"),
        class_="track",
    )


def _place(value: float) -> float:
    """Per cent of the scale."""
    return 100 * min(max(value, 0), 1)


def _ticks(places: dict[str, float]) -> Markup:
    """The anchors by their symbols, one below the other where they would overlap."""
    ends: list[float] = []  # where the last symbol of each lane ends
    lines, names = [], []
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        free = [lane for lane, end in enumerate(ends) if place >= end]
        lane = free[0] if free else len(ends)
        ends[lane : lane + 1] = [place + LANE]
        style = f"left:{place:.1f}%;--lane:{lane}"
        lines.append(tag("i", style=style))
        names.append(tag("span", symbol(name), style=style, title=name))
    return tag("div", lines, names, class_="ticks", style=f"--lanes:{len(ends)}")


def symbol(name: str) -> str:
    """The initials of an anchor: "Markov 1" is M1, "copies with noise" is CN."""
    return "".join(word[0].upper() for word in name.split() if word not in LITTLE_WORDS)


# --- yield ---------------------------------------------------------------------------------------


def _funnel(report: Report) -> list[Markup | None]:
    score = report.creative_yield
    lead = tag(
        "p", "Relative to held-out data: ", tag("b", brief(score.value)), ". Absolute: ",
        brief(score.absolute), ".",
    )  # fmt: skip
    if score.counts is None:
        return [lead]
    steps = (
        ("Generated", "generated"),
        ("Valid", "valid"),
        ("Original", "original"),
        ("Distinct", "distinct"),
    )
    sides = [("Samples", score.counts)]
    sides += [("Held-out data", score.heldout)] if score.heldout else []
    rows = [[title, *(_step(counts, step) for _, counts in sides)] for title, step in steps]
    caption = (
        "Valid: like real items. Original: no near-copy of a training item. "
        "Distinct: unlike the ones before. Each step counts what passed the steps above it."
    )
    head = ["Step", *(title for title, _ in sides)]
    return [lead, table(caption, head, rows, class_="funnel")]


def _step(counts: Counts, step: str) -> list:
    count = getattr(counts, step)
    share = count / counts.generated if counts.generated else 0.0
    return [
        f"{count:,} ({percent(share)})",
        tag("span", class_="bar", style=f"width:{100 * share:.1f}%"),
    ]


# --- curve ---------------------------------------------------------------------------------------


def _curve(report: Report) -> Markup | None:
    if "novelty" not in report.curves:
        return None
    unit = report.unit
    caption = (
        f"Of all runs of n {unit}s, the share that the training data do not hold. The numbered "
        "lines are Markov chains of these orders: the higher the order, the longer the runs that "
        "they copy. A line below that of held-out data is made of training text."
    )
    return tag("figure", plots.novelty(report.curves["novelty"], unit), tag("figcaption", caption))


# --- alignments ----------------------------------------------------------------------------------


def _alignments(found: list[Alignment]) -> list[Markup] | None:
    if not found:
        return None
    what = (
        "Where the model looked: the source along the top, the output down the side. The stronger "
        "the colour of a cell, the more the unit beside it attends to the one above it."
    )
    boxes = [
        tag("div", plots.alignment(each, i), class_="wide", tabindex=0, role="region",
            aria_label=f"Alignment {i}")
        for i, each in enumerate(found, 1)
    ]  # fmt: skip
    side_by_side = "display:flex;flex-wrap:wrap;gap:0 2.5rem"
    return [tag("p", what, class_="soft"), tag("div", boxes, style=side_by_side)]


# --- tables --------------------------------------------------------------------------------------


def shown(estimate: Estimate) -> Markup | str:
    """Value and interval in a line, or the word and the reason."""
    if estimate.value is None:
        return tag("span", f"undetermined: {estimate.note}", class_="unknown")
    if estimate.method == "exact":
        return number(estimate.value)
    return f"{number(estimate.value)} ({interval(estimate)})"


def _metrics(report: Report) -> list[Markup]:
    """One table an axis, in the order of the catalogue; unknown names at the end."""
    known = [name for name in catalogue.METRICS if name in report.metrics]
    names = known + [name for name in report.metrics if name not in catalogue.METRICS]
    columns = {name: report.anchors[name] for name in SHOWN if name in report.anchors}
    out = [tag("p", "Open a metric to see what it means and what to beware of.", class_="soft")]
    for axis in dict.fromkeys(catalogue.metric(name).axis for name in names):
        rows = [
            _metric(name, report.metrics[name], list(columns.values()), report.unit)
            for name in names
            if catalogue.metric(name).axis == axis
        ]
        head = ["Metric", "Samples", "95 % interval", *(name.capitalize() for name in columns)]
        out.append(table(axis.capitalize(), head, rows, class_="numbers metrics"))
    return out


def hint(name: str, unit: str) -> Markup | None:
    """The unit of a metric and which way is better."""
    entry = catalogue.metric(name)
    words = [entry.unit.replace("unit", unit), BETTER[entry.better]]
    return tag("span", ", ".join(filter(None, words)), class_="soft") if any(words) else None


def _metric(name: str, estimate: Estimate, anchors: list[Anchor], unit: str) -> list[Any]:
    """A row: name, value, interval and the values of the anchors."""
    entry = catalogue.metric(name)
    rests = f"Interval: {estimate.method}; {estimate.n:,} items"
    rests += f", {estimate.n_ref:,} of reference." if estimate.n_ref else "."
    note = f"Note: {reason(estimate)}." if estimate.note else ""
    facts = [
        [tag("p", fact), " "] for fact in (entry.definition, entry.caveat, note, rests) if fact
    ]
    heading = [
        tag("details", tag("summary", entry.title), facts),
        hint(name, unit),
    ]
    if estimate.value is None:
        own = [tag("span", word, class_="unknown") for word in ("undetermined", estimate.note)]
    else:
        own = [number(estimate.value), interval(estimate)]
    others = [each.metrics.get(name) for each in anchors]
    return [heading, *own, *("" if value is None else number(value) for value in others)]


def _classes(rows: list[ClassRow]) -> Markup | None:
    """A row for each class, a column for each measure that any of them has."""
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    head = ["Class", "Items", *(catalogue.metric(name).title for name in names)]
    cells = [
        [
            row.label,
            f"{row.count:,}",
            *(shown(row.metrics[name]) if name in row.metrics else "" for name in names),
        ]
        for row in rows
    ]
    caption = "Each class on its own; a class of few items has wide intervals."
    return table(caption, head, cells, class_="numbers")


def _private(rows: list[Private]) -> Markup:
    if not rows:
        return tag("p", "No personal data of the kinds looked for was found in the samples.")
    caption = (
        "Hits by kind. Leaked ones stand verbatim in more than five training documents, rare ones "
        "in one to five, invented ones in none. Examples are masked."
    )
    head = ["Kind", "Leaked", "Rare", "Invented", "Examples"]
    cells = [
        [row.kind, row.leaked, row.rare, row.invented, ", ".join(row.examples)] for row in rows
    ]
    return table(caption, head, cells)


def _protocol(protocol: dict[str, Any]) -> Markup:
    pairs = []
    for name, value in protocol.items():
        pairs += [tag("dt", name), tag("dd", tag("code", plain(value)))]
    return tag("dl", pairs, class_="protocol")


def plain(value: Any) -> str:
    """A JSON value on a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(plain(each) for each in value)
    return "none" if value is None else str(value)
