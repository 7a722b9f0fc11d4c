"""Several reports on one page: a sweep of a setting, the checkpoints of a run, several runs."""

from __future__ import annotations

from collections.abc import Sequence

from creagen_jax.creativity import catalogue, gallery, plots
from creagen_jax.creativity.estimate import Estimate, difference
from creagen_jax.creativity.page import Markup, page, table, tag
from creagen_jax.creativity.record import AXES, Report
from creagen_jax.creativity.report import hint, shown, track
from creagen_jax.creativity.words import brief

Rows = Sequence[tuple[str, Report]]  # reports by their labels

# Whether it does as it was told.
TOLD = ("label_accuracy", "recall_at_10", "exact_match", "error_rate", "chrf")
SAMPLES, PICTURES = 8, 10  # of each report, of texts and of pictures


def render(
    title: str,
    rows: Rows,
    *,
    sentences: Sequence[str] = (),
    x: Sequence[float] | None = None,
    x_title: str = "",
    mark: tuple[float, str] | None = None,
) -> str:
    """The whole HTML file, of at least one labelled report.

    With `x`, the settings or steps of the reports, the profile is drawn against them, and `mark`
    points out one of them, such as (onset(...), "copying begins"). Without, the reports are
    compared with the first one.
    """
    sections = {}
    if x is not None:
        order = sorted(range(len(x)), key=lambda i: x[i])
        x, rows = [x[i] for i in order], [rows[i] for i in order]
        sections[f"Profile by {x_title}"] = _figures(rows, x, x_title, mark)
    sections["Side by side"] = _side_by_side(rows, x_title or "report")
    if x is None and len(rows) > 1:
        sections[f"Differences to {rows[0][0]}"] = _differences(rows)
    sections["Samples"] = _samples(rows, x_title)
    return page(
        title,
        "Creativity compared",
        " ".join(sentences),
        sections,
        warnings=_warnings(rows),
        foot="Intervals are 95 %. The report of each has its definitions, caveats and protocol.",
    )


def onset(x: Sequence[float], novelty: Sequence[Estimate]) -> float | None:
    """The x from which on all intervals lie below 1, the novelty of held-out data.

    Along training this is where copying begins. Undetermined estimates are passed over; None if the
    last one does not lie below 1.
    """
    first = None
    for place, estimate in sorted(zip(x, novelty, strict=True), key=lambda pair: -pair[0]):
        if estimate.value is not None:
            if estimate.high >= 1:
                break
            first = place
    return first


def _figures(rows: Rows, x, x_title: str, mark) -> Markup:
    labels, profiles = [label for label, _ in rows], [report.profile for _, report in rows]
    lines = plots.settings(x, profiles, x_title=x_title, mark=mark)
    points = plots.plane(labels, profiles)
    captions = (
        "1 is held-out data; the bands are intervals.",
        "Up and to the right is better; the crosses are intervals.",
    )
    figures = zip((lines, points), captions, strict=True)
    return tag(
        "div",
        [tag("figure", drawing, tag("figcaption", caption)) for drawing, caption in figures],
        class_="figures",
    )


def _samples(rows: Rows, what: str) -> Markup | list[Markup]:
    """The first samples of each report: texts to be opened, pictures below one another."""
    firsts = {label: report.gallery.unselected for label, report in rows}
    shown = [item for items in firsts.values() for item in items[:PICTURES]]
    if any(item.picture for item in shown):
        body = [[label, gallery.strip(items[:PICTURES])] for label, items in firsts.items()]
        caption = "The first samples of each, good or bad; those of one seed below one another."
        return table(
            caption + gallery.frames(shown), [(what or "report").capitalize(), "Samples"], body
        )
    return [
        tag(
            "details",
            tag("summary", label),
            gallery.cards(report.gallery.unselected[:SAMPLES], report.unit),
        )
        for label, report in rows
    ]


def _side_by_side(rows: Rows, what: str) -> Markup:
    told = [name for name in TOLD if name in rows[0][1].metrics]
    titles = [catalogue.metric(name).title for name in told]
    head = [what.capitalize(), *_main(rows[0][1]), *titles]
    body = [
        [
            label,
            *([brief(each), track(each)] for each in _main(report).values()),
            *(shown(report.metrics[name]) if name in report.metrics else "" for name in told),
        ]
        for label, report in rows
    ]
    caption = "Each scale goes from 0 to 1, the value of held-out data."
    return table(caption, head, body)


def _differences(rows: Rows) -> Markup:
    """Each measure that the first report has, minus in the others."""
    first, *others = [{**_main(report), **report.metrics} for _, report in rows]
    body = []
    for name, estimate in first.items():
        heading = [tag("div", catalogue.metric(name).title), hint(name, rows[0][1].unit)]
        body.append([heading, *(_difference(other.get(name), estimate) for other in others)])
    caption = (
        "Intervals take the reports for independent (Zou and Donner, 2008). Bold: the interval "
        "leaves out 0; of twenty equal measures one does so by chance."
    )
    return table(caption, ["Measure", *(label for label, _ in rows[1:])], body, class_="numbers")


def _difference(other: Estimate | None, first: Estimate) -> Markup | str:
    if other is None:
        return ""
    change = difference(other, first)
    if change.value is None or change.low <= 0 <= change.high:
        return shown(change)
    return tag("b", shown(change))


def _main(report: Report) -> dict[str, Estimate]:
    """The axes and Creative Yield, by their headings."""
    values = {axis.capitalize(): report.profile[axis] for axis in AXES}
    return {**values, "Creative Yield": report.creative_yield.shown}


def _warnings(rows: Rows) -> list[str]:
    """Each warning once, with the labels of the reports that have it."""
    holders: dict[str, list[str]] = {}
    for label, report in rows:
        for warning in report.warnings:
            holders.setdefault(warning, []).append(label)
    return [
        warning if len(labels) == len(rows) else f"{', '.join(labels)}: {warning}"
        for warning, labels in holders.items()
    ]
