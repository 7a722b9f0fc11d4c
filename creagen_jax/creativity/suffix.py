"""One suffix array over many documents: where a text, or any part of it, occurs in a corpus.

A suffix is named by the position in the corpus at which it starts. In alphabetical order suffixes
that begin alike are neighbours, so the places of a text are an interval of that order, and the
interval of a text follows from those of its two halves (Manber and Myers, 1993).

Letters: D documents, S symbols of the corpus with their separators, Q those of all queries,
P positions looked at together.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from creagen_jax.types import UserError

SEPARATOR = -1  # after each document: smaller than every symbol, equal to none and to no other
LARGEST = 2**31 - 1  # int32


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """Documents of whole numbers, and all their suffixes in alphabetical order."""

    symbols: np.ndarray  # [S] int32: the documents, a separator after each
    starts: np.ndarray  # [D+1] int64: document d is symbols[starts[d] : starts[d + 1] - 1]
    suffixes: np.ndarray  # [S] int32: where each suffix starts, in alphabetical order
    ranks: np.ndarray  # [S] int32: the inverse: position p is suffixes[ranks[p]]
    alphabet: np.ndarray  # [A] int32: the distinct symbols, sorted
    heads: np.ndarray  # [A+1] int64: suffixes[heads[a] : heads[a + 1]] begin with alphabet[a]


@dataclasses.dataclass(frozen=True, eq=False)
class Match:
    """For each position of a query, the longest text from there on that some document holds.

    The lengths are known as matching statistics (Chang and Lawler, 1994).
    """

    length: np.ndarray  # [n] int64, symbols; 0: no document holds even the first one
    place: np.ndarray  # [n] int64: a position in `Index.symbols` where the text occurs
    low: np.ndarray  # [n] int64: suffixes[low:high] are all the positions where it occurs
    high: np.ndarray  # [n] int64


# --- building ------------------------------------------------------------------------------------


def build(documents: Sequence[np.ndarray | str]) -> Index:
    """The index of documents, each a row of symbols >= 0 or a string, which means its code points.

    It takes 12 bytes a symbol, and about 60 while it is built. UserError: not whole numbers,
    negative ones, more than 2^31 symbols.
    """
    symbols, starts = _concatenate(documents)
    suffixes, ranks = _sort(symbols, starts)
    alphabet, counts = np.unique(symbols[symbols != SEPARATOR], return_counts=True)
    heads = len(documents) + np.append(0, np.cumsum(counts))  # separators come first
    return Index(symbols, starts, suffixes, ranks, alphabet, heads)


def _concatenate(texts: Sequence[np.ndarray | str]) -> tuple[np.ndarray, np.ndarray]:
    """The symbols of all texts, a separator after each; where each text starts, and the end."""
    rows = [_code_points(text) if isinstance(text, str) else np.asarray(text) for text in texts]
    lengths = np.array([len(row) for row in rows], np.int64)
    starts = np.append(0, np.cumsum(lengths + 1))
    if starts[-1] > LARGEST:
        raise UserError(f"{starts[-1]} symbols are too many for one suffix array")
    rows = [row for row in rows if len(row)]  # NumPy takes an empty list for floats
    flat = np.concatenate(rows) if rows else np.zeros(0, np.int32)
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise UserError("a document is a string or one row of whole numbers")
    if len(flat) and (flat.min() < 0 or flat.max() >= LARGEST):
        raise UserError(f"a symbol is 0 or more and below {LARGEST}: {flat.min()}, {flat.max()}")
    symbols = np.full(starts[-1], SEPARATOR, np.int32)
    symbols[np.arange(len(flat)) + np.repeat(np.arange(len(lengths)), lengths)] = flat
    return symbols, starts


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.int32)


def _sort(symbols: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Suffixes in alphabetical order, and the rank of each: prefix doubling.

    While `width` symbols are compared, those that agree share a rank: the first place of their
    group. What follows them `width` symbols later sorts each group, and only groups of two or more
    are sorted again (Larsson and Sadakane, 2007).
    """
    suffixes, first, width = _sort_heads(symbols, starts)
    ranks = np.empty(len(symbols), np.int32)
    places = np.arange(len(symbols))  # in `suffixes`, of those in groups of two or more
    group = suffixes
    while True:
        ranks[group] = places[np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))]
        places = places[~(first & np.append(first[1:], True))]
        if not len(places):
            return suffixes, ranks
        group = suffixes[places]
        # A separator ends all doubt, so suffixes still in doubt go on for `width` symbols at least.
        key = ranks[group] * np.int64(len(symbols)) + ranks[group + width]
        order = np.argsort(key)
        group, key = group[order], key[order]
        suffixes[places] = group
        first = np.append(True, key[1:] != key[:-1])
        width *= 2


