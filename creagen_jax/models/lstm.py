"""Long short-term memory language model (Hochreiter & Schmidhuber 1997; Graves 2013)."""

import dataclasses
from functools import partial

from creagen_jax.models import _recurrent

KIND = "autoregressive"
HOST = False


@dataclasses.dataclass(frozen=True)
class Config(_recurrent.Config):
    """Hyper-parameters: those of every stacked recurrent network."""


init = partial(_recurrent.init, _recurrent.LSTM)
make_step = partial(_recurrent.make_step, _recurrent.LSTM)
eval_metrics = partial(_recurrent.eval_metrics, _recurrent.LSTM)
init_carry = partial(_recurrent.init_carry, _recurrent.LSTM)
next_logits = partial(_recurrent.next_logits, _recurrent.LSTM)
