"""Scaled dot-product attention.

Letters: B batch, T queries, S keys, N heads, K head width.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def dot_product_attention(
    q_BTNK: Float[Array, "B T N K"],
    k_BSNK: Float[Array, "B S N K"],
    v_BSNK: Float[Array, "B S N K"],
    mask_BTS: Bool[Array, "#B T S"],
) -> Float[Array, "B T N K"]:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(K)) V  (Vaswani et al. 2017, eq. 1).

    `mask_BTS` (broadcast over B if its first axis is 1) is True where a query may look. The softmax
    is taken in float32 whatever the inputs are.
    """
    scale = q_BTNK.shape[-1] ** -0.5
    scores_BNTS = jnp.einsum("btnk,bsnk->bnts", q_BTNK * scale, k_BSNK)
    scores_BNTS = scores_BNTS.astype(jnp.float32)
    scores_BNTS = jnp.where(mask_BTS[:, None], scores_BNTS, jnp.finfo(jnp.float32).min)
    weights_BNTS = jax.nn.softmax(scores_BNTS).astype(v_BSNK.dtype)
    return jnp.einsum("bnts,bsnk->btnk", weights_BNTS, v_BSNK)


def causal_mask(length: int) -> Bool[Array, "1 T T"]:
    """Position t sees positions 0 .. t."""
    return jnp.tri(length, dtype=bool)[None]
