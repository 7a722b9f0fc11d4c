"""Names from a Transformer, letter by letter."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import text
from creagen_jax.models import transformer

CONFIG = Experiment(
    data=text.Config(source="names", length=0),
    model=transformer.Config(width=128, depth=4, heads=4, context=32),
    optim=Optim(name="muon", learning_rate=3e-3, final=0.0, ema=0.99),
    train=Train(steps=1500, batch=128, eval_every=250, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 32, "depth": 2, "heads": 2},
    train={"steps": 20, "batch": 32, "eval_every": 10, "save_every": 10, "sample_every": 10},
)
