"""The decoder-only Transformer (Vaswani et al. 2017; Radford et al. 2019), shared by `transformer`
and `text_gan`.

    x = embed(tokens)
    x = x + attention(norm(x))          } * depth, pre-norm
    x = x + W2 relu(W1 norm(x))^2       }
    logits = head(norm(x))

It departs from GPT-2 in what reaches a loss sooner: rotary positions, RMS norms without gain, norms
on queries and keys (Henry et al. 2020), squared ReLU (So et al. 2021), no biases, and output
projections that start at zero, so that every block starts as the identity.

Letters: B batch, T time, V vocabulary, C classes, D width, N heads, K head width.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from creagen_jax import config
from creagen_jax.functional.attention import causal_attention, query_attention
from creagen_jax.functional.embedding import embed, embed_label, rotary, sinusoidal
from creagen_jax.functional.layers import dropout, linear, rms_norm
from creagen_jax.models import _language
from creagen_jax.models._layers import cast
from creagen_jax.types import Batch, Params, Spec, TrainState, UserError


@dataclasses.dataclass(frozen=True)
class Config(config.Model):
    """Hyper-parameters of the Transformer."""

    width: int = 192
    """D: width of the residual stream."""
    depth: int = 4
    """Blocks of attention and perceptron."""
    heads: int = 6
    """N: attention heads; each is width / heads wide."""
    expand: int = 4
    """Width of the perceptron's hidden layer, in multiples of D."""
    context: int = 128
    """Tokens that the model looks back on; longer texts are read through a sliding window."""
    position: Literal["rotary", "sinusoidal"] = "rotary"
    """Relative positions turned into queries and keys, or absolute ones added to the embedding."""
    dropout: float = 0.0
    """Share of units dropped after the embedding, the attention and the perceptron."""
    label_dropout: float = 0.0
    """Share of examples whose class is withheld, so that guidance has an unconditional model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in; parameters stay float32."""


class Block(nn.Module):
    cfg: Config

    def setup(self):
        D, hidden = self.cfg.width, self.cfg.expand * self.cfg.width
        inward, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        self.qkv = self.param("qkv", inward, (D, 3 * D))
        self.out = self.param("out", zeros, (D, D))
        self.up = self.param("up", inward, (D, hidden))
        self.down = self.param("down", zeros, (hidden, D))

    def __call__(self, x_BTD, position_BT, attend, rng):
        """`attend(q, k, v)` does the looking back: over the window, or over a cache."""
        rngs = (None, None) if rng is None else jax.random.split(rng)
        shape_BTNK = (*x_BTD.shape[:2], self.cfg.heads, -1)
        q, k, v = (
            a.reshape(shape_BTNK) for a in jnp.split(linear(rms_norm(x_BTD), self.qkv), 3, -1)
        )
        q, k = rms_norm(q), rms_norm(k)
        if self.cfg.position == "rotary":
            q, k = rotary(q, position_BT), rotary(k, position_BT)
        y_BTD = attend(q, k, v).reshape(x_BTD.shape)
        x_BTD = x_BTD + dropout(rngs[0], linear(y_BTD, self.out), self.cfg.dropout)
        hidden = jnp.square(nn.relu(linear(rms_norm(x_BTD), self.up)))
        return x_BTD + dropout(rngs[1], linear(hidden, self.down), self.cfg.dropout)


class Network(nn.Module):
    cfg: Config
    vocab: int
    classes: int

    @nn.compact
    def __call__(self, tokens_BT, condition_B, position_BT, attends, rng):
        """Logits [B, T, V]. `attends` has one `attend` for each block (see `Block`)."""
        cfg = self.cfg
        rngs = [None] * (cfg.depth + 1) if rng is None else jax.random.split(rng, cfg.depth + 1)
        normal = nn.initializers.normal(1.0)
        x_BTD = embed(self.param("embed", normal, (self.vocab, cfg.width)), tokens_BT)
        if self.classes:
            label_CD = self.param("embed_label", normal, (self.classes, cfg.width))
            x_BTD += embed_label(label_CD, condition_B)[:, None]
        if cfg.position == "sinusoidal":
            x_BTD += sinusoidal(position_BT, cfg.width).astype(x_BTD.dtype)
        x_BTD = dropout(rngs[-1], rms_norm(x_BTD), cfg.dropout)
        for layer in range(cfg.depth):
            x_BTD = Block(cfg, name=f"block{layer}")(
                x_BTD, position_BT, attends[layer], rngs[layer]
            )
        head_DV = self.param("head", nn.initializers.zeros, (cfg.width, self.vocab))
        return linear(rms_norm(x_BTD), head_DV)


def _apply(params: Params, cfg: Config, tokens_BT, condition_B, position_BT, attends, rng=None):
    classes = params["embed_label"].shape[0] if "embed_label" in params else 0
    network = Network(cfg, params["embed"].shape[0], classes)
    params = cast(params, cfg.dtype)
    return network.apply({"params": params}, tokens_BT, condition_B, position_BT, attends, rng)


