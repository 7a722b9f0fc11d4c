"""The Transformer encoder and decoder of `seq2seq` (Vaswani et al. 2017).

    x = x + self_attention(norm(x))                } * depth, pre-norm
    x = x + cross_attention(norm(x), memory)       }   in the decoder only
    x = x + W2 relu(W1 norm(x))^2                  }
    memory = norm(x)    or    logits = head(norm(x))

As in the family `transformer`: rotary positions in self-attention, RMS norms without gain, norms on
queries and keys, squared ReLU, no biases, and output projections that start at zero. With `stride`
cross-attention has rotary positions, too.

Letters: B batch, S source, T target, V vocabulary, C classes, D width, N heads, K head width.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from creagen_jax.data.tokenizers import END
from creagen_jax.functional.attention import (
    dot_product_attention,
    dot_product_weights,
    mask_to_end,
)
from creagen_jax.functional.embedding import embed, embed_label, rotary
from creagen_jax.functional.layers import dropout, linear, rms_norm

NORMAL, INWARD, ZEROS = (
    nn.initializers.normal(1.0),
    nn.initializers.lecun_normal(),
    nn.initializers.zeros,
)


def start(cfg, memory):
    """What the decoder carries before the first token: empty caches of keys and values for each
    layer. `length` is the number of tokens in them, for each sample."""
    n, _, heads, width = memory["keys"][0].shape
    empty = jnp.zeros((n, cfg.context, heads, width), cfg.dtype)
    return {"caches": ((empty, empty),) * cfg.depth, "length": jnp.zeros(n, jnp.int32)}


class Encoder(nn.Module):
    """Sources [B, S] to what the decoder reads of them, a dict whose leaves begin with B: `mask`,
    and for each decoder layer `keys` and `values` [B, S, N, K]."""

    cfg: Any  # models.seq2seq.Config
    vocab: int

    @nn.compact
    def __call__(self, source_BS, rng):
        cfg = self.cfg
        rngs = _split(rng, 2 * cfg.depth + 1)
        mask_BS = mask_to_end(source_BS, END)
        mask_B1S, position_1S = mask_BS[:, None], jnp.arange(source_BS.shape[1])[None]
        embed_VD = self.param("embed", NORMAL, (self.vocab, cfg.width))
        x_BSD = dropout(next(rngs), rms_norm(embed(embed_VD, source_BS)), cfg.dropout)
        for layer in range(cfg.depth):
            attention = SelfAttention(cfg, name=f"self{layer}")
            y_BSD, _ = attention(x_BSD, position_1S, mask_B1S, None)
            x_BSD += dropout(next(rngs), y_BSD, cfg.dropout)
            y_BSD = Perceptron(cfg, name=f"perceptron{layer}")(x_BSD)
            x_BSD += dropout(next(rngs), y_BSD, cfg.dropout)
        x_BSD = rms_norm(x_BSD)
        keys, values = [], []
        for layer in range(cfg.depth):
            kv = self.param(f"memory{layer}", INWARD, (cfg.width, 2 * cfg.width))
            k, v = _project(x_BSD, kv, 2, cfg.heads)
            k = rms_norm(k)
            keys.append(rotary(k, position_1S * cfg.stride) if cfg.stride else k)
            values.append(v)
        return {"mask": mask_BS, "keys": tuple(keys), "values": tuple(values)}


class Decoder(nn.Module):
    """Logits [B, T, V] of tokens [B, T], the last layer's attention weights [B, T, S] (the mean
    over its heads) and the carry after the last token. A carry of None begins a target.

    A target has at most cfg.context tokens, END included: after so many, the prediction is END
    with certainty.
    """

    cfg: Any  # models.seq2seq.Config
    vocab: int
    classes: int

    @nn.compact
    def __call__(self, tokens_BT, label_B, memory, carry, rng):
        cfg, T = self.cfg, tokens_BT.shape[1]
        rngs = _split(rng, 3 * cfg.depth + 1)
        if carry is None:
            position_BT, seen, caches = jnp.arange(T)[None], T, [None] * cfg.depth
        else:
            position_BT = carry["length"][:, None] + jnp.arange(T)
            seen, caches = cfg.context, carry["caches"]
        mask_BTX = jnp.arange(seen) <= position_BT[..., None]  # itself and what precedes it
        embed_VD = self.param("embed", NORMAL, (self.vocab, cfg.width))
        x_BTD = embed(embed_VD, tokens_BT)
        if self.classes:
            label_CD = self.param("embed_label", NORMAL, (self.classes, cfg.width))
            x_BTD += embed_label(label_CD, label_B)[:, None]
        x_BTD = dropout(next(rngs), rms_norm(x_BTD), cfg.dropout)
        after = []
        for layer in range(cfg.depth):
            attention = SelfAttention(cfg, name=f"self{layer}")
            y_BTD, cache = attention(x_BTD, position_BT, mask_BTX, caches[layer])
            x_BTD += dropout(next(rngs), y_BTD, cfg.dropout)
            cross = CrossAttention(cfg, name=f"cross{layer}")
            keys_BSNK, values_BSNK = memory["keys"][layer], memory["values"][layer]
            y_BTD, weights_BTS = cross(x_BTD, position_BT, keys_BSNK, values_BSNK, memory["mask"])
            x_BTD += dropout(next(rngs), y_BTD, cfg.dropout)
            y_BTD = Perceptron(cfg, name=f"perceptron{layer}")(x_BTD)
            x_BTD += dropout(next(rngs), y_BTD, cfg.dropout)
            after.append(cache)
        head_DV = self.param("head", ZEROS, (cfg.width, self.vocab))
        logits_BTV = linear(rms_norm(x_BTD), head_DV)
        if carry is None:
            return logits_BTV, weights_BTS, None
        only_end_V = jnp.where(jnp.arange(self.vocab) == END, 0.0, -jnp.inf)
        full_BT1 = position_BT[..., None] >= cfg.context
        logits_BTV = jnp.where(full_BT1, only_end_V, logits_BTV)
        return logits_BTV, weights_BTS, {"caches": tuple(after), "length": carry["length"] + T}


class SelfAttention(nn.Module):
    """What is added to x, and the keys and values that the queries saw: those of x, or those of a
    cache [B, context, N, K] into which they were written at their positions."""

    cfg: Any

    @nn.compact
    def __call__(self, x_BTD, position_BT, mask_BTX, cache):
        D = self.cfg.width
        qkv = self.param("qkv", INWARD, (D, 3 * D))
        q, k, v = _project(rms_norm(x_BTD), qkv, 3, self.cfg.heads)
        q, k = (rotary(rms_norm(a), position_BT) for a in (q, k))
        if cache is not None:
            rows_B1 = jnp.arange(len(k))[:, None]
            k, v = (
                old.at[rows_B1, position_BT].set(new)
                for old, new in zip(cache, (k, v), strict=True)
            )
        y_BTD = dot_product_attention(q, k, v, mask_BTX).reshape(x_BTD.shape)
        return linear(y_BTD, self.param("out", ZEROS, (D, D))), (k, v)


class CrossAttention(nn.Module):
    """What is added to x, and the attention weights [B, T, S], the mean over the heads."""

    cfg: Any

    @nn.compact
    def __call__(self, x_BTD, position_BT, keys_BSNK, values_BSNK, mask_BS):
        D = self.cfg.width
        query = self.param("query", INWARD, (D, D))
        (q,) = _project(rms_norm(x_BTD), query, 1, self.cfg.heads)
        q, mask_B1S = rms_norm(q), mask_BS[:, None]
        if self.cfg.stride:
            q = rotary(q, position_BT)
        y_BTD = dot_product_attention(q, keys_BSNK, values_BSNK, mask_B1S).reshape(x_BTD.shape)
        weights_BTS = dot_product_weights(q, keys_BSNK, mask_B1S).mean(axis=1)
        return linear(y_BTD, self.param("out", ZEROS, (D, D))), weights_BTS


class Perceptron(nn.Module):
    """What is added to x."""

    cfg: Any

    @nn.compact
    def __call__(self, x_BTD):
        D, hidden = self.cfg.width, self.cfg.expand * self.cfg.width
        h = linear(rms_norm(x_BTD), self.param("up", INWARD, (D, hidden)))
        return linear(jnp.square(nn.relu(h)), self.param("down", ZEROS, (hidden, D)))


def _project(x_BTD, W, parts: int, heads: int):
    """x W as `parts` arrays [B, T, N, K]."""
    shape_BTNK = (*x_BTD.shape[:2], heads, -1)
    return [part.reshape(shape_BTNK) for part in jnp.split(linear(x_BTD, W), parts, axis=-1)]


def _split(rng, count: int):
    """An iterator over `count` keys, or over None if there is no key."""
    return iter([None] * count if rng is None else jax.random.split(rng, count))
