"""How much of each item stands word for word in the training data, by its longest matches.

All of it comes from one look-up, `suffix.match(index, items)`. An item is one row of symbols, with
the delimiters that the model had to write; items may be of any length, also empty.

Letters: N items, n symbols of an item, D documents of the index.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import stats

from creagen_jax.creativity.estimate import CONFIDENCE, Estimate, exact, ratio, undetermined
from creagen_jax.creativity.suffix import Index, Match, document_of
from creagen_jax.types import UserError

LONG = 50  # symbols: a copy that no chance explains (Carlini et al., 2023, use 50 tokens)


@dataclasses.dataclass(frozen=True)
class Span:
    """Part of an item that a document of the index holds: as long as possible to both sides."""

    start: int  # item[start:stop]
    stop: int
    document: int  # one of those that hold it
    offset: int  # the same text is at Index.symbols[offset : offset + stop - start]
    occurrences: int  # in all documents


@dataclasses.dataclass(frozen=True)
class SpanSummary:
    """The longest copied span of each item, in symbols, over all items."""

    median: Estimate
    p95: Estimate  # 95 of 100 items have none longer
    maximum: Estimate
    inside: Estimate  # share of all symbols in copied spans of LONG symbols or more


# --- before and after matching -------------------------------------------------------------------


def normalise(text: str) -> str:
    """The text without what a near-verbatim copy changes: case, digits, punctuation, spacing.

    Unicode NFKC and case folding; digits become 0; runs of punctuation, symbols and white space
    become one space; invisible format characters (category Cf) go.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    table = {}
    for character in set(folded):
        category = unicodedata.category(character)
        if category == "Nd":
            table[ord(character)] = "0"
        elif category[0] in "PSZ":
            table[ord(character)] = " "
        elif category == "Cf":
            table[ord(character)] = ""
    return " ".join(folded.translate(table).split())


def copied_whole(matches: Sequence[Match]) -> np.ndarray:
    """[N] bool: the item as a whole, delimiters included, is part of one document."""
    return np.array([len(m.length) > 0 and m.length[0] == len(m.length) for m in matches], bool)


# --- copied spans --------------------------------------------------------------------------------


def cover(length_n: np.ndarray) -> np.ndarray:
    """[n]: the length of the longest copied span that contains each position, 0 if none does.

    `length_n` is that of a `Match`. Where matches end never decreases along an item, so the maximal
    spans that contain a position are neighbours; the longest of each such range comes from ranges
    of 1, 2, 4 ... spans.
    """
    position_n = np.arange(len(length_n))
    starts = _maximal(length_n, minimum=1)
    longest = length_n[starts]
    first_n = np.searchsorted(starts + longest, position_n, side="right")
    last_n = np.searchsorted(starts, position_n, side="right") - 1
    spans_n = last_n - first_n + 1
    cover_n, width = np.zeros(len(length_n), np.int64), 1
    while width <= spans_n.max(initial=0):
        at = np.flatnonzero((width <= spans_n) & (spans_n < 2 * width))
        cover_n[at] = np.maximum(longest[first_n[at]], longest[last_n[at] - width + 1])
        longest = np.maximum(longest[:-width], longest[width:])
        width *= 2
    return cover_n


def covers(matches: Sequence[Match]) -> list[np.ndarray]:
    """`cover` of each item, all at once: no span crosses from one item into the next."""
    lengths = [match.length for match in matches]
    ends = np.cumsum([len(length) for length in lengths], dtype=np.int64)
    return np.split(cover(np.concatenate(lengths)), ends[:-1]) if lengths else []


def copied_spans(match: Match, index: Index, *, minimum: int) -> list[Span]:
    """All copied spans of at least `minimum` symbols that lie in no longer one, in their order.

    They may overlap. UserError: a minimum below 1.
    """
    if minimum < 1:
        raise UserError(f"a copied span has at least 1 symbol, not {minimum}")
    starts = _maximal(match.length, minimum=minimum)
    length, place = match.length[starts], match.place[starts]
    occurrences = (match.high - match.low)[starts]
    columns = starts, starts + length, document_of(index, place), place, occurrences
    return [Span(*row) for row in np.stack(columns, axis=1).tolist()]


def _maximal(length_n: np.ndarray, *, minimum: int) -> np.ndarray:
    """Where the copied spans of at least `minimum` symbols start that lie in no longer one."""
    end_n = np.arange(len(length_n)) + length_n
    return np.flatnonzero((length_n >= minimum) & (np.diff(end_n, prepend=-1) > 0))


def longest_span(covers: Sequence[np.ndarray]) -> np.ndarray:
    """[N]: the length of each item's longest copied span, in symbols."""
    return np.array([cover_n.max(initial=0) for cover_n in covers], np.int64)


def span_summary(covers: Sequence[np.ndarray], *, seed: int = 0) -> SpanSummary:
    """The longest copied spans of all items, summed up."""
    length_N = longest_span(covers)
    if not len(length_N):
        nothing = undetermined("no items", n=0)
        return SpanSummary(nothing, nothing, nothing, nothing)
    return SpanSummary(
        median=_quantile(length_N, 0.5),
        p95=_quantile(length_N, 0.95),
        maximum=exact(length_N.max(), n=len(length_N)),
        inside=ratio(
            [(cover_n >= LONG).sum() for cover_n in covers],
            [len(cover_n) for cover_n in covers],
            seed=seed,
        ),
    )


