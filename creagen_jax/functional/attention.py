"""Attention: scaled dot products, additive scores, and what may be seen.

Letters: B batch, T queries, S keys, N heads, K head width, A width of the additive score, M width
of the additive attention's values.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

BLOCKS, BLOCK = 8, 64  # of the queries of causal attention: at most so many, at least so long
FEW = 16  # products of a vector and a matrix that are written out


def dot_product_attention(
    q_BTNK: Float[Array, "B T N K"],
    k_BSNK: Float[Array, "B S N K"],
    v_BSNK: Float[Array, "B S N K"],
    mask_BTS: Bool[Array, "#B #T S"],
) -> Float[Array, "B T N K"]:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(K)) V  (Vaswani et al. 2017, eq. 1).

    `mask_BTS` (broadcast over B and T where they are 1) is True where a query may look. The
    softmax is taken in float32; its division comes after the product with V, where there is less
    to divide.
    """
    scores_BNTS = _masked_scores(q_BTNK, k_BSNK, mask_BTS)
    largest_BNT1 = jax.lax.stop_gradient(scores_BNTS.max(-1, keepdims=True))
    exp_BNTS = jnp.exp(scores_BNTS - largest_BNT1)
    y_BTNK = jnp.einsum("bnts,bsnk->btnk", exp_BNTS.astype(v_BSNK.dtype), v_BSNK)
    sum_BTN1 = exp_BNTS.sum(-1).swapaxes(1, 2)[..., None]
    return (y_BTNK / sum_BTN1).astype(v_BSNK.dtype)


def dot_product_weights(
    q_BTNK: Float[Array, "B T N K"],
    k_BSNK: Float[Array, "B S N K"],
    mask_BTS: Bool[Array, "#B #T S"],
) -> Float[Array, "B N T S"]:
    """The softmax of `dot_product_attention`, in float32 whatever the inputs are."""
    return jax.nn.softmax(_masked_scores(q_BTNK, k_BSNK, mask_BTS))


def _masked_scores(q_BTNK: Array, k_BSNK: Array, mask_BTS: Array) -> Array:
    scale = q_BTNK.shape[-1] ** -0.5
    return _masked(jnp.einsum("btnk,bsnk->bnts", q_BTNK * scale, k_BSNK), mask_BTS[:, None])


def causal_attention(
    q_BTNK: Float[Array, "B T N K"],
    k_BTNK: Float[Array, "B T N K"],
    v_BTNK: Float[Array, "B T N K"],
) -> Float[Array, "B T N K"]:
    """`dot_product_attention` in which position t sees positions 0 .. t.

    Queries are taken in blocks, each with the keys up to its own end: of a long window nearly half
    of the scores need not be made.
    """
    scale = q_BTNK.shape[-1] ** -0.5
    heads = (each.swapaxes(1, 2) for each in (q_BTNK * scale, k_BTNK, v_BTNK))
    return _causal(*heads).swapaxes(1, 2)


# A CPU's library multiplies at half its speed where it must first turn the scores, which are the
# large ones. Automatic differentiation makes it turn them for the gradients of keys and values;
# here it is the small queries that are turned.


@jax.custom_vjp
def _causal(q_BNTK, k_BNTK, v_BNTK):
    return _causal_forward(q_BNTK, k_BNTK, v_BNTK)[0]


def _causal_forward(q_BNTK, k_BNTK, v_BNTK):
    T, dtype = q_BNTK.shape[2], v_BNTK.dtype
    mask_1TT, parts, kept = causal_mask(T), [], []
    for own, seen in _blocks(T):
        scores_BNTS = jnp.einsum("bntk,bnsk->bnts", q_BNTK[:, :, own], k_BNTK[:, :, seen])
        scores_BNTS = _masked(scores_BNTS, mask_1TT[:, None, own, seen])
        exp_BNTS = jnp.exp(scores_BNTS - scores_BNTS.max(-1, keepdims=True))
        sum_BNT1 = exp_BNTS.sum(-1, keepdims=True)
        exp_BNTS = exp_BNTS.astype(dtype)
        y_BNTK = jnp.einsum("bnts,bnsk->bntk", exp_BNTS, v_BNTK[:, :, seen]) / sum_BNT1
        parts.append(y_BNTK.astype(dtype))
        kept.append((exp_BNTS, sum_BNT1))
    y_BNTK = jnp.concatenate(parts, axis=2)
    return y_BNTK, (q_BNTK, k_BNTK, v_BNTK, y_BNTK, kept)


