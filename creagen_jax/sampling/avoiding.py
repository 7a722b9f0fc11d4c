"""Texts that no sample may contain, not even inside a longer word.

A token is refused if it would complete an avoided text that what stands before it, prompt included,
has begun. The case of ASCII letters does not count. An avoided text that the prompt itself contains
is none of the samples' doing, and stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from creagen_jax.sampling import matching
from creagen_jax.types import UserError


def build(
    pieces: Sequence[bytes], texts: Sequence[bytes], *, joiner: bytes = b""
) -> matching.Matcher:
    """What `restrained` wants; `pieces` and `joiner` are those of `matching.build`.

    Raises UserError for an empty text, which every sample contains.
    """
    if b"" in texts:
        raise UserError("a text to avoid is empty; give one or more characters")
    # bytes.lower changes ASCII letters only.
    return matching.build(
        [piece.lower() for piece in pieces], [text.lower() for text in texts], joiner=joiner
    )


def check(avoid: Sequence[bytes], must: Sequence[bytes]) -> None:
    """Raises UserError if a required text contains an avoided one."""
    for text in must:
        for avoided in avoid:
            if avoided.lower() in text.lower():
                raise UserError(
                    f"{text.decode()!r} is required and contains {avoided.decode()!r}, which is to "
                    "be avoided; leave one of the two out"
                )


def start(carry, n: int):
    """The carry that `restrained` wants, of the model's own for n samples, before any token."""
    return {"model": carry, "matched": jnp.zeros(n, jnp.int32)}


def restrained(next_logits, avoided: matching.Matcher):
    """The model `next_logits` (see `tokens.py`) with logits of -inf for refused tokens; maybe for
    all of them."""

    def restrain(carry, token_B):
        logits_BV, model = next_logits(carry["model"], token_B)
        state_B = avoided.next[carry["matched"], token_B]
        refused_BV = avoided.found[state_B]
        logits_BV = jnp.where(refused_BV, -jnp.inf, logits_BV)
        return logits_BV, {"model": model, "matched": state_B}

    return restrain
