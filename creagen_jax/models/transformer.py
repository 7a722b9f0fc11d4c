"""Decoder-only Transformer language model (Vaswani et al. 2017; Radford et al. 2019)."""

import dataclasses

from creagen_jax.models import _decoder

KIND = "autoregressive"
HOST = False


@dataclasses.dataclass(frozen=True)
class Config(_decoder.Config):
    """Hyper-parameters: those of every decoder-only Transformer."""


init = _decoder.init
make_step = _decoder.make_step
eval_metrics = _decoder.eval_metrics
init_carry = _decoder.init_carry
next_logits = _decoder.next_logits
