"""Gated recurrent unit language model (Cho et al. 2014)."""

import dataclasses
from functools import partial

from creagen_jax.models import _recurrent

KIND = "autoregressive"
HOST = False


@dataclasses.dataclass(frozen=True)
class Config(_recurrent.Config):
    """Hyper-parameters: those of every stacked recurrent network."""


init = partial(_recurrent.init, _recurrent.GRU)
make_step = partial(_recurrent.make_step, _recurrent.GRU)
eval_metrics = partial(_recurrent.eval_metrics, _recurrent.GRU)
init_carry = partial(_recurrent.init_carry, _recurrent.GRU)
next_logits = partial(_recurrent.next_logits, _recurrent.GRU)