def _quantile(values_N: np.ndarray, share: float) -> Estimate:
    """A quantile, and the order statistics that bound it whatever the distribution (Conover, 1999,
    section 3.2)."""
    n = len(values_N)
    value = np.quantile(values_N, share, method="inverted_cdf")
    low, high = stats.binom.interval(CONFIDENCE, n, share)
    note = "" if 0 < low <= high < n else f"{n} items do not bound this quantile to both sides"
    low, high = np.sort(values_N)[[max(int(low) - 1, 0), min(int(high), n - 1)]]
    return Estimate(value, low, high, "order statistics", n, note=note)


# --- novelty -------------------------------------------------------------------------------------


def novel_ngrams(matches: Sequence[Match], *, n_max: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Two [N, n_max]: how many n-grams of each item no document holds, and how many it has in all,
    for n = 1 .. n_max. An n-gram is new where the match is shorter than n."""
    sizes_N = np.array([len(match.length) for match in matches], np.int64)
    total = np.maximum(sizes_N[:, None] - np.arange(n_max), 0)
    copied = np.zeros((len(matches), n_max + 1), np.int64)
    for row, match in zip(copied, matches, strict=True):
        row += np.bincount(np.minimum(match.length, n_max), minlength=n_max + 1)
    # A match of m symbols holds one n-gram of each n up to m.
    return total - copied[:, :0:-1].cumsum(1)[:, ::-1], total


def novelty_curve(matches: Sequence[Match], *, n_max: int = 32, seed: int = 0) -> list[Estimate]:
    """The share of n-grams that no document holds, n = 1 .. n_max (McCoy et al., 2023; Merrill et
    al., 2024). Items are resampled."""
    novel, total = novel_ngrams(matches, n_max=n_max)
    return [
        ratio(novel[:, i], total[:, i], seed=seed)
        if total[:, i].any()
        else undetermined(f"no item has {i + 1} symbols", n=len(matches))
        for i in range(n_max)
    ]


def unique_shares(
    covers: Sequence[np.ndarray], *, low: int = 5, high: int = 12, whole: np.ndarray | None = None
) -> np.ndarray:
    """[N]: the share of an item's symbols outside all copied spans of L symbols or more, its mean
    over L = low .. high. An empty item has 0.

    `whole` [N] bool: items that are copied whole and so have no symbol of their own, whatever L;
    without it, copies of items shorter than L would pass for new. UserError: low < 1, low > high.
    """
    if not 1 <= low <= high:
        raise UserError(f"L runs from 1 or more upward, not from {low} to {high}")
    uncovered = [np.clip(high - np.maximum(cover_n, low - 1), 0, None) for cover_n in covers]
    share_N = np.array([part.sum() / max(len(part), 1) for part in uncovered]) / (high - low + 1)
    return share_N if whole is None else np.where(whole, 0, share_N)


def creativity_index(
    covers: Sequence[np.ndarray],
    *,
    low: int = 5,
    high: int = 12,
    whole: np.ndarray | None = None,
    seed: int = 0,
) -> Estimate:
    """The share of all symbols outside copied spans, mean over L = low .. high (Lu et al., 2025).

    With low = high = L it is their L-uniqueness.

    `whole` as in `unique_shares`. The score depends on low and high: name them beside it.
    """
    sizes_N = np.array([len(cover_n) for cover_n in covers], np.float64)
    share_N = unique_shares(covers, low=low, high=high, whole=whole)
    return ratio(share_N * sizes_N, sizes_N, seed=seed)


# --- train or held-out ---------------------------------------------------------------------------


def match_weights(index: Index, matches: Sequence[Match]) -> np.ndarray:
    """[D]: how many items have their longest match in each document of a pool.

    Documents that tie share an item equally; all documents do where nothing matches. So the
    weights sum to N, and exchanging the labels of documents moves weight between labels alone:
    with a pool of training and held-out documents, each only once, this is the nearest neighbour
    that the held-out-neighbour rate of text asks for.
    """
    lengths_D = np.diff(index.starts)
    document_S = np.repeat(np.arange(len(lengths_D)), lengths_D)
    weight_D = np.zeros(len(lengths_D))
    # Many items share a short match, so each distinct one is looked up once.
    for intervals, items in Counter(_longest(index, match) for match in matches).items():
        places = np.concatenate([index.suffixes[low:high] for low, high in intervals])
        tied = np.unique(document_S[places])
        weight_D[tied] += items / max(len(tied), 1)
    return weight_D


def _longest(index: Index, match: Match) -> frozenset[tuple[int, int]]:
    """The intervals of `Index.suffixes` of an item's longest matches."""
    length = match.length.max(initial=0)
    if length == 0:
        return frozenset([(0, len(index.suffixes))])  # the empty text is everywhere
    at = match.length == length
    return frozenset(zip(match.low[at].tolist(), match.high[at].tolist(), strict=True))
