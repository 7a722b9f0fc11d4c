"""Recurrent cells and the scan that runs them over a sequence.

Letters: B batch, T time, D input width, K width of the hidden state, G = gates * K.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from creagen_jax.functional.layers import linear

Carry = tuple[Float[Array, "B K"], ...]  # the hidden state h, which the gates see, comes first
# cell(x, u, carry, axis): gates and units lie along the axis, the last one of [B, G] and [B, K], or
# the first one where all are transposed.
Cell = Callable[..., Carry]


def lstm_cell(
    x_BG: Float[Array, "X Y"], u_BG: Float[Array, "X Y"], carry: Carry, axis: int = -1
) -> Carry:
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    `x_BG` is W x_t + b and `u_BG` is U h_{t-1}, each holding the gates i, f, g, o side by side.

        i = sigmoid(W_i x + U_i h + b_i)      c' = f * c + i * g
        f = sigmoid(W_f x + U_f h + b_f)      h' = o * tanh(c')
        g = tanh(W_g x + U_g h + b_g)
        o = sigmoid(W_o x + U_o h + b_o)
    """
    _, c = carry
    i, f, g, o = jnp.split(x_BG + u_BG, 4, axis)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(
    x_BG: Float[Array, "X Y"], u_BG: Float[Array, "X Y"], carry: Carry, axis: int = -1
) -> Carry:
    """Gated recurrent unit (Cho et al. 2014, eq. 5-8).

    `x_BG` is W x_t + b and `u_BG` is U h_{t-1}, each holding r, z, n side by side. The reset gate
    acts on U_n h rather than on h, so that U h is one product; this is the variant of cuDNN and
    of Keras' `reset_after`.

        r = sigmoid(W_r x + U_r h + b_r)      n = tanh(W_n x + b_n + r * (U_n h))
        z = sigmoid(W_z x + U_z h + b_z)      h' = z * h + (1 - z) * n
    """
    (h,) = carry
    x_r, x_z, x_n = jnp.split(x_BG, 3, axis)
    u_r, u_z, u_n = jnp.split(u_BG, 3, axis)
    r = jax.nn.sigmoid(x_r + u_r)
    z = jax.nn.sigmoid(x_z + u_z)
    n = jnp.tanh(x_n + r * u_n)
    return (z * h + (1 - z) * n,)


def recur(
    cell: Cell,
    x_BTD: Float[Array, "B T D"],
    carry: Carry,
    W_DG: Float[Array, "D G"],
    U_KG: Float[Array, "K G"],
    b_G: Float[Array, " G"],
) -> tuple[Float[Array, "B T K"], Carry]:
    """Run a cell over a sequence: the hidden states and the last carry.

    The input product W x does not depend on the state, so it is one large product before the scan.

    Inside, the batch is the last axis. Where a large matrix is multiplied by a small one, a CPU's
    library first rearranges the one on the right; this way that is the state rather than U, in
    every step.
    """
    if x_BTD.shape[1] == 1:  # as in decoding, where turning U would cost more than it saves
        carry = cell(x_BTD[:, 0] @ W_DG + b_G, carry[0] @ U_KG, carry)
        return carry[0][:, None], carry
    x_TGB = linear(x_BTD.swapaxes(0, 1), W_DG).swapaxes(1, 2)
    h_TKB, last = _scan(cell, x_TGB, tuple(each.T for each in carry), U_KG, b_G)
    return h_TKB.transpose(2, 0, 1), tuple(each.T for each in last)


# Automatic differentiation adds up the gradient of U inside the backward scan: T thin products and
# T additions to a [K, G] matrix. Here the scan yields the gradient of each U h_{t-1}, and the
# gradient of U is one product over all time steps after it.


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(cell: Cell, x_TGB, carry: Carry, U_KG, b_G):
    """The hidden states [T, K, B] and the last carry; the arrays of a carry are [K, B]."""
    return _scan_forward(cell, x_TGB, carry, U_KG, b_G)[0]


def _scan_forward(cell: Cell, x_TGB, carry: Carry, U_KG, b_G):
    U_GK, b_G1 = U_KG.T, b_G[:, None]

    def body(carry, x_GB):
        after, pullback = jax.vjp(partial(cell, axis=0), x_GB + b_G1, U_GK @ carry[0], carry)
        return after, (after[0], pullback)

    last, (h_TKB, pullbacks_T) = jax.lax.scan(body, carry, x_TGB)
    return (h_TKB, last), (carry[0], h_TKB, pullbacks_T, U_KG)


def _scan_backward(cell: Cell, residuals, gradients):
    first_KB, h_TKB, pullbacks_T, U_KG = residuals
    dh_TKB, dlast = gradients

    def body(dafter, inputs):
        dh_KB, pullback = inputs
        dx_GB, du_GB, dcarry = pullback((dafter[0] + dh_KB, *dafter[1:]))
        # One array where the cell only adds the two: it is stored, and turned, once.
        both = (du_GB,) if dx_GB is du_GB else (dx_GB, du_GB)
        return (dcarry[0] + U_KG @ du_GB, *dcarry[1:]), both

    inputs = dh_TKB, pullbacks_T
    dcarry, both = jax.lax.scan(body, dlast, inputs, reverse=True)
    dx_TGB, du_TGB = both[0], both[-1]
    before_TKB = jnp.concatenate([first_KB[None], h_TKB[:-1]])
    dU_KG = _rows(before_TKB).T @ _rows(du_TGB)
    return dx_TGB, dcarry, dU_KG, dx_TGB.sum((0, 2))


def _rows(x_TGB):
    """[T * B, G]."""
    return x_TGB.swapaxes(1, 2).reshape(-1, x_TGB.shape[1])


_scan.defvjp(_scan_forward, _scan_backward)
