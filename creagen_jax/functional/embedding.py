"""Tokens and positions as vectors.

Letters: B batch, T time, V vocabulary, C classes, D model width, N heads, K head width.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def embed(table_VD: Float[Array, "V D"], tokens: Int[Array, "*shape"]) -> Float[Array, "*shape D"]:
    """Rows of the table. Token ids are checked on the host, before they come here."""
    return table_VD[tokens]


def embed_label(table_CD: Float[Array, "C D"], label_B: Int[Array, " B"]) -> Float[Array, "B D"]:
    """Rows of the table, and zeros for a label of -1: no label, as classifier-free guidance wants
    a part of the training to be (Ho & Salimans 2022, section 3.2)."""
    return jnp.where(label_B[:, None] < 0, 0, embed(table_CD, label_B))


def sinusoidal(position_BT: Int[Array, "B T"], width: int) -> Float[Array, "B T D"]:
    """Absolute positions (Vaswani et al. 2017, section 3.5); D = `width` is even.

    PE(pos, 2i) = sin(pos / 10000^(2i/D)), PE(pos, 2i+1) = cos(...); sines and cosines here stand
    side by side instead of interleaved, which only permutes the dimensions.
    """
    angle = position_BT[..., None] * _frequencies(width // 2)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def rotary(
    x_BTNK: Float[Array, "B T N K"], position_BT: Int[Array, "#B T"]
) -> Float[Array, "B T N K"]:
    """Rotary positions (Su et al. 2021, eq. 34): turns each pair of dimensions (i, i + K/2) by
    pos / 10000^(2i/K), so that a product of queries and keys depends on their distance alone."""
    half = x_BTNK.shape[-1] // 2
    angle = position_BT[..., None, None] * _frequencies(half)  # [B, T, 1, K/2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    cos, sin = jnp.concatenate([cos, cos], axis=-1), jnp.concatenate([-sin, sin], axis=-1)
    x = x_BTNK.astype(jnp.float32)
    return (x * cos + jnp.roll(x, half, axis=-1) * sin).astype(x_BTNK.dtype)


def _frequencies(count: int) -> Float[Array, " count"]:
    return 10000.0 ** (-jnp.arange(count, dtype=jnp.float32) / count)
