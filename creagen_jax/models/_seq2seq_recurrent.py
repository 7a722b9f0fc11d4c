"""The recurrent encoder and decoder of `seq2seq`.

With attention (Bahdanau et al. 2015), the encoder reads in both directions and every step of the
decoder looks at all that was read. Without, the encoder reads forward and every step is told its
last state alone (Cho et al. 2014, section 2.2; Sutskever et al. 2014).

    encoder   h_j = [forward state; backward state]   } * depth, stacked
    decoder   s_0 = tanh(W_s end)                     of each layer, from the encoder's last state
              c_i = attend(s_{i-1}, h) or end
              s_i = cell(s_{i-1}, [y_{i-1}; c_i])     and depth - 1 plain layers above it
              logits = W_o tanh(W_r [s_i; c_i])

What departs from the papers: the readout is one tanh layer, where they have maxout units that read
y_{i-1} as well; and an LSTM's cell state begins as its hidden state does.

Letters: B batch, S source, T target, V vocabulary, C classes, D input width, K state width, A width
of the additive score, M width of the context, G gates * K.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from creagen_jax.data.tokenizers import END
from creagen_jax.functional import recurrent
from creagen_jax.functional.attention import additive_attention, mask_to_end
from creagen_jax.functional.embedding import embed, embed_label
from creagen_jax.functional.layers import dropout, linear
from creagen_jax.models import _recurrent

CELLS = {"lstm": _recurrent.LSTM, "gru": _recurrent.GRU}
NORMAL, INWARD = nn.initializers.normal(1.0), nn.initializers.lecun_normal()


def start(cfg, memory):
    """What the decoder carries before the first token: the carries of its layers."""
    return memory["start"]


class Encoder(nn.Module):
    """Sources [B, S] to what the decoder reads of them, a dict whose leaves begin with B: `mask`,
    `start`, and with attention `keys` [B, S, A] and `values` [B, S, M], without it `context`
    [B, M]."""

    cfg: Any  # models.seq2seq.Config
    vocab: int

    @nn.compact
    def __call__(self, source_BS, rng):
        cfg, cell = self.cfg, CELLS[self.cfg.cell]
        B, width = len(source_BS), cfg.width
        mask_BS = mask_to_end(source_BS, END)
        last_B = mask_BS.sum(axis=1) - 1
        rngs = [None] * cfg.depth if rng is None else jax.random.split(rng, cfg.depth)
        x_BSD = embed(self.param("embed", NORMAL, (self.vocab, width)), source_BS)
        zeros = (jnp.zeros((B, width), x_BSD.dtype),) * cell.carries
        for layer in range(cfg.depth):
            h_BSM, _ = Layer(cell, width, name=f"forward{layer}")(x_BSD, zeros)
            if cfg.attention:
                backward = Layer(cell, width, name=f"backward{layer}")
                h_BSK, _ = backward(_reverse(x_BSD, last_B), zeros)
                h_BSM = jnp.concatenate([h_BSM, _reverse(h_BSK, last_B)], axis=-1)
            x_BSD = dropout(rngs[layer], h_BSM, cfg.dropout)
        if cfg.attention:  # the backward half ends at the first token
            end_BK = x_BSD[:, 0, width:]
            keys = self.param("keys", INWARD, (2 * width, width))
            memory = {"keys": linear(x_BSD, keys), "values": x_BSD}
        else:
            end_BK = x_BSD[jnp.arange(B), last_B]
            memory = {"context": end_BK}
        carries = cfg.depth * cell.carries
        start_KX = self.param("start", INWARD, (width, carries * width))
        states = jnp.split(jnp.tanh(end_BK @ start_KX), carries, axis=-1)
        per_layer = zip(*[iter(states)] * cell.carries, strict=True)
        return memory | {"mask": mask_BS, "start": tuple(per_layer)}


class Decoder(nn.Module):
    """Logits [B, T, V] of tokens [B, T], the attention weights [B, T, S] (None without attention)
    and the carry after the last token. A carry of None begins a target."""

    cfg: Any  # models.seq2seq.Config
    vocab: int
    classes: int

    @nn.compact
    def __call__(self, tokens_BT, label_B, memory, carry, rng):
        cfg, cell = self.cfg, CELLS[self.cfg.cell]
        carry = memory["start"] if carry is None else carry
        rngs = [None] * cfg.depth if rng is None else jax.random.split(rng, cfg.depth)
        x_BTD = embed(self.param("embed", NORMAL, (self.vocab, cfg.width)), tokens_BT)
        if self.classes:
            label_CD = self.param("embed_label", NORMAL, (self.classes, cfg.width))
            x_BTD += embed_label(label_CD, label_B)[:, None]
        weights_BTS, after = None, []
        for layer in range(cfg.depth):
            name = f"layer{layer}"
            if layer == 0 and cfg.attention:
                attending = AttendingLayer(cell, cfg.width, name=name)
                x_BTD, context_BTM, weights_BTS, last = attending(x_BTD, carry[0], memory)
            else:
                if layer == 0:
                    context_BTM = jnp.broadcast_to(memory["context"][:, None], x_BTD.shape)
                    x_BTD = jnp.concatenate([x_BTD, context_BTM], axis=-1)
                x_BTD, last = Layer(cell, cfg.width, name=name)(x_BTD, carry[layer])
            x_BTD = dropout(rngs[layer], x_BTD, cfg.dropout)
            after.append(last)
        x_BTD = jnp.concatenate([x_BTD, context_BTM], axis=-1)
        readout_XD = self.param("readout", INWARD, (x_BTD.shape[-1], cfg.width))
        x_BTD = jnp.tanh(linear(x_BTD, readout_XD))
        head_DV = self.param("head", INWARD, (cfg.width, self.vocab))
        head_bias_V = self.param("head_bias", nn.initializers.zeros, (self.vocab,))
        return linear(x_BTD, head_DV) + head_bias_V, weights_BTS, tuple(after)


class Layer(nn.Module):
    """A recurrent layer: states [B, T, K] and the last carry."""

    cell: _recurrent.Cell
    width: int

    @nn.compact
    def __call__(self, x_BTD, carry):
        return recurrent.recur(self.cell.step, x_BTD, carry, *_weights(self, x_BTD.shape[-1]))


class AttendingLayer(nn.Module):
    """A recurrent layer that looks at the source before every step: states [B, T, K], contexts
    [B, T, M], weights [B, T, S] and the last carry."""

    cell: _recurrent.Cell
    width: int

    @nn.compact
    def __call__(self, x_BTD, carry, memory):
        D, M = x_BTD.shape[-1], memory["values"].shape[-1]
        W_XG, U_KG, b_G = _weights(self, D + M)
        query_KA = self.param("query", INWARD, (self.width, self.width))
        score_A = self.param("score", nn.initializers.normal(self.width**-0.5), (self.width,))
        # Recomputed in the backward pass: its B * S * A numbers a step are not worth their memory.
        attend = jax.checkpoint(additive_attention)

        def step(carry, x_BG):
            context_BM, weights_BS = attend(
                carry[0] @ query_KA, memory["keys"], memory["values"], score_A, memory["mask"]
            )
            carry = self.cell.step(x_BG + context_BM @ W_XG[D:], carry[0] @ U_KG, carry)
            return carry, (carry[0], context_BM, weights_BS)

        x_TBG = linear(jnp.swapaxes(x_BTD, 0, 1), W_XG[:D]) + b_G
        carry, outputs = jax.lax.scan(step, carry, x_TBG)
        return *(jnp.swapaxes(each, 0, 1) for each in outputs), carry


def _weights(layer: Layer | AttendingLayer, inputs: int):
    """W [inputs, G], U [K, G] and b [G] of a layer."""
    gates, width = layer.cell.gates, layer.width
    return (
        layer.param("W", INWARD, (inputs, gates * width)),
        layer.param("U", _recurrent.orthogonal(gates), (width, gates * width)),
        layer.param("b", _recurrent.bias(layer.cell.bias), (gates * width,)),
    )


def _reverse(x_BSD, last_B):
    """Each row from its last position to its first; what lies behind the last stays."""
    position_S = jnp.arange(x_BSD.shape[1])
    index_BS = jnp.where(position_S <= last_B[:, None], last_B[:, None] - position_S, position_S)
    return jnp.take_along_axis(x_BSD, index_BS[..., None], axis=1)
