"""Classifier-free guidance (Ho & Salimans 2022) of models that write tokens.

At each token the same model is asked twice, with its condition and without, and

    log p(v) = log p_untold(v) + scale * (log p_told(v) - log p_untold(v)) + a constant

(their eq. 6, with w = scale - 1): 0 is the model without the condition, 1 the one with it, and
above 1 tokens gain that the condition makes likelier. At 0 and 1 one model alone is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from creagen_jax.sampling.tokens import Carry, NextLogits


def start(init_carry: Callable[[Any], Carry], told: Any, untold: Any, scale: float) -> Carry:
    """The carry that `guided` wants. init_carry(condition) is the model's own, of the condition and
    of what stands for none."""
    if scale == 1:
        return init_carry(told)
    if scale == 0:
        return init_carry(untold)
    return {"told": init_carry(told), "untold": init_carry(untold)}


def guided(next_logits: NextLogits, scale: float) -> NextLogits:
    """The model `next_logits` under guidance of a finite scale of 0 or more.

    What the told model excludes stays excluded, and where only the untold one excludes a token,
    the told one decides alone.
    """
    if scale in (0, 1):
        return next_logits

    def both(carry, token_B):
        told_BV, told = next_logits(carry["told"], token_B)
        untold_BV, untold = next_logits(carry["untold"], token_B)
        told_BV = jax.nn.log_softmax(told_BV.astype(jnp.float32))
        untold_BV = jax.nn.log_softmax(untold_BV.astype(jnp.float32))
        known_BV = jnp.isfinite(told_BV) & jnp.isfinite(untold_BV)
        gain_BV = jnp.where(known_BV, told_BV - untold_BV, 0.0)
        return told_BV + (scale - 1) * gain_BV, {"told": told, "untold": untold}

    return both
