"""Sequence to sequence: an encoder reads a source, a decoder writes a target from it.

    memory = encoder(source)
    p(x_{t+1} | x_1 .. x_t, source) = softmax(decoder(x_1 .. x_t, memory))

Gated recurrent units (Cho et al. 2014), long short-term memory (Sutskever et al. 2014), both with
attention (Bahdanau et al. 2015) or without, or a Transformer (Vaswani et al. 2017); what they are
in detail is in `_seq2seq_recurrent` and `_seq2seq_transformer`.

A source ends at its first END, and what follows changes nothing. A source of END alone is none,
and a label of -1 is none.

Letters: B batch, S source, T target, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from creagen_jax import config
from creagen_jax.data.tokenizers import END
from creagen_jax.models import _language, _seq2seq_recurrent, _seq2seq_transformer
from creagen_jax.models._layers import cast
from creagen_jax.types import Batch, Params, Spec, TrainState, UserError

KIND = "autoregressive"
HOST = False


@dataclasses.dataclass(frozen=True)
class Config(config.Model):
    """Hyper-parameters of the encoder and the decoder, which are of one size."""

    cell: Literal["lstm", "gru", "transformer"] = "gru"
    """What both are made of: recurrent cells, or blocks of a Transformer."""
    width: int = 256
    """Units of each layer, and of the embeddings."""
    depth: int = 1
    """Layers of the encoder, and of the decoder."""
    attention: bool = True
    """Recurrent cells look back on the whole source, read in both directions, before each token;
    without, they are told the last state of an encoder that reads forward."""
    heads: int = 4
    """Transformer: attention heads; each is width / heads wide."""
    expand: int = 4
    """Transformer: width of the perceptron's hidden layer, in multiples of the width."""
    context: int = 128
    """Transformer: tokens of a target at most, its END included."""
    stride: int = 0
    """Transformer: tokens of a target for each of its source, where it follows the source step by
    step, as lower voices do a melody: cross-attention is told how far apart they are. 0: it finds
    what it looks at by what stands there, as for words in another order."""
    dropout: float = 0.0
    """Share of units dropped behind each layer; in a Transformer behind the embeddings too."""
    label_smoothing: float = 0.0
    """Share of each training target that is spread over all tokens (Szegedy et al. 2016)."""
    source_dropout: float = 0.0
    """Share of examples whose source and label are withheld, so that guidance has an unconditional
    model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in; parameters stay float32."""


def alignments(params: Params, cfg: Config, batch: Batch) -> jax.Array:
    """Where the decoder looked before each token of the targets: weights [B, T, S] float32 that sum
    to 1 over S, 0 behind a source's END. A Transformer's are those of its last layer, the mean over
    its heads. A batch without `condition` has no labels. Raises UserError for a model without
    attention."""
    if not cfg.attention:
        raise UserError("a model with --model.attention False aligns nothing: retrain it with True")
    memory, x_BT = _encode(params, cfg, batch["source"]), batch["x"][:, :-1]
    label_B = _language.labels(params["decoder"], len(x_BT), batch.get("condition"))
    return _decode(params, cfg, x_BT, label_B, memory)[1]


def _parts(cfg: Config):
    """The module that has this cell's Encoder, Decoder and `start`."""
    return _seq2seq_transformer if cfg.cell == "transformer" else _seq2seq_recurrent


def _encode(params: Params, cfg: Config, source_BS, rng=None):
    params = cast(params["encoder"], cfg.dtype)
    encoder = _parts(cfg).Encoder(cfg, params["embed"].shape[0])
    return encoder.apply({"params": params}, source_BS, rng)


def _decode(params: Params, cfg: Config, tokens_BT, label_B, memory, carry=None, rng=None):
    params = cast(params["decoder"], cfg.dtype)
    classes = params["embed_label"].shape[0] if "embed_label" in params else 0
    decoder = _parts(cfg).Decoder(cfg, params["embed"].shape[0], classes)
    return decoder.apply({"params": params}, tokens_BT, label_B, memory, carry, rng)


def _forward(cfg: Config):
    def forward(params: Params, batch: Batch, rng, carry):
        rngs = (None, None) if rng is None else jax.random.split(rng)
        memory = _encode(params, cfg, batch["source"], rngs[0])
        label_B, x_BT = batch.get("condition"), batch["x"][:, :-1]
        return _decode(params, cfg, x_BT, label_B, memory, rng=rngs[1])[0], carry

    return forward


# --- the family contract ------------------------------------------------------------------------


def init(rng, cfg: Config, spec: Spec, tx) -> TrainState:
    """Raises UserError for data without sources, and for settings that do not fit one another."""
    _check(cfg, spec)
    parts, rngs = _parts(cfg), jax.random.split(rng)
    encoder = parts.Encoder(cfg, spec.source_vocab)
    decoder = parts.Decoder(cfg, spec.vocab, spec.classes)
    tokens_BT, label_B = jnp.zeros((1, 1), jnp.int32), jnp.zeros(1, jnp.int32)
    memory, encoded = encoder.init_with_output(rngs[0], tokens_BT, None)
    decoded = decoder.init(rngs[1], tokens_BT, label_B, memory, None, None)
    return TrainState.create({"encoder": encoded["params"], "decoder": decoded["params"]}, tx)


def _check(cfg: Config, spec: Spec) -> None:
    if not spec.source:
        raise UserError("seq2seq reads a source, and this data has none: choose data of pairs")
    for name, value in (
        ("dropout", cfg.dropout),
        ("label_smoothing", cfg.label_smoothing),
        ("source_dropout", cfg.source_dropout),
    ):
        if not 0 <= value <= 1:
            raise UserError(f"--model.{name} is {value}; choose 0 to 1")
    if cfg.stride < 0:
        raise UserError(f"--model.stride is {cfg.stride}; choose 0 or more")
    if cfg.cell != "transformer":
        if cfg.stride:
            raise UserError("--model.stride is a Transformer's: choose --model.cell transformer")
        return
    if not cfg.attention:
        raise UserError("a Transformer without attention is none: choose --model.cell gru or lstm")
    if cfg.width % cfg.heads or (cfg.width // cfg.heads) % 2:
        raise UserError(
            f"model.width {cfg.width} must be an even multiple of model.heads {cfg.heads}"
        )
    if spec.length > cfg.context:
        raise UserError(
            f"targets of {spec.length} tokens do not fit into a context of {cfg.context}: "
            f"pass --model.context {spec.length}, or a smaller --data.length"
        )


def make_step(cfg: Config, spec: Spec, tx):
    return _language.make_step(
        _forward(cfg), tx, dropout=cfg.source_dropout, smoothing=cfg.label_smoothing
    )


def eval_metrics(params: Params, cfg: Config, batch: Batch, rng):
    return _language.eval_metrics(_forward(cfg), params, batch)


def init_carry(params: Params, cfg: Config, n: int, condition):
    """`condition` is {"source": [n, S] int32, "label": [n] int32 or None}; None is no source and no
    label."""
    if condition is None:
        condition = {"source": jnp.full((n, 1), END, jnp.int32), "label": None}
    memory = _encode(params, cfg, condition["source"])
    return {
        "decoder": _parts(cfg).start(cfg, memory),
        "memory": memory,
        "label": _language.labels(params["decoder"], n, condition["label"]),
    }


def next_logits(params: Params, cfg: Config, carry, token_B):
    logits_BTV, _, decoder = _decode(
        params, cfg, token_B[:, None], carry["label"], carry["memory"], carry["decoder"]
    )
    return logits_BTV[:, 0].astype(jnp.float32), {**carry, "decoder": decoder}
