"""Small pieces with parameters that several families use.

A leading underscore marks what several families use; it is not a family.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax

from creagen_jax.functional.convolution import convolve
from creagen_jax.functional.layers import linear
from creagen_jax.types import Params

CONV = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=(0, 1, 2))


class Dense(nn.Module):
    """An affine map of the last axis; without a bias, a linear one. Flax's own does the same by a
    slower product (see `linear`)."""

    width: int
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        x = linear(x, self.param("kernel", self.kernel_init, (x.shape[-1], self.width)))
        if self.use_bias:
            x += self.param("bias", nn.initializers.zeros, (self.width,))
        return x


class Conv(nn.Module):
    """Convolution with its kernel and, where asked for, a bias."""

    width: int
    kernel: int = 3
    zero: bool = False  # starts as zero, so that a new block changes nothing
    bias: bool = True

    @nn.compact
    def __call__(self, x_BHWC):
        shape = (self.kernel, self.kernel, x_BHWC.shape[-1], self.width)
        init = nn.initializers.zeros if self.zero else CONV
        x_BHWC = convolve(x_BHWC, self.param("W", init, shape))
        if self.bias:
            x_BHWC += self.param("b", nn.initializers.zeros, (self.width,))
        return x_BHWC


def cast(params: Params, dtype: str) -> Params:
    """Parameters in the type to compute in; the optimizer keeps them in float32."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params)
