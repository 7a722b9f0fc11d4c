"""The items of a report as HTML: what was generated, and what of it was copied from where."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from creagen_jax.creativity.page import Markup, tag
from creagen_jax.creativity.record import Gallery, Item, Neighbours, Span
from creagen_jax.creativity.words import number

LEVELS = 4  # shades of copied text
SHORT = 28  # characters of items that stand side by side


def render(gallery: Gallery, unit: str) -> list:
    """The parts of the gallery, each under its heading, and the legend of the shades."""
    items = [*gallery.unselected, *gallery.rarest, *gallery.rejects]
    items += [pair.item for pair in gallery.copied]
    steps = shades(items)
    pairs = [_pair(pair, steps, unit) for pair in gallery.copied]
    parts = {
        "Unselected": (
            "The first samples that were drawn, good or bad.",
            _cards(gallery.unselected, steps, unit),
        ),
        "Most copied": (
            "The samples nearest to training data, beside the real items most like them.",
            tag("ul", pairs, class_="pairs") if pairs else _none(),
        ),
        "Rarest": (
            "Valid samples, the most surprising first: what is new here.",
            _cards(gallery.rarest, steps, unit),
        ),
        "Rejects": (
            "Samples that do not count, and why.",
            _cards(gallery.rejects, steps, unit),
        ),
    }
    return [_legend(steps, unit)] + [
        [tag("h3", title), tag("p", what, class_="soft"), body]
        for title, (what, body) in parts.items()
    ]


def cards(items: list[Item], unit: str) -> Markup:
    """Items on their own."""
    return _cards(items, shades(items), unit)


def _cards(items: list[Item], steps: list[int], unit: str) -> Markup:
    if not items:
        return _none()
    short = all(len(item.text) <= SHORT and "\n" not in item.text for item in items)
    inside = [tag("li", _body(item, steps, unit), class_="item") for item in items]
    return tag("ul", inside, class_="items short" if short else "items")


def _none() -> Markup:
    return tag("p", "None.", class_="empty")


def _pair(pair: Neighbours, steps: list[int], unit: str) -> Markup:
    notes = []
    if pair.percentile is not None:
        notes = [f"copied more than {number(pair.percentile)} % of held-out items"]
    columns = [
        ("Generated", _body(pair.item, steps, unit, notes)),
        ("Nearest in training", _text(pair.train)),
        ("Nearest in held-out", _text(pair.heldout) if pair.heldout else _text("none")),
    ]
    return tag("li", [tag("div", tag("h4", title), body) for title, body in columns], class_="pair")


def _body(item: Item, steps: list[int], unit: str, notes: Sequence[str] = ()) -> list:
    about = [item.label, *item.marks, item.reason, *notes]
    about = [tag("span", note) for note in about if note]
    return [_text(_shaded(item, steps, unit)), tag("p", about, class_="notes") if about else None]


def _text(content: str | list) -> Markup:
    return tag("p", content, class_="text", dir="auto")


def _shaded(item: Item, steps: list[int], unit: str) -> list:
    """The text, its copied parts marked. Where spans overlap, the longest one shows."""
    owner = np.full(len(item.text), -1)
    for i in sorted(range(len(item.spans)), key=lambda i: item.spans[i].length):
        owner[item.spans[i].start : item.spans[i].stop] = i
    out = []
    for i, places in itertools.groupby(range(len(item.text)), key=lambda place: owner[place]):
        places = list(places)
        part = item.text[places[0] : places[-1] + 1]
        out.append(part if i < 0 else _mark(part, item.spans[i], steps, unit))
    return out


def _mark(part: str, span: Span, steps: list[int], unit: str) -> Markup:
    times = "once" if span.occurrences == 1 else f"{span.occurrences:,} times"
    about = f"{span.length:,} {unit}s, {times} in training; document {span.document}:"
    level = 1 + int(np.searchsorted(steps, span.length, side="right"))
    # The style sheet shows the description while the mark has the pointer or the focus.
    return tag(
        "mark",
        part,
        class_=f"copy{level}",
        tabindex=0,
        aria_description=f"{about}\n{span.source}",
    )


def shades(items: list[Item]) -> list[int]:
    """The lengths from which on the second, third ... shade is used: quantiles of all spans."""
    lengths = [span.length for item in items for span in item.spans]
    if not lengths:
        return []
    cuts = np.quantile(lengths, np.arange(1, LEVELS) / LEVELS, method="higher")
    return sorted({int(cut) for cut in cuts} - {min(lengths)})


def _legend(steps: list[int], unit: str) -> Markup:
    """What each shade means."""
    marks = [
        [" ", tag("mark", text, class_=f"copy{i}")] for i, text in enumerate(_ranges(steps), 1)
    ]
    words = f"Shaded text stands verbatim in the training data, in {unit}s:"
    hint = "Point at it, or reach it by the tab key, to see where."
    return tag("p", words, marks, f". {hint}")


def _ranges(steps: list[int]) -> list[str]:
    if not steps:
        return ["any"]
    between = [
        str(start) if start == stop - 1 else f"{start} to {stop - 1}"
        for start, stop in itertools.pairwise(steps)
    ]
    return [f"up to {steps[0] - 1}", *between, f"{steps[-1]} or more"]
