"""A diffusion Transformer (Peebles & Xie 2023, adaLN-Zero): patches of a picture are its tokens.

The frames of a clip are pictures of the batch, which look at each other in every block.

Letters: B batch, T patches, D width, N heads, E width of what the network is told.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from creagen_jax.functional.attention import dot_product_attention
from creagen_jax.functional.convolution import depth_to_space, space_to_depth
from creagen_jax.functional.layers import rms_norm
from creagen_jax.models._captions import CrossAttention
from creagen_jax.models._layers import Dense
from creagen_jax.models._time import TimeAttention

ZERO = nn.initializers.zeros


class Block(nn.Module):
    """Attention and a multilayer perceptron, each scaled, shifted and gated by what is told;
    between them a look at other frames, and at the context, where there are such."""

    heads: int
    frames: int

    @nn.compact
    def __call__(self, x_BTD, told_BE, context):
        B, T, D = x_BTD.shape
        six_BD = Dense(6 * D, kernel_init=ZERO, name="told")(told_BE)[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(six_BD, 6, axis=-1)
        h = rms_norm(x_BTD) * (1 + scale1) + shift1
        qkv = Dense(3 * D, use_bias=False, name="qkv")(h).reshape(B, T, self.heads, -1)
        q, k, v = jnp.split(qkv, 3, axis=-1)
        everywhere = jnp.ones((1, T, T), bool)
        h = dot_product_attention(rms_norm(q), rms_norm(k), v, everywhere).reshape(B, T, D)
        x_BTD += gate1 * Dense(D, use_bias=False, name="out")(h)
        if self.frames > 1:
            x_BTD = TimeAttention(self.heads, self.frames)(x_BTD)
        if context:
            x_BTD = CrossAttention(self.heads, name="look")(x_BTD, *context)
        h = rms_norm(x_BTD) * (1 + scale2) + shift2
        h = Dense(D, use_bias=False, name="down")(
            nn.silu(Dense(4 * D, use_bias=False, name="up")(h))
        )
        return x_BTD + gate2 * h


class DiT(nn.Module):
    """F [B, H, W, C] of a noisy picture and what is told about it; and of a context that it looks
    at, where there is one: ([B, S, E], its mask [B, S]). B counts the frames of clips."""

    cfg: Any  # models.diffusion.Config
    frames: int = 1  # of a clip

    @nn.compact
    def __call__(self, x_BHWC, told_BE, rng, context=None):
        cfg = self.cfg
        patches = space_to_depth(x_BHWC, cfg.patch)
        B, H, W, P = patches.shape
        place_TD = self.param("embed_place", nn.initializers.normal(0.5), (H * W, cfg.width))
        x_BTD = Dense(cfg.width, name="in")(patches.reshape(B, H * W, P)) + place_TD
        for _ in range(cfg.depth):
            x_BTD = Block(cfg.heads, self.frames)(x_BTD, told_BE, context)
        scale_shift = Dense(2 * cfg.width, kernel_init=ZERO, name="told")(told_BE)[:, None]
        scale, shift = jnp.split(scale_shift, 2, axis=-1)
        x_BTD = Dense(P, kernel_init=ZERO, name="head")(rms_norm(x_BTD) * (1 + scale) + shift)
        return depth_to_space(x_BTD.reshape(B, H, W, P), cfg.patch)
