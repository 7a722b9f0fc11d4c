"""Measures of n-grams: how many are distinct, how often an item repeats its own, and how well a
Kneser-Ney model of one set of items predicts another.

An item is a sequence of tokens: a string of characters, or a list or array of words or ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import count
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from creagen_jax.creativity.estimate import Estimate, subsample
from creagen_jax.functional import ngram
from creagen_jax.types import UserError

Item = Sequence[Hashable]

CHUNK = 8192  # predictions scored at once


def encode(*groups: Sequence[Item]) -> tuple[list[list[np.ndarray]], int]:
    """The items of all groups as int64 ids, and V: ids are 0 .. V-1, the same in each group."""
    ids = defaultdict(count().__next__)
    encoded = [
        [np.fromiter((ids[token] for token in item), np.int64, len(item)) for item in group]
        for group in groups
    ]
    return encoded, len(ids)


def ngrams(items: Sequence[Item], n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each order 1 .. n: the item [M] and the id [M] of each n-gram, in order of occurrence."""
    if n < 1:
        raise UserError(f"n is {n}: an n-gram has 1 token or more")
    (encoded,), vocabulary = encode(items)
    token_P = np.concatenate([np.zeros(0, np.int64), *encoded])
    item_P = np.repeat(np.arange(len(items)), [len(item) for item in encoded])
    gram_P = np.zeros(len(token_P), np.int64)
    for last in range(n):
        # Numbered anew at each order, so that a key stays below tokens x vocabulary.
        key = gram_P[: max(len(token_P) - last, 0)] * vocabulary + token_P[last:]
        _, gram_P = np.unique(key, return_inverse=True)
        inside = item_P[: len(gram_P)] == item_P[last:]
        yield item_P[last:][inside], gram_P[inside]


# --- how many are distinct ---------------------------------------------------------------------


def distinct(items: Sequence[Item], n: int, *, seed: int = 0) -> Estimate:
    """Distinct-n (Li et al., 2016): distinct n-grams / all n-grams, over all items together.

    It falls with the number of tokens: compare two sets at an `equal_budget` only. The interval is
    for this number of items.
    """
    return _of_counts(lambda types, total: types / total, items, n, seed)


def expectation_adjusted_distinct(
    items: Sequence[Item], n: int, vocabulary: int, *, seed: int = 0
) -> Estimate:
    """EAD = U / (V (1 - ((V-1)/V)^C)): the U distinct ones of C n-grams against those expected of
    C draws from V equally likely ones (Liu et al., 2022).

    V is the vocabulary of the paper for n = 1, and its n-th power, all possible n-grams, for n > 1.
    It depends less on the number of tokens than distinct-n, but where V is far above C it is the
    same: use an `equal_budget` too. Raises UserError if the vocabulary is too small.
    """
    possible = float(vocabulary) ** n

    def adjust(types: int, total: int) -> float:
        if types > possible:
            raise UserError(f"{types} distinct {n}-grams of a vocabulary of {vocabulary}")
        missed = total * np.log1p(-1 / possible) if possible > 1 else -np.inf
        return types / (-possible * np.expm1(missed))

    return _of_counts(adjust, items, n, seed)


def _of_counts(
    measure: Callable[[int, int], float], items: Sequence[Item], n: int, seed: int
) -> Estimate:
    """measure(distinct n-grams, all n-grams) of those items that have any."""
    *_, (item_M, gram_M) = ngrams(items, n)
    kept, item_M = np.unique(item_M, return_inverse=True)
    short = len(items) - len(kept)

    def statistic(index: np.ndarray) -> float:
        gram_K = gram_M[np.isin(item_M, index)]
        return measure(len(np.unique(gram_K)), len(gram_K))

    note = f"{short} items are shorter than {n} tokens" if short else ""
    return subsample(statistic, len(kept), seed=seed, note=note)


