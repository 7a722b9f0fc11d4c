"""Convolution and changes of resolution, for pictures as NHWC arrays.

Letters: B batch, H W height and width, C channels, O output channels. Nothing here is a transposed
or a depthwise convolution: both are many times slower on a CPU than what they can be replaced by.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def convolve(
    x_BHWC: Float[Array, "B H W C"], W_hwCO: Float[Array, "h w C O"]
) -> Float[Array, "B H W O"]:
    """Convolution of stride 1 with zeros around the picture, so that its size stays."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x_BHWC, W_hwCO, (1, 1), "SAME", dimension_numbers=layout)


def space_to_depth(x_BHWC: Float[Array, "B H W C"], size: int) -> Float[Array, "B h w D"]:
    """Each square of size * size pixels becomes one pixel of size * size * C channels."""
    B, H, W, C = x_BHWC.shape
    x = x_BHWC.reshape(B, H // size, size, W // size, size, C)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, H // size, W // size, size * size * C)


def depth_to_space(x_BHWD: Float[Array, "B h w D"], size: int) -> Float[Array, "B H W C"]:
    """The inverse of `space_to_depth`."""
    B, H, W, D = x_BHWD.shape
    x = x_BHWD.reshape(B, H, W, size, size, D // size**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, H * size, W * size, D // size**2)


def halve(x_BHWC: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Mean of each 2 x 2 square; an odd side is first made even by repeating its edge."""
    B, H, W, C = x_BHWC.shape
    x = jnp.pad(x_BHWC, ((0, 0), (0, H % 2), (0, W % 2), (0, 0)), mode="edge")
    return x.reshape(B, -(-H // 2), 2, -(-W // 2), 2, C).mean((2, 4))


def double(x_BhwC: Float[Array, "B h w C"]) -> Float[Array, "B H W C"]:
    """Each pixel becomes a 2 x 2 square."""
    return x_BhwC.repeat(2, 1).repeat(2, 2)
