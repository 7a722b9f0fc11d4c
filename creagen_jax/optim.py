"""Optimizers, their schedules and the parameters' average, from configuration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from creagen_jax.config import Optim
from creagen_jax.muon import scale_by_muon
from creagen_jax.types import Params


def schedule(cfg: Optim, peak: float, steps: int) -> optax.Schedule:
    """Learning rate over update number: linear warm-up from 0, then a decay to `final * peak`."""
    warmup = min(cfg.warmup, steps // 2)
    decay = max(steps - warmup, 1)
    after = {
        "cosine": optax.cosine_decay_schedule(peak, decay, cfg.final),
        "linear": optax.linear_schedule(peak, cfg.final * peak, decay),
        "constant": optax.constant_schedule(peak),
    }[cfg.schedule]
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make(cfg: Optim, steps: int) -> optax.GradientTransformation:
    """The optax transformation for a run of `steps` batches. Beside Muon AdamW has Nesterov's
    momentum, too (Dozat 2016), and no weight decay."""
    updates = max(steps // cfg.accumulate, 1)
    rate = schedule(cfg, cfg.learning_rate, updates)
    if cfg.name == "adamw":
        tx = optax.adamw(
            rate, cfg.beta1, cfg.beta2, weight_decay=cfg.weight_decay, mask=_is_matrix_tree
        )
    else:
        muon = optax.chain(
            scale_by_muon(cfg.muon_beta),
            optax.add_decayed_weights(cfg.weight_decay),
            optax.scale_by_learning_rate(schedule(cfg, cfg.muon_learning_rate, updates)),
        )
        adam = optax.adamw(rate, cfg.beta1, cfg.beta2, weight_decay=0.0, nesterov=True)
        tx = optax.partition({"muon": muon, "adam": adam}, _kinds)
    if cfg.clip:
        tx = optax.chain(optax.clip_by_global_norm(cfg.clip), tx)
    if cfg.accumulate > 1:
        tx = optax.MultiSteps(tx, cfg.accumulate).gradient_transformation()
    return tx


def _is_matrix_tree(params: Params) -> Params:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def _kinds(params: Params) -> Params:
    """Muon for the matrices between hidden units, and for the kernels of convolutions, which are
    matrices from all their inputs to their outputs. Embeddings and the output layer map from and
    to one-hot tokens, for which the spectral norm is the wrong one: they keep AdamW
    (Jordan et al. 2024). They are told by their parameter names."""

    def kind(path, leaf):
        name = jax.tree_util.keystr(path)
        return "muon" if leaf.ndim in (2, 4) and not ("embed" in name or "head" in name) else "adam"

    return jax.tree_util.tree_map_with_path(kind, params)


def average(ema: Params, params: Params, decay: float, step: jax.Array) -> Params:
    """Exponential moving average with warm-up: the decay is min(decay, (1 + step) / (10 + step)),
    so that the random initial parameters are soon forgotten."""
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, params)
