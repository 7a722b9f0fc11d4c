"""BLEU of sentences (Papineni et al., 2002), exactly, in time linear in the number of sentences.

Precisions of orders 1 .. n weigh the same; one without a match counts 0.1 matches (method 1 of Chen
and Cherry, 2014); the brevity penalty takes the closest reference length, the shorter of two. A
sentence that shares no token with its references scores 0.

Letters: N items, R references, M n-grams, P pairs of an item and a distinct n-gram of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from creagen_jax.creativity.estimate import Estimate, subsample, undetermined
from creagen_jax.creativity.ngrams import Item, ngrams
from creagen_jax.types import UserError

EPSILON = 0.1


def bleu(items: Sequence[Item], references: Sequence[Item], *, n: int = 4) -> np.ndarray:
    """BLEU of each item [N] against all references. Raises UserError if there are none.

    More references give a higher value. References that are training data reward copying.
    """
    if not len(references):
        raise UserError("BLEU needs a reference")
    matches = []
    for item_M, gram_M in ngrams([*items, *references], n):
        item_P, gram_P, count_P = _count(item_M, gram_M)
        own_P = item_P < len(items)
        most = np.zeros(gram_P.max(initial=0) + 1, np.int64)  # by n-gram
        np.maximum.at(most, gram_P[~own_P], count_P[~own_P])
        clipped_P = np.minimum(count_P, most[gram_P])[own_P]
        matches.append(np.bincount(item_P[own_P], clipped_P, minlength=len(items)))
    length_N, length_R = _lengths(items), np.sort(_lengths(references))
    place_N = np.searchsorted(length_R, length_N, side="right")
    bounds = _bounds(length_R)
    closest_N = _closest(length_N, bounds[place_N], bounds[place_N + 1])
    return _combine(length_N, closest_N, matches)


def self_bleu(items: Sequence[Item], *, n: int = 4, seed: int = 0) -> Estimate:
    """Mean BLEU of each item against all others (Zhu et al., 2018); 1 if all are the same.

    It grows with the number of items, so it compares sets of the same number only. The interval is
    the spread between halves of the items, around the value of all. Items without tokens, which
    would look unlike all others, are left out.
    """
    empty = sum(len(item) == 0 for item in items)
    note = f"{empty} empty items are left out" if empty else ""
    items = [item for item in items if len(item)]
    if len(items) < 2:
        return undetermined("self-BLEU needs two items with tokens", n=len(items))
    length_N = _lengths(items)
    orders = []
    for item_M, gram_M in ngrams(items, n):
        counted = _count(item_M, gram_M)
        rank = np.lexsort((counted[2], counted[1]))
        orders.append([array_P[rank] for array_P in counted])

    def statistic(index: np.ndarray) -> float:
        chosen_N = np.zeros(len(items), bool)
        chosen_N[index] = True
        matches = []
        for order in orders:
            item_P, gram_P, count_P = (array_P[chosen_N[order[0]]] for array_P in order)
            clipped_P = np.minimum(count_P, _most_elsewhere(gram_P, count_P))
            matches.append(np.bincount(item_P, clipped_P, minlength=len(items))[chosen_N])
        # Sorted by length, the neighbours of an item are the closest of the others.
        rank = np.argsort(length_N[chosen_N])
        sorted_C = length_N[chosen_N][rank]
        bounds = _bounds(sorted_C)
        closest_C = _closest(sorted_C, bounds[:-2], bounds[2:])
        return _combine(sorted_C, closest_C, [order[rank] for order in matches]).mean()

    return subsample(statistic, len(items), seed=seed, note=note)


def _count(item_M: np.ndarray, gram_M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Item, n-gram and count of each distinct n-gram of each item: [P]."""
    size = 1 + gram_M.max(initial=0)
    pair_P, count_P = np.unique(item_M * size + gram_M, return_counts=True)
    return pair_P // size, pair_P % size, count_P


def _most_elsewhere(gram_P: np.ndarray, count_P: np.ndarray) -> np.ndarray:
    """The largest count that the n-gram has in any other pair; pairs sorted by n-gram and count.

    That is the last count of the n-gram's pairs, and for this last pair the one before.
    """
    last_P = np.append(gram_P[1:] != gram_P[:-1], True)[: len(gram_P)]
    largest_P = count_P[last_P][np.cumsum(last_P) - last_P]
    first_P = np.append(True, last_P[:-1])[: len(gram_P)]
    before_P = np.where(first_P, 0, np.roll(count_P, 1))
    return np.where(last_P, before_P, largest_P)


def _lengths(items: Sequence[Item]) -> np.ndarray:
    return np.array([len(item) for item in items], np.int64)


def _bounds(sorted_R: np.ndarray) -> np.ndarray:
    return np.concatenate([[-np.inf], sorted_R, [np.inf]])


def _closest(length_N: np.ndarray, shorter_N: np.ndarray, longer_N: np.ndarray) -> np.ndarray:
    return np.where(length_N - shorter_N <= longer_N - length_N, shorter_N, longer_N)


def _combine(
    length_N: np.ndarray, closest_N: np.ndarray, matches: Sequence[np.ndarray]
) -> np.ndarray:
    """BLEU [N] from each order's matches [N]."""
    log_precision_nN = [
        np.log(np.where(match_N > 0, match_N, EPSILON) / np.maximum(length_N - last, 1))
        for last, match_N in enumerate(matches)
    ]
    excess_N = 1 - closest_N / np.maximum(length_N, 1)
    score_N = np.exp(np.minimum(excess_N, 0) + np.mean(log_precision_nN, axis=0))
    return np.where(matches[0] > 0, score_N, 0)
