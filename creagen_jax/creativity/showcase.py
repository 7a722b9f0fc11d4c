"""What a reader of a report on texts should see: samples, what they copy, how new they are.

Everything that is shown is masked: no text leaves here with personal data in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from creagen_jax.creativity import originality, privacy, suffix, text
from creagen_jax.creativity.distances import nearest
from creagen_jax.creativity.record import Curve, Gallery, Item, Neighbours, Private, Span

LONGEST = 16  # units: the novelty curve shows n-grams up to here
UNSELECTED, CHOSEN, PAIRS = 24, 12, 10  # items in the parts of the gallery, if they are short,
LONG = 200  # characters of a text that is long: there is a third of them then
AROUND = 60  # characters of the source before and after a copied span
MARGIN = 4000  # characters beyond them that are searched for personal data: a private key has 3300
EXAMPLES = 5  # of personal data of a kind


def novelty_curve(y: text.Yardstick, texts: Sequence[str]) -> list[float | None]:
    """The share of n-grams of units that the training texts do not have, n = 1 .. LONGEST."""
    matches = suffix.match(y.index, text.units_of(y, texts).ids)
    novel, total = (part.sum(0) for part in originality.novel_ngrams(matches, n_max=LONGEST))
    return [float(a / b) if b else None for a, b in zip(novel, total, strict=True)]


def curve(series: dict[str, list[float | None]]) -> Curve:
    """Novelty curves by name."""
    return Curve(list(map(float, range(1, LONGEST + 1))), series)


# --- personal data -------------------------------------------------------------------------------


def private(texts: Sequence[str], documents: Sequence[str]) -> list[Private]:
    """The personal data in generated texts, by kind, and whether the training texts hold them."""

    def documents_with(value: str) -> int:
        # ann@a.org is not in joann@a.org; the plain search goes first because it is faster.
        whole = re.compile(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])")
        return sum(value in each and bool(whole.search(each)) for each in documents)

    traced = privacy.trace(privacy.screen(texts), texts, documents_with=documents_with)
    found = []
    for kind in dict.fromkeys(each.hit.kind for each in traced):
        hits = [each for each in traced if each.hit.kind == kind]
        status = [each.status for each in hits]
        found.append(
            Private(
                kind,
                *(status.count(name) for name in ("leaked", "rare", "invented")),
                examples=list(dict.fromkeys(each.hit.masked for each in hits))[:EXAMPLES],
            )
        )
    return found


def alarms(found: Sequence[Private]) -> list[str]:
    """A warning for each kind of personal data that stands in the training texts."""
    return [
        f"{each.leaked + each.rare} generated pieces of personal data ({each.kind}) stand word for "
        "word in the training data"
        for each in found
        if each.leaked + each.rare
    ]


def masked(shown: str) -> str:
    """The text, of the same length, with its personal data masked."""
    return privacy.mask_text(shown, privacy.screen([shown]))


# --- gallery -------------------------------------------------------------------------------------


def gallery(
    y: text.Yardstick,
    texts: Sequence[str],
    labels: Sequence[str] = (),
    *,
    exhibit: Callable[[int], dict[str, str]] | None = None,
    exhibit_real: Callable[[str], dict[str, str]] | None = None,
    seed: int = 0,
) -> Gallery:
    """The first texts; and, each only once, the most copied, the most surprising valid ones, and
    rejects. What gives the fields of an item that show or play it: `exhibit`, by its number, and
    `exhibit_real`, of a real text."""
    units = text.units_of(y, texts)
    matches = suffix.match(y.index, units.ids)
    seen = text.tests(y, texts)
    reasons = [[]] * len(texts) if y.limits is None else text.faults(y, texts, seen)

    def item(i: int, reason: str = "") -> Item:
        spans = originality.copied_spans(matches[i], y.index, minimum=y.usual)
        return Item(
            text=masked(texts[i]),
            spans=[_span(y, units, i, span) for span in spans],
            marks=["in training data"] * bool(seen.whole[i]),
            label=labels[i] if labels else "",
            reason=reason,
            **(exhibit(i) if exhibit else {}),
        )

    divisor = 3 if texts and np.median([len(each) for each in texts]) > LONG else 1
    unselected, chosen, pairs = (most // divisor for most in (UNSELECTED, CHOSEN, PAIRS))
    once = sorted({texts[i]: i for i in reversed(range(len(texts)))}.values())
    by_copy = sorted(once, key=lambda i: (-seen.copied[i], -seen.span[i]))
    new = [i for i in once if not reasons[i] and not seen.whole[i]]
    by_surprise = sorted(new, key=lambda i: -seen.spelling[i])
    rejected = np.random.default_rng(seed).permutation([i for i in once if reasons[i]])
    return Gallery(
        unselected=[item(i, ", ".join(reasons[i])) for i in range(min(len(texts), unselected))],
        copied=_neighbours(y, texts, by_copy[:pairs], item, seen, exhibit_real),
        rarest=[item(i) for i in by_surprise[:chosen]],
        rejects=[item(i, ", ".join(reasons[i])) for i in rejected[:chosen]],
    )


def _neighbours(y, texts, chosen: list[int], item, seen: text.Tests, exhibit) -> list[Neighbours]:
    features_ND = y.features([texts[i] for i in chosen])

    def real(found: str) -> Item:
        return Item(masked(found), **(exhibit(found) if exhibit else {}))

    def closest(pool: Sequence[str], pool_PD: np.ndarray) -> list[Item | None]:
        if not len(pool) or not chosen:
            return [None] * len(chosen)
        return [real(pool[j]) for j in nearest(features_ND, pool_PD)[1][:, 0]]

    train, heldout = closest(y.trained, y.trained_PD), closest(y.reference, y.features(y.reference))
    usual = y.usual_copied
    below = [
        None if usual is None else 100 * np.searchsorted(usual, seen.copied[i]) / len(usual)
        for i in chosen
    ]
    pairs = zip(chosen, train, heldout, below, strict=True)
    return [Neighbours(item(i), *rest) for i, *rest in pairs]


def _span(y: text.Yardstick, units: text.Texts, i: int, span: originality.Span) -> Span:
    return Span(
        start=int(units.start[i][span.start]),
        stop=int(units.stop[i][span.stop - 1]),
        length=span.stop - span.start,
        source=_source(y, span),
        document=span.document,
        occurrences=span.occurrences,
    )


def _source(y: text.Yardstick, span: originality.Span) -> str:
    """The training text around a copied span."""
    document = y.documents[span.document]
    first = span.offset - int(y.index.starts[span.document])  # units of the document
    start = int(y.units.start[span.document][first])
    stop = int(y.units.stop[span.document][first + span.stop - span.start - 1])
    low, high = max(start - AROUND, 0), stop + AROUND
    wide = max(low - MARGIN, 0)
    return masked(document[wide : high + MARGIN])[low - wide :][: high - low]
