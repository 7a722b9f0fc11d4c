"""What every neural language model shares: its loss, its step and its evaluation.

A leading underscore marks what several families use; it is not a family.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from creagen_jax.data.tokenizers import END
from creagen_jax.functional.layers import cross_entropy
from creagen_jax.types import Batch, Params, Spec, TrainState, UserError

WITHHELD = zlib.crc32(b"withheld")  # names the random numbers that choose the withheld rows

# forward(params, batch, rng, carry) -> (logits_BTV, carry): rng None means no dropout,
# carry None means a sequence that starts afresh.
Forward = Callable


def make_step(
    forward: Forward,
    tx: optax.GradientTransformation,
    *,
    dropout: float = 0.0,
    smoothing: float = 0.0,
):
    """step(state, batch, rng) -> (state, metrics) for maximum likelihood.

    The loss is the mean of -log p(x_{t+1} | x_1 .. x_t) over the positions that the mask counts.
    A share `dropout` of the rows, others in each step, is learned without its condition (see
    `withhold`). With label smoothing the gradient is that of the loss against targets of which a
    share `smoothing` is spread evenly over the vocabulary; the loss reported is without it.
    """

    def loss_fn(params: Params, batch: Batch, rng: jax.Array, carry):
        if dropout:
            batch = withhold(rng, batch, dropout)
        logits_BTV, carry = forward(params, batch, rng, carry)
        mask_BT, counted = batch["mask"], jnp.maximum(batch["mask"].sum(), 1.0)
        nats_BT = cross_entropy(logits_BTV, batch["x"][:, 1:], mask_BT)
        loss = objective = nats_BT.sum() / counted
        if smoothing:
            spread_BT = -jax.nn.log_softmax(logits_BTV.astype(jnp.float32)).mean(-1) * mask_BT
            # Szegedy et al. 2016, section 7: H(q', p) = (1 - epsilon) H(q, p) + epsilon H(u, p)
            objective = (1 - smoothing) * loss + smoothing * spread_BT.sum() / counted
        return objective, (loss, carry)

    def step(state: TrainState, batch: Batch, rng: jax.Array):
        carry = state.carry
        if carry is not None:
            carry = jax.tree.map(
                lambda c: jnp.where(batch["reset"][:, None], jnp.zeros_like(c), c), carry
            )
        (_, (loss, carry)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, batch, rng, carry
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # Without `streams` the last hidden state belongs to windows that never go on.
        carry = None if state.carry is None else jax.lax.stop_gradient(carry)
        state = state.replace(params=params, opt_state=opt_state, carry=carry)
        return state, {"loss": loss, "grad_norm": optax.tree.norm(grads)}

    return step


def withhold(rng: jax.Array, batch: Batch, share: float) -> Batch:
    """The batch with nothing told in a random `share` of its rows: their label is -1, their source
    END alone. So one network learns to write with a condition and without, as classifier-free
    guidance needs it (Ho & Salimans 2022, algorithm 1)."""
    key = jax.random.fold_in(rng, WITHHELD)
    withheld_B = jax.random.bernoulli(key, share, (len(batch["x"]),))
    untold = {}
    if "condition" in batch:
        untold["condition"] = jnp.where(withheld_B, -1, batch["condition"])
    if "source" in batch:
        untold["source"] = jnp.where(withheld_B[:, None], END, batch["source"])
    return {**batch, **untold}


def labels(params: Params, n: int, label_B: jax.Array | None) -> jax.Array | None:
    """The label of each of n samples, [n] int32: -1, which is none, for all of them if `label_B` is
    None. None for a model without classes."""
    if "embed_label" not in params:
        return None
    return jnp.full(n, -1, jnp.int32) if label_B is None else label_B


def check(cfg, spec: Spec) -> None:
    """Raises UserError for a share of withheld labels that is none, or data with a source, which
    a language model does not read."""
    if not 0 <= cfg.label_dropout <= 1:
        raise UserError(f"--model.label_dropout is {cfg.label_dropout}; choose 0 to 1")
    if spec.source:
        raise UserError("this family reads no source, but the data are pairs; choose seq2seq")


def eval_metrics(forward: Forward, params: Params, batch: Batch) -> dict[str, jax.Array]:
    """Sums over each example, [B]: `loss` in nats and `weight`, the number of tokens counted."""
    logits_BTV, _ = forward(params, batch, None, None)
    nats_BT = cross_entropy(logits_BTV, batch["x"][:, 1:], batch["mask"])
    return {"loss": nats_BT.sum(axis=1), "weight": batch["mask"].sum(axis=1)}
