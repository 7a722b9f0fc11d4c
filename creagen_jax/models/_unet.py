"""A small U-Net (Ronneberger et al. 2015; Ho et al. 2020) for pictures of any size, and for clips.

    picture -> [blocks -> halve] * -> blocks with attention -> [double -> blocks] * -> picture

The frames of a clip are pictures of the batch; behind every block a convolution along time joins
them, and behind the attention in space attention in time.

Letters: B batch, H W C picture, D width of a level, E width of what the network is told.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from creagen_jax.functional.attention import dot_product_attention
from creagen_jax.functional.convolution import depth_to_space, double, halve, space_to_depth
from creagen_jax.functional.layers import dropout, rms_norm
from creagen_jax.models._captions import CrossAttention
from creagen_jax.models._layers import Conv, Dense
from creagen_jax.models._time import TimeAttention, TimeConvolution


class Block(nn.Module):
    """Residual block, told of noise level and class by a scale and a shift of its channels."""

    width: int
    dropout: float

    @nn.compact
    def __call__(self, x_BHWC, told_BE, rng):
        scale_shift_BD = Dense(2 * self.width, name="told", kernel_init=nn.initializers.zeros)(
            told_BE
        )
        scale_BD, shift_BD = jnp.split(scale_shift_BD[:, None, None], 2, axis=-1)
        h = Conv(self.width, bias=False)(nn.silu(rms_norm(x_BHWC)))
        h = nn.silu(rms_norm(h) * (1 + scale_BD) + shift_BD)
        h = Conv(self.width, zero=True)(dropout(rng, h, self.dropout))
        if x_BHWC.shape[-1] != self.width:
            x_BHWC = Conv(self.width, kernel=1, bias=False)(x_BHWC)
        return x_BHWC + h


class Attention(nn.Module):
    """Every place looks at every other (Wang et al. 2018)."""

    heads: int

    @nn.compact
    def __call__(self, x_BHWD):
        B, H, W, D = x_BHWD.shape
        x_BTD = rms_norm(x_BHWD).reshape(B, H * W, D)
        qkv_BTNK = Dense(3 * D, use_bias=False, name="qkv")(x_BTD)
        q, k, v = jnp.split(qkv_BTNK.reshape(B, H * W, self.heads, -1), 3, axis=-1)
        everywhere = jnp.ones((1, H * W, H * W), bool)
        y_BTNK = dot_product_attention(rms_norm(q), rms_norm(k), v, everywhere)
        out = Dense(D, use_bias=False, kernel_init=nn.initializers.zeros, name="out")
        return x_BHWD + out(y_BTNK.reshape(B, H * W, D)).reshape(B, H, W, D)


class UNet(nn.Module):
    """F [B, H, W, C] of a noisy picture and what is told about it; and of a context that it looks
    at, where there is one: ([B, S, E], its mask [B, S]). B counts the frames of clips."""

    cfg: Any  # models.diffusion.Config
    frames: int = 1  # of a clip

    @nn.compact
    def __call__(self, x_BHWC, told_BE, rng, context=None):
        cfg, channels = self.cfg, x_BHWC.shape[-1]

        def block(width, x):
            x = Block(width, cfg.dropout)(x, told_BE, next(rngs))
            return TimeConvolution(self.frames)(x) if self.frames > 1 else x

        widths = [cfg.width * factor for factor in cfg.levels]
        rngs = iter([None] * 99 if rng is None else jax.random.split(rng, 99))
        x = Conv(widths[0], name="in")(space_to_depth(x_BHWC, cfg.patch))
        skips = []
        for level, width in enumerate(widths):
            x = halve(x) if level else x
            for _ in range(cfg.blocks):
                x = block(width, x)
                skips.append(x)
        x = Attention(cfg.heads)(x)
        if self.frames > 1:
            x = TimeAttention(cfg.heads, self.frames)(x)
        if context:
            x = CrossAttention(cfg.heads, name="look")(x, *context)
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(cfg.blocks):
                x = block(width, jnp.concatenate([x, skips.pop()], axis=-1))
            if context:
                x = CrossAttention(cfg.heads, name=f"look{level}")(x, *context)
            if level:
                rows, columns = skips[-1].shape[1:3]
                # Narrowed before it is enlarged, which costs a quarter.
                x = double(Conv(widths[level - 1], kernel=1, bias=False)(x))
                x = x[:, :rows, :columns]  # an odd side had been made even
        x = Conv(channels * cfg.patch**2, zero=True, name="head")(nn.silu(rms_norm(x)))
        return depth_to_space(x, cfg.patch)
