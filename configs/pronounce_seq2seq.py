"""Pronunciations of English words, from spelling to phonemes, from a GRU with attention."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import pairs
from creagen_jax.models import seq2seq

CONFIG = Experiment(
    data=pairs.Config(source="pronunciations", target_tokenizer="word"),
    model=seq2seq.Config(cell="gru", width=256, depth=1, dropout=0.1),
    optim=Optim(name="muon", learning_rate=4e-3, final=0.0, ema=0.99),
    train=Train(steps=3000, batch=128, eval_every=250, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 32},
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
