"""The language model around a recurrent cell, shared by `lstm` and `gru`.

    tokens -> embedding -> [recurrence -> dropout] * depth -> logits

Letters: B batch, T time, V vocabulary, C classes, D embedding width, K state width, G gates * K.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from creagen_jax import config
from creagen_jax.functional import recurrent
from creagen_jax.functional.embedding import embed, embed_label
from creagen_jax.functional.layers import dropout, linear
from creagen_jax.models import _language
from creagen_jax.models._layers import cast
from creagen_jax.types import Batch, Params, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class Config(config.Model):
    """Hyper-parameters of a stacked recurrent language model."""

    width: int = 256
    """K: units of each layer's state, and of the embedding."""
    depth: int = 2
    """Recurrent layers, stacked."""
    dropout: float = 0.0
    """Share of units dropped between layers and before the output (Zaremba et al. 2014)."""
    label_dropout: float = 0.0
    """Share of examples whose class is withheld, so that guidance has an unconditional model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in; parameters stay float32."""


class Cell(NamedTuple):
    """A cell, the number of its gates, the arrays of its carry, and its initial bias."""

    step: recurrent.Cell
    gates: int
    carries: int
    bias: tuple[float, ...]  # one value a gate


# The forget gate starts open (Gers et al. 2000; Jozefowicz et al. 2015).
LSTM = Cell(recurrent.lstm_cell, gates=4, carries=2, bias=(0.0, 1.0, 0.0, 0.0))
GRU = Cell(recurrent.gru_cell, gates=3, carries=1, bias=(0.0, 0.0, 0.0))


class Network(nn.Module):
    """Logits [B, T, V], and the carry (a tuple over layers) after the last token."""

    cfg: Config
    cell: Cell
    vocab: int
    classes: int

    @nn.compact
    def __call__(self, tokens_BT, condition_B, carry, rng):
        width, gates = self.cfg.width, self.cell.gates
        inputs = nn.initializers.lecun_normal()
        embed_VD = self.param("embed", nn.initializers.normal(1.0), (self.vocab, width))
        x_BTD = embed(embed_VD, tokens_BT)
        if self.classes:  # added to every token, so that it is never forgotten
            label_CD = self.param("embed_label", nn.initializers.normal(1.0), (self.classes, width))
            x_BTD += embed_label(label_CD, condition_B)[:, None]
        rngs = [None] * self.cfg.depth if rng is None else jax.random.split(rng, self.cfg.depth)
        after = []
        for layer in range(self.cfg.depth):
            W_DG = self.param(f"W{layer}", inputs, (width, gates * width))
            U_KG = self.param(f"U{layer}", orthogonal(gates), (width, gates * width))
            b_G = self.param(f"b{layer}", bias(self.cell.bias), (gates * width,))
            x_BTD, last = recurrent.recur(self.cell.step, x_BTD, carry[layer], W_DG, U_KG, b_G)
            x_BTD = dropout(rngs[layer], x_BTD, self.cfg.dropout)
            after.append(last)
        head_DV = self.param("head", inputs, (width, self.vocab))
        head_bias_V = self.param("head_bias", nn.initializers.zeros, (self.vocab,))
        return linear(x_BTD, head_DV) + head_bias_V, tuple(after)


def orthogonal(gates: int):
    """Initialiser of [K, G]: an orthogonal matrix a gate, so that at first no state grows or
    shrinks."""
    square = nn.initializers.orthogonal()

    def init(key, shape):
        keys = jax.random.split(key, gates)
        return jnp.concatenate([square(key, (shape[0], shape[0])) for key in keys], axis=1)

    return init


def bias(gates: tuple[float, ...]):
    """Initialiser of [G]: one value for all units of a gate."""
    return lambda key, shape: jnp.repeat(jnp.array(gates), shape[0] // len(gates))


def zeros(cell: Cell, cfg: Config, n: int):
    """The carry before the first token."""
    state = jnp.zeros((n, cfg.width), cfg.dtype)
    return ((state,) * cell.carries,) * cfg.depth


def _apply(cell: Cell, cfg: Config, params: Params, tokens_BT, condition_B, carry, rng):
    classes = params["embed_label"].shape[0] if "embed_label" in params else 0
    network = Network(cfg, cell, params["embed"].shape[0], classes)
    params = cast(params, cfg.dtype)
    return network.apply({"params": params}, tokens_BT, condition_B, carry, rng)


def forward(cell: Cell, cfg: Config):
    """The `_language.Forward` of a stacked recurrent network."""

    def run(params: Params, batch: Batch, rng, carry):
        x_BT = batch["x"][:, :-1]
        carry = zeros(cell, cfg, x_BT.shape[0]) if carry is None else carry
        return _apply(cell, cfg, params, x_BT, batch.get("condition"), carry, rng)

    return run


# --- the family contract, with the cell as first argument ---------------------------------------


def init(cell: Cell, rng, cfg: Config, spec: Spec, tx) -> TrainState:
    """Raises UserError as `_language.check` does."""
    _language.check(cfg, spec)
    network = Network(cfg, cell, spec.vocab, spec.classes)
    tokens_BT, label_B = jnp.zeros((1, 1), jnp.int32), jnp.zeros(1, jnp.int32)
    start = cast(zeros(cell, cfg, 1), "float32")  # as the parameters are
    params = network.init(rng, tokens_BT, label_B, start, None)["params"]
    carry = zeros(cell, cfg, spec.streams) if spec.streams else None
    return TrainState.create(params, tx, carry)


def make_step(cell: Cell, cfg: Config, spec: Spec, tx):
    return _language.make_step(forward(cell, cfg), tx, dropout=cfg.label_dropout)


def eval_metrics(cell: Cell, params: Params, cfg: Config, batch: Batch, rng):
    return _language.eval_metrics(forward(cell, cfg), params, batch)


def init_carry(cell: Cell, params: Params, cfg: Config, n: int, condition_B):
    return {"layers": zeros(cell, cfg, n), "condition": _language.labels(params, n, condition_B)}


def next_logits(cell: Cell, params: Params, cfg: Config, carry, token_B):
    logits_BTV, layers = _apply(
        cell, cfg, params, token_B[:, None], carry["condition"], carry["layers"], None
    )
    return logits_BTV[:, 0].astype(jnp.float32), {**carry, "layers": layers}
