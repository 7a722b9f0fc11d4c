"""Where texts occur in what is being drawn, whatever the tokens it is drawn in.

The texts become an automaton over bytes (Aho & Corasick 1975), and that a table over tokens, so
that one look-up a token tells whether it completes an occurrence. A text that is spelt by many
sequences of tokens is found in each of them, and so is one that begins or ends inside a token.

Letters: B samples, L tokens of history, V vocabulary, S states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

MARK = 256  # follows each byte behind which a word may begin
SYMBOLS = 257  # bytes and the mark


@flax.struct.dataclass
class Matcher:
    """Finds some texts in a sequence of tokens. A pytree."""

    next: jax.Array  # [S, V] int32: the state after each token; 0 is where a text begins
    found: jax.Array  # [S, V] bool: whether the token completes an occurrence


def build(
    pieces: Sequence[bytes],
    texts: Sequence[bytes],
    *,
    joiner: bytes = b"",
    words: bool = False,
) -> Matcher:
    """The matcher of `texts`, none of them empty; the case of ASCII letters counts.

    pieces  the bytes that each token stands for; one of none, as END is, begins the text anew
    joiner  what stands between the pieces of a text
    words   find texts only where a word may begin: at the beginning, or behind a byte for which
            `is_letter` does not hold
    """
    begin = [MARK] if words else []
    goto, hit = _automaton([begin + _symbols(text, words) for text in texts])
    at_begin = 0
    for symbol in begin:
        at_begin = goto[at_begin, symbol]
    joined = [_symbols(joiner + piece, words) if piece else [] for piece in pieces]
    plain = [_symbols(piece, words) for piece in pieces]
    first, first_found = _walk(goto, hit, np.array([at_begin]), plain)
    later, later_found = _walk(goto, hit, np.arange(len(goto)), joined)
    # State 0 is where a text begins; state s of the automaton is state s + 1 of the matcher.
    next_SV = 1 + np.concatenate([first, later])
    next_SV[:, [not piece for piece in pieces]] = 0
    found_SV = np.concatenate([first_found, later_found])
    return Matcher(jnp.asarray(next_SV, jnp.int32), jnp.asarray(found_SV))


def is_letter(byte: int) -> bool:
    """Whether a byte may be of a word: an ASCII letter or digit, or a part of any other one."""
    return byte >= 128 or chr(byte).isalnum()


def occurrences(matcher: Matcher, tokens_BL: Int[Array, "B L"]) -> Bool[Array, "B L"]:
    """The tokens at which an occurrence is complete."""

    def follow(state_B, token_B):
        return matcher.next[state_B, token_B], matcher.found[state_B, token_B]

    state_B = jnp.zeros(len(tokens_BL), jnp.int32)
    return jax.lax.scan(follow, state_B, tokens_BL.T)[1].T


def _symbols(text: bytes, words: bool) -> list[int]:
    if not words:
        return list(text)
    return [symbol for byte in text for symbol in ([byte] if is_letter(byte) else [byte, MARK])]


def _automaton(patterns: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The state after each symbol [S, SYMBOLS], and whether a pattern ends in a state [S]."""
    children, hit = [{}], [False]
    for pattern in patterns:
        state = 0
        for symbol in pattern:
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                hit.append(False)
            state = children[state][symbol]
        hit[state] = True

    goto, hit = np.zeros((len(children), SYMBOLS), np.int32), np.array(hit)
    fail = np.zeros(len(children), np.int32)  # the longest other state that a state's text ends in
    queue = deque([0])
    while queue:  # breadth first: that of `fail` is complete when a state copies it
        state = queue.popleft()
        goto[state] = goto[fail[state]]
        hit[state] |= hit[fail[state]]
        for symbol, child in children[state].items():
            fail[child] = goto[state, symbol]
            goto[state, symbol] = child
            queue.append(child)
    return goto, hit


def _walk(goto, hit, start_S: np.ndarray, sequences: Sequence[Sequence[int]]):
    """The state after each of V sequences from each state, and whether a pattern ended on the way:
    [S, V] each."""
    length_V = np.array([len(sequence) for sequence in sequences])
    state_SV = np.repeat(start_S[:, None], len(sequences), 1)
    found_SV = np.zeros(state_SV.shape, bool)
    for i in range(length_V.max(initial=0)):
        at = np.flatnonzero(length_V > i)
        state_SV[:, at] = goto[state_SV[:, at], [sequences[v][i] for v in at]]
        found_SV[:, at] |= hit[state_SV[:, at]]
    return state_SV, found_SV
