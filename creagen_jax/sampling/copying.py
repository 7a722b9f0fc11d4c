"""The guard against copying: which tokens would repeat too long a run of the training data.

A document is what END closes, and END is its last token. A token is refused if it and the N tokens
before it, prompt included, stand one after the other in one document. So no more than N tokens are
ever copied in a row; to end where a document ends, right after its last N tokens, is refused too.

The N-grams of the documents are the states of an automaton of order N. Each is kept as the place
where it occurs first, in lexicographic order, so that the state of a sample is found by binary
search, in log2(G) comparisons of N tokens.

Letters: B samples, V vocabulary, L tokens of history, N tokens of an N-gram, G distinct N-grams,
E distinct pairs of an N-gram and a token that follows it.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from creagen_jax.functional import ngram


@flax.struct.dataclass
class Guard:
    """The tokens that follow each N-gram of the training data. A pytree.

    N-gram G is one never seen, which nothing follows. The last `place` and the last `follower`
    only keep the arrays from being empty.
    """

    longest: int = flax.struct.field(pytree_node=False)  # N: how many tokens may be copied in a row
    tokens: jax.Array  # int32: the training data
    place: jax.Array  # [G+1] int32: where each N-gram begins in `tokens`, in lexicographic order
    first: jax.Array  # [G+2] int32: the followers of N-gram g are first[g] .. first[g + 1] - 1
    follower: jax.Array  # [E+1] int32: tokens, ascending for each N-gram


def build(tokens: Integer[np.ndarray, " tokens"], longest: int, *, end: int = 0) -> Guard:
    """The guard that lets at most `longest` (1 or more) of the training tokens be copied in a row.

    N-grams are ranked by prefix doubling (Manber and Myers, 1993) that stops at N tokens: about
    log2(N) sorts.
    """
    size, reach = len(tokens), min(longest, len(tokens))
    rank, width = tokens.astype(np.int64), 1  # of the `width` tokens that begin at each place
    while width < reach:
        shift = min(width, reach - width)
        pairs = rank[:-shift] * (rank.max() + 1) + rank[shift:]
        rank, width = np.unique(pairs, return_inverse=True)[1], width + shift

    ends = np.concatenate([[0], np.cumsum(tokens == end)])
    place = np.flatnonzero(ends[reach:size] == ends[: size - reach])  # where no END is before N + 1
    _, index, gram = np.unique(rank[place], return_index=True, return_inverse=True)
    vocab = int(tokens.max(initial=0)) + 1
    pairs = np.unique(gram * vocab + tokens[place + reach])
    return Guard(
        longest=longest,
        tokens=jnp.asarray(tokens, jnp.int32),
        place=jnp.asarray(np.append(place[index], 0), jnp.int32),
        first=jnp.asarray(np.searchsorted(pairs, np.arange(len(index) + 2) * vocab), jnp.int32),
        follower=jnp.asarray(np.append(pairs % vocab, 0), jnp.int32),
    )


def refused(
    guard: Guard, history_BL: Int[Array, "B L"], length_B: Int[Array, " B"], vocab: int
) -> Bool[Array, "B {vocab}"]:
    """The tokens that may not come next, after history_BL[b, :length_B[b]].

    Nothing is refused after fewer than N tokens.
    """
    (B, L), N = history_BL.shape, guard.longest
    if L <= N:
        return jnp.zeros((B, vocab), bool)
    recent_BN = history_BL[jnp.arange(B)[:, None], length_B[:, None] - N + jnp.arange(N)]
    gram_B = jnp.where(length_B < N, len(guard.place) - 1, _find(guard, recent_BN))
    _, follows_BV = ngram.search(guard.first, guard.follower, gram_B[:, None], jnp.arange(vocab))
    return follows_BV


def _find(guard: Guard, run_BN: Int[Array, "B N"]) -> Int[Array, " B"]:
    """The number of each N-gram, G if it was never seen. Binary search."""
    B, N = run_BN.shape
    unseen = len(guard.place) - 1

    def gram(g_B):
        return guard.tokens[guard.place[g_B][:, None] + jnp.arange(N)]

    def halve(bounds):
        low, high = bounds
        middle = (low + high) // 2
        gram_BN = gram(middle)
        at = jnp.argmax(gram_BN != run_BN, axis=1)[:, None]  # the first token that differs
        less = jnp.take_along_axis(gram_BN, at, 1) < jnp.take_along_axis(run_BN, at, 1)
        below = (middle < high) & less[:, 0]
        return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

    low, high = jnp.zeros(B, jnp.int32), jnp.full(B, unseen, jnp.int32)
    low, _ = jax.lax.while_loop(lambda bounds: (bounds[0] < bounds[1]).any(), halve, (low, high))
    return jnp.where((gram(low) == run_BN).all(1), low, unseen)
