"""What every neural language model shares: its loss, its step and its evaluation.

A leading underscore marks what several families use; it is not a family.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from creagen_jax.functional.layers import cross_entropy
from creagen_jax.types import Batch, Params, TrainState

# forward(params, batch, rng, carry) -> (logits_BTV, carry): rng None means no dropout,
# carry None means a sequence that starts afresh.
Forward = Callable


def make_step(forward: Forward, tx: optax.GradientTransformation):
    """step(state, batch, rng) -> (state, metrics) for maximum likelihood.

    The loss is the mean of -log p(x_{t+1} | x_1 .. x_t) over the positions that the mask counts.
    """

    def loss_fn(params: Params, batch: Batch, rng: jax.Array, carry):
        logits_BTV, carry = forward(params, batch, rng, carry)
        nats_BT = cross_entropy(logits_BTV, batch["x"][:, 1:], batch["mask"])
        return nats_BT.sum() / jnp.maximum(batch["mask"].sum(), 1.0), carry

    def step(state: TrainState, batch: Batch, rng: jax.Array):
        carry = state.carry
        if carry is not None:
            carry = jax.tree.map(
                lambda c: jnp.where(batch["reset"][:, None], jnp.zeros_like(c), c), carry
            )
        (loss, carry), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, batch, rng, carry
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # Without `streams` the last hidden state belongs to windows that never go on.
        carry = None if state.carry is None else jax.lax.stop_gradient(carry)
        state = state.replace(params=params, opt_state=opt_state, carry=carry)
        return state, {"loss": loss, "grad_norm": optax.tree.norm(grads)}

    return step


def eval_metrics(forward: Forward, params: Params, batch: Batch) -> dict[str, jax.Array]:
    """Sums over each example, [B]: `loss` in nats and `weight`, the number of tokens counted."""
    logits_BTV, _ = forward(params, batch, None, None)
    nats_BT = cross_entropy(logits_BTV, batch["x"][:, 1:], batch["mask"])
    return {"loss": nats_BT.sum(axis=1), "weight": batch["mask"].sum(axis=1)}