def _sort_heads(symbols: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Suffixes sorted by as many of their first symbols as one integer holds; whether each differs
    from the one before; the number of these symbols."""
    size = len(symbols)
    bits = (int(symbols.max(initial=0)) + 1).bit_length()
    width = 63 // bits
    key = np.zeros(size, np.int64)
    for i in range(width):
        key <<= bits
        key[: max(size - i, 0)] |= symbols[i:] + 1
    left = np.repeat(starts[1:] - 1, np.diff(starts)) - np.arange(size)  # to the separator
    beyond = bits * np.maximum(width - left, 0)
    key = key >> beyond << beyond
    suffixes = np.argsort(key, kind="stable").astype(np.int32)  # separators: by their positions
    key = key[suffixes]
    first = np.append(True, key[1:] != key[:-1])[:size] | (left[suffixes] < width)
    return suffixes, first, width


# --- looking up ----------------------------------------------------------------------------------


def match(index: Index, queries: Sequence[np.ndarray | str]) -> list[Match]:
    """The longest match at every position of every query, all of them at once.

    Each position takes the longest text of 1, 2, 4 ... symbols that occurs, and then what fits of
    the shorter ones behind it: L symbols in O(log L) binary searches. Symbols as in `build`.
    """
    symbols, starts = _concatenate(queries)
    length = np.zeros(len(symbols), np.int64)
    interval = np.zeros((2, len(symbols)), np.int64)
    interval[1] = len(index.symbols)  # of the empty text
    levels = _levels(index, symbols)
    for i in reversed(range(len(levels))):
        at = np.flatnonzero(np.arange(len(symbols)) + length < len(symbols))
        behind = levels[i][:, at + length[at]]
        at, behind = at[behind[0] < behind[1]], behind[:, behind[0] < behind[1]]
        longer = _append(index, interval[:, at], length[at], behind)
        found = longer[0] < longer[1]
        interval[:, at[found]] = longer[:, found]
        length[at[found]] += 2**i
    interval[1, length == 0] = 0
    place = np.zeros(len(symbols), np.int64)
    place[length > 0] = index.suffixes[interval[0, length > 0]]
    rows = [slice(start, end - 1) for start, end in itertools.pairwise(starts)]
    return [Match(length[row], place[row], *interval[:, row]) for row in rows]


def _levels(index: Index, symbols: np.ndarray) -> list[np.ndarray]:
    """For i = 0, 1, ...: the intervals [2, Q] of the 2^i symbols from each position of the query,
    until none occurs. Empty, that is low >= high: they do not occur."""
    level = np.zeros((2, len(symbols)), np.int64)
    known = np.flatnonzero(np.isin(symbols, index.alphabet))
    letter = np.searchsorted(index.alphabet, symbols[known])
    level[:, known] = index.heads[letter], index.heads[letter + 1]
    levels, width = [], 1
    while (level[0] < level[1]).any():
        levels.append(level)
        occurs = level[0] < level[1]
        at = np.flatnonzero(occurs[:-width] & occurs[width:])
        longer = _append(index, level[:, at], np.full(len(at), width), level[:, at + width])
        level = np.zeros_like(level)
        level[:, at] = longer
        width *= 2
    return levels


def _append(
    index: Index, head_2P: np.ndarray, length_P: np.ndarray, tail_2P: np.ndarray
) -> np.ndarray:
    """Intervals [2, P] of texts, given those of their first `length` symbols and of the rest.

    Suffixes with the same head are in the order of what follows it, so those followed by the tail
    are found by binary search.
    """
    bounds = []
    for target_P in tail_2P:
        low_P, high_P = head_2P.copy()
        open_ = np.flatnonzero(low_P < high_P)
        while len(open_):
            low, high = low_P[open_], high_P[open_]
            middle = (low + high) // 2
            below = index.ranks[index.suffixes[middle] + length_P[open_]] < target_P[open_]
            low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
            low_P[open_], high_P[open_] = low, high
            open_ = open_[low < high]
        bounds.append(low_P)
    return np.stack(bounds)


def intervals(index: Index, patterns: Sequence[np.ndarray | str]) -> np.ndarray:
    """[2, P]: suffixes[low:high] are the places of each pattern. An empty pattern has none."""
    rows = [
        (m.low[0], m.high[0]) if len(m.length) and m.length[0] == len(m.length) else (0, 0)
        for m in match(index, patterns)
    ]
    return np.array(rows, np.int64).reshape(-1, 2).T


def occurrences(index: Index, pattern: np.ndarray | str) -> int:
    """How often the pattern occurs, overlapping itself or not."""
    low, high = intervals(index, [pattern])[:, 0]
    return int(high - low)


def documents_with(index: Index, pattern: np.ndarray | str) -> np.ndarray:
    """The numbers of the documents that hold the pattern, sorted."""
    low, high = intervals(index, [pattern])[:, 0]
    return np.unique(document_of(index, index.suffixes[low:high]))


def document_of(index: Index, places: np.ndarray) -> np.ndarray:
    """The number of the document that holds each position of `index.symbols`."""
    return np.searchsorted(index.starts, places, side="right") - 1