def equal_budget(a: Sequence[Item], b: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """The first items of each, cut to the same number of tokens: all those of the smaller set."""
    budget = min(sum(map(len, a)), sum(map(len, b)))
    return _first(a, budget), _first(b, budget)


def _first(items: Sequence[Item], budget: int) -> list[Item]:
    ends = np.cumsum([len(item) for item in items])
    whole = int(np.searchsorted(ends, budget, side="right"))
    rest = budget - int(ends[whole - 1]) if whole else budget
    return [*items[:whole], *([items[whole][:rest]] if rest else [])]


# --- repetition --------------------------------------------------------------------------------


def repetition(items: Sequence[Item], n: int) -> np.ndarray:
    """seq-rep-n of each item [N]: the share of its n-grams that occurred earlier in it.

    1 - distinct / all n-grams (Welleck et al., 2020); 0 for items shorter than n.
    """
    *_, (item_M, gram_M) = ngrams(items, n)
    size = 1 + gram_M.max(initial=0)
    all_N = np.bincount(item_M, minlength=len(items))
    distinct_N = np.bincount(np.unique(item_M * size + gram_M) // size, minlength=len(items))
    return 1 - np.where(all_N > 0, distinct_N, 1) / np.maximum(all_N, 1)


# --- cross-entropy -----------------------------------------------------------------------------


class Scorer(NamedTuple):
    """An interpolated Kneser-Ney model, ready to score."""

    tables: ngram.Tables
    unigram: jax.Array  # [V], or [V+1] if items are whole: the last token ends them
    order: int  # tokens in the longest n-gram
    whole: bool


def fit(
    items: Sequence[Sequence[int]],
    *,
    vocabulary: int,
    order: int = 6,
    discounts: Literal[1, 3] = 1,
    whole: bool = True,
) -> Scorer:
    """Counts the n-grams of items of ids 0 .. vocabulary - 1.

    `whole`: an item is a whole text, which begins and ends, and its end is predicted too. Otherwise
    it is a piece of a longer text. For forward cross-entropy fit training items and score generated
    ones; for backward cross-entropy, which sees dropped modes, fit generated items and score
    held-out ones. Two fits compare only at an `equal_budget`.

    Raises UserError for an order below 1 and for an id outside the vocabulary.
    """
    if order < 1:
        raise UserError(f"order is {order}: an n-gram has 1 token or more")
    rows_ML, _ = _rows(items, vocabulary, order, whole)
    tables = ngram.kneser_ney(*ngram.merge(rows_ML, np.ones(len(rows_ML), np.int64)), discounts)
    unigram = ngram.unigram(tables, vocabulary + int(whole))
    return Scorer(jax.tree.map(jnp.asarray, _padded(tables)), jnp.asarray(unigram), order, whole)


def score(scorer: Scorer, items: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Nats [N] that the scorer needs for each item, and how many tokens [N] they predict.

    A whole item has one token more than its length, its end. Raises UserError as `fit` does.
    """
    vocabulary = len(scorer.unigram) - int(scorer.whole)
    rows_ML, item_M = _rows(items, vocabulary, scorer.order, scorer.whole)
    padded_ML = np.pad(rows_ML, ((0, -len(rows_ML) % CHUNK), (0, 0)))
    chunks = padded_ML.reshape(-1, CHUNK, scorer.order)
    p = [np.asarray(_probability(scorer.tables, scorer.unigram, rows)) for rows in chunks]
    p_M = np.concatenate([np.zeros(0), *p])[: len(rows_ML)]
    nats_N = np.bincount(item_M, -np.log(p_M.astype(np.float64)), minlength=len(items))
    return nats_N, np.bincount(item_M, minlength=len(items))


def _rows(
    items: Sequence[Sequence[int]], vocabulary: int, order: int, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """[M, order], the order - 1 tokens before a token, latest first, and the token; its item [M].

    A whole item is END c1 .. cn END, of which the first is not predicted.
    """
    arrays = [np.asarray(item, np.int64) for item in items]
    for array in arrays:
        if array.size and not 0 <= array.min() <= array.max() < vocabulary:
            raise UserError(f"ids {array.min()} .. {array.max()} in a vocabulary of {vocabulary}")
    edge = np.full(int(whole), vocabulary)
    before = np.append(np.full(order - 1, ngram.START), edge)
    # The empty part makes whole numbers of no items, too.
    stream = np.concatenate([before[:0], *(part for a in arrays for part in (before, a, edge))])
    length_N = np.array([len(array) for array in arrays], np.int64) + len(edge)
    item_M = np.repeat(np.arange(len(items)), length_N)
    place_M = np.arange(len(item_M)) + len(before) * (item_M + 1)
    rows_ML = stream[place_M[:, None] - np.arange(order)].astype(np.int32)
    return np.concatenate([rows_ML[:, 1:], rows_ML[:, :1]], 1), item_M


@jax.jit
def _probability(tables: ngram.Tables, unigram_V: jax.Array, rows_ML: jax.Array) -> jax.Array:
    """[M] probability of each row's token after the tokens before it."""
    token_M1 = rows_ML[:, -1:]
    return ngram.interpolate(tables, unigram_V[token_M1], rows_ML[:, :-1], token_M1)[:, 0]


def _padded(tables: ngram.Tables) -> ngram.Tables:
    """The same model in arrays of lengths that many models share, so that few are compiled for."""
    nodes, edges, entries = (
        1 << max(len(table).bit_length(), 12)
        for table in (tables.backoff, tables.item, tables.token)
    )
    sizes = ngram.Tables(nodes + 1, edges, nodes + 1, entries, entries, nodes)
    return jax.tree.map(ngram.pad, tables, sizes)
