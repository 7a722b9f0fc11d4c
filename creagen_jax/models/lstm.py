"""Long short-term memory language model (Hochreiter & Schmidhuber 1997; Graves 2013)."""

import dataclasses
from functools import partial

from creagen_jax.functional import recurrent
from creagen_jax.models import _recurrent

KIND = "autoregressive"
HOST = False

# The forget gate starts open (Gers et al. 2000; Jozefowicz et al. 2015).
CELL = _recurrent.Cell(recurrent.lstm_cell, gates=4, carries=2, bias=(0.0, 1.0, 0.0, 0.0))


@dataclasses.dataclass(frozen=True)
class Config(_recurrent.Config):
    """Hyper-parameters: those of every stacked recurrent network."""


init = partial(_recurrent.init, CELL)
make_step = partial(_recurrent.make_step, CELL)
eval_metrics = partial(_recurrent.eval_metrics, CELL)
init_carry = partial(_recurrent.init_carry, CELL)
next_logits = partial(_recurrent.next_logits, CELL)
