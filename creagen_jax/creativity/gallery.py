"""The items of a report as HTML: what was generated, and what of it was copied from where."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from creagen_jax.creativity.page import Markup, tag
from creagen_jax.creativity.record import Gallery, Item, Neighbours, Span
from creagen_jax.creativity.words import number

LEVELS = 4  # shades of copied text
SHORT = 28  # characters of items that stand side by side
LARGE, SMALL = 96, 64  # CSS pixels: the height of a picture on a card, and in a grid
WIDE = 4


def render(gallery: Gallery, unit: str) -> list:
    """The parts of the gallery, each under its heading, and the legend of the shades."""
    items = [*gallery.unselected, *gallery.rarest, *gallery.rejects]
    items += [pair.item for pair in gallery.copied]
    steps = shades(items)
    pairs = [_pair(pair, steps, unit) for pair in gallery.copied]
    drawn = any(item.picture for item in items)
    first = "The first samples that were drawn, good or bad."
    first += frames(gallery.unselected) if drawn else ""
    parts = {
        "Unselected": (
            first,
            _grid(gallery.unselected) if drawn else _cards(gallery.unselected, steps, unit),
        ),
        "Most copied": (
            "The samples nearest to training data, beside the real items most like them.",
            tag("ul", pairs, class_="pairs drawn" if drawn else "pairs") if pairs else _none(),
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
    return [None if drawn else _legend(steps, unit)] + [
        [tag("h3", title), tag("p", what, class_="soft"), body]
        for title, (what, body) in parts.items()
    ]


def cards(items: list[Item], unit: str) -> Markup:
    """Items on their own."""
    return _cards(items, shades(items), unit)


def _cards(items: list[Item], steps: list[int], unit: str) -> Markup:
    if not items:
        return _none()
    inside = [tag("li", _body(item, steps, unit), class_="item") for item in items]
    short = not any(map(_long, items))
    kind = " drawn" if any(item.picture for item in items) else " short" if short else ""
    return tag("ul", inside, class_=f"items{kind}")


def _none() -> Markup:
    return tag("p", "None.", class_="empty")


def _pair(pair: Neighbours, steps: list[int], unit: str) -> Markup:
    drawn = bool(pair.item.picture)
    notes = []
    if pair.percentile is not None:
        how = "nearer to training data" if drawn else "copied more"
        notes = [f"{how} than {number(pair.percentile)} % of held-out items"]
    sides = {"Nearest in training": pair.train, "Nearest in held-out": pair.heldout}
    columns = [("Generated", _body(pair.item, steps, unit, () if drawn else notes))]
    columns += [
        (title, _body(item, steps, unit) if item else _text("none"))
        for title, item in sides.items()
    ]
    parts = [tag("div", tag("h4", title), body) for title, body in columns]
    across = tag("p", notes, class_="notes") if drawn and notes else None  # columns are narrow
    return tag("li", parts, across, class_="pair")


def _body(item: Item, steps: list[int], unit: str, notes: Sequence[str] = ()) -> list:
    about = [tag("span", note) for note in [*_about(item), *notes]]
    # What can be heard stands for the text.
    shown = not item.sound and (item.text or item.source or not item.picture)
    return [
        _picture(item, LARGE) if item.picture else None,
        _text([*_given(item), *_shaded(item, steps, unit)]) if shown else None,
        tag("p", about, class_="notes") if about else None,
    ]


def _about(item: Item) -> list[str]:
    """All that is said of an item."""
    label = f"class {item.label}" if item.label and item.picture else item.label
    return [note for note in (label, _reference(item), *item.marks, item.reason) if note]


def _reference(item: Item) -> str:
    if not item.reference:
        return ""
    return "as the reference" if item.reference == item.text else f"reference: {item.reference}"


def _given(item: Item) -> list:
    """What the text was made from, before it."""
    if not item.source:
        return []
    return [tag("span", f"{item.source} →", class_="soft"), "\n" if _long(item) else " "]


def _long(item: Item) -> bool:
    """Whether an item takes more than a short line."""
    together = item.source + item.text
    return "\n" in together or len(together) > SHORT


def _text(content: str | list) -> Markup:
    return tag("p", content, class_="text", dir="auto")


# --- pictures ------------------------------------------------------------------------------------


def _grid(items: list[Item]) -> Markup:
    """Pictures side by side; of several classes, a row for each."""
    if not items:
        return _none()
    rows: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: _natural(item.label)):
        rows.setdefault(item.label, []).append(item)
    if len(rows) == 1:
        return strip(items)
    most, name = max(map(len, rows.values())), min(max(map(len, rows)), 12)
    inside = [tag("li", tag("b", label), strip(row)) for label, row in rows.items()]
    return tag("ul", inside, class_="rows", style=f"--most:{most};--name:{name}")


def strip(items: list[Item]) -> Markup:
    """Small pictures side by side."""
    return tag("div", [_picture(item, SMALL) for item in items], class_="strip")


def frames(items: list[Item]) -> str:
    """What can be done with a strip of these items, and what its frames mean."""
    flawed = any(item.reason for item in items)
    heard = " Press one to hear it." if any(item.sound for item in items) else ""
    return heard + (" A dashed frame: it does not count; point at it to see why." if flawed else "")


def _natural(label: str) -> str:
    """A key that sorts 10 behind 9."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), label)


def _picture(item: Item, side: int) -> Markup:
    """As large as whole multiples of its pixels allow, or shrunk, to a height, and at most WIDE
    times as wide."""
    with Image.open(io.BytesIO(base64.b64decode(item.picture.partition(",")[2]))) as image:
        width, height = image.size
    fit = min(side / height, WIDE * side / width)
    scale = int(fit) or fit
    about = ", ".join(_about(item))
    kinds = ["sharp"] * (scale >= 1) + ["flaw"] * bool(item.reason)
    image = tag(
        "img",
        src=item.picture,
        alt=about or "no class",
        title=about or None,
        width=max(round(width * scale), 1),
        height=max(round(height * scale), 1),
        class_=" ".join(kinds) or None,
    )
    if not item.sound:
        return image
    # The player appears where it is asked for: dozens of them would hide the pictures.
    play = tag("audio", controls="", preload="none", src=item.sound)
    return tag("details", tag("summary", image), play, class_="sound")


# --- copied text ---------------------------------------------------------------------------------


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
