"""Gated recurrent unit language model (Cho et al. 2014)."""

import dataclasses
from functools import partial

from creagen_jax.functional import recurrent
from creagen_jax.models import _recurrent

KIND = "autoregressive"
HOST = False

CELL = _recurrent.Cell(recurrent.gru_cell, gates=3, carries=1, bias=(0.0, 0.0, 0.0))


@dataclasses.dataclass(frozen=True)
class Config(_recurrent.Config):
    """Hyper-parameters: those of every stacked recurrent network."""


init = partial(_recurrent.init, CELL)
make_step = partial(_recurrent.make_step, CELL)
eval_metrics = partial(_recurrent.eval_metrics, CELL)
init_carry = partial(_recurrent.init_carry, CELL)
next_logits = partial(_recurrent.next_logits, CELL)
