"""Layers along time: what makes of a network of pictures one of clips.

A clip goes through the network as F pictures of a batch of B * F. Between its layers each place
looks at the same place in other frames, in all of them by attention, so that it is factorised in
space and time (Ho et al. 2022, Video Diffusion Models, section 3), or in the next ones by a
convolution (as Singer et al. 2022, section 3.2). All start by changing nothing.

Letters: B clips, F frames, P places of a frame, D width, N heads, K head width.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from creagen_jax.functional.attention import dot_product_attention
from creagen_jax.functional.embedding import rotary
from creagen_jax.functional.layers import rms_norm
from creagen_jax.models._layers import Dense

ZERO = nn.initializers.zeros


class TimeAttention(nn.Module):
    """Every frame of a clip looks at every other, place by place.

    x [B * F, ..., D], the frames of a clip one after the other. How far two frames are apart is
    told by rotary positions.
    """

    heads: int
    frames: int  # F

    @nn.compact
    def __call__(self, x):
        D, F = x.shape[-1], self.frames
        x_BPFD = _clips(rms_norm(x), F).swapaxes(1, 2)
        B, P = x_BPFD.shape[:2]
        qkv_TFD = Dense(3 * D, use_bias=False, name="qkv")(x_BPFD.reshape(B * P, F, D))
        q, k, v = jnp.split(qkv_TFD.reshape(B * P, F, self.heads, -1), 3, axis=-1)
        position_1F = jnp.arange(F)[None]
        q, k = (rotary(rms_norm(a), position_1F) for a in (q, k))
        y_TFNK = dot_product_attention(q, k, v, jnp.ones((1, F, F), bool))
        y_TFD = Dense(D, use_bias=False, kernel_init=ZERO, name="out")(y_TFNK.reshape(B * P, F, D))
        return x + y_TFD.reshape(B, P, F, D).swapaxes(1, 2).reshape(x.shape)


class TimeConvolution(nn.Module):
    """A convolution over three frames, place by place, with zeros before and behind the clip."""

    frames: int  # F

    @nn.compact
    def __call__(self, x):
        h_BFPD = jnp.pad(
            _clips(nn.silu(rms_norm(x)), self.frames), ((0, 0), (1, 1), (0, 0), (0, 0))
        )
        three_BFPD = jnp.concatenate([h_BFPD[:, :-2], h_BFPD[:, 1:-1], h_BFPD[:, 2:]], axis=-1)
        out = Dense(x.shape[-1], use_bias=False, kernel_init=ZERO, name="out")
        return x + out(three_BFPD).reshape(x.shape)


def _clips(x, frames: int):
    """[B * F, ..., D] as [B, F, P, D]."""
    return x.reshape(-1, frames, x[0].size // x.shape[-1], x.shape[-1])
