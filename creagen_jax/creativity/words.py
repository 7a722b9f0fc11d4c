"""A report in words and numbers: sentences, and the summary for a terminal."""

from __future__ import annotations

from creagen_jax.creativity.catalogue import SCALES, metric
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.creativity.record import AXES, Counts, Report

COLUMNS = 100  # of the terminal
SCALE = 31  # characters between 0 and 1
WARNINGS = 3  # shown in the summary
TINY = 0.0005  # of a share
# Of outputs that can be right.
ASKED = ("exact_match", "error_rate", "chrf", "bleu", "recall_at_10")
LITTLE, MUCH = 0.9, 0.5  # of novelty: below them is copying in part, and for the most part


def number(value: float) -> str:
    """Three digits behind the point below 1, fewer above; whole numbers as such."""
    size = abs(value)
    if value == round(value):
        return f"{value:,.0f}"
    if size < 0.0005:
        return f"{value:.1e}"
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def interval(estimate: Estimate) -> str:
    """The 95 % interval, or the word for having none."""
    if estimate.method == "exact":
        return "exact"
    return f"{number(estimate.low)} to {number(estimate.high)}"


def brief(estimate: Estimate) -> str:
    """A value between 0 and 1 and its interval, or the word and the reason."""
    if estimate.value is None:
        return f"undetermined: {estimate.note}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def reason(estimate: Estimate) -> str:
    """The note, to be followed by a full stop."""
    return estimate.note.rstrip(".")


def percent(share: float) -> str:
    """Whole per cent; below one, tenths."""
    return f"{100 * share:.{1 if 0 < share < 0.01 else 0}f} %"


def sentence(axis: str, estimate: Estimate) -> str:
    """What an axis says."""
    if estimate.value is None:
        return f"Undetermined: {reason(estimate)}."
    zero, one = SCALES[axis]
    if estimate.low <= 0 and estimate.high >= 1:
        return f"It says nothing: the interval spans all from {zero} to {one}."
    if axis == "novelty":
        return _copies(estimate)
    if estimate.high >= 1:
        return f"Not to be told from {one}: the interval reaches 1."
    if estimate.low <= 0:
        return f"Not to be told from {zero}: the interval reaches 0."
    return f"{percent(estimate.value)} of the way from {zero} to {one}."


def _copies(novelty: Estimate) -> str:
    if novelty.high >= 1:
        most = f", which allows for {percent(1 - novelty.low)} of copies at most"
        shown = most if 1 - novelty.low >= TINY else ""
        return f"As new as held-out data: the interval reaches 1{shown}."
    low, high = percent(1 - novelty.high), percent(1 - novelty.low)
    return f"As if {percent(1 - novelty.value)} of the samples were copies ({low} to {high})."


def verdict(novelty: Estimate) -> str:
    """Whether it copies."""
    if novelty.value is None:
        return f"Whether it copies its training data cannot be told: {reason(novelty)}."
    if novelty.low <= 0 and novelty.high >= 1:
        return "Whether it copies its training data cannot be told: the interval is too wide."
    if novelty.high >= 1:
        return "There is no evidence that it copies its training data."
    if novelty.value >= LITTLE:
        return "It stays a little nearer to its training data than held-out data do."
    if novelty.value >= MUCH:
        return "It copies its training data in part."
    return "It mostly copies its training data."


def headline(report: Report) -> str:
    """The Creative Yield in words."""
    score = report.creative_yield
    if score.counts is None:
        return f"Creative Yield is undetermined: {reason(score.value)}."
    out = f"{_of(score.counts)} samples are valid, original and distinct"
    return out + (f"; of held-out items, {_of(score.heldout)}." if score.heldout else ".")


def answers(report: Report) -> str:
    """How right the outputs are, where they can be: in one sentence; else ""."""
    known = {name: report.metrics.get(name) for name in ASKED}
    told = [
        f"{metric(name).title} {number(each.value)} ({interval(each)})"
        for name, each in known.items()
        if each is not None and each.value is not None
    ]
    return f"{', '.join(told)}." if told else ""


def _of(counts: Counts) -> str:
    """As whole numbers of a hundred, if there are as many."""
    if counts.generated <= 100:
        return f"{counts.distinct} of {counts.generated}"
    return f"{round(100 * counts.distinct / counts.generated)} of 100"


def summary(report: Report) -> list[str]:
    """About ten lines of at most COLUMNS characters."""
    rows = {axis: report.profile[axis] for axis in AXES}
    rows["creative yield"] = report.creative_yield.shown
    lines = [report.title]
    lines += [f"{name:15} {_scale(each)} {brief(each)}" for name, each in rows.items()]
    worst = f"; the lowest axis is {report.composite.worst}" if report.composite.worst else ""
    lines += [f"{'composite':{SCALE + 18}} {brief(report.composite.value)}{worst}"]
    lines += [answers(report)] if answers(report) else []
    lines += [headline(report), verdict(report.profile["novelty"])]
    lines += [f"warning: {each}" for each in report.warnings[:WARNINGS]]
    if len(report.warnings) > WARNINGS:
        lines += [f"and {len(report.warnings) - WARNINGS} more warnings"]
    return [line if len(line) <= COLUMNS else f"{line[: COLUMNS - 4]} ..." for line in lines]


def _scale(estimate: Estimate) -> str:
    """The value and its interval between 0 and 1."""
    if estimate.value is None:
        return f"|{' ' * SCALE}|"
    low, value, high = (
        round(min(max(each, 0), 1) * (SCALE - 1))
        for each in (estimate.low, estimate.value, estimate.high)
    )
    marks = ["=" if low <= i <= high else "-" for i in range(SCALE)]
    marks[value] = "o"
    return f"|{''.join(marks)}|"
