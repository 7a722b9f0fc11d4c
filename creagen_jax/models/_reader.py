"""What reads texts in `text_gan`: the discriminator, and the baseline of the policy gradient.

    tokens -> embedding -> dropout -> LSTM -> dropout -> a number at each token

Letters: B batch, T time, V vocabulary, C classes, D width, K state width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from creagen_jax.functional import recurrent
from creagen_jax.functional.embedding import embed, embed_label
from creagen_jax.functional.layers import dropout, linear
from creagen_jax.models import _recurrent
from creagen_jax.models._layers import cast
from creagen_jax.types import Params, Spec

CELL = _recurrent.LSTM


class Texts(NamedTuple):
    """A batch of texts, real or written, as the discriminator reads them."""

    tokens_BT: jax.Array  # what follows the first token: c1 .. cn END then END
    mask_BT: jax.Array  # 1 up to and including the first END
    label_B: jax.Array | None


class Reader(nn.Module):
    """A number for a text after each of its tokens, [B, T]: the discriminator's logit, or the
    reward that the baseline expects. It reads the tokens' vectors, so that soft ones will do."""

    cfg: Any  # Config of text_gan
    classes: int

    @nn.compact
    def __call__(self, x_BTD, label_B, rng):
        K, rate = self.cfg.discriminator_width, self.cfg.discriminator_dropout
        lecun = nn.initializers.lecun_normal()
        rngs = (None, None) if rng is None else jax.random.split(rng)
        if self.classes:
            label_CD = self.param("embed_label", nn.initializers.normal(1.0), (self.classes, K))
            x_BTD += embed_label(label_CD, label_B)[:, None]
        W_DG = self.param("W", lecun, (K, CELL.gates * K))
        U_KG = self.param("U", nn.initializers.orthogonal(), (K, CELL.gates * K))
        b_G = self.param("b", lambda key: jnp.repeat(jnp.array(CELL.bias), K))
        carry = (jnp.zeros((len(x_BTD), K), x_BTD.dtype),) * CELL.carries
        x_BTD = dropout(rngs[0], x_BTD, rate)
        h_BTK, _ = recurrent.recur(CELL.step, x_BTD, carry, W_DG, U_KG, b_G)
        head_K1 = self.param("head", lecun, (K, 1))
        head_bias_1 = self.param("head_bias", nn.initializers.zeros, (1,))
        return (linear(dropout(rngs[1], h_BTK, rate), head_K1) + head_bias_1)[..., 0]


def vectors(part: Params, tokens):
    """What a reader reads of tokens, ids [B, T] or shares [B, T, V]: their vectors [B, T, D]."""
    return embed(part["embed"], tokens) if tokens.ndim == 2 else linear(tokens, part["embed"])


def read(part: Params, cfg: Any, x_BTD, label_B, rng=None):
    """What the `Reader` of these parameters says after each token, [B, T] float32."""
    network = Reader(cfg, len(part["embed_label"]) if "embed_label" in part else 0)
    variables = {"params": cast(part, cfg.dtype)}
    return network.apply(variables, x_BTD.astype(cfg.dtype), label_B, rng).astype(jnp.float32)


def judge(part: Params, cfg: Any, x_BTD, texts: Texts, rng=None):
    """The discriminator's logit of each text [B], the mean of what it says at each token: from the
    state at the last one alone it learns later. The vectors x_BTD are those of the texts, or soft
    ones in their place."""
    logits_BT = read(part, cfg, x_BTD, texts.label_B, rng) * texts.mask_BT
    return logits_BT.sum(1) / jnp.maximum(texts.mask_BT.sum(1), 1)


def init(rng, cfg: Any, spec: Spec) -> Params:
    rngs, D = jax.random.split(rng), cfg.discriminator_width
    network = Reader(cfg, spec.classes)
    own = network.init(rngs[0], jnp.zeros((1, 1, D)), jnp.zeros(1, jnp.int32), None)["params"]
    return {**own, "embed": jax.random.normal(rngs[1], (spec.vocab, D))}