def forward(cfg: Config):
    """The `_language.Forward` of a decoder-only Transformer."""

    def run(params: Params, batch: Batch, rng, carry):
        x_BT = batch["x"][:, :-1]
        position_1T = jnp.arange(x_BT.shape[1])[None]
        attends = [causal_attention] * cfg.depth
        logits = _apply(params, cfg, x_BT, batch.get("condition"), position_1T, attends, rng)
        return logits, carry

    return run


# --- the family contract ------------------------------------------------------------------------


def init(rng, cfg: Config, spec: Spec, tx) -> TrainState:
    """Raises UserError where widths do not divide, or the windows are longer than the context, and
    as `_language.check` does."""
    _language.check(cfg, spec)
    if cfg.width % cfg.heads or (cfg.width // cfg.heads) % 2:
        raise UserError(
            f"model.width {cfg.width} must be an even multiple of model.heads {cfg.heads}"
        )
    if spec.length > cfg.context:
        raise UserError(
            f"windows of {spec.length} tokens do not fit into a context of {cfg.context}: "
            f"pass --model.context {spec.length}, or a smaller --data.length"
        )
    network = Network(cfg, spec.vocab, spec.classes)
    tokens_BT, label_B = jnp.zeros((1, 1), jnp.int32), jnp.zeros(1, jnp.int32)
    attends = [causal_attention] * cfg.depth
    params = network.init(rng, tokens_BT, label_B, tokens_BT, attends, None)["params"]
    return TrainState.create(params, tx)


def make_step(cfg: Config, spec: Spec, tx):
    return _language.make_step(forward(cfg), tx, dropout=cfg.label_dropout)


def eval_metrics(params: Params, cfg: Config, batch: Batch, rng):
    return _language.eval_metrics(forward(cfg), params, batch)


def init_carry(params: Params, cfg: Config, n: int, condition_B):
    """An empty key-value cache. `length` is the number of tokens in it, for each sample."""
    cache = jnp.zeros((n, cfg.heads, cfg.context, cfg.width // cfg.heads), cfg.dtype)
    return {
        "keys": (cache,) * cfg.depth,
        "values": (cache,) * cfg.depth,
        "tokens": jnp.zeros((n, cfg.context), jnp.int32),
        "length": jnp.zeros(n, jnp.int32),
        "condition": _language.labels(params, n, condition_B),
    }


def next_logits(params: Params, cfg: Config, carry, token_B):
    """One token through the cache.

    A full window slides: its newer half is read again, as positions 0 .. context/2 - 1, and
    decoding goes on behind it. So a prediction always sees between half the context and all of it,
    at positions that were trained; keys kept from before the slide would still hold what has left
    the window, which no training window ever showed the model.
    """
    carry = jax.lax.cond(
        jnp.any(carry["length"] == cfg.context),
        lambda carry: _slide(params, cfg, carry),
        lambda carry: carry,
        carry,
    )
    n = token_B.shape[0]
    rows, length_B = jnp.arange(n), carry["length"]
    mask_BS = jnp.arange(cfg.context) <= length_B[:, None]
    keys, values = [], []

    def attend_with(k_cache, v_cache):
        def attend(q, k, v):
            keys.append(k_cache.at[rows, :, length_B].set(k[:, 0]))
            values.append(v_cache.at[rows, :, length_B].set(v[:, 0]))
            return query_attention(q[:, 0], keys[-1], values[-1], mask_BS)

        return attend

    attends = [attend_with(*caches) for caches in zip(carry["keys"], carry["values"], strict=True)]
    logits_BTV = _apply(
        params, cfg, token_B[:, None], carry["condition"], length_B[:, None], attends
    )
    carry = carry | {
        "keys": tuple(keys),
        "values": tuple(values),
        "tokens": carry["tokens"].at[rows, length_B].set(token_B),
        "length": length_B + 1,
    }
    return logits_BTV[:, 0].astype(jnp.float32), carry


def _slide(params: Params, cfg: Config, carry):
    """Read the newer half of each full window again; leave the other samples as they are."""
    half = cfg.context // 2
    tokens_BT = carry["tokens"][:, cfg.context - half :]
    keys, values = [], []

    def attend(q, k, v):
        keys.append(k.swapaxes(1, 2))
        values.append(v.swapaxes(1, 2))
        return causal_attention(q, k, v)

    position_1T = jnp.arange(half)[None]
    _apply(params, cfg, tokens_BT, carry["condition"], position_1T, [attend] * cfg.depth)
    full = carry["length"] == cfg.context

    def fill(old, new):
        """Along the last axis but one."""
        filled = old.at[..., :half, :].set(new)
        return jnp.where(full[(..., *[None] * (old.ndim - 1))], filled, old)

    return carry | {
        "keys": tuple(map(fill, carry["keys"], keys)),
        "values": tuple(map(fill, carry["values"], values)),
        "tokens": fill(carry["tokens"][..., None], tokens_BT[..., None])[..., 0],
        "length": jnp.where(full, half, carry["length"]),
    }
