"""Markov chain: an interpolated Kneser-Ney n-gram model, the line that others are held against.

With labels, each class has n-grams of its own, which back off to those of all classes; the result
is mixed with the latter, since a small class knows its short n-grams well and its long ones not.

The step is NumPy, for the state grows with the number of distinct n-grams; it smooths all of them
anew, so few large batches are fast. Each window must come once. Where windows of a stream overlap
by order - 1 tokens, with mask 0 on the predictions in the overlap, every n-gram is counted once and
at its full length.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from creagen_jax import config
from creagen_jax.functional import ngram
from creagen_jax.types import Batch, Params, Spec, TrainState, UserError

Carry = dict[str, jax.Array]  # label [B]; history [B, order - 1], the latest token first

KIND = "autoregressive"
HOST = True


@dataclasses.dataclass(frozen=True)
class Config(config.Model):
    """Hyper-parameters of the n-gram model."""

    order: int = 6
    """Tokens in the longest n-gram: the one predicted and those before it."""
    discounts: Literal[1, 3] = 1
    """Discounts an order: 1 for Kneser-Ney, 3 for modified Kneser-Ney."""
    class_weight: float = 0.7
    """Share of the class's own n-grams in a labelled text's probabilities, 0 to 1."""


def init(rng: jax.Array, cfg: Config, spec: Spec, tx=None) -> TrainState:
    """Nothing counted: every token is as likely as any other. `rng` and `tx` are not used.

    Raises UserError for an order below 1, a class weight outside 0 to 1, or data with a source.
    """
    if spec.source:
        raise UserError("a Markov chain reads no source, but the data are pairs; choose seq2seq")
    if cfg.order < 1:
        raise UserError(f"model.order is {cfg.order}: an n-gram has 1 token or more")
    if not 0 <= cfg.class_weight <= 1:
        raise UserError(f"model.class_weight is {cfg.class_weight}: choose a share from 0 to 1")
    counts = np.zeros((0, cfg.order + 1), np.int32), np.zeros(0, np.int32)
    return TrainState(params=_smooth(*counts, cfg, spec), opt_state=counts)


def make_step(cfg: Config, spec: Spec, tx=None):
    """A step counts a batch: the state is the same in whatever order batches come.

    The loss it reports, in nats per token, is from before the batch was counted.
    """

    def step(state: TrainState, batch: Batch, rng: jax.Array) -> tuple[TrainState, dict]:
        metrics = eval_metrics(state.params, cfg, batch, rng)
        loss = metrics["loss"].sum() / metrics["weight"].sum()
        return count(state, batch, cfg, spec), {"loss": loss}

    return step


def count(state: TrainState, batch: Batch, cfg: Config, spec: Spec) -> TrainState:
    """The state with a batch counted: a step without its loss."""
    rows = _ngrams(batch, cfg.order)[np.asarray(batch["mask"]) > 0]
    old_rows, old_counts = state.opt_state
    counts = ngram.merge(
        np.concatenate([old_rows, rows]),
        np.concatenate([old_counts, np.ones(len(rows), np.int32)]),
    )
    return state.replace(params=_smooth(*counts, cfg, spec), opt_state=counts)


def eval_metrics(params: Params, cfg: Config, batch: Batch, rng: jax.Array) -> dict:
    """Nats, and the number of tokens they predict, summed over each example: [B]."""
    rows_ML = _ngrams(batch, cfg.order).reshape(-1, cfg.order + 1)
    p_M1 = _probability(params, cfg, rows_ML[:, 0], rows_ML[:, 1:-1], rows_ML[:, -1:])
    nats_BT = -jnp.log(p_M1).reshape(batch["mask"].shape)
    return {"loss": jnp.sum(nats_BT * batch["mask"], 1), "weight": jnp.sum(batch["mask"], 1)}


def init_carry(params: Params, cfg: Config, n: int, condition: jax.Array | None = None) -> Carry:
    """n texts of which nothing is known but the class, if that."""
    label = jnp.full(n, ngram.START, jnp.int32) if condition is None else condition
    return {"label": label, "history": jnp.full((n, cfg.order - 1), ngram.START, jnp.int32)}


def next_logits(
    params: Params, cfg: Config, carry: Carry, token_B: jax.Array
) -> tuple[jax.Array, Carry]:
    """Log probabilities [B, V] of what follows `token_B`, and the carry with that token."""
    history_BH = jnp.concatenate([token_B[:, None], carry["history"]], 1)[:, : cfg.order - 1]
    tokens = jnp.arange(len(params["unigram"]))
    tokens_BV = jnp.broadcast_to(tokens, (len(token_B), len(tokens)))
    p_BV = _probability(params, cfg, carry["label"], history_BH, tokens_BV)
    return jnp.log(p_BV), {**carry, "history": history_BH}


def _ngrams(batch: Batch, order: int) -> np.ndarray:
    """[B, T, order + 1]: the label, the order - 1 tokens before, latest first, and the token."""
    x = np.asarray(batch["x"])
    index = np.arange(x.shape[1] - 1)[:, None] - np.arange(order - 1)
    history_BTH = np.where(index >= 0, x[:, index], ngram.START)
    label_B = np.asarray(batch.get("condition", np.full(len(x), ngram.START, x.dtype)))
    label_BT1 = np.broadcast_to(label_B[:, None, None], (*history_BTH.shape[:2], 1))
    return np.concatenate([label_BT1, history_BTH, x[:, 1:, None]], -1)


def _smooth(rows: np.ndarray, counts: np.ndarray, cfg: Config, spec: Spec) -> Params:
    """What prediction needs, of distinct n-grams with their label and their counts."""
    all_classes = ngram.kneser_ney(*ngram.merge(rows[:, 1:], counts), cfg.discounts)
    params = {"unigram": ngram.unigram(all_classes, spec.vocab), "all_classes": all_classes}
    if spec.classes:
        params["each_class"] = ngram.kneser_ney(rows, counts, cfg.discounts)
    return jax.tree.map(jnp.asarray, params)


@partial(jax.jit, static_argnames="cfg")
def _probability(
    params: Params, cfg: Config, label_M: jax.Array, history_MH: jax.Array, token_MQ: jax.Array
) -> jax.Array:
    """[M, Q] probabilities of `token_MQ` after `history_MH` in a text of class `label_M`."""
    p_MQ = params["unigram"][token_MQ]
    p_MQ = ngram.interpolate(params["all_classes"], p_MQ, history_MH, token_MQ)
    if "each_class" not in params:
        return p_MQ
    # The label is the item next to the token, so it is the last to be dropped.
    context = jnp.concatenate([label_M[:, None], history_MH], 1)
    class_MQ = ngram.interpolate(params["each_class"], p_MQ, context, token_MQ)
    return cfg.class_weight * class_MQ + (1 - cfg.class_weight) * p_MQ
