"""Names from a GRU, letter by letter."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import text
from creagen_jax.models import gru

CONFIG = Experiment(
    data=text.Config(source="names", length=0),
    model=gru.Config(width=256, depth=1),
    optim=Optim(name="muon", learning_rate=4e-3, final=0.0, ema=0.99),
    train=Train(steps=1500, batch=128, eval_every=250, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 32},
    train={"steps": 20, "batch": 32, "eval_every": 10, "save_every": 10, "sample_every": 10},
)
