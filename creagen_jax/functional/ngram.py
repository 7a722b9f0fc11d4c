"""Interpolated Kneser-Ney n-grams (Kneser and Ney, 1995), all orders at once.

A context is a row of items, the most recent first, START beyond the start of the text. Counting
and smoothing are NumPy, because only counting tells how many n-grams there are; looking up is JAX,
because decoding is one `lax.scan`.

Letters: M rows, K items in a context, Q tokens asked for, N contexts, E n-grams of all orders.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

START = -1  # the item of a context that is beyond the start of the text


class Tables(NamedTuple):
    """A trie of contexts, and what each adds to the probability of the next token.

    Node 0 is the empty context. Node N is a context never seen: no children, no n-grams, backoff 1.
    Edges are sorted by (parent, item) and edge e leads to node e + 1; n-grams are sorted by (node,
    token). The last `item` and the last `token` only keep the arrays from being empty.
    """

    children: jax.Array  # [N+2] int32: the edges of node i are children[i] .. children[i+1] - 1
    item: jax.Array  # [N] int32: the item that edge e adds to the old end of the context
    ngrams: jax.Array  # [N+2] int32: the n-grams of node i are ngrams[i] .. ngrams[i+1] - 1
    token: jax.Array  # [E+1] int32: the token that ends an n-gram
    weight: jax.Array  # [E+1] float32: its discounted relative frequency after the context
    backoff: jax.Array  # [N+1] float32: the probability left to the next shorter context


def merge(
    rows: Int[np.ndarray, "M L"], counts: Int[np.ndarray, " M"]
) -> tuple[Int[np.ndarray, "U L"], Int[np.ndarray, " U"]]:
    """The distinct ones of the rows, sorted, and the sum of each one's counts.

    Rows are numbered a column at a time, so that a key never exceeds M times the vocabulary.
    """
    number = np.zeros(len(rows), np.int64)
    for column in rows.T:
        key = number * (column.max(initial=0) + 2) + column + 1
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return rows[first], np.bincount(number, counts).astype(counts.dtype)


def discounts(counts: Int[np.ndarray, " U"], kinds: int) -> Float[np.ndarray, " kinds"]:
    """Discounts for n-grams counted once, twice, ... and `kinds` or more times.

    kinds = 1: n1 / (n1 + 2 n2), Kneser and Ney (1995). kinds = 3: Chen and Goodman (1998), eq. 26.
    A text too small to estimate them by gets 0.5.
    """
    r = np.arange(1, kinds + 1)
    n = np.bincount(np.minimum(counts, kinds + 2), minlength=kinds + 3)
    if not n[1 : kinds + 2].all():
        return np.full(kinds, 0.5)
    y = n[1] / (n[1] + 2 * n[2])
    d = r - (r + 1) * y * n[r + 1] / n[r]
    return d if (d > 0).all() else np.full(kinds, 0.5)


def kneser_ney(
    rows: Int[np.ndarray, "M L"], counts: Int[np.ndarray, " M"], kinds: int = 1
) -> Tables:
    """The model of distinct n-grams, in rows [M, K+1] of K items of context and the token.

    The longest n-grams, and those at the start of a text, keep their counts [M]; all others count
    the distinct items to their left. Each level, 0 to K items of context, has its own discounts.
    """
    contexts = np.pad(rows[:, :-1], ((0, 0), (0, 1)), constant_values=START)
    targets, size = rows[:, -1], 1 + rows.max(initial=0)
    node, nodes = np.zeros(len(rows), np.int64), 1  # each row's node at this level; nodes so far
    edges, ngrams, weights = [], [], []
    for level in range(contexts.shape[1]):
        left = contexts[:, level]
        longer = left != START  # rows that go on to the next level
        ngram, row = np.unique(node * size + targets, return_inverse=True)
        extended = np.unique(row[longer] * size + left[longer]) // size
        count = np.bincount(row, np.where(longer, 0, counts)).astype(np.int64)
        count += np.bincount(extended, minlength=len(ngram))
        kept = count - discounts(count, kinds)[np.minimum(count, kinds) - 1]
        ngrams.append(ngram)
        weights.append(kept / np.bincount(ngram // size, count)[ngram // size])

        edge, number = np.unique(node[longer] * size + left[longer], return_inverse=True)
        edges.append(edge)
        contexts, targets, counts = contexts[longer], targets[longer], counts[longer]
        node, nodes = nodes + number, nodes + len(edge)
    edges, ngrams, weight = (np.concatenate(part) for part in (edges, ngrams, weights))
    node = ngrams // size
    first = np.arange(nodes + 2) * size
    return Tables(
        children=np.searchsorted(edges, first).astype(np.int32),
        item=np.append(edges % size, START).astype(np.int32),
        ngrams=np.searchsorted(ngrams, first).astype(np.int32),
        token=np.append(ngrams % size, START).astype(np.int32),
        weight=np.append(weight, 0).astype(np.float32),
        backoff=(1 - np.bincount(node, weight, minlength=nodes + 1)).astype(np.float32),
    )


def pad(table: np.ndarray, size: int) -> np.ndarray:
    """An array of `Tables` made longer, the model unchanged: its last entry, which stands for what
    was never seen, is repeated. Arrays of the same sizes share a compiled program."""
    return np.pad(table, (0, size - len(table)), mode="edge")


def search(
    first: Int[Array, " nodes"],
    items: Int[Array, " items"],
    node: Int[Array, "*#shape"],
    item: Int[Array, "*#shape"],
) -> tuple[Int[Array, "*#shape"], Bool[Array, "*#shape"]]:
    """Where `item` is among those of `node`, sorted in `items` from `first[node]`; if it is there.

    `node` and `item` broadcast against each other. Binary search.
    """
    end = first[node + 1]

    def halve(bounds):
        low, high = bounds
        middle = (low + high) // 2
        below = (middle < high) & (items[middle] < item)
        return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

    low, high, _ = jnp.broadcast_arrays(first[node], end, item)
    place, _ = jax.lax.while_loop(lambda bounds: (bounds[0] < bounds[1]).any(), halve, (low, high))
    return place, (place < end) & (items[place] == item)


def interpolate(
    tables: Tables,
    p_MQ: Float[Array, "M Q"],
    context_MK: Int[Array, "M K"],
    token_MQ: Int[Array, "M Q"],
) -> Float[Array, "M Q"]:
    """Probabilities of `token_MQ` after `context_MK`, given those after no context.

    p(w | h) = weight(h, w) + backoff(h) p(w | h without its oldest item), for each context h seen.
    """
    unseen = len(tables.backoff) - 1

    def lengthen(carry, item_M):
        p_MQ, node_M = carry
        edge_M, known_M = search(tables.children, tables.item, node_M, item_M)
        node_M = jnp.where(known_M, edge_M + 1, unseen)
        entry_MQ, known_MQ = search(tables.ngrams, tables.token, node_M[:, None], token_MQ)
        seen_MQ = jnp.where(known_MQ, tables.weight[entry_MQ], 0)
        return (seen_MQ + tables.backoff[node_M][:, None] * p_MQ, node_M), None

    (p_MQ, _), _ = jax.lax.scan(lengthen, (p_MQ, jnp.zeros(len(p_MQ), jnp.int32)), context_MK.T)
    return p_MQ


def unigram(tables: Tables, vocab: int) -> Float[np.ndarray, " V"]:
    """Probabilities after the empty context, which backs off to the uniform distribution."""
    p_V = np.full(vocab, tables.backoff[0] / vocab, np.float32)
    seen = slice(tables.ngrams[0], tables.ngrams[1])
    p_V[tables.token[seen]] += tables.weight[seen]
    return p_V
