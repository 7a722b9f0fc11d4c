"""Sums of two numbers of up to 4 digits, from an encoder-decoder Transformer."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import pairs
from creagen_jax.models import seq2seq

CONFIG = Experiment(
    data=pairs.Config(source="addition"),
    model=seq2seq.Config(cell="transformer", width=128, depth=2, heads=4),
    optim=Optim(name="muon", learning_rate=3e-3, final=0.0, ema=0.99),
    train=Train(steps=2500, batch=128, eval_every=250, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 32, "depth": 1, "heads": 2},
    train={"steps": 20, "batch": 32, "eval_every": 10, "save_every": 10, "sample_every": 10},
)
