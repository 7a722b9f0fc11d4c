"""Captions as what pictures are made from: a Transformer that reads them, attention that looks at
what it read, and a picture and a text encoder to tell which caption is of which picture.

Letters: B batch, S source, T places, H W C picture, V vocabulary, D width, N heads, K head width,
E width of what was read.
"""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from creagen_jax.data.tokenizers import END
from creagen_jax.functional.attention import dot_product_attention, mask_to_end
from creagen_jax.functional.convolution import halve
from creagen_jax.functional.embedding import embed
from creagen_jax.functional.layers import rms_norm
from creagen_jax.models._layers import Conv, Dense
from creagen_jax.models._seq2seq_transformer import NORMAL, Perceptron, SelfAttention

LONGEST = 32  # pixels of the longer side that the picture encoder sees
COARSE = 5  # pixels of the longer side at which its convolutions end
FINEST = 32  # channels of the first of them; the next ones have twice as many, up to D


@dataclasses.dataclass(frozen=True)
class Size:
    """Of an encoder of captions; D / N is even."""

    width: int  # D
    depth: int  # layers
    heads: int  # N
    expand: int = 2  # width of the perceptrons, as a multiple of D


class Encoder(nn.Module):
    """Captions [B, S] to what is read of them: (context [B, S, D], mask [B, S]).

    The mask is True up to the first END; of no caption, END alone, the context is that of END.
    """

    size: Size
    vocab: int

    @nn.compact
    def __call__(self, source_BS):
        size = self.size
        mask_BS = mask_to_end(source_BS, END)
        position_1S = jnp.arange(source_BS.shape[1])[None]
        x_BSD = rms_norm(embed(self.param("embed", NORMAL, (self.vocab, size.width)), source_BS))
        for layer in range(size.depth):
            attention = SelfAttention(size, name=f"self{layer}")
            y_BSD, _ = attention(x_BSD, position_1S, mask_BS[:, None], None)
            x_BSD += y_BSD
            x_BSD += Perceptron(size, name=f"perceptron{layer}")(x_BSD)
        return rms_norm(x_BSD), mask_BS


def summary(context_BSD, mask_BS):
    """The mean over what counts of a context: [B, D]."""
    weight_BS1 = mask_BS[..., None].astype(context_BSD.dtype)
    return (context_BSD * weight_BS1).sum(1) / weight_BS1.sum(1)


class CrossAttention(nn.Module):
    """Every place of x [B, ..., D] looks at a context (Vaswani et al. 2017; Rombach et al. 2022);
    starts by changing nothing."""

    heads: int

    @nn.compact
    def __call__(self, x, context_BSE, mask_BS):
        B, D = len(x), x.shape[-1]
        q_BTD = Dense(D, use_bias=False, name="query")(rms_norm(x).reshape(B, -1, D))
        kv_BSD = Dense(2 * D, use_bias=False, name="memory")(context_BSE)
        k_BSD, v_BSD = jnp.split(kv_BSD, 2, axis=-1)
        q, k, v = (a.reshape(B, a.shape[1], self.heads, -1) for a in (q_BTD, k_BSD, v_BSD))
        y_BTNK = dot_product_attention(rms_norm(q), rms_norm(k), v, mask_BS[:, None])
        out = Dense(D, use_bias=False, kernel_init=nn.initializers.zeros, name="out")
        return x + out(y_BTNK.reshape(q_BTD.shape)).reshape(x.shape)


class PictureEncoder(nn.Module):
    """Pictures [B, H, W, C] in -1 .. 1, large ones shrunk first, as vectors [B, D] of length 1."""

    width: int  # D

    @nn.compact
    def __call__(self, x_BHWC):
        B, H, W, C = x_BHWC.shape
        scale = min(LONGEST / max(H, W), 1.0)
        sides = max(round(H * scale), 1), max(round(W * scale), 1)
        x_BHWC = jax.image.resize(x_BHWC, (B, *sides, C), "linear", antialias=True)
        levels = 1 + max(math.ceil(math.log2(max(sides) / COARSE)), 0)
        for level in range(levels):
            x_BHWC = halve(x_BHWC) if level else x_BHWC
            x_BHWC = nn.silu(rms_norm(Conv(min(FINEST << level, self.width))(x_BHWC)))
        return _unit(Dense(self.width, name="out")(x_BHWC.reshape(len(x_BHWC), -1)))


class TextEncoder(nn.Module):
    """Captions [B, S] as vectors [B, D] of length 1."""

    size: Size
    vocab: int

    @nn.compact
    def __call__(self, source_BS):
        read_BD = summary(*Encoder(self.size, self.vocab, name="encoder")(source_BS))
        return _unit(Dense(self.size.width, name="out")(read_BD))


def _unit(x_BD):
    return rms_norm(x_BD) * x_BD.shape[-1] ** -0.5
