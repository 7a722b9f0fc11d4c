"""Convolution and changes of resolution, for pictures as NHWC arrays.

Letters: B batch, H W height and width, C channels, O output channels. Nothing here is a transposed
or a depthwise convolution: both are many times slower on a CPU than what they can be replaced by.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from creagen_jax.functional.layers import linear


def convolve(
    x_BHWC: Float[Array, "B H W C"], W_hwCO: Float[Array, "h w C O"]
) -> Float[Array, "B H W O"]:
    """Convolution of stride 1 with zeros around the picture, so that its size stays.

    The kernel has odd sides. One of a single pixel is a product of matrices.
    """
    return linear(x_BHWC, W_hwCO[0, 0]) if W_hwCO.shape[:2] == (1, 1) else _convolve(x_BHWC, W_hwCO)


def _plain(x_BHWC, W_hwCO):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x_BHWC, W_hwCO, (1, 1), "SAME", dimension_numbers=layout)


_convolve = jax.custom_vjp(_plain)


def _forward(x_BHWC, W_hwCO):
    return _convolve(x_BHWC, W_hwCO), (x_BHWC, W_hwCO)


def _backward(kept, dy_BHWO):
    """The gradient of x is a convolution by the kernel turned round; that of W is XLA's own, but
    for a CPU, where it takes twice the time of what is here."""
    x_BHWC, W_hwCO = kept
    dx_BHWC = _convolve(dy_BHWO, W_hwCO[::-1, ::-1].swapaxes(2, 3))

    def xla(x, dy):
        return jax.linear_transpose(lambda W: _plain(x, W), W_hwCO)(dy)[0]

    def rows(x, dy):
        return weight_gradient(x, dy, W_hwCO.shape[:2])

    return dx_BHWC, jax.lax.platform_dependent(x_BHWC, dy_BHWO, cpu=rows, default=xla)


_convolve.defvjp(_forward, _backward)


def weight_gradient(
    x_BHWC: Float[Array, "B H W C"], dy_BHWO: Float[Array, "B H W O"], size: tuple[int, int]
) -> Float[Array, "h w C O"]:
    """The gradient of a kernel of h x w pixels by one product of matrices for each of its rows,
    with dy, shifted to each of its columns, as channels of one array."""
    _, H, W, C = x_BHWC.shape
    h, w = size
    dy = jnp.pad(dy_BHWO, ((0, 0), (0, 0), (w // 2, w // 2), (0, 0)))
    dy = jnp.concatenate([dy[:, :, column : column + W] for column in reversed(range(w))], axis=-1)
    x = jnp.pad(x_BHWC, ((0, 0), (h // 2, h // 2), (0, 0), (0, 0)))
    dy = dy.reshape(-1, dy.shape[-1])
    rows = [x[:, row : row + H].reshape(-1, C).T @ dy for row in range(h)]
    return jnp.stack(rows).reshape(h, C, w, -1).swapaxes(1, 2)


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
