"""Quality against diversity, by temperature: which of several systems that write text is ahead.

A temperature trades one for the other, so a single number of each tells nothing: of two systems the
better one is that whose curve lies ahead (Caccia et al., 2018). Two pairs of measures are drawn:
forward and backward cross-entropy, and BLEU and self-BLEU as Texygen has them (Zhu et al., 2018),
against all held-out texts and among all generated ones.

Letters: M points, N points of a curve, S straight pieces between these.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np

from creagen_jax.creativity import catalogue, ngrams, plots, text
from creagen_jax.creativity.bleu import bleu, self_bleu
from creagen_jax.creativity.estimate import Estimate, exact, ratio
from creagen_jax.creativity.page import Markup, page, table, tag
from creagen_jax.creativity.report import hint, shown
from creagen_jax.creativity.showcase import masked
from creagen_jax.creativity.words import number
from creagen_jax.types import UserError

REAL = "real data"  # the system that training texts stand for
TOKEN = re.compile(r"\w+|[^\w\s]")  # words and signs
ORDERS = range(2, 6)  # of BLEU
SAMPLES = 8  # texts that are shown of each point
PLANES = {  # what stands for quality and for diversity
    "forward and backward cross-entropy": ("heldout_forward", "heldout_backward"),
    "BLEU-5 and self-BLEU-5": ("bleu_5", "self_bleu_5"),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """The texts of a system at one temperature."""

    system: str
    temperature: float | None  # None: of real data
    metrics: dict[str, Estimate]  # by the names of `catalogue.METRICS`
    samples: list[str]  # the first ones, masked


def frontier(
    systems: Mapping[str, Mapping[float, Sequence[str]]],
    *,
    train: Sequence[str],
    heldout: Sequence[str],
    words: bool,
    seed: int = 0,
) -> list[Row]:
    """A row for each system and temperature, ascending, and one for real data.

    systems: texts by temperature by name; train: training texts, which stand for real data; words:
    tokens are words and signs, else characters. All sets are cut to the size of the smallest one,
    for self-BLEU grows with it. Raises UserError for a system called "real data" and where there
    are no texts to compare.
    """
    if REAL in systems:
        raise UserError(f"no system may be called '{REAL}'")
    order = np.random.default_rng(seed).permutation(len(train))
    sets: dict[tuple[str, float | None], Sequence[str]] = {
        (name, at): by_temperature[at]
        for name, by_temperature in systems.items()
        for at in sorted(by_temperature)
    }
    sets[REAL, None] = [train[i] for i in order]
    size = min(map(len, sets.values()))
    if not size or not heldout:
        raise UserError("a frontier needs training, held-out and generated texts")

    real = tokens(heldout, words)
    known = sorted(set().union(*real, *tokens(train, words)))
    ids = {token: i for i, token in enumerate(known, 1)}  # 0 stands for any other
    how = {"vocabulary": len(ids) + 1, "order": text.PHRASES if words else text.CHARACTERS}
    real_ids = _encode(real, ids)
    judge = ngrams.fit(real_ids, **how)

    def row(system: str, temperature: float | None, texts: Sequence[str]) -> Row:
        items = tokens(texts, words)
        own_ids = _encode(items, ids)
        backward = ratio(*ngrams.score(ngrams.fit(own_ids, **how), real_ids), seed=seed)
        metrics = {
            "heldout_forward": ratio(*ngrams.score(judge, own_ids), seed=seed),
            "heldout_backward": dataclasses.replace(backward, n=size, n_ref=len(real)),
            "distinct_texts": exact(len(set(texts)) / size, n=size),
        }
        for n in ORDERS:
            bleu_N = bleu(items, real, n=n)
            metrics[f"bleu_{n}"] = ratio(bleu_N, np.ones(size), seed=seed, n_ref=len(real))
            metrics[f"self_bleu_{n}"] = self_bleu(items, n=n, seed=seed)
        return Row(system, temperature, metrics, [masked(each) for each in texts[:SAMPLES]])

    return [row(*key, texts[:size]) for key, texts in sets.items()]


def tokens(texts: Sequence[str], words: bool) -> list[list[str]]:
    """Words and signs as they are written, or characters."""
    return [TOKEN.findall(each) if words else list(each) for each in texts]


def _encode(items: Sequence[Sequence[str]], ids: Mapping[str, int]) -> list[list[int]]:
    return [[ids.get(token, 0) for token in item] for item in items]


# --- which is ahead ------------------------------------------------------------------------------


def dominated(points_M2: np.ndarray, curve_N2: np.ndarray) -> np.ndarray:
    """Which points [M] bool a curve makes needless: somewhere on the straight pieces between its
    points it is as good in both numbers and better in one. Small numbers are good.
    """
    start_S2, end_S2 = (curve_N2[:-1], curve_N2[1:]) if len(curve_N2) > 1 else (curve_N2, curve_N2)
    step_S2 = end_S2 - start_S2
    room_MS2 = points_M2[:, None] - start_S2
    # A place t of 0 .. 1 on a piece is as good if t * step <= room in both numbers.
    with np.errstate(divide="ignore", invalid="ignore"):
        bound_MS2 = room_MS2 / step_S2
    low_MS = np.where(step_S2 < 0, bound_MS2, 0).max(-1, initial=0)
    high_MS = np.where(step_S2 > 0, bound_MS2, 1).min(-1, initial=1)
    possible_MS = (low_MS <= high_MS) & ((step_S2 != 0) | (room_MS2 >= 0)).all(-1)
    # What is left over is linear in t: if it is nowhere above 0 at the ends, it is nowhere.
    better_MS = [(room_MS2 - t_MS[..., None] * step_S2 > 0).any(-1) for t_MS in (low_MS, high_MS)]
    return (possible_MS & np.any(better_MS, axis=0)).any(-1)


def ahead(points_M2: np.ndarray, curve_N2: np.ndarray) -> np.ndarray:
    """Which points [M] bool make a part of a curve needless, and are not needless themselves.

    A point that is neither ahead nor dominated lies beyond the ends of the curve.
    """
    return dominated(-points_M2, -curve_N2) & ~dominated(points_M2, curve_N2)


def verdict(
    rows: Sequence[Row], system: str, rival: str, *, what: str = "The adversarial phase"
) -> list[str]:
    """Whether `what`, which made `system` of `rival`, helped: a sentence for each of PLANES.

    It helped clearly if a point is ahead even when each interval of the system has its worst end,
    and those of the rival their best.
    """
    mine, theirs = ([row for row in rows if row.system == name] for name in (system, rival))
    return [_verdict(mine, theirs, plane, what) for plane in PLANES]


def _verdict(mine: list[Row], theirs: list[Row], plane: str, what: str) -> str:
    names = PLANES[plane]
    mine, theirs = ([row for row in rows if _known(row, names)] for rows in (mine, theirs))
    if not mine or not theirs:
        return f"Whether {what[0].lower()}{what[1:]} helped by {plane} cannot be told."
    system, rival = mine[0].system, theirs[0].system
    points, curve = _points(mine, names, 0), _points(theirs, names, 0)
    leads = ahead(points, curve)
    clear = ahead(_points(mine, names, 1), _points(theirs, names, -1))
    beyond = ~leads & ~dominated(points, curve)
    if clear.any():
        at = _temperatures(mine, clear)
        return f"{what} helped by {plane}: {rival} never does as well as {system} at {at}."
    if leads.any():
        at = _temperatures(mine, leads)
        return (
            f"{what} may have helped by {plane}: {rival} never does as well as {system} at {at}, "
            "but the intervals overlap."
        )
    if beyond.any():
        at = _temperatures(mine, beyond)
        return (
            f"{what} did not help by {plane}, as far as it can be told: {system} at {at} lies "
            f"beyond the temperatures of {rival}."
        )
    return (
        f"{what} did not help by {plane}: whatever the temperature of {system}, {rival} does as "
        "well or better at another."
    )


def _known(row: Row, names: Sequence[str]) -> bool:
    return all(row.metrics[name].value is not None for name in names)


def _points(rows: Sequence[Row], names: Sequence[str], end: int) -> np.ndarray:
    """[len(rows), 2], small numbers good: values, or the worst (1) or the best (-1) ends."""
    out = []
    for row in rows:
        for name in names:
            sign = -1 if catalogue.metric(name).better == "higher" else 1
            each = row.metrics[name]
            # The end 1 is at 1 of these, -1 at the last; turned around, the other way.
            out.append(sign * (each.value, each.high, each.low)[sign * end])
    return np.array(out).reshape(-1, len(names))


def _temperatures(rows: Sequence[Row], chosen: np.ndarray) -> str:
    listed = [f"{row.temperature:g}" for row, yes in zip(rows, chosen, strict=True) if yes]
    return "temperature " + " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))


def line(row: Row) -> str:
    """The first measures of a row, and how many of its texts are distinct, in one line."""
    at = "" if row.temperature is None else f"temperature {row.temperature:g}"
    names = (*itertools.chain(*PLANES.values()), "distinct_texts")
    values = (f"{name} {_told(row.metrics[name])}" for name in names)
    return f"{' '.join(filter(None, (row.system, at)))}: {', '.join(values)}"


def _told(estimate: Estimate) -> str:
    return "undetermined" if estimate.value is None else number(estimate.value)


# --- page ----------------------------------------------------------------------------------------


def render(title: str, rows: Sequence[Row], *, sentences: Sequence[str] = ()) -> str:
    """The whole HTML file, of rows as `frontier` makes them."""
    sections = {
        "Quality against diversity": _figures(rows),
        "By temperature": _table(rows),
        "Samples": [_samples(row) for row in rows],
    }
    return page(
        title,
        "Quality and diversity",
        " ".join(sentences),
        sections,
        warnings=[],
        foot="Intervals are 95 %.",
    )


def _figures(rows: Sequence[Row]) -> Markup:
    return tag(
        "div",
        [tag("figure", _figure(rows, names), tag("figcaption", _caption(names)))
         for names in PLANES.values()],
        class_="figures",
    )  # fmt: skip


def _figure(rows: Sequence[Row], names: tuple[str, str]) -> Markup:
    curves: dict[str, list[tuple[str, Estimate, Estimate]]] = {}
    for row in rows:
        if _known(row, names):
            label = "" if row.temperature is None else f"{row.temperature:g}"
            point = (label, *(row.metrics[name] for name in names))
            curves.setdefault(row.system, []).append(point)
    titles = [catalogue.metric(name).title for name in names]
    return plots.frontier(curves, *titles, name=names[0].replace("_", "-"))


def _caption(names: Sequence[str]) -> str:
    ways = [f"{entry.title}: {entry.better} is better" for entry in map(catalogue.metric, names)]
    return f"{'; '.join(ways)}. Numbers are temperatures, crosses intervals."


def _table(rows: Sequence[Row]) -> Markup:
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    head = ["System", "Temperature"]
    head += [[tag("div", catalogue.metric(name).title), hint(name, "token")] for name in names]
    body = [
        [
            row.system,
            "" if row.temperature is None else f"{row.temperature:g}",
            *(shown(row.metrics[name]) for name in names),
        ]
        for row in rows
    ]
    count = max(each.n for row in rows for each in row.metrics.values())
    caption = f"{count:,} texts of each; self-BLEU compares with sets of the same number only."
    return table(caption, head, body, class_="numbers")


def _samples(row: Row) -> Markup:
    label = row.system if row.temperature is None else f"{row.system}, {row.temperature:g}"
    texts = [tag("li", tag("p", each, class_="text", dir="auto"), class_="item")
             for each in row.samples]  # fmt: skip
    return tag("details", tag("summary", label), tag("ul", texts, class_="items"))