def _causal_backward(residuals, dy_BNTK):
    """With P = softmax(Q K^T): dV = P^T dY, dS = P * (dY V^T - rowsum(dY * Y)), dQ = dS K and
    dK = dS^T Q."""
    q_BNTK, k_BNTK, v_BNTK, y_BNTK, kept = residuals
    dtype = v_BNTK.dtype
    inner_BNT1 = (dy_BNTK * y_BNTK).sum(-1, keepdims=True, dtype=jnp.float32)
    q_BNKT = _turned(q_BNTK)
    dk_BNKT = dv_BNKT = jnp.zeros_like(q_BNKT)
    dq = []
    for (own, seen), (exp_BNTS, sum_BNT1) in zip(_blocks(q_BNTK.shape[2]), kept, strict=True):
        dy_own_BNTK = (dy_BNTK[:, :, own] / sum_BNT1).astype(dtype)
        dp_BNTS = jnp.einsum("bntk,bnsk->bnts", dy_own_BNTK, v_BNTK[:, :, seen])
        ds_BNTS = (exp_BNTS * (dp_BNTS - inner_BNT1[:, :, own] / sum_BNT1)).astype(dtype)
        dq.append(jnp.einsum("bnts,bnsk->bntk", ds_BNTS, k_BNTK[:, :, seen]))
        products = (
            jnp.einsum("bnkt,bnts->bnks", q_BNKT[..., own], ds_BNTS),
            jnp.einsum("bnkt,bnts->bnks", _turned(dy_own_BNTK), exp_BNTS),
        )
        dk_own_BNKS, dv_own_BNKS = jax.lax.optimization_barrier(products)
        dk_BNKT = dk_BNKT.at[..., seen].add(dk_own_BNKS)
        dv_BNKT = dv_BNKT.at[..., seen].add(dv_own_BNKS)
    return jnp.concatenate(dq, axis=2), _turned(dk_BNKT), _turned(dv_BNKT)


def _turned(x):
    """The last two axes swapped, and not by XLA within the product that makes or takes it."""
    return jax.lax.optimization_barrier(x.swapaxes(-1, -2))


def _blocks(length: int) -> list[tuple[slice, slice]]:
    """The queries of each block, and the keys that they may see."""
    size = max(BLOCK, -(-length // BLOCKS))
    ends = (min(start + size, length) for start in range(0, length, size))
    return [(slice(i * size, end), slice(end)) for i, end in enumerate(ends)]


_causal.defvjp(_causal_forward, _causal_backward)


def query_attention(
    q_BNK: Float[Array, "B N K"],
    k_BNSK: Float[Array, "B N S K"],
    v_BNSK: Float[Array, "B N S K"],
    mask_BS: Bool[Array, "B S"],
) -> Float[Array, "B N K"]:
    """`dot_product_attention` of a single query, with keys and values that lie as a cache is read:
    those of each head together."""
    scores_BNS = _products(q_BNK * q_BNK.shape[-1] ** -0.5, k_BNSK.swapaxes(2, 3))
    weights_BNS = jax.nn.softmax(_masked(scores_BNS, mask_BS[:, None])).astype(v_BNSK.dtype)
    return _products(weights_BNS, v_BNSK)


def _products(x_BNI: Array, y_BNIO: Array) -> Array:
    """[B, N, O]: x y for each sample and head. A few are written out: on a CPU, XLA's product of
    all at once has a start that is dearer than they are."""
    B, N, _, O = y_BNIO.shape  # noqa: E741
    if B * N > FEW:
        return jnp.einsum("bni,bnio->bno", x_BNI, y_BNIO)
    each = [x_BNI[b, n] @ y_BNIO[b, n] for b in range(B) for n in range(N)]
    return jnp.stack(each).reshape(B, N, O)


def additive_attention(
    q_BA: Float[Array, "B A"],
    k_BSA: Float[Array, "B S A"],
    v_BSM: Float[Array, "B S M"],
    score_A: Float[Array, " A"],
    mask_BS: Bool[Array, "B S"],
) -> tuple[Float[Array, "B M"], Float[Array, "B S"]]:
    """One step's context c_i and weights alpha_i (Bahdanau et al. 2015, eq. 5-6 and A.1.2).

        e_ij = v_a . tanh(W_a s_{i-1} + U_a h_j)
        alpha_ij = exp(e_ij) / sum_k exp(e_ik)
        c_i = sum_j alpha_ij h_j

    `q_BA` is W_a s_{i-1}, `k_BSA` U_a h_j, `v_BSM` h_j, `score_A` v_a. `mask_BS` is True where the
    step may look. The softmax is taken in float32.
    """
    scores_BS = jnp.tanh(q_BA[:, None] + k_BSA) @ score_A
    weights_BS = jax.nn.softmax(_masked(scores_BS, mask_BS))
    return jnp.einsum("bs,bsm->bm", weights_BS.astype(v_BSM.dtype), v_BSM), weights_BS


def _masked(scores: Array, mask: Array) -> Array:
    """In float32, and as low as can be where the mask, broadcast, is False."""
    return jnp.where(mask, scores.astype(jnp.float32), jnp.finfo(jnp.float32).min)


def causal_mask(length: int) -> Bool[Array, "1 T T"]:
    """Position t sees positions 0 .. t."""
    return jnp.tri(length, dtype=bool)[None]


def mask_to_end(tokens_BS: Int[Array, "B S"], end: int) -> Bool[Array, "B S"]:
    """True up to and including the first `end` of each row; everywhere if there is none."""
    is_end_BS = tokens_BS == end
    return jnp.cumsum(is_end_BS, axis=1) - is_end_BS == 0
