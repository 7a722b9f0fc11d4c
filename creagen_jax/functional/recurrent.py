"""Recurrent cells and the scan that runs them over a sequence.

Letters: B batch, T time, D input width, K width of the hidden state, G = gates * K.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Carry = tuple[Float[Array, "B K"], ...]  # the hidden state h, which the gates see, comes first
Cell = Callable[[Array, Array, Carry], Carry]


def lstm_cell(x_BG: Float[Array, "B G"], u_BG: Float[Array, "B G"], carry: Carry) -> Carry:
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    `x_BG` is W x_t + b and `u_BG` is U h_{t-1}, each holding the gates i, f, g, o side by side.

        i = sigmoid(W_i x + U_i h + b_i)      c' = f * c + i * g
        f = sigmoid(W_f x + U_f h + b_f)      h' = o * tanh(c')
        g = tanh(W_g x + U_g h + b_g)
        o = sigmoid(W_o x + U_o h + b_o)
    """
    _, c = carry
    i, f, g, o = jnp.split(x_BG + u_BG, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(x_BG: Float[Array, "B G"], u_BG: Float[Array, "B G"], carry: Carry) -> Carry:
    """Gated recurrent unit (Cho et al. 2014, eq. 5-8).

    `x_BG` is W x_t + b and `u_BG` is U h_{t-1}, each holding r, z, n side by side. The reset gate
    acts on U_n h rather than on h, so that U h is one product; this is the variant of cuDNN and
    of Keras' `reset_after`.

        r = sigmoid(W_r x + U_r h + b_r)      n = tanh(W_n x + b_n + r * (U_n h))
        z = sigmoid(W_z x + U_z h + b_z)      h' = z * h + (1 - z) * n
    """
    (h,) = carry
    x_r, x_z, x_n = jnp.split(x_BG, 3, axis=-1)
    u_r, u_z, u_n = jnp.split(u_BG, 3, axis=-1)
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
    """
    x_TBG = jnp.swapaxes(x_BTD @ W_DG + b_G, 0, 1)
    h_TBK, carry = _scan(cell, x_TBG, carry, U_KG)
    return jnp.swapaxes(h_TBK, 0, 1), carry


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(cell: Cell, x_TBG, carry: Carry, U_KG):
    return _run(cell, x_TBG, carry, U_KG, None)


def _run(cell: Cell, x_TBG, carry: Carry, U_KG, offset_TBG):
    """The scan itself; `offset` is added to each U h, so that its gradient is that of U h."""

    def body(carry, inputs):
        x_BG, offset_BG = inputs
        u_BG = carry[0] @ U_KG
        carry = cell(x_BG, u_BG if offset_BG is None else u_BG + offset_BG, carry)
        return carry, carry[0]

    carry, h_TBK = jax.lax.scan(body, carry, (x_TBG, offset_TBG))
    return h_TBK, carry


# Automatic differentiation adds up the gradient of U inside the backward scan: T thin products and
# T additions to a [K, G] matrix. Here the scan yields the gradient of each U h_{t-1}, and the
# gradient of U is one product over all time steps after it.


def _scan_forward(cell: Cell, x_TBG, carry: Carry, U_KG):
    (h_TBK, last), pullback = jax.vjp(
        lambda x, carry, offset: _run(cell, x, carry, U_KG, offset),
        x_TBG,
        carry,
        jnp.zeros_like(x_TBG),
    )
    before_TBK = jnp.concatenate([carry[0][None], h_TBK[:-1]])
    return (h_TBK, last), (pullback, before_TBK)


def _scan_backward(cell: Cell, residuals, gradients):
    pullback, before_TBK = residuals
    dx_TBG, dcarry, du_TBG = pullback(gradients)
    return dx_TBG, dcarry, jnp.einsum("tbk,tbg->kg", before_TBK, du_TBG)


_scan.defvjp(_scan_forward, _scan_backward)
