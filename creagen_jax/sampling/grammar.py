"""Which token may stand behind which: samples that are always well-formed."""

from __future__ import annotations

import jax.numpy as jnp


def lawful(next_logits, follows_VV):
    """The model `next_logits` (see `tokens.py`) with logits of -inf for tokens that may not stand
    behind the one before.

    follows_VV  [V, V] bool: whether the token of the column may follow that of the row; each row
                allows at least one
    """
    table_VV = jnp.asarray(follows_VV)

    def restrained(carry, token_B):
        logits_BV, carry = next_logits(carry, token_B)
        return jnp.where(table_VV[token_B], logits_BV, -jnp.inf), carry

    return restrained
