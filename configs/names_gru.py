"""Names from a GRU, letter by letter."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import text
from creagen_jax.models import gru

CONFIG = Experiment(
    data=text.Config(source="names", length=0),
    model=gru.Config(width=256, depth=1),
    optim=Optim(learning_rate=4e-3),
    train=Train(steps=3000, batch=256, eval_every=500, sample_every=1000, save_every=500),
)

SMOKE = replace(
    CONFIG,
    model={"width": 32},
    train={"steps": 20, "batch": 32, "eval_every": 10, "save_every": 10, "sample_every": 10},
)
