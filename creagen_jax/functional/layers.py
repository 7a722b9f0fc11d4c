"""Small pieces that every network uses: products, normalisation, dropout, cross-entropy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key


def linear(x: Float[Array, "*shape D"], W_DF: Float[Array, "D F"]) -> Float[Array, "*shape F"]:
    """x W over the last axis.

    All other axes are made one first: of a product with more axes than two, XLA computes the
    gradient of W on a CPU from transposed copies, in three times the time.
    """
    *shape, D = x.shape
    return (x.reshape(-1, D) @ W_DF).reshape(*shape, -1)


def rms_norm(x: Float[Array, "*shape D"], epsilon: float = 1e-6) -> Float[Array, "*shape D"]:
    """x / RMS(x) over the last axis (Zhang & Sennrich 2019, eq. 4, without gain)."""
    x32 = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + epsilon)
    return (x32 * scale).astype(x.dtype)


def dropout(
    rng: Key[Array, ""] | None, x: Float[Array, "*shape"], rate: float
) -> Float[Array, "*shape"]:
    """Zero a share `rate` of x, scale up the rest (Srivastava et al. 2014); no rng: keep all."""
    if rng is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(rng, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0).astype(x.dtype)


def cross_entropy(
    logits_BTV: Float[Array, "B T V"], target_BT: Int[Array, "B T"], mask_BT: Float[Array, "B T"]
) -> Float[Array, "B T"]:
    """-log p(target) in nats, in float32, 0 where the mask is 0."""
    nats_BT = optax.softmax_cross_entropy_with_integer_labels(
        logits_BTV.astype(jnp.float32), target_BT
    )
    return nats_BT * mask_BT
