"""Which texts are nearly the same, and which long spans are repeated, in linear time by hashing.

Letters: N texts, M windows, K hash functions, P pairs of texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

SHINGLE = 5  # characters
SHORTEST = 20  # characters; shorter texts are alike by chance
HASHES = 64
BAND = 4  # hashes that must all agree; 16 bands find 99.98 % of pairs of Jaccard index 0.8
SIMILAR = 0.8  # Jaccard index of near duplicates
_BASE = np.uint64(0x9E3779B97F4A7C15)


def windows(texts: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hash [M] of each run of `width` characters within a text, the number [M] of that text,
    and where [M] the run starts in all texts joined."""
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    characters = np.frombuffer(joined, np.uint32)
    text = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    size = max(len(text) - width + 1, 0)
    start_M = np.flatnonzero(text[:size] == text[width - 1 :])
    hash_M = np.zeros(size, np.uint64)
    for place in range(width):
        hash_M = hash_M * _BASE + characters[place : place + size]
    hash_M = hash_M[start_M]
    hash_M ^= hash_M >> np.uint64(32)  # the low bits know the last characters only
    return hash_M * _BASE, text[start_M], start_M


def clusters(texts: Sequence[str], *, seed: int = 0) -> np.ndarray:
    """A number [N] for each text, the same for near duplicates, and for theirs in turn.

    Near duplicates share 80 % of the 5-character shingles that either has, which is computed for
    the pairs that MinHash (Broder, 1997) proposes. These hold nearly all of index 0.8 and all that
    are more alike. A text under 20 characters is a cluster of its own.
    """
    alone = (len(text) < SHORTEST for text in texts)
    numbers = np.flatnonzero(~np.fromiter(alone, bool, len(texts)))
    long = [texts[number] for number in numbers]
    pairs = [
        pair for pair in _candidates(long, seed) if jaccard(*(long[i] for i in pair)) >= SIMILAR
    ]
    first, second = numbers[np.array(pairs, np.int64).reshape(-1, 2).T]
    graph = sparse.coo_array((np.ones(len(first)), (first, second)), (len(texts), len(texts)))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def jaccard(a: str, b: str) -> float:
    """Shingles that both texts have / shingles that either has."""
    a_set, b_set = (
        {text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1)}
        for text in (a, b)
    )
    return len(a_set & b_set) / max(len(a_set | b_set), 1)


def _candidates(texts: list[str], seed: int) -> np.ndarray:
    """Pairs [P, 2] of texts that agree in all hashes of some band, and in most hashes.

    All pairs of those that agree would be too many. Sorted by some hashes more, texts that have
    most in common are next to each other, and each band sorts in another way.
    """
    if not texts:
        return np.zeros((0, 2), np.int64)
    hash_M, text_M, _ = windows(texts, SHINGLE)
    starts_N = np.searchsorted(text_M, np.arange(len(texts)))
    factors = np.random.default_rng(seed).integers(2**63, size=(HASHES, 2), dtype=np.uint64)
    sketch_KN = np.stack(
        [np.minimum.reduceat(hash_M * (2 * a + 1) + b, starts_N) for a, b in factors]
    )
    pairs = []
    for first in range(0, HASHES, BAND):
        rows_KN = np.roll(sketch_KN, -first, axis=0)[: 2 * BAND]
        order_N = np.lexsort(rows_KN[::-1])
        for apart in (1, 2):
            pair_2P = np.sort([order_N[:-apart], order_N[apart:]], axis=0)
            agree_KP = rows_KN[:BAND, pair_2P[0]] == rows_KN[:BAND, pair_2P[1]]
            pair_2P = pair_2P[:, agree_KP.all(0)]
            pairs.append(pair_2P[0] * len(texts) + pair_2P[1])
    a_P, b_P = np.divmod(np.unique(np.concatenate(pairs)), len(texts))
    agreement_P = sum((row_N[a_P] == row_N[b_P]) / HASHES for row_N in sketch_KN)
    # Four standard deviations below what two texts of index 0.8 agree in.
    return np.stack([a_P, b_P], 1)[agreement_P >= 0.6]


def repeated_spans(
    texts: Sequence[str], *, width: int, more_than: int
) -> tuple[dict[str, int], int]:
    """Spans of `width` or more characters that occur more than so many times, with how often their
    beginning occurs; and how many characters of the texts are in such a span."""
    hash_M, _, start_M = windows(texts, width)
    _, group_M, counts = np.unique(hash_M, return_inverse=True, return_counts=True)
    often_M = counts[group_M] > more_than
    start_R, count_R = start_M[often_M], counts[group_M][often_M]
    # Windows that follow each other are one span.
    edges = np.flatnonzero(np.diff(start_R, prepend=-2, append=-2) != 1)
    joined, spans = "".join(texts), {}
    for first, last in zip(edges[:-1], edges[1:] - 1, strict=True):
        text = joined[start_R[first] : start_R[last] + width]
        spans[text] = max(spans.get(text, 0), int(count_R[first]))
    size = len(joined) + 1
    depth = np.cumsum(np.bincount(start_R, minlength=size))
    depth[width:] -= depth[:-width].copy()
    return spans, int(np.count_nonzero(depth[: len(joined)]))
